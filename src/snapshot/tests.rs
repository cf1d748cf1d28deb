use super::*;
use crate::error::{Exit, exit_of, render};
use serde_json::json;

fn environment(folder: &Path, branch: &str) -> Environment {
    let value = json!({
        "id": "one", "branch": branch, "folder": folder, "ports": {}, "subnet": "", "gateway": "", "secrets": {}, "images": {},
    });
    serde_json::from_value(value).unwrap()
}

fn taken(environment: &Environment, name: &str, databases: &[&str]) -> Snapshot {
    let databases: Vec<String> = databases.iter().map(|&name| name.to_owned()).collect();
    let folder = folder(environment);
    let made = folder.join(".made");
    std::fs::create_dir_all(&made).unwrap();
    for file in FILES.map(str::to_owned).into_iter().chain(databases.iter().map(|name| dump(name))) {
        std::fs::write(made.join(&file), &file).unwrap();
    }
    std::fs::write(made.join("revision"), "8679d0a7e22b\n").unwrap();
    settle(environment, &databases, &made, &folder, name, BTreeMap::new()).unwrap()
}

#[test]
fn snapshots_are_found_again_and_know_their_schema() {
    let scratch = tempfile::tempdir().unwrap();
    let one = environment(scratch.path(), "21.03");
    assert_eq!(list(&one).unwrap(), []);
    let made = taken(&one, "first", &["backend"]);
    assert_eq!((made.revision.as_str(), made.size()), ("8679d0a7e22b", 37));
    assert_eq!(find(&one, "first").unwrap(), made);
    made.check(&one).unwrap();
    // What was cut off is no snapshot.
    std::fs::create_dir(folder(&one).join("half")).unwrap();
    assert_eq!(list(&one).unwrap().len(), 1);
    assert_eq!(free_name(&one, "first").unwrap(), "first-2");
    delete(&made).unwrap();
    assert_eq!(list(&one).unwrap(), []);
}

#[test]
fn a_snapshot_has_the_databases_that_were_there_and_one_of_the_manager_alone_still_counts() {
    let scratch = tempfile::tempdir().unwrap();
    let one = environment(scratch.path(), "26.4");
    let old = taken(&one, "old", &["backend"]);
    old.check(&one).unwrap();
    assert!(old.has("backend") && !old.has("appproxy"));
    let made = taken(&one, "new", &["backend", "appproxy"]);
    assert!(made.has("backend") && made.has("appproxy"));
    made.check(&one).unwrap();
    std::fs::write(made.folder.join("appproxy.dump"), "other").unwrap();
    let text = render(&made.check(&one).unwrap_err());
    assert!(text.contains("is damaged") && text.contains("appproxy.dump"), "{text}");
}

#[test]
fn what_does_not_fit_is_refused_with_a_next_step() {
    let scratch = tempfile::tempdir().unwrap();
    let one = environment(scratch.path(), "21.03");
    let refused = |outcome: Result<()>, says: &[&str]| {
        let error = outcome.unwrap_err();
        let text = render(&error);
        assert!(says.iter().all(|word| text.contains(word)) && text.contains("hint:"), "{text}");
        exit_of(&error)
    };
    assert_eq!(refused(find(&one, "x").map(drop), &["has no snapshot `x`", "baibox snapshot x --env one"]), Exit::Usage);
    let made = taken(&one, "first", &["backend"]);
    refused(find(&one, "x").map(drop), &["it has `first`"]);
    refused(is_free(&one, "first"), &["has a snapshot `first` already", "--delete first"]);
    for bad in ["", ".x", "a/b", "../x", "a b", "-x", &"a".repeat(61)] {
        refused(is_free(&one, bad), &["cannot be the name of a snapshot"]);
    }
    let other = environment(scratch.path(), "20.09");
    assert_eq!(refused(made.check(&other), &["is of release 21.03, the environment `one` of 20.09"]), Exit::Usage);
    std::fs::write(made.folder.join("database.dump"), "other").unwrap();
    assert_eq!(refused(made.check(&one), &["is damaged", "database.dump"]), Exit::Failed);
}
