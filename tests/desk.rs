//! Linters and tests of a topic branch, inside a real environment. `tests/all` runs it.

mod world;

use std::fs;
use world::{World, git};

const WHO: [&str; 4] = ["-c", "user.name=a", "-c", "user.email=a@b"];

#[test]
#[ignore = "needs an engine and package mirrors: run tests/all"]
fn a_topic_branch_is_linted_and_tested_inside_its_environment() {
    let scratch = tempfile::tempdir().unwrap();
    let world = World::new(scratch.path(), "desk");
    let folder = world.folder.to_str().unwrap();
    world.succeeds(&["up", "--branch", "21.03", "--source", "pypi", "--env", &world.id, "--path", folder, "--no-verify"]);
    // The published tree becomes upstream's repository, with tests, a workflow, and a flaw of its own.
    let common = world.folder.join("common");
    for (path, text) in [
        ("src/ai/backend/common/small/flaw.py", "import os\n"),
        (
            "tests/test_here.py",
            "import urllib.request\n\n\ndef test_etcd():\n    urllib.request.urlopen('http://127.0.0.1:2379/health')\n",
        ),
        (
            ".github/workflows/default.yml",
            "run: |\n  python -m flake8 src/ai/backend/common/small tests\n  python -m mypy src/ai/backend/common/small\n",
        ),
    ] {
        let path = common.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let add = |message: &str| {
        git(&common, &["add", "--all", "--force"]);
        git(&common, &[&WHO[..], &["commit", "--quiet", "--message", message]].concat());
    };
    add("release: 21.03.14");
    let upstream = scratch.path().join("lablup/backend.ai-common");
    git(scratch.path(), &["clone", "--quiet", "--bare", common.to_str().unwrap(), upstream.to_str().unwrap()]);
    git(&common, &["remote", "add", "origin", upstream.to_str().unwrap()]);
    let worked = ["--env", &world.id, "-c", "common"];
    world.succeeds(&[&["contrib", "start", "fix/leak"][..], &worked].concat());

    // What is upstream's is not the branch's fault, what is new is.
    let said = world.succeeds(&[&["contrib", "check"][..], &worked].concat());
    assert!(
        said.contains("note     flake8") && said.contains("flaw.py:1:1: F401") && said.contains("it stands in origin/21.03 too"),
        "{said}"
    );
    assert!(said.contains("good     mypy"), "{said}");
    fs::write(common.join("src/ai/backend/common/small/more.py"), "import sys\n\n\nx: int = 'text'\n").unwrap();
    add("fix: Free what stats hold");
    let output = world.baibox(&[&["contrib", "check"][..], &worked].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let flake8 = said.split("FAULT    flake8").nth(1).unwrap_or_else(|| panic!("{said}"));
    assert!(flake8.contains("more.py:1:1: F401") && !flake8.contains("flaw.py"), "{said}");
    assert!(said.contains("FAULT    mypy") && said.contains("more.py:4: error: Incompatible types"), "{said}");
    assert_eq!(git(&common, &["status", "--porcelain"]), "", "linters leave the tree alone");

    let report = scratch.path().join("report.xml");
    let test = ["contrib", "test", "--junit", report.to_str().unwrap()];
    let said = world.succeeds(&[&test[..], &worked].concat());
    assert!(said.contains("1 passed, 0 failed") && fs::read_to_string(&report).unwrap().contains("name=\"test_etcd\""), "{said}");
    fs::write(common.join("tests/test_bad.py"), "def test_bad():\n    assert False\n").unwrap();
    let output = world.baibox(&[&test[..], &worked].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(5) && said.contains("common: tests.test_bad::test_bad"), "{said}");
}
