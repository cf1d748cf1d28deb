//! Debian's control format ("deb822"): fields by name, stanzas by empty lines.

/// One stanza's fields, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stanza<'a>(Vec<(&'a str, String)>);

impl Stanza<'_> {
    /// Names of fields are the same in upper and lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// All stanzas of a text; lines that are no field are passed over.
pub fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    selected(text, |_| true)
}

/// Only the fields that are wanted, since indexes have tens of thousands of stanzas.
pub fn selected<'a>(text: &'a str, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Stanza<'a>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut stanza = Stanza::default();
        let mut keep = false;
        for line in lines.by_ref() {
            if line.trim().is_empty() {
                if stanza.is_empty() {
                    continue;
                }
                return Some(stanza);
            }
            if line.starts_with('#') {
                continue;
            }
            if line.starts_with([' ', '\t']) {
                if keep && let Some((_, value)) = stanza.0.last_mut() {
                    value.push('\n');
                    value.push_str(line.trim());
                }
                continue;
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            keep = wanted(name);
            if keep {
                stanza.0.push((name, value.trim().to_owned()));
            }
        }
        (!stanza.is_empty()).then_some(stanza)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_are_split_at_empty_lines_and_folded_lines_joined() {
        let found: Vec<_> = selected("\n\nA: 1\n# c\nB: x\n  y\nC: z\n w\n\n\nA: 2", |name| name != "C").collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].get("a"), found[0].get("B"), found[0].get("C")), (Some("1"), Some("x\ny"), None));
        assert_eq!(found[1].get("A"), Some("2"));
    }
}
