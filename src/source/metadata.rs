//! What a component says of itself, read from its tree without running it.

use crate::error::Fault;
use crate::python::editable::Metadata;
use crate::python::wheel::entry_points;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

type Points = BTreeMap<String, BTreeMap<String, String>>;

/// Name, version and entry points of the component in `tree`.
///
/// Entry points come from `setup.cfg`, else from the literal in `setup.py`, else
/// from the `*.egg-info` that a source distribution carries: what a person edits
/// wins over what was once derived from it.
pub fn read(tree: &Path, project: &str) -> Result<Metadata> {
    let text = |name: &str| fs::read_to_string(tree.join(name)).unwrap_or_default();
    let version = version(tree).with_context(|| {
        Fault::new(format!("`{}` does not tell the version of `{project}`", tree.display()))
            .hint("the tree needs `__version__` or a file `VERSION` below `src/ai/backend`: restore it with git, or move the tree away and type `baibox up` again")
    })?;
    let mut points = of_setup_cfg(&text("setup.cfg"));
    if points.is_empty() {
        points = of_setup_py(&text("setup.py"));
    }
    if points.is_empty() {
        points = of_builds(tree);
    }
    if points.is_empty() {
        points = of_egg_info(tree);
    }
    Ok(Metadata { name: project.to_owned(), version, entry_points: points })
}

/// `__version__` or VERSION of the package below `src/ai/backend`, else what PKG-INFO tells.
fn version(tree: &Path) -> Option<String> {
    let mut folders = listed(&tree.join("src/ai/backend"));
    // Plug-ins lie one deeper, in `accelerator/…`.
    folders.extend(folders.clone().iter().flat_map(|folder| listed(folder)));
    let of_package = folders.iter().find_map(|folder| {
        // A file of its own in some components, which `__init__.py` reads. That of an account manager is empty.
        let own = || fs::read_to_string(folder.join("VERSION")).ok().map(|text| text.trim().to_owned());
        let told = fs::read_to_string(folder.join("__init__.py")).ok().and_then(|text| of_module(&text)).or_else(own);
        told.filter(|version| !version.is_empty())
    });
    let published = || {
        let text = fs::read_to_string(tree.join("PKG-INFO")).ok()?;
        // The head ends at the first empty line; a description may say anything.
        text.lines().take_while(|line| !line.is_empty()).find_map(|line| Some(line.strip_prefix("Version:")?.trim().to_owned()))
    };
    of_package.or_else(published).filter(|version| !version.is_empty())
}

pub(super) fn listed(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

/// `__version__ = '…'`, with or without a type.
fn of_module(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix("__version__")?;
        let (before, value) = rest.split_once('=')?;
        let before = before.trim();
        if !(before.is_empty() || before.starts_with(':')) {
            return None;
        }
        let value = value.trim_start();
        let quote = value.chars().next().filter(|letter| matches!(letter, '\'' | '"'))?;
        let (inner, _) = value[1..].split_once(quote)?;
        Some(inner.to_owned())
    })
}

fn add(points: &mut Points, group: &str, line: &str) {
    // A comment stands after white space, as configparser is told to read it.
    let line = line.split(" #").next().unwrap_or_default();
    if let Some((name, target)) = line.split_once('=') {
        points.entry(group.to_owned()).or_default().insert(name.trim().to_owned(), target.trim().to_owned());
    }
}

/// `[options.entry_points]`: a group to a key, its points on the same line or on indented ones.
fn of_setup_cfg(text: &str) -> Points {
    let mut inside = false;
    let mut group = String::new();
    let mut points = Points::new();
    for line in text.lines() {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        let indented = line.starts_with([' ', '\t']);
        if content.starts_with('[') && !indented {
            inside = content == "[options.entry_points]";
        } else if inside && indented {
            add(&mut points, &group, content);
        } else if inside && let Some((key, rest)) = content.split_once('=') {
            key.trim().clone_into(&mut group);
            add(&mut points, &group, rest);
        }
    }
    points
}

/// What the literals of Python are made of, as far as entry points need it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    Mark(char),
}

/// Names, plain strings and marks; comments are left out.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let width = first.len_utf8();
        if first == '#' {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if matches!(first, '\'' | '"') {
            let triple = first.to_string().repeat(3);
            let long = rest.starts_with(&triple);
            let end = if long { triple } else { first.to_string() };
            let body = &rest[end.len()..];
            let (inner, after) = string(body, &end);
            found.push(Token::Text(inner));
            rest = &body[after..];
        } else if first.is_alphanumeric() || first == '_' {
            let length = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(rest.len());
            found.push(Token::Name(rest[..length].to_owned()));
            rest = &rest[length..];
        } else {
            if !first.is_whitespace() {
                found.push(Token::Mark(first));
            }
            rest = &rest[width..];
        }
    }
    found
}

