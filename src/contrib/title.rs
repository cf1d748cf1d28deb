//! Titles of commits and pull requests: <https://www.conventionalcommits.org/en/v1.0.0/>.

use super::{Finding, Rules, foreign, listed, meant};

const RULE: &str = "title";

/// The type of a title, such as `fix` in `fix(stats)!: …`.
pub fn kind(title: &str) -> Option<&str> {
    let head = title.split_once(':')?.0;
    let head = head.strip_suffix('!').unwrap_or(head);
    Some(head.split_once('(').map_or(head, |(kind, _)| kind))
}

/// `<type>(<component>): <summary>`, with the component as one likes and `!` where it breaks.
pub fn title(rules: &Rules, title: &str) -> Finding {
    let fault = |what: String, mend: String| Finding::fault(RULE, format!("`{title}` {what}"), mend);
    if ["fixup!", "squash!", "amend!"].iter().any(|mark| title.starts_with(mark)) {
        return fault("waits to be melted into another commit".into(), "git rebase --interactive --autosquash".into());
    }
    let letters = foreign(title);
    if !letters.is_empty() {
        return fault(format!("is not English: it has the letters {letters}"), "write it in English".into());
    }
    let (Some(kind), Some((head, rest))) = (kind(title), title.split_once(':')) else {
        let mend = format!("begin with a type, as in `fix: {title}`: {}", listed(&rules.titles));
        return fault("has no type".into(), mend);
    };
    let types = || rules.titles.keys().map(String::as_str);
    if !rules.titles.contains_key(kind) {
        let mend = match meant(kind, types()) {
            Some(word) => format!("begin with `{word}`"),
            None => format!("take one of these types: {}", listed(&rules.titles)),
        };
        return fault(format!("begins with `{kind}`, which is no type of the guide"), mend);
    }
    let scope = head[kind.len()..].trim_end_matches('!');
    let scoped = scope.strip_prefix('(').and_then(|scope| scope.strip_suffix(')'));
    if !scope.is_empty() && scoped.is_none_or(|scope| scope.trim().is_empty() || scope.contains(['(', ')'])) {
        let mend = format!("name the module or file that is changed, as in `{kind}(client.cli): …`, or leave it out");
        return fault(format!("has `{scope}` where a component stands in brackets"), mend);
    }
    let summary = rest.trim();
    if summary.is_empty() {
        return fault("says nothing after its type".into(), format!("say what was done, as in `{kind}: Free what stats hold`"));
    }
    if rest != format!(" {summary}") {
        return fault("has not one space after the colon".into(), format!("write `{head}: {summary}`"));
    }
    Finding::good(RULE, title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contrib::State;

    #[test]
    fn titles_are_judged_by_the_convention_and_the_extra_types() {
        let rules = Rules::read().unwrap();
        for text in [
            "fix: Free what stats hold",
            "feat(client.cli)!: Ask before deletion",
            "setup: Update the common pkg",
            "repo: Move fixtures",
            "release: 21.03.14",
            "fix: Argument typing of `redis.execute_script()` (#126)",
            "ci(BA-12, x.y): z: w",
        ] {
            assert_eq!(title(&rules, text), Finding::good("title", text));
        }
        for (text, what, mend) in [
            ("Fix a leak", "has no type", "`fix: Fix a leak`"),
            ("Fix: a leak", "begins with `Fix`", "begin with `fix`"),
            ("feature: x", "no type of the guide", "begin with `feat`"),
            ("build: x", "no type of the guide", "`setup` for package set-up"),
            ("fix(): x", "where a component stands", "leave it out"),
            ("fix (stats): x", "no type of the guide", "begin with `fix`"),
            ("fix(a: x", "where a component stands", "`fix(client.cli): …`"),
            ("fix:", "says nothing", "`fix: Free"),
            ("fix:x", "one space", "write `fix: x`"),
            ("fixup! fix: x", "waits to be melted", "--autosquash"),
            ("fix: 누수", "the letters 누수", "in English"),
        ] {
            let found = title(&rules, text);
            assert_eq!(found.state, State::Fault, "{text}");
            assert!(found.what.contains(what) && found.mend.contains(mend), "{text}: {found:?}");
        }
    }

    #[test]
    fn the_type_of_a_title_is_told() {
        for (text, expected) in [("fix(x)!: y", Some("fix")), ("feat!: y", Some("feat")), ("y", None)] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }
}
