//! Throw-away environments, their records, and registries between machines. `tests/all` runs it.

mod world;

use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use world::{Registry, World, docker, git, wait_until};

fn ci(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baibox"));
    command.current_dir(folder).args(["ci", "--branch", "21.03", "--source", "pypi"]).args(arguments);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = ci(folder, arguments).output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    eprintln!("{said}");
    (status.code(), said)
}

/// What any throw-away environment left on the engine and in the store.
fn left() -> Vec<String> {
    let mut found = Vec::new();
    for kind in [&["ps", "-a"][..], &["volume", "ls"], &["network", "ls"]] {
        let text = docker(&[kind, &["--format", "{{.Labels}}"]].concat());
        found.extend(text.lines().filter(|line| line.contains("ai.baibox.environment=ci-")).map(String::from));
    }
    let images = docker(&["images", "--filter", "label=ai.baibox.environment", "--format", "{{.Repository}}"]);
    found.extend(images.lines().filter(|name| name.starts_with("ci-")).map(String::from));
    let store = baibox::host::store_root().expect("there is a place for the store");
    if let Ok(entries) = std::fs::read_dir(store.join("ci")) {
        found.extend(entries.map(|entry| entry.unwrap().path().display().to_string()));
    }
    let guards = baibox::host::processes_with(&["--quiet", "guard"]).unwrap();
    found.extend(guards.iter().map(|process| format!("guard {}", process.as_raw_nonzero())));
    found
}

/// A small tree in the place of `common`, with this test.
fn tree(scratch: &Path, name: &str, test: &str) -> String {
    let place = scratch.join(name);
    for (path, text) in [
        ("setup.cfg", "[metadata]\nname = backend.ai-common\nversion = 21.3.14\n"),
        ("setup.py", "from setuptools import setup\nsetup()\n"),
        ("src/ai/backend/common/__init__.py", "__version__ = '21.3.14'\n"),
        ("tests/test_here.py", test),
    ] {
        let path = place.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    git(&place, &["init", "--quiet"]);
    git(&place, &["add", "--all"]);
    git(&place, &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "x"]);
    git(&place, &["remote", "add", "origin", &format!("file://{}", place.display())]);
    // Changes that are not committed are tested too.
    std::fs::write(place.join("tests/test_more.py"), "def test_more():\n    pass\n").unwrap();
    format!("common={}", place.display())
}

const GOOD: &str = "import os\nimport urllib.request\n\n\ndef test_etcd():\n    urllib.request.urlopen('http://127.0.0.1:2379/health')\n\n\ndef test_user():\n    assert os.getuid() == os.stat('.').st_uid\n";

#[test]
#[ignore = "needs an engine and package mirrors: run tests/all"]
fn tests_run_in_an_environment_that_goes_and_can_be_made_again_elsewhere() {
    let scratch = tempfile::tempdir().unwrap();
    let good = tree(scratch.path(), "good", GOOD);
    std::fs::write(scratch.path().join("good/tests/test_engine.py"), include_str!("world/test_engine.py")).unwrap();
    let (code, said) = run(scratch.path(), &["--component", "common", "--tree", &good, "--junit", "report.xml"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(left(), Vec::<String>::new());
    let report = std::fs::read_to_string(scratch.path().join("report.xml")).unwrap();
    assert!(report.contains("<testsuite name=\"common\"") && report.contains("name=\"test_more\""), "{report}");
    let file = scratch.path().join("baibox-ci/result.json");
    let result: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(result["tests"]["common"]["passed"], 7);
    assert!(result["sources"]["common"]["patch"].as_str().unwrap().contains("test_more"));
    for name in ["summary.md", "logs/etcd.log", "logs/common-tests.log"] {
        assert!(scratch.path().join("baibox-ci").join(name).is_file(), "{name}");
    }

    // Somebody else's machine: another store would give the same, and takes the layers from a registry.
    let world = World::new(scratch.path(), "again");
    let said = world.succeeds(&["repro", file.to_str().unwrap(), "--env", &world.id, "--path", world.folder.to_str().unwrap()]);
    assert!(said.contains("9 images are bit-equal"), "{said}");
    assert!(world.folder.join("common/tests/test_more.py").is_file());
    let registry = Registry::start(scratch.path());
    let place = format!("127.0.0.1:{}/team", registry.port);
    let pushed: Value = serde_json::from_str(&stdout(&world, &["push", "--env", &world.id, "--json", &place])).unwrap();
    let again = world.succeeds(&["push", "--env", &world.id, &place]);
    assert!(again.contains(", 0 B sent"), "{again}");
    for (name, image) in pushed.as_object().unwrap() {
        let reference = format!("docker://{}@{}", image["repository"].as_str().unwrap(), image["digest"].as_str().unwrap());
        let judged = Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &reference]).output().unwrap();
        let manifest: Value = serde_json::from_slice(&judged.stdout).unwrap_or_else(|_| panic!("{judged:?}"));
        assert_eq!(manifest["config"]["digest"], result["images"][name], "{name}");
    }
    world.succeeds(&["delete", &world.id, "--yes", "--force"]);
    let fresh = scratch.path().join("fresh");
    let mut pulled = ci(scratch.path(), &["--component", "common", "--tree", &good, "--output", "pulled", "--cache", &place]);
    let output = pulled.env("XDG_CACHE_HOME", &fresh).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(&format!("layers from {place}")), "{said}");
    assert!(!said.contains("fragments made"), "what was pulled is not made: {said}");
    let second: Value = serde_json::from_slice(&std::fs::read(scratch.path().join("pulled/result.json")).unwrap()).unwrap();
    assert_eq!(second["images"], result["images"]);
}