/// The content of a string up to `end`, and where the text goes on after it.
fn string(body: &str, end: &str) -> (String, usize) {
    let mut inner = String::new();
    let mut place = 0;
    while let Some(letter) = body[place..].chars().next() {
        if body[place..].starts_with(end) {
            return (inner, place + end.len());
        }
        place += letter.len_utf8();
        if letter == '\\' {
            // Entry points hold no escapes but the line's end; others stay as they are.
            match body[place..].chars().next() {
                Some('\n') => place += 1,
                Some(next) => {
                    inner.extend([letter, next]);
                    place += next.len_utf8();
                }
                None => {}
            }
        } else {
            inner.push(letter);
        }
    }
    (inner, place)
}

/// `entry_points={…}` of a call, or `entry_points = {…}` before one: groups are
/// keys, points the strings of their lists. Also its form as one string.
fn of_setup_py(text: &str) -> Points {
    let tokens = tokens(text);
    let mut points = Points::new();
    for start in 0..tokens.len() {
        match &tokens[start..] {
            [Token::Name(name), Token::Mark('='), Token::Text(all), ..] if name == "entry_points" => {
                for (group, name, target) in entry_points(all) {
                    points.entry(group).or_default().insert(name, target);
                }
            }
            [Token::Name(name), Token::Mark('='), Token::Mark('{'), rest @ ..] if name == "entry_points" => {
                dictionary(rest, &mut points);
            }
            _ => {}
        }
    }
    points
}

