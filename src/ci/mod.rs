//! What stays of a throw-away environment: one report, a record to run it again, evidence.

mod evidence;
mod junit;

pub use evidence::{gather, logs};
pub use junit::{Case, Report, merge};

use crate::model::Digest;
use crate::source::Provenance;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Raised when `result.json` means something else than before.
pub const RECORD_VERSION: u32 = 2;

/// `result.json`: what was built and run, exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub version: u32,
    /// Version of the baibox that wrote it.
    pub baibox: String,
    pub branch: String,
    /// `os/architecture`.
    pub platform: String,
    pub engine: String,
    /// Component → its tree.
    pub sources: BTreeMap<String, Provenance>,
    /// The lock as TOML: every .deb, wheel and source distribution by digest.
    pub lock: String,
    /// Image → image ID.
    pub images: BTreeMap<String, Digest>,
    /// The whole stack ran.
    #[serde(default)]
    pub full: bool,
    /// Component → what pytest was told.
    #[serde(default)]
    pub pytest: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub verdict: String,
    pub tests: BTreeMap<String, Counts>,
    /// Name and seconds, in the order of their ends.
    pub phases: Vec<(String, f64)>,
    /// What was reused, as text by name.
    pub cache: BTreeMap<String, String>,
}

/// How the tests of one component went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub passed: usize,
    /// Failures that count.
    pub failed: Vec<String>,
    /// Failures that are known, with the reason.
    pub known: BTreeMap<String, String>,
    pub skipped: usize,
}

impl Record {
    /// The step summary, in the Markdown that CI services show.
    pub fn summary(&self, verdict: &str) -> String {
        let mut text = format!("## baibox ci: {} on {}\n\n{verdict}\n\n", self.branch, self.platform);
        text.push_str("| component | commit | passed | failed | known | skipped |\n|---|---|---:|---:|---:|---:|\n");
        for (component, counts) in &self.tests {
            let source = self.sources.get(component);
            let commit = source.map_or("", |source| source.commit.get(..12).unwrap_or(&source.commit));
            let changed = if source.is_some_and(|source| !source.patch.is_empty()) { " + changes" } else { "" };
            let numbers = [counts.passed, counts.failed.len(), counts.known.len(), counts.skipped].map(|count| count.to_string());
            writeln!(text, "| {component} | `{commit}`{changed} | {} |", numbers.join(" | ")).expect("strings take all");
        }
        for (component, counts) in self.tests.iter().filter(|(_, counts)| !counts.failed.is_empty()) {
            write!(text, "\nFailed in {component}:\n\n").expect("strings take all");
            counts.failed.iter().for_each(|name| text.push_str(&format!("* `{name}`\n")));
        }
        text.push_str("\n| phase | seconds |\n|---|---:|\n");
        for (phase, seconds) in &self.phases {
            writeln!(text, "| {phase} | {seconds:.1} |").expect("strings take all");
        }
        text.push_str("\n| cache | |\n|---|---|\n");
        for (name, value) in &self.cache {
            writeln!(text, "| {name} | {value} |").expect("strings take all");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_what_failed_and_where_the_time_went() {
        let source = Provenance { commit: "0123456789abcdef".into(), patch: "x".into(), ..Provenance::default() };
        let counts =
            Counts { passed: 3, failed: vec!["tests.a::b".into()], known: [("c".into(), "hardware".into())].into(), skipped: 1 };
        let record = Record {
            version: RECORD_VERSION,
            baibox: "0".into(),
            branch: "21.03".into(),
            platform: "linux/amd64".into(),
            engine: "docker 20".into(),
            sources: [("manager".to_owned(), source)].into(),
            lock: String::new(),
            images: BTreeMap::new(),
            full: false,
            pytest: [("manager".to_owned(), vec!["-m".to_owned(), "not integration".to_owned()])].into(),
            verdict: "tests failed".into(),
            tests: [("manager".to_owned(), counts)].into(),
            phases: vec![("build".into(), 1.25)],
            cache: [("fragments made".to_owned(), "2 of 9".to_owned())].into(),
        };
        insta::assert_snapshot!(record.summary("tests failed"), @r"
        ## baibox ci: 21.03 on linux/amd64

        tests failed

        | component | commit | passed | failed | known | skipped |
        |---|---|---:|---:|---:|---:|
        | manager | `0123456789ab` + changes | 3 | 1 | 1 | 1 |

        Failed in manager:

        * `tests.a::b`

        | phase | seconds |
        |---|---:|
        | build | 1.2 |

        | cache | |
        |---|---|
        | fragments made | 2 of 9 |
        ");
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
