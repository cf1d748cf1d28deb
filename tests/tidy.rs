//! What the compiler does not check: the order of the rooms, and what the project may not say.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != ".git" {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// The modules of `src/lib.rs`, in its order.
fn rooms() -> Vec<String> {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';').map(String::from)).collect()
}

#[test]
fn a_room_names_only_rooms_above_it() {
    let rooms = rooms();
    assert!(rooms.len() > 10, "the map in src/lib.rs was not read");
    let mut faults = Vec::new();
    let mut sources = Vec::new();
    files(&root().join("src"), &mut sources);
    for path in sources {
        let relative = path.strip_prefix(root().join("src")).unwrap();
        let room = relative.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        let Some(own) = rooms.iter().position(|name| *name == room) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        for used in text.split("crate::").skip(1) {
            let name: String = used.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
            if rooms.iter().position(|other| *other == name).is_some_and(|other| other > own) {
                faults.push(format!("{} names `{name}`, which stands below `{room}`", relative.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_the_docker_engine_names_bollard() {
    let mut sources = Vec::new();
    files(&root().join("src"), &mut sources);
    let naming = sources.iter().filter(|path| fs::read_to_string(path).unwrap().contains("bollard::"));
    let own = ["src/engine/docker.rs", "src/engine/docker"].map(|place| root().join(place));
    let faults: Vec<_> = naming.filter(|path| !own.iter().any(|own| path.starts_with(own))).collect();
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn no_file_names_the_host_of_a_package_registry() {
    // Spelled in parts, or this file would be the first to do it.
    let hosts =
        [["pypi", "org"], ["debian", "org"], ["pythonhosted", "org"], ["npmjs", "org"], ["npmjs", "com"], ["crates", "io"]];
    let hosts: Vec<String> = hosts
        .iter()
        .flat_map(|[name, end]| ["//", "deb.", "files.", "registry.", "security."].map(|before| format!("{before}{name}.{end}")))
        .collect();
    let mut all = Vec::new();
    files(&root(), &mut all);
    let faults: Vec<String> = all
        .iter()
        // cargo writes its own lock.
        .filter(|path| !path.ends_with("Cargo.lock"))
        .filter_map(|path| Some((path, fs::read_to_string(path).ok()?)))
        .flat_map(|(path, text)| {
            let found: Vec<String> =
                hosts.iter().filter(|host| text.contains(*host)).map(|host| format!("{} names {host}", path.display())).collect();
            found
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_file_has_marks_of_a_conflict() {
    let mut all = Vec::new();
    files(&root(), &mut all);
    let marks = ["<".repeat(7) + " ", ">".repeat(7) + " "];
    let marked = |path: &&PathBuf| {
        let Ok(text) = fs::read_to_string(path) else { return false };
        text.lines().any(|line| marks.iter().any(|mark| line.starts_with(mark)))
    };
    let faults: Vec<_> = all.iter().filter(marked).collect();
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn files_stay_short() {
    let mut sources = Vec::new();
    files(&root().join("src"), &mut sources);
    for path in sources {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 500, "{} has {lines} lines", path.display());
    }
}
