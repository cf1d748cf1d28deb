//! What a component requires of others, read from its tree without running it.

use super::metadata::{Token, tokens};
use crate::python::{PythonError, TreeLock};
use std::fs;
use std::path::Path;

/// Requirements as PEP 508 writes them, in the tree's own order; `None` if the tree
/// states none in a form that can be read. `python` is the images' minor version.
///
/// Like entry points: `setup.cfg`, else the list `install_requires` in `setup.py`, else
/// what setuptools derived for a source distribution or wheel.
pub fn read(tree: &Path, python: &str) -> Result<Option<Vec<String>>, PythonError> {
    let text = |name: &str| fs::read_to_string(tree.join(name)).unwrap_or_default();
    // The one repository locks all: what it requires are its pins.
    if let Some(lock) = TreeLock::read(&text("python.lock"), python)? {
        return Ok(Some(lock.requirements()));
    }
    Ok(of_setup_cfg(&text("setup.cfg"))
        .or_else(|| of_setup_py(&text("setup.py")))
        .or_else(|| of_egg_info(tree))
        .or_else(|| of_dist_info(tree)))
}

/// `install_requires` of `[options]`, on lines of its own.
fn of_setup_cfg(text: &str) -> Option<Vec<String>> {
    let mut found = None;
    let (mut section, mut inside) = (String::new(), false);
    for line in text.lines() {
        let content = plain(line);
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        let indented = line.starts_with([' ', '\t']);
        if content.starts_with('[') && !indented {
            content.clone_into(&mut section);
            inside = false;
        } else if !indented {
            let (key, rest) = content.split_once('=').unwrap_or((content, ""));
            inside = section == "[options]" && key.trim() == "install_requires";
            if inside {
                found = Some(rest.split(';').map(str::trim).filter(|one| !one.is_empty()).map(String::from).collect());
            }
        } else if inside && let Some(found) = &mut found {
            Vec::push(found, content.to_owned());
        }
    }
    found
}

/// A line without its comment, which stands after white space.
fn plain(line: &str) -> &str {
    line.split(" #").next().unwrap_or_default().trim()
}

/// `install_requires = […]` or `install_requires=[…]` of plain strings.
fn of_setup_py(text: &str) -> Option<Vec<String>> {
    let tokens = tokens(text);
    (0..tokens.len()).find_map(|start| match &tokens[start..] {
        [Token::Name(name), Token::Mark('='), Token::Mark('['), rest @ ..] if name == "install_requires" => {
            let end = rest.iter().position(|token| *token == Token::Mark(']'))?;
            rest[..end]
                .iter()
                .filter(|token| **token != Token::Mark(','))
                .map(|token| match token {
                    Token::Text(text) => Some(text.trim().to_owned()),
                    // A name or a call: what it gives is not known here.
                    _ => None,
                })
                .collect()
        }
        _ => None,
    })
}

/// The requirements without an extra, which come first in `requires.txt`.
fn of_egg_info(tree: &Path) -> Option<Vec<String>> {
    let folders = [super::metadata::listed(&tree.join("src")), super::metadata::listed(tree)].concat();
    let mut infos = folders.iter().filter(|path| path.extension().is_some_and(|end| end == "egg-info"));
    let text = infos.find_map(|path| fs::read_to_string(path.join("requires.txt")).ok())?;
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    Some(lines.filter(|line| !line.is_empty()).map(String::from).collect())
}

/// The requirements without an extra that a wheel states.
fn of_dist_info(tree: &Path) -> Option<Vec<String>> {
    let folders = super::metadata::listed(tree);
    let infos: Vec<_> = folders.iter().filter(|path| path.extension().is_some_and(|end| end == "dist-info")).collect();
    // Of several wheels in one tree each states only its own part.
    let [info] = infos.as_slice() else { return None };
    let text = fs::read_to_string(info.join("METADATA")).ok()?;
    let stated = text.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("Requires-Dist:"));
    Some(stated.filter(|one| !one.contains("extra ==")).map(|one| one.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_requirements_is_read() {
        for (text, expected) in [
            (
                "[options]\ninstall_requires =\n    a~=1.0\n    # b\n    c[x]>=2  # why\n\nzip_safe = false\n    d\n",
                Some(vec!["a~=1.0", "c[x]>=2"]),
            ),
            ("[options]\ninstall_requires = a; b>1\n", Some(vec!["a", "b>1"])),
            ("[options]\ninstall_requires =\n[options.extras_require]\ninstall_requires =\n  a\n", Some(vec![])),
            ("[metadata]\nname = x\n", None),
        ] {
            assert_eq!(of_setup_cfg(text), expected.map(|list| list.into_iter().map(String::from).collect()), "{text}");
        }
        for (text, expected) in [
            (
                "install_requires = [\n  'a~=1',  # why\n  \"b; python_version<'3.8'\",\n]\n",
                Some(vec!["a~=1", "b; python_version<'3.8'"]),
            ),
            ("setup(install_requires=['a'], x=[])", Some(vec!["a"])),
            ("install_requires = ['a', other]", None),
            ("setup(install_requires=install_requires)", None),
        ] {
            assert_eq!(of_setup_py(text), expected.map(|list| list.into_iter().map(String::from).collect()), "{text}");
        }
    }
}