fn dictionary(tokens: &[Token], points: &mut Points) {
    let mut group = String::new();
    let mut depth = 1;
    for (place, token) in tokens.iter().enumerate() {
        match token {
            Token::Mark('{' | '[' | '(') => depth += 1,
            Token::Mark('}' | ']' | ')') => depth -= 1,
            Token::Text(key) if depth == 1 && tokens.get(place + 1) == Some(&Token::Mark(':')) => key.clone_into(&mut group),
            // A group of one point may be a string; a longer one is a list or lines.
            Token::Text(lines) => lines.lines().for_each(|line| add(points, &group, line)),
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// What setuptools derived when the source distribution or wheel was made.
fn of_egg_info(tree: &Path) -> Points {
    let folders = [listed(&tree.join("src")), listed(tree)].concat();
    let infos = folders.iter().filter(|path| path.extension().is_some_and(|end| end == "egg-info" || end == "dist-info"));
    let mut points = Points::new();
    // One tree may be published as several wheels.
    for text in infos.filter_map(|path| fs::read_to_string(path.join("entry_points.txt")).ok()) {
        for (group, name, target) in entry_points(&text) {
            points.entry(group).or_default().insert(name, target);
        }
    }
    points
}

/// What the `python_distribution`s of the one repository declare, in the `BUILD` files of its packages.
fn of_builds(tree: &Path) -> Points {
    let packages = listed(&tree.join("src/ai/backend"));
    // Plug-ins are one folder deeper.
    let deeper: Vec<_> = packages.iter().flat_map(|package| listed(package)).collect();
    let mut points = Points::new();
    for folder in packages.iter().chain(&deeper) {
        if let Ok(text) = fs::read_to_string(folder.join("BUILD")) {
            of_build(&text, &mut points);
        }
    }
    points
}

/// `entry_points={group: {name: target}}` of each `python_distribution(…)`.
fn of_build(text: &str, points: &mut Points) {
    let tokens = tokens(text);
    let mut inside = false;
    for start in 0..tokens.len() {
        match &tokens[start..] {
            // Calls inside of it are of its own: only those at the start of a target count.
            [Token::Name(name), Token::Mark('('), ..] if start == 0 || tokens[start - 1] == Token::Mark(')') => {
                inside = name == "python_distribution";
            }
            [Token::Name(name), Token::Mark('='), Token::Mark('{'), rest @ ..] if inside && name == "entry_points" => {
                nested(rest, points);
            }
            _ => {}
        }
    }
}

fn nested(tokens: &[Token], points: &mut Points) {
    let mut group = String::new();
    let mut depth = 1;
    for start in 0..tokens.len() {
        match &tokens[start..] {
            [Token::Mark('{'), ..] => depth += 1,
            [Token::Mark('}'), ..] => depth -= 1,
            [Token::Text(key), Token::Mark(':'), Token::Mark('{'), ..] if depth == 1 => key.clone_into(&mut group),
            [Token::Text(name), Token::Mark(':'), Token::Text(target), ..] if depth == 2 => {
                points.entry(group.clone()).or_default().insert(name.clone(), target.clone());
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `group: name=target` of each point, in order.
    fn flat(points: &Points) -> Vec<String> {
        points.iter().flat_map(|(group, all)| all.iter().map(move |(name, target)| format!("{group}: {name}={target}"))).collect()
    }

    #[test]
    fn setup_cfg_is_read_in_all_its_forms() {
        for (text, expected) in [
            (
                "[options.entry_points]\ng =\n    a = m:f\n    b.c = m.n:C\n[flake8]\nx =\n    y = z\n",
                vec!["g: a=m:f", "g: b.c=m.n:C"],
            ),
            ("[options]\nzip_safe = false\n[options.entry_points]\ng = a = m:f\nh =\n\tb=m:g\n", vec!["g: a=m:f", "h: b=m:g"]),
            ("[options.entry_points]\ng =\n    # a = m:f\n\n    ; c = d\n    b = m:f  # why\n", vec!["g: b=m:f"]),
            ("[options.entry_points]\n[options.packages.find]\nwhere = src\n", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(flat(&of_setup_cfg(text)), expected, "{text}");
        }
    }

    #[test]
    fn setup_py_is_read_without_running_it() {
        for (text, expected) in [
            ("setup(\n  entry_points={\n    'g': [\n      '_ = a.b:main',\n    ]\n  },\n)", vec!["g: _=a.b:main"]),
            (
                "setup(entry_points={\"g\": [\"a = m:f\", \"b = m:g\"], \"h\": ['c=m:h']}, x={'y': ['z = 1']})",
                vec!["g: a=m:f", "g: b=m:g", "h: c=m:h"],
            ),
            ("# entry_points={'g': ['a = m:f']}\nsetup(name='x')", vec![]),
            ("'''entry_points={'g': ['a = m:f']}'''\nsetup()", vec![]),
            ("setup(entry_points={'g': [  # one's own\n 'a = m:f',  # b = c\n]})", vec!["g: a=m:f"]),
            ("setup(entry_points={'g': 'a = m:f'})", vec!["g: a=m:f"]),
            ("setup(entry_points='''\n[g]\na = m:f\n''')", vec!["g: a=m:f"]),
            ("entry_points = {'g': ['a = m:f [x]']}\nsetup(entry_points=entry_points)", vec!["g: a=m:f [x]"]),
            ("setup(entry_points={'g': ['a = ", vec!["g: a="]),
            ("setup(entry_points={'\\", vec![]),
        ] {
            assert_eq!(flat(&of_setup_py(text)), expected, "{text}");
        }
    }

    #[test]
    fn build_files_are_read_without_running_them() {
        for (text, expected) in [
            (
                "python_sources(name='src')\npython_distribution(\n    name=\"dist\",\n    provides=python_artifact(name='x'),\n    entry_points={\n        \"g\": {\n            \"a\": \"m:f\",  # why\n            \"a.b\": \"m.n:g\",\n        },\n        'h': {'c': 'm:C'},\n    },\n)\n",
                vec!["g: a=m:f", "g: a.b=m.n:g", "h: c=m:C"],
            ),
            ("python_distribution(entry_points={}, tags=['wheel'])\nother(x={'g': {'a': 'm:f'}})", vec![]),
            ("pex_binary(entry_points={'g': {'a': 'm:f'}})", vec![]),
            ("python_distribution(entry_points={'g': {'a': ", vec![]),
        ] {
            let mut points = Points::new();
            of_build(text, &mut points);
            assert_eq!(flat(&points), expected, "{text}");
        }
    }

    #[test]
    fn the_version_is_what_the_module_states() {
        for (text, expected) in [
            ("__version__ = '21.03.32'\n", Some("21.03.32")),
            ("x = 1\n__version__: str = \"1.0\"  # why\n", Some("1.0")),
            ("__version__ = (Path(__file__).parent / 'VERSION').read_text()\n", None),
            ("__version_info__ = '1'\n    __version__ = '2'\n", None),
            ("__version__ == '1'\n", None),
        ] {
            assert_eq!(of_module(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_a_person_edits_wins_over_what_was_derived() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path();
        let write = |path: &str, text: &str| {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let fault = read(tree, "x").unwrap_err();
        assert!(!fault.downcast_ref::<Fault>().unwrap().hints.is_empty(), "{fault:?}");
        write("PKG-INFO", "Name: x\nVersion: 1.0\n\nVersion: 9\n");
        write("src/x.egg-info/entry_points.txt", "[g]\na = derived:f\n");
        let metadata = read(tree, "x").unwrap();
        assert_eq!((metadata.version.as_str(), flat(&metadata.entry_points)), ("1.0", vec!["g: a=derived:f".to_owned()]));
        write("setup.py", "setup(entry_points={'g': ['a = script:f']})");
        write("src/ai/backend/x/__init__.py", "__version__ = (here / 'VERSION').read_text()\n");
        write("src/ai/backend/x/VERSION", "2.0\n");
        write("src/ai/backend/a/VERSION", "");
        let metadata = read(tree, "x").unwrap();
        assert_eq!((metadata.version.as_str(), flat(&metadata.entry_points)), ("2.0", vec!["g: a=script:f".to_owned()]));
        fs::remove_dir_all(tree.join("src/ai/backend/x")).unwrap();
        write("src/ai/backend/accelerator/x/__init__.py", "__version__ = '3.0'\n");
        assert_eq!(read(tree, "x").unwrap().version, "3.0");
        write("setup.cfg", "[options.entry_points]\ng =\n    a = config:f\n");
        assert_eq!(flat(&read(tree, "x").unwrap().entry_points), ["g: a=config:f"]);
    }
}
