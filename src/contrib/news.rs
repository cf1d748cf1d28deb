//! News fragments, as the component's own towncrier configuration takes them:
//! <https://towncrier.readthedocs.io/en/stable/configuration.html>.

use super::{Finding, foreign, meant};
use anyhow::{Context, Result};

const RULE: &str = "news";

/// Types that towncrier knows where none are configured.
const DEFAULT_TYPES: [&str; 5] = ["feature", "bugfix", "doc", "removal", "misc"];

/// What of the configuration is needed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Towncrier {
    /// Folder of the fragments, from the tree's top, without a slash at its end.
    pub folder: String,
    pub types: Vec<String>,
}

impl Towncrier {
    /// `[tool.towncrier]` of `pyproject.toml` or `towncrier.toml`; `None` if there is none.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let file: toml::Table = toml::from_str(text)?;
        let Some(found) = file.get("tool").and_then(|tool| tool.get("towncrier")) else { return Ok(None) };
        let folder = match found.get("directory") {
            Some(folder) => folder.as_str().context("`directory` of `[tool.towncrier]` is no text")?,
            None => "newsfragments",
        };
        let named = |entry: &toml::Value| -> Result<String> {
            let name = entry.get("directory").or_else(|| entry.get("name")).and_then(toml::Value::as_str);
            Ok(name.context("a `[[tool.towncrier.type]]` has neither a directory nor a name")?.to_ascii_lowercase())
        };
        let types = match (found.get("type"), found.get("fragment")) {
            (Some(list), _) => {
                let list = list.as_array().context("`type` of `[tool.towncrier]` is no list")?;
                list.iter().map(named).collect::<Result<_>>()?
            }
            // The newer form: a table for each type, by its name.
            (None, Some(table)) => {
                table.as_table().context("`fragment` of `[tool.towncrier]` is no table")?.keys().cloned().collect()
            }
            (None, None) => DEFAULT_TYPES.map(String::from).into(),
        };
        Ok(Some(Self { folder: folder.trim_end_matches('/').to_owned(), types }))
    }

    /// The type that is meant by a word, or how to choose one.
    pub fn kind(&self, word: &str) -> Result<&str, Finding> {
        if let Some(kind) = self.types.iter().find(|kind| *kind == word) {
            return Ok(kind);
        }
        let known = || self.types.iter().map(String::as_str);
        let mend = match meant(word, known()) {
            Some(kind) => format!("take `{kind}`"),
            None => format!("take one of {}", known().collect::<Vec<_>>().join(", ")),
        };
        Err(Finding::fault(RULE, format!("`{word}` is no type of news in this component's towncrier configuration"), mend))
    }

    /// The type that fits a title's, for an example.
    pub fn kind_of_title(&self, kind: Option<&str>) -> &str {
        let known = || self.types.iter().map(String::as_str);
        kind.and_then(|kind| meant(kind, known())).or_else(|| known().find(|known| *known == "misc")).unwrap_or("misc")
    }

    /// Whether a file in the folder is a fragment, and not the template or a note about them.
    pub fn is_fragment(name: &str) -> bool {
        !name.starts_with('.') && !name.starts_with("template.") && !name.eq_ignore_ascii_case("readme.md")
    }

    /// The name of a new fragment, in the form of those that are there.
    pub fn file_name<'a>(&self, number: u64, kind: &str, beside: impl Iterator<Item = &'a str>) -> String {
        let ends = |name: &str| self.types.iter().any(|kind| name.ends_with(&format!(".{kind}")));
        if beside.filter(|name| Self::is_fragment(name)).any(ends) {
            format!("{number}.{kind}")
        } else {
            format!("{number}.{kind}.md")
        }
    }
}

/// One fragment that a branch brings: `<number>.<type>`, `<number>.<type>.md`, `<number>.<type>.1.md`, one English sentence.
pub fn news(towncrier: &Towncrier, name: &str, text: &str) -> Finding {
    let path = format!("{}/{name}", towncrier.folder);
    let fault = |what: String, mend: String| Finding::fault(RULE, format!("`{path}` {what}"), mend);
    let parts: Vec<&str> = name.split('.').collect();
    let (number, kind) = (parts[0], parts.get(1).copied().unwrap_or_default());
    let kind = match towncrier.kind(kind) {
        Ok(kind) => kind,
        Err(found) => {
            return fault(
                format!("names no type of news that this component takes: {}", towncrier.types.join(", ")),
                format!("name it `<number of the pull request>.<type>`; {}", found.mend),
            );
        }
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        let mend = format!("name it `<number>.{kind}` when the pull request is open");
        return fault(format!("begins with `{number}`, not with the pull request's number"), mend);
    }
    let ends = match parts[2..] {
        [] => true,
        [end] => is_counter(end) || is_extension(end),
        [counter, end] => is_counter(counter) && is_extension(end),
        _ => false,
    };
    if !ends {
        return fault("is called in a way that towncrier does not read".into(), format!("name it `{number}.{kind}.md`"));
    }
    sentence(&path, text).err().unwrap_or_else(|| Finding::good(RULE, path))
}

