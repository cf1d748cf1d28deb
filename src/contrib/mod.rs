//! Rules of upstream's contribution guide: what a branch, a title and a news fragment must be.

mod english;
mod lint;
mod name;
mod news;
mod pants;
mod title;

pub use english::foreign;
pub use lint::{Linter, linters, own};
pub use name::branch;
pub use news::{Towncrier, news, sentence};
pub use pants::Pants;
pub use title::{kind, title};

use crate::release::Catalog;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `images/contrib.toml`: each word with what it is for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub branches: BTreeMap<String, String>,
    pub titles: BTreeMap<String, String>,
}

impl Rules {
    pub fn read() -> Result<Self> {
        toml::from_str(Catalog::file("contrib.toml")?).context("`images/contrib.toml` is no list of rules")
    }
}

/// What was looked at by one rule, and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub rule: &'static str,
    pub state: State,
    pub what: String,
    /// How to mend it; empty where nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mend: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Good,
    /// Worth knowing; upstream would take it.
    Remark,
    Fault,
    /// It was not looked at.
    Skipped,
}

impl Finding {
    pub fn good(rule: &'static str, what: impl Into<String>) -> Self {
        Self { rule, state: State::Good, what: what.into(), mend: String::new() }
    }
    pub fn fault(rule: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { rule, state: State::Fault, what: what.into(), mend: mend.into() }
    }
}

/// All findings as a person reads them.
pub fn print(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        let state = match finding.state {
            State::Good => "good",
            State::Remark => "note",
            State::Fault => "FAULT",
            State::Skipped => "skipped",
        };
        let what = finding.what.replace('\n', "\n                  ");
        lines.push(format!("{state:<8} {:<8} {what}", finding.rule));
        if !finding.mend.is_empty() {
            lines.push(format!("                  mend: {}", finding.mend));
        }
    }
    lines.join("\n")
}

/// `fix for bug fixes, docs for documentation`.
fn listed(words: &BTreeMap<String, String>) -> String {
    words.iter().map(|(word, purpose)| format!("`{word}` for {purpose}")).collect::<Vec<_>>().join(", ")
}

/// The word of a list that was probably meant: `feat` is short for `feature`, `bugfix` ends like `fix`.
fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let near = |other: &&str| {
        let short = word.len().min(other.len()) >= 3;
        short && (word.starts_with(other) || other.starts_with(&word) || word.ends_with(other))
    };
    let known: Vec<&str> = known.collect();
    known.iter().find(|other| **other == word).or_else(|| known.iter().find(|other| near(other))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_in_the_binary_are_read_and_findings_print() {
        let rules = Rules::read().unwrap();
        assert!(["setup", "repo"].iter().all(|name| rules.titles.contains_key(*name)));
        let findings = [Finding::good("branch", "fix/x"), Finding::fault("flake8", "a\nb", "change it")];
        insta::assert_snapshot!(print(&findings), @r"
        good     branch   fix/x
        FAULT    flake8   a
                          b
                          mend: change it
        ");
    }
}
