//! The binary without an engine: what bad input gets.

use std::process::{Command, Output};

fn baibox(folder: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_baibox"))
        .args(arguments)
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("DOCKER_HOST", "unix:///nonexistent/engine.sock")
        .output()
        .unwrap()
}

fn check(arguments: &[&str], code: i32, says: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let output = baibox(folder.path(), arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    for word in says {
        assert!(text.contains(word), "{arguments:?}: no `{word}` in\n{text}");
    }
}

#[test]
fn bad_input_gets_a_clear_error_and_a_next_step() {
    check(&[], 2, &["Usage"]);
    check(&["up", "--bogus"], 2, &["--bogus"]);
    check(&["status", "--env", "Not Good"], 2, &["cannot be an environment ID", "hint:"]);
    check(&["status", "--env", "absent"], 2, &["there is no environment `absent`", "hint:"]);
    check(&["status"], 2, &["is not in the folder of an environment", "hint:"]);
    check(&["lock", "--branch", "21.04"], 2, &["does not know the release branch `21.04`", "`21.03`"]);
    check(
        &["lock", "--branch", "22.3.4", "--update", "curll"],
        2,
        &["`22.3.4` is of release branch 22.03", "no package `curll`"],
    );
    check(&["releases", "--verify", "22.03"], 2, &["BAIBOX_IMAGES"]);
    check(&["diff", "21.03", "19.03"], 2, &["does not know the release branch `19.03`"]);
    check(&["lock", "--branch", "21.03", "--update", "aiohtp"], 2, &["the lock has no package `aiohtp`", "`aiohttp`"]);
    check(&["lock", "--branch", "21.03", "--update", "curl", "aiohttp"], 2, &["one kind at a time"]);
    check(&["lock", "--branch", "21.03", "--update", "attrs", "--as-of", "today"], 2, &["`today` is not a day"]);
    check(&["--offline", "lock", "--branch", "21.03", "--update", "attrs"], 2, &["without the package index", "--offline"]);
    check(&["lock", "--update", "curl"], 2, &["is not in the folder of an environment"]);
    check(&["lock", "--env", "x", "--platform", "linux/s390x"], 2, &["cannot be made for `linux/s390x`", "linux/arm64"]);
    check(&["lock", "--branch", "21.03", "--platform", "linux/arm64"], 2, &["cannot be used with"]);
    check(&["build", "--platform", "linux/arm64"], 2, &["--output"]);
    let both = ["--branch", "21.03", "--base", "python:3.9", "--python", "standalone"];
    for verb in ["up", "build"] {
        check(&[&[verb], &both[..]].concat(), 2, &["`python:3.9` has its own Python", "hint: leave `--python` away"]);
    }
    check(&["pull", "team", "--branch", "21.03"], 2, &["`team` is no place in a registry"]);
    check(&["lock", "--branch", "../x"], 2, &["is not the name of a release branch"]);
}

#[test]
fn without_a_network_no_repository_is_asked_and_all_are_named() {
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    host.set_nonblocking(true).unwrap();
    let base = format!("http://{}/git", host.local_addr().unwrap());
    let pull = ["--offline", "pull", "localhost:1/team", "--branch", "21.03", "--git-base", &base];
    check(
        &[&pull[..], &["--source", "git"]].concat(),
        1,
        &["trees are not here", &format!("manager of `{base}/backend.ai-manager`"), "webserver of", "file://", "`--offline`"],
    );
    // The engine is asked next.
    check(&pull, 4, &["come from PyPI's source distributions"]);
    assert_eq!(host.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn an_unreachable_engine_is_exit_code_4_with_what_to_do() {
    check(&["up", "--branch", "21.03"], 4, &["this host is not ready", "baibox doctor --fix"]);
}

#[test]
fn data_goes_to_standard_output_and_an_empty_list_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = baibox(folder.path(), &["ls", "--json"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "[]");
    let output = baibox(folder.path(), &["releases"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for branch in ["20.03", "21.03", "24.09", "main"] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{branch} "))), "{branch}: {text}");
    }
    let output = baibox(folder.path(), &["releases", "21.3", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told[0]["branch"].as_str(), told[0]["components"]["manager"].as_str()), (Some("21.03"), Some("21.3.32")));
}

#[test]
fn a_release_that_is_facts_alone_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let row = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/images/releases/21.03/row.toml")).unwrap();
    let row = row.replace("\"21.03\"", "\"22.06\"").replacen('\n', "\nmissing = [\"Python 4\"]\n", 1);
    let place = folder.path().join("images/releases/22.06");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("row.toml"), row).unwrap();
    for arguments in [&["up", "--branch", "22.6.1"][..], &["diff", "21.03", "22.06"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_baibox"))
            .args(arguments)
            .current_dir(folder.path())
            .env("XDG_CACHE_HOME", folder.path().join("cache"))
            .env("BAIBOX_IMAGES", folder.path().join("images"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        for word in ["no environment can be made of release 22.06 yet", "Python 4", "these releases run"] {
            assert!(text.contains(word), "{arguments:?}: no `{word}` in\n{text}");
        }
    }
}
