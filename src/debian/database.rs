//! dpkg's database as text, and the tree that every system begins with.

use super::unpack::{Control, MERGED};
use crate::oci::{Node, Tree};
use std::collections::BTreeMap;
use std::fmt::Write;

/// `var/lib/dpkg/status` of packages that are unpacked and wait to be configured.
pub fn status<'a>(controls: impl IntoIterator<Item = &'a Control>) -> String {
    merge("", controls)
}

/// The status file of a configured base with the stanzas of packages unpacked on top of it.
pub fn merge<'a>(base: &str, controls: impl IntoIterator<Item = &'a Control>) -> String {
    let mut stanzas: BTreeMap<(String, String), String> = BTreeMap::new();
    for text in base.split("\n\n").map(str::trim).filter(|text| !text.is_empty()) {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        stanzas.insert((field("Package"), field("Architecture")), format!("{text}\n"));
    }
    for control in controls {
        stanzas.insert((control.name.clone(), control.architecture.clone()), unpacked(control));
    }
    stanzas.into_values().map(|stanza| format!("{stanza}\n")).collect()
}

fn unpacked(control: &Control) -> String {
    let mut text = format!("Package: {}\nStatus: install ok unpacked\n", control.name);
    let mut own = false;
    for line in control.text.lines() {
        // Folded lines belong to the field above them.
        if !line.starts_with([' ', '\t']) {
            let field = line.split(':').next().unwrap_or_default();
            own = ["Package", "Status", "Conffiles"].iter().any(|name| name.eq_ignore_ascii_case(field));
        }
        if !own {
            text.push_str(line);
            text.push('\n');
        }
    }
    if !control.conffiles.is_empty() {
        text.push_str("Conffiles:\n");
        for (path, digest) in &control.conffiles {
            writeln!(text, " {path} {digest}").expect("strings take all");
        }
    }
    text
}

/// Where a package that is never configured is recorded.
pub(super) fn static_path(name: &str) -> String {
    format!("var/lib/dpkg/status.d/{name}")
}

pub(super) fn static_entry(control: &Control) -> String {
    control.text.clone()
}

/// Who is interested in which trigger, as dpkg notes it when it unpacks: `triggers/File` and one file a name.
pub fn triggers<'a>(controls: impl IntoIterator<Item = &'a Control>) -> Tree {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for control in controls {
        for line in control.triggers.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let (Some(directive), Some(trigger)) = (words.next(), words.next()) else { continue };
            let waits = match directive {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                _ => continue,
            };
            let package = control.info_name();
            if trigger.starts_with('/') {
                writeln!(files.entry("File".to_owned()).or_default(), "{trigger} {package}{waits}").expect("strings take all");
            } else if trigger.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+')) {
                writeln!(files.entry(trigger.to_owned()).or_default(), "{package}{waits}").expect("strings take all");
            }
        }
    }
    let mut tree = Tree::default();
    for (name, text) in files {
        // A trigger whose name is no path is dropped: nothing of it can be kept.
        let _ = tree.insert(&format!("var/lib/dpkg/triggers/{name}"), Node::file(0o644, text));
    }
    tree
}

/// The first fragment of a system: links of the merged `/usr`, mount points, dpkg's empty files.
pub fn skeleton() -> Tree {
    let mut tree = base();
    let mut insert = |path: &str, node: Node| tree.insert(path, node).expect("fixed paths are good");
    for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/lib/dpkg/parts"] {
        insert(folder, Node::directory(0o755));
    }
    insert("var/lib/dpkg/available", Node::file(0o644, ""));
    // Without it dpkg would take `info/<name>:<arch>.list` for the older naming.
    insert("var/lib/dpkg/info/format", Node::file(0o644, "1\n"));
    tree
}

/// The same without what only dpkg needs: images that are never configured.
pub fn base() -> Tree {
    let mut tree = Tree::default();
    let mut insert = |path: &str, node: Node| tree.insert(path, node).expect("fixed paths are good");
    for name in MERGED.iter().filter(|name| !name.ends_with("32")) {
        insert(name, Node::Symlink { target: format!("usr/{name}") });
        insert(&format!("usr/{name}"), Node::directory(0o755));
    }
    for folder in ["dev", "etc", "home", "proc", "run", "sys", "usr", "var", "var/lib", "var/lib/dpkg"] {
        insert(folder, Node::directory(0o755));
    }
    insert("root", Node::directory(0o700));
    insert("tmp", Node::directory(0o1777));
    insert("var/tmp", Node::directory(0o1777));
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(name: &str, text: &str) -> Control {
        Control {
            name: name.into(),
            version: "1".into(),
            architecture: "amd64".into(),
            multi_arch_same: false,
            text: text.into(),
            conffiles: Vec::new(),
            triggers: String::new(),
        }
    }

    #[test]
    fn the_status_file_says_unpacked_and_lists_configuration_files() {
        let mut one = control("b", "Package: b\nVersion: 1\nArchitecture: amd64\nDescription: x\n more\n");
        one.conffiles.push(("/etc/b".into(), "0f".into()));
        let two = control("a", "Package: a\nArchitecture: amd64\nStatus: hold\n");
        assert_eq!(
            status([&one, &two]),
            "Package: a\nStatus: install ok unpacked\nArchitecture: amd64\n\nPackage: b\nStatus: install ok unpacked\nVersion: 1\nArchitecture: amd64\nDescription: x\n more\nConffiles:\n /etc/b 0f\n\n"
        );
    }

    #[test]
    fn a_merged_status_keeps_what_is_configured() {
        let base = "Package: a\nStatus: install ok installed\nArchitecture: amd64\n\nPackage: b\nStatus: install ok installed\nArchitecture: amd64\n";
        let merged = merge(base, [&control("b", "Package: b\nArchitecture: amd64\n")]);
        assert_eq!(merged.matches("ok installed").count(), 1);
        assert_eq!(merged.matches("ok unpacked").count(), 1);
    }

    #[test]
    fn interests_are_noted_by_file_and_by_name() {
        let mut one = control("a", "");
        one.triggers =
            "interest /usr/share/x\ninterest-noawait ldconfig # why\nactivate-noawait y\ninterest ../../etc/passwd\n".into();
        let tree = triggers([&one]);
        assert_eq!(tree.get("var/lib/dpkg/triggers/File"), Some(&Node::file(0o644, "/usr/share/x a\n")));
        assert_eq!(tree.get("var/lib/dpkg/triggers/ldconfig"), Some(&Node::file(0o644, "a/noawait\n")));
        assert_eq!(tree.iter().count(), 2);
    }
}
