use super::calver;
use crate::error::Fault;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A release branch of Backend.AI: `21.03` or `main`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Branch(String);

impl Branch {
    /// Takes the one of `known` that is meant; `21.3`, and a version of it such as `21.3.8`, is
    /// understood as `21.03`.
    pub fn parse(text: &str, known: &[String]) -> Result<Self, Fault> {
        let meant = calver::branch_of(text);
        if let Some(found) =
            known.iter().find(|name| *name == text).or_else(|| known.iter().find(|name| meant.as_ref() == Some(name)))
        {
            return Ok(Self(found.clone()));
        }
        let wanted = meant.unwrap_or_else(|| text.to_owned());
        let fault = if wanted == "main" || calver::branch_of(text).is_some() {
            Fault::usage(format!("baibox does not know the release branch `{text}`"))
        } else {
            Fault::usage(format!("`{text}` is not the name of a release branch"))
        };
        let nearest = nearest(&wanted, known.iter().map(String::as_str));
        Err(fault.hint(format!("known release branches: {nearest}")))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The three of `known` that were most probably meant, in backticks.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_by_key(|name| (distance(name, word), *name));
    known.dedup();
    let names: Vec<String> = known.iter().take(3).map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

impl fmt::Display for Branch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
impl fmt::Debug for Branch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Name of an environment, also its compose project name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvironmentId(String);

impl EnvironmentId {
    /// 1 to 40 of `a`–`z`, `0`–`9`, `-`, `_`, first a letter or digit, as Compose asks of project names.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if first && text.len() <= 40 && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Fault::usage(format!("`{text}` cannot be an environment ID"))
                .hint("use 1 to 40 of `a`-`z`, `0`-`9`, `-`, `_`, and begin with a letter or a digit"))
        }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EnvironmentId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|fault| fault.message)
    }
}
impl From<EnvironmentId> for String {
    fn from(id: EnvironmentId) -> Self {
        id.0
    }
}
impl fmt::Display for EnvironmentId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
impl fmt::Debug for EnvironmentId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_corrected_or_refused() {
        let known: Vec<String> = ["20.09", "21.03", "main"].map(String::from).to_vec();
        for text in ["21.03", "21.3", "21.3.8", "v21.03.8"] {
            assert_eq!(Branch::parse(text, &known).unwrap().as_str(), "21.03", "{text}");
        }
        for bad in ["21.04", "../x", "", "twenty"] {
            assert!(Branch::parse(bad, &known).is_err(), "{bad}");
        }
        assert!(Branch::parse("21.04", &known).unwrap_err().hints[0].contains("`21.03`"));
    }

    #[test]
    fn environment_ids_are_compose_project_names() {
        assert!(EnvironmentId::parse("dev2103").is_ok());
        for bad in ["", "-a", "Dev", "a/b", "a b", "ä", &"a".repeat(41)] {
            assert!(EnvironmentId::parse(bad).is_err(), "{bad}");
        }
    }
}
