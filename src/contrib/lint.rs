//! Which linters a component's own CI runs, and how.

use std::collections::BTreeMap;

/// Modules that look at code and change nothing, which a workflow may name.
const KNOWN: [&str; 4] = ["flake8", "mypy", "black", "isort"];

/// One command of the component's CI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linter {
    pub name: &'static str,
    /// The words after `python`.
    pub arguments: Vec<String>,
    /// The workflow goes on whatever it says.
    pub advisory: bool,
    /// The words after `python -m` by which it mends files itself, if it can.
    pub mends: &'static [&'static str],
}

/// Steps like `python -m flake8 src tests` in the workflows of `.github/workflows`, given by name; each linter once.
///
/// Only the words are taken, never a shell's meaning of them: a line with more than that is left out.
pub fn linters(workflows: &BTreeMap<String, String>) -> Vec<Linter> {
    let mut found: Vec<Linter> = Vec::new();
    for line in workflows.values().flat_map(|text| text.lines()) {
        let line = line.trim().trim_start_matches("- ").trim_start_matches("run:").trim();
        let (command, advisory) = match line.split_once("||") {
            Some((command, otherwise)) => (command, ["exit 0", "true"].contains(&otherwise.trim())),
            None => (line, false),
        };
        let Some(rest) = command.trim().strip_prefix("python -m ") else { continue };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let name = KNOWN.into_iter().find(|known| words.first() == Some(known));
        let plain = |word: &&str| word.chars().all(|sign| sign.is_ascii_alphanumeric() || "-_./=,".contains(sign));
        // Formatters change files unless they are told to check.
        let harmless = !matches!(name, Some("black" | "isort")) || words.iter().any(|word| word.starts_with("--check"));
        let new = |name: &&str| !found.iter().any(|other| other.name == *name);
        if let Some(name) = name.filter(|name| harmless && words.iter().all(plain) && new(name)) {
            let arguments = ["-m"].iter().chain(&words).map(|word| (*word).to_owned()).collect();
            found.push(Linter { name, arguments, advisory, mends: &[] });
        }
    }
    found
}

/// What a linter says of the work in `tree` and not of what it began with, in `base`.
///
/// Numbers are not compared: lines move, and totals change with them. Codes such as `E501` are.
pub fn own(said: (&str, &str), before: (&str, &str)) -> Vec<String> {
    let mut known: Vec<String> = before.0.lines().map(|line| plain(line, before.1)).collect();
    let mut own = Vec::new();
    for line in said.0.lines() {
        match known.iter().position(|other| *other == plain(line, said.1)) {
            Some(place) => drop(known.swap_remove(place)),
            None => own.push(line.to_owned()),
        }
    }
    own
}

/// A line without its folder and its numbers.
fn plain(line: &str, folder: &str) -> String {
    let mut in_word = false;
    let kept = |sign: &char| {
        let kept = in_word || !sign.is_ascii_digit();
        in_word = sign.is_alphabetic() || (in_word && sign.is_ascii_digit());
        kept
    };
    line.replace(folder, "").chars().filter(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linters_are_read_from_workflows_and_nothing_else_is() {
        let text = "jobs:\n  lint:\n    steps:\n    - run: |\n        python -m pip install -U x\n        python -m flake8 src/ai/backend tests\n\
                    \x20   - run: python -m mypy --no-color-output src/ai/backend || exit 0\n        python -m flake8 again\n\
                    \x20       python -m black --check $(rm x)\n        python -m isort --check-only src; rm x\n        python -m black src\n        python -m pytest\n";
        let found = linters(&[("default.yml".to_owned(), text.to_owned())].into());
        let shown: Vec<_> = found.iter().map(|one| (one.name, one.arguments.join(" "), one.advisory)).collect();
        assert_eq!(
            shown,
            [
                ("flake8", "-m flake8 src/ai/backend tests".to_owned(), false),
                ("mypy", "-m mypy --no-color-output src/ai/backend".to_owned(), true),
            ]
        );
    }

    #[test]
    fn what_stood_there_before_is_not_the_works_own() {
        let before = "a.py:3: error: x\nb.py:1:2: E501 long\nwould reformat /base/c.py\nFound 1 error in 1 file\n";
        let check = |said: &str, expected: &[&str]| assert_eq!(own((said, "/tree"), (before, "/base")), expected, "{said}");
        check("a.py:9: error: x\nwould reformat /tree/c.py\nFound 1 error in 1 file\n", &[]);
        check("a.py:3: error: x\na.py:4: error: x\n", &["a.py:4: error: x"]);
        // flake8's codes are words, not places.
        check("b.py:7:7: E302 long\n", &["b.py:7:7: E302 long"]);
    }
}