#[test]
#[ignore = "needs an engine and package mirrors: run tests/all"]
fn failing_tests_are_told_from_a_failing_environment_with_evidence() {
    let scratch = tempfile::tempdir().unwrap();
    let bad = tree(scratch.path(), "bad", "def test_bad():\n    assert False\n");
    // As the action runs it.
    let shown = scratch.path().join("shown.md");
    let mut action = Command::new("bash");
    action.current_dir(scratch.path()).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/.github/actions/baibox-ci/run"));
    action.envs([("BAIBOX", env!("CARGO_BIN_EXE_baibox")), ("BRANCH", "21.03"), ("COMPONENTS", "common"), ("TREE", &bad)]);
    action.envs([("GITHUB_ACTIONS", "true"), ("OUTPUT", "baibox-ci")]).env("GITHUB_STEP_SUMMARY", &shown);
    let output = action.args(["--source", "pypi"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("common: tests.test_here::test_bad"), "{said}");
    assert!(said.contains("::error title=test failed in common::tests.test_here::test_bad"), "{said}");
    assert!(std::fs::read_to_string(shown).unwrap().contains("| fragments made |"));
    let kept = scratch.path().join("baibox-ci");
    let keys = std::fs::read_to_string(kept.join("etcd.txt")).unwrap();
    assert!(!keys.contains("does not run"), "{keys}");
    assert!(std::fs::read_to_string(kept.join("containers.json")).unwrap().contains("common-dev"));
    assert!(std::fs::read_to_string(kept.join("summary.md")).unwrap().contains("**tests failed**"));

    // Source distributions come without tests: that is no success.
    let (code, said) = run(scratch.path(), &["--component", "webserver"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the tests of `webserver` did not run: there are none"), "{said}");

    let (code, said) = run(scratch.path(), &["--component", "nothing"]);
    assert_eq!(code, Some(2), "{said}");
    std::fs::write(scratch.path().join("file"), "").unwrap();
    let (code, said) = run(scratch.path(), &["--component", "common", "--output", "."]);
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(left(), Vec::<String>::new());
}

#[test]
#[ignore = "needs an engine and package mirrors: run tests/all"]
fn a_killed_run_leaves_nothing_and_two_at_once_do_not_meet() {
    let scratch = tempfile::tempdir().unwrap();
    let slow = tree(scratch.path(), "slow", "import time\n\n\ndef test_slow():\n    time.sleep(600)\n");
    let start = |output: &str| -> Child {
        let mut command = ci(scratch.path(), &["--component", "common", "--tree", &slow, "--output", output]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let running =
        || docker(&["ps", "--format", "{{.Label \"ai.baibox.environment\"}} {{.Label \"com.docker.compose.service\"}}"]);
    let environments =
        || -> usize { running().lines().filter(|line| line.starts_with("ci-") && line.ends_with("common-dev")).count() };

    // Two runs stand side by side; one is ended in good order, the other killed.
    let (mut one, mut two) = (start("one"), start("two"));
    wait_until("two environments run", || environments() == 2);
    assert!(Command::new("kill").args(["-TERM", &one.id().to_string()]).status().unwrap().success());
    assert_eq!(one.wait().unwrap().code(), Some(130));
    assert!(scratch.path().join("one/containers.json").is_file(), "evidence comes first");
    assert_eq!(environments(), 1, "the other one runs on");
    two.kill().unwrap();
    two.wait().unwrap();
    wait_until("the guard has tidied up", || left().is_empty());

    // At moments and by signals that a seed chose: from before anything is there to the tests' own run.
    let mut seed: u64 = 21;
    for _ in 0..8 {
        // Knuth's linear congruential generator, whose upper bits are the good ones.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_millis((seed >> 33) % 7000);
        let signal = ["-KILL", "-INT", "-TERM"][usize::try_from((seed >> 20) % 3).unwrap()];
        eprintln!("{signal} after {moment:?}");
        let mut run = start("ended");
        std::thread::sleep(moment);
        assert!(Command::new("kill").args([signal, &run.id().to_string()]).status().unwrap().success());
        run.wait().unwrap();
        wait_until("nothing is left", || left().is_empty());
    }
}

fn stdout(world: &World, arguments: &[&str]) -> String {
    let output = world.baibox(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