fn is_counter(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_extension(part: &str) -> bool {
    ["md", "rst", "txt"].contains(&part)
}

/// The text of the fragment at `path`: one line, in English.
pub fn sentence(path: &str, text: &str) -> Result<(), Finding> {
    let fault = |what: String, mend: &str| Err(Finding::fault(RULE, format!("`{path}` {what}"), mend));
    let letters = foreign(text);
    if text.trim().is_empty() {
        return fault("says nothing".into(), "say in one sentence what it resolves for users and developers");
    }
    if text.trim().lines().count() > 1 {
        return fault("has several lines".into(), "say it in one sentence; details belong in the commit's message");
    }
    if !letters.is_empty() {
        return fault(format!("is not English: it has the letters {letters}"), "write it in English");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contrib::State;

    fn types(text: &str) -> Option<(String, Vec<String>)> {
        Towncrier::parse(text).unwrap().map(|found| (found.folder, found.types))
    }

    #[test]
    fn every_form_of_towncriers_configuration_is_read() {
        for (text, expected) in [
            ("[tool.black]\nline-length = 80\n", None),
            (
                "[tool.towncrier]\ndirectory = \"changes/\"\n[[tool.towncrier.type]]\ndirectory = \"fix\"\nname = \"Fixes\"\nshowcontent = true\n\
                 [[tool.towncrier.type]]\nname = \"Doc\"\n",
                Some(("changes", vec!["fix", "doc"])),
            ),
            ("[tool.towncrier]\npackage = \"x\"\n", Some(("newsfragments", DEFAULT_TYPES.to_vec()))),
            ("[tool.towncrier]\n[tool.towncrier.fragment.feat]\nname = \"x\"\n", Some(("newsfragments", vec!["feat"]))),
        ] {
            let expected = expected.map(|(folder, types)| (folder.to_owned(), types.into_iter().map(String::from).collect()));
            assert_eq!(types(text), expected, "{text}");
        }
        for text in ["[tool.towncrier]\ntype = 1\n", "[[tool.towncrier.type]]\nshowcontent = true\n", "x"] {
            assert!(Towncrier::parse(text).is_err(), "{text}");
        }
    }

    fn towncrier() -> Towncrier {
        Towncrier { folder: "changes".into(), types: ["breaking", "feature", "fix", "doc", "misc"].map(String::from).into() }
    }

    #[test]
    fn fragments_are_judged_by_their_names_and_texts() {
        let good = "Free what stats hold.\n";
        for name in ["123.fix", "123.fix.md", "123.feature.1.md", "9.doc.rst", "123.fix.2"] {
            assert_eq!(news(&towncrier(), name, good), Finding::good("news", format!("changes/{name}")), "{name}");
        }
        for (name, text, what, mend) in [
            ("123.feat.md", good, "no type of news", "take `feature`"),
            ("123.docs", good, "no type of news", "take `doc`"),
            ("123.chore", good, "takes: breaking, feature, fix, doc, misc", "take one of breaking"),
            ("123", good, "no type of news", "<number of the pull request>.<type>"),
            ("leak.fix", good, "begins with `leak`", "name it `<number>.fix`"),
            (".fix.md", good, "begins with ``", "name it `<number>.fix`"),
            ("123.fix.html", good, "does not read", "name it `123.fix.md`"),
            ("123.fix", " \n", "says nothing", "one sentence"),
            ("123.fix", "One.\nTwo.\n", "several lines", "details belong"),
            ("123.fix", "누수", "the letters 누수", "in English"),
        ] {
            let found = news(&towncrier(), name, text);
            assert_eq!(found.state, State::Fault, "{name}");
            assert!(found.what.contains(what) && found.mend.contains(mend), "{name}: {found:?}");
        }
    }

    #[test]
    fn a_new_fragment_is_called_like_those_beside_it() {
        let name = |beside: &[&str]| towncrier().file_name(7, "fix", beside.iter().copied());
        assert_eq!(name(&["584.fix", "template.md"]), "7.fix");
        assert_eq!(name(&["template.md"]), "7.fix.md");
        assert_eq!(name(&["584.fix.md"]), "7.fix.md");
        let fits = |kind: &str| towncrier().kind_of_title(Some(kind)).to_owned();
        assert_eq!(["feat", "docs", "fix", "setup"].map(fits), ["feature", "doc", "fix", "misc"]);
    }
}
