//! Relations between packages: `libc6 (>= 2.31) | libc6.1`, and Debian's version order.

use debversion::Version;
use std::cmp::Ordering;
use std::fmt;

/// One name with an optional bound on its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    pub name: String,
    pub bound: Option<(Bound, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Earlier,
    AtMost,
    Exactly,
    AtLeast,
    Later,
}

impl Relation {
    /// `None` for a text that is no relation.
    pub fn parse(text: &str) -> Option<Self> {
        // `[arch]` and `<profile>` stand only in source packages.
        let text = text.split(['[', '<']).next().filter(|_| !text.contains('(')).unwrap_or(text).trim();
        let (name, bound) = match text.split_once('(') {
            None => (text, None),
            Some((name, rest)) => {
                let rest = rest.split_once(')')?.0.trim();
                let digits = rest.find(|sign| !matches!(sign, '<' | '>' | '='))?;
                let bound = match &rest[..digits] {
                    "<<" => Bound::Earlier,
                    "<=" | "<" => Bound::AtMost,
                    "=" => Bound::Exactly,
                    ">=" | ">" => Bound::AtLeast,
                    ">>" => Bound::Later,
                    _ => return None,
                };
                (name, Some((bound, rest[digits..].trim().to_owned())))
            }
        };
        let name = name.trim().split(':').next()?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_');
        (!name.is_empty() && name.bytes().all(allowed)).then(|| Self { name: name.to_owned(), bound })
    }

    /// Whether this version of the name is within the bound.
    pub fn admits(&self, version: &str) -> bool {
        let Some((bound, wanted)) = &self.bound else { return true };
        let order = compare(version, wanted);
        match bound {
            Bound::Earlier => order == Ordering::Less,
            Bound::AtMost => order != Ordering::Greater,
            Bound::Exactly => order == Ordering::Equal,
            Bound::AtLeast => order != Ordering::Less,
            Bound::Later => order == Ordering::Greater,
        }
    }
}

/// `a | b, c` becomes `[[a, b], [c]]`; parts that are no relation are left out.
pub fn clauses(text: &str) -> Vec<Vec<Relation>> {
    let clause = |part: &str| part.split('|').filter_map(Relation::parse).collect::<Vec<_>>();
    text.split(',').map(clause).filter(|clause| !clause.is_empty()).collect()
}

/// Debian's order of versions; what is no version comes first, by its bytes.
pub fn compare(left: &str, right: &str) -> Ordering {
    match (left.parse::<Version>(), right.parse::<Version>()) {
        (Ok(left), Ok(right)) => left.cmp(&right),
        (Ok(_), Err(_)) => Ordering::Greater,
        (Err(_), Ok(_)) => Ordering::Less,
        (Err(_), Err(_)) => left.cmp(right),
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)?;
        let Some((bound, version)) = &self.bound else { return Ok(()) };
        let sign = match bound {
            Bound::Earlier => "<<",
            Bound::AtMost => "<=",
            Bound::Exactly => "=",
            Bound::AtLeast => ">=",
            Bound::Later => ">>",
        };
        write!(out, " ({sign} {version})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_debians_order() {
        for (less, more) in [
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0-1"),
            ("1.9", "1.10"),
            ("9:1", "10:0"),
            ("2.31-13+deb11u5", "2.31-13+deb11u13"),
            ("1.0~~", "1.0~"),
            ("1.0+b1", "1.0+b2"),
            ("1.0-1", "1.0-1+deb11u1"),
            ("1.0a", "1.0+"),
        ] {
            assert_eq!(compare(less, more), Ordering::Less, "{less} {more}");
            assert_eq!(compare(more, less), Ordering::Greater, "{less} {more}");
        }
        assert_eq!(compare("0:1.0", "1.0-0"), Ordering::Equal);
    }

    #[test]
    fn relations_are_read_as_they_are_written() {
        for (text, shown) in [
            ("libc6 (>= 2.31)", "libc6 (>= 2.31)"),
            ("libc6(>=2.31)", "libc6 (>= 2.31)"),
            ("python3:any (>= 3.9~)", "python3 (>= 3.9~)"),
            ("foo [amd64]", "foo"),
            ("a | b (<< 2) , c", "a;b (<< 2)|c"),
            ("a (? 1), b", "b"),
            ("", ""),
        ] {
            let found: Vec<_> =
                clauses(text).iter().map(|clause| clause.iter().map(Relation::to_string).collect::<Vec<_>>().join(";")).collect();
            assert_eq!(found.join("|"), shown, "{text}");
        }
        for (text, version, admitted) in [
            ("a (<< 2)", "2", false),
            ("a (<= 2)", "2", true),
            ("a (>> 2)", "2.0", true),
            ("a", "0", true),
            ("a (= 1-1)", "1-1", true),
        ] {
            assert_eq!(Relation::parse(text).unwrap().admits(version), admitted, "{text} {version}");
        }
    }
}
