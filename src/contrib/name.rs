//! Names of topic branches.

use super::{Finding, Rules, foreign, listed, meant};

const RULE: &str = "branch";

/// `<prefix>/<words-and-numbers>`.
pub fn branch(rules: &Rules, name: &str) -> Finding {
    let letters = foreign(name);
    if !letters.is_empty() {
        return Finding::fault(RULE, format!("`{name}` is not English: it has the letters {letters}"), "name it in English");
    }
    let Some((prefix, rest)) = name.split_once('/') else {
        let mend = format!("put a prefix before it, as in `fix/{}`: {}", slug(name), listed(&rules.branches));
        return Finding::fault(RULE, format!("`{name}` does not say what kind of change it is"), mend);
    };
    if !rules.branches.contains_key(prefix) {
        let mend = match meant(prefix, rules.branches.keys().map(String::as_str)) {
            Some(word) => format!("name it `{word}/{}`", slug(rest)),
            None => format!("take one of these prefixes: {}", listed(&rules.branches)),
        };
        return Finding::fault(RULE, format!("`{prefix}/` is no prefix of the guide"), mend);
    }
    let wanted = slug(rest);
    if wanted.is_empty() {
        return Finding::fault(RULE, format!("`{name}` ends after its prefix"), "say in a few words what it is about");
    }
    if wanted != rest {
        let number = if rest.contains('#') { "; the issue's number belongs in the pull request's text" } else { "" };
        let what = format!("`{rest}` is not in kebab case: lower-case words and numbers joined by hyphens");
        return Finding::fault(RULE, what, format!("name it `{prefix}/{wanted}`{number}"));
    }
    Finding::good(RULE, name)
}

/// `Memory Leak_in  statsView` → `memory-leak-in-stats-view`; numbers of issues go.
fn slug(text: &str) -> String {
    let text = text.split('#').next().unwrap_or_default();
    let mut slug = String::new();
    let mut before = ' ';
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() {
            let hump = letter.is_ascii_uppercase() && before.is_ascii_lowercase();
            if hump || (!before.is_ascii_alphanumeric() && !slug.is_empty()) {
                slug.push('-');
            }
            slug.push(letter.to_ascii_lowercase());
        }
        before = letter;
    }
    slug
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contrib::State;

    #[test]
    fn names_are_judged_by_the_guide() {
        let rules = Rules::read().unwrap();
        for name in ["fix/memory-leak-in-stats", "feature/x", "docs/py3-12", "refactor/a-b", "hotfix/a", "maintenance/2103"] {
            assert_eq!(branch(&rules, name), Finding::good("branch", name));
        }
        for (name, what, mend) in [
            ("memory-leak", "does not say what kind", "`fix/memory-leak`"),
            ("feat/memory-leak", "`feat/` is no prefix", "name it `feature/memory-leak`"),
            ("bugfix/x", "is no prefix", "name it `fix/x`"),
            ("wip/x", "is no prefix", "`docs` for documentation"),
            ("Fix/x", "`Fix/` is no prefix", "name it `fix/x`"),
            ("fix/Memory_Leak", "kebab case", "name it `fix/memory-leak`"),
            ("fix/memoryLeak--x-", "kebab case", "name it `fix/memory-leak-x`"),
            ("fix/leak#123", "kebab case", "name it `fix/leak`; the issue's number belongs"),
            ("fix/a/b", "kebab case", "name it `fix/a-b`"),
            ("fix/", "ends after its prefix", "a few words"),
            ("fix/누수", "not English: it has the letters 누수", "in English"),
        ] {
            let found = branch(&rules, name);
            assert_eq!(found.state, State::Fault, "{name}");
            assert!(found.what.contains(what) && found.mend.contains(mend), "{name}: {found:?}");
        }
    }
}
