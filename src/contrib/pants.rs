//! Which linters the one repository's `pants.toml` turns on, and how pants runs each over changed files.
//!
//! What it runs them with: <https://www.pantsbuild.org/stable/docs/python/overview/linters-and-formatters>.

use super::Linter;
use anyhow::{Context, Result};

/// A linter, what it is told before the files, and how it mends them.
struct Known {
    name: &'static str,
    words: &'static [&'static str],
    mends: &'static [&'static str],
}

const BLACK: Known = Known { name: "black", words: &["black", "--check", "--quiet", "--diff"], mends: &["black"] };
const FLAKE8: Known = Known { name: "flake8", words: &["flake8"], mends: &[] };
const ISORT: Known = Known { name: "isort", words: &["isort", "--check-only", "--diff"], mends: &["isort"] };
/// Of the forms that every version knows, this one has a line for each finding.
const RUFF: Known = Known {
    name: "ruff",
    words: &["ruff", "check", "--force-exclude", "--no-cache", "--output-format=pylint"],
    mends: &["ruff", "check", "--fix"],
};
const FORMAT: Known = Known {
    name: "format",
    words: &["ruff", "format", "--check", "--diff", "--force-exclude", "--no-cache"],
    mends: &["ruff", "format"],
};
/// The project's settings name a Python that pants would have exported.
const MYPY: Known = Known { name: "mypy", words: &["mypy", "--python-executable", "/opt/venv/bin/python"], mends: &[] };

/// By the backends of pants.
const KNOWN: [(&str, Known); 9] = [
    ("pants.backend.python.lint.black", BLACK),
    ("pants.backend.python.lint.flake8", FLAKE8),
    ("pants.backend.python.lint.isort", ISORT),
    ("pants.backend.experimental.python.lint.ruff", RUFF),
    ("pants.backend.experimental.python.lint.ruff.check", RUFF),
    // A copy of both by upstream, in 23.09.
    ("ruff_preview", RUFF),
    ("ruff_preview", FORMAT),
    ("pants.backend.experimental.python.lint.ruff.format", FORMAT),
    ("pants.backend.python.typecheck.mypy", MYPY),
];

/// What of `pants.toml` is needed here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pants {
    /// In the order in which it names them, each once.
    pub linters: Vec<Linter>,
    /// Patterns as in `.gitignore` of what it does not look at.
    pub ignored: Vec<String>,
}

impl Pants {
    pub fn parse(text: &str) -> Result<Self> {
        let file: toml::Table = toml::from_str(text)?;
        let global = file.get("GLOBAL").and_then(toml::Value::as_table).context("there is no `[GLOBAL]`")?;
        let list = |name: &str| -> Result<Vec<String>> {
            let Some(found) = global.get(name) else { return Ok(Vec::new()) };
            found.clone().try_into().with_context(|| format!("`{name}` of `[GLOBAL]` is no list of texts"))
        };
        let mut linters: Vec<Linter> = Vec::new();
        for backend in list("backend_packages")? {
            for (_, Known { name, words, mends }) in KNOWN.into_iter().filter(|(known, _)| *known == backend) {
                if linters.iter().all(|other| other.name != name) {
                    let arguments = ["-m"].iter().chain(words).map(|word| (*word).to_owned()).collect();
                    linters.push(Linter { name, arguments, advisory: false, mends });
                }
            }
        }
        Ok(Self { linters, ignored: list("pants_ignore")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linters_are_those_that_pants_turns_on() {
        let text = "[GLOBAL]\nbackend_packages = [\n  'pants.backend.python',\n  'pants.backend.python.lint.black',\n  'pants.backend.python.typecheck.mypy',\n\
                    'pants.backend.experimental.python.lint.ruff',\n  'towncrier_tool',\n]\npants_ignore = ['.*/', '/scripts/']\n[mypy]\nx = 1\n";
        let found = Pants::parse(text).unwrap();
        let shown: Vec<_> = found.linters.iter().map(|one| (one.name, one.arguments.join(" "))).collect();
        assert_eq!(
            shown,
            [
                ("black", "-m black --check --quiet --diff".to_owned()),
                ("mypy", "-m mypy --python-executable /opt/venv/bin/python".to_owned()),
                ("ruff", "-m ruff check --force-exclude --no-cache --output-format=pylint".to_owned()),
            ]
        );
        assert_eq!(found.ignored, [".*/", "/scripts/"]);
        let names = |backends: &str| {
            let found = Pants::parse(&format!("[GLOBAL]\nbackend_packages = [{backends}]\n")).unwrap();
            found.linters.iter().map(|one| one.name).collect::<Vec<_>>()
        };
        let ruff = "'pants.backend.experimental.python.lint.ruff";
        assert_eq!(names(&format!("{ruff}.check', {ruff}.format', {ruff}'")), ["ruff", "format"]);
        assert_eq!(names("'pants.backend.python.lint.flake8', 'pants.backend.python.lint.isort'"), ["flake8", "isort"]);
        assert_eq!(names("'ruff_preview'"), ["ruff", "format"]);
        assert!(names("").is_empty());
    }

    #[test]
    fn what_is_no_configuration_of_pants_is_refused() {
        for text in ["x", "", "[GLOBAL]\nbackend_packages = 'x'\n", "[GLOBAL]\npants_ignore = [1]\n"] {
            assert!(Pants::parse(text).is_err(), "{text}");
        }
    }
}
