//! Calendar versions as upstream writes them: `21.03.8` in git, `21.3.8` on the package index.

/// The first two numbers of a version and what follows: (21, 3, ".8") of `21.03.8`, `v21.3.8` or `21.03.8`.
fn parts(text: &str) -> Option<(u32, u32, &str)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (year, rest) = text.split_once('.')?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let (month, rest) = rest.split_at(end);
    let number = |text: &str| (1..=2).contains(&text.len()).then(|| text.parse().ok()).flatten();
    // What follows is a patch number, a pre-release or a development version.
    let follows = rest.is_empty() || rest.starts_with(['.', 'a', 'b', 'r', 'd', '+']);
    (number(year).is_some() && follows).then(|| Some((number(year)?, number(month)?, rest)))?
}

/// Until 24 the second number is a month with two digits, since 25 a count without padding.
fn padded(year: u32, second: u32) -> String {
    if year < 25 { format!("{year}.{second:02}") } else { format!("{year}.{second}") }
}

/// The release branch that a version or branch is of, as git names it: `21.03` of `21.3`, `21.3.8` or `v21.03.8`.
pub fn branch_of(text: &str) -> Option<String> {
    let (year, second, _) = parts(text)?;
    Some(padded(year, second))
}

/// A version as upstream's tags write it: `21.03.8` of `21.3.8`.
pub fn tag(version: &str) -> Option<String> {
    let (year, second, rest) = parts(version)?;
    Some(format!("{}{rest}", padded(year, second)))
}

/// A version as the package index writes it: `21.3.8` of `21.03.8`.
pub fn published(tag: &str) -> Option<String> {
    let (year, second, rest) = parts(tag)?;
    Some(format!("{year}.{second}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_both_ways() {
        for (tagged, on_index, branch) in [
            ("21.03.8", "21.3.8", "21.03"),
            ("21.03", "21.3", "21.03"),
            ("20.09.0rc2", "20.9.0rc2", "20.09"),
            ("22.06.0.dev0", "22.6.0.dev0", "22.06"),
            ("23.09.10", "23.9.10", "23.09"),
            ("22.12.1", "22.12.1", "22.12"),
            ("25.6.0", "25.6.0", "25.6"),
            ("25.15.2", "25.15.2", "25.15"),
            ("26.8.1rc1", "26.8.1rc1", "26.8"),
        ] {
            assert_eq!(published(tagged).as_deref(), Some(on_index), "{tagged}");
            assert_eq!(tag(on_index).as_deref(), Some(tagged), "{on_index}");
            for text in [tagged, on_index, &format!("v{tagged}")] {
                assert_eq!(branch_of(text).as_deref(), Some(branch), "{text}");
            }
        }
        // Padded out of habit.
        assert_eq!(branch_of("25.06").as_deref(), Some("25.6"));
    }

    #[test]
    fn what_is_no_version_is_told() {
        for text in ["", "main", "21", "21.", ".3", "2021.03", "21.123", "21.x", "21.3/x", "../21.3", "21.3x"] {
            assert_eq!(branch_of(text), None, "{text}");
        }
    }
}
