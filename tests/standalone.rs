//! Images with a CPython that is none of Debian's packages, on a real engine. `tests/all` runs it.

mod world;

use std::path::Path;
use std::process::Command;
use world::{World, docker};

/// An archive of this host's Python in the form of a standalone build, and its version.
fn archive(folder: &Path) -> String {
    let output = Command::new("/usr/bin/python3")
        .args(["tests/fixtures/standalone_archive.py", folder.to_str().unwrap(), "20210301"])
        .output()
        .expect("skipped: this host has no python3 of Debian");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let name = String::from_utf8(output.stdout).unwrap();
    name.trim().strip_prefix("cpython-").unwrap().split('+').next().unwrap().to_owned()
}

#[test]
#[ignore = "needs an engine, package mirrors, user namespaces, and the Python of Debian 11, 12 or 13: run tests/all"]
fn a_build_of_cpython_from_a_folder_stands_in_the_place_of_debians() {
    let scratch = tempfile::tempdir().unwrap();
    let builds = scratch.path().join("builds");
    std::fs::create_dir(&builds).unwrap();
    let version = archive(&builds);
    let branch = match version.rsplit_once('.').unwrap().0 {
        "3.9" => "21.03",
        "3.11" => "23.03",
        "3.13" => "25.15",
        other => panic!("no release can be tried with this host's Python {other}"),
    };
    let world = World::new(scratch.path(), "standalone").with("BAIBOX_CPYTHON", builds.to_str().unwrap());
    let place = world.folder.to_str().unwrap();
    let words = ["build", "--branch", branch, "--env", &world.id, "--path", place, "--source", "pypi"];

    let refused = world.baibox(&[&words[..], &["--python", "3.7.1"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("has no Python `3.7.1`") && text.contains(&version), "{text}");

    let images = world.succeeds(&[&words[..], &["--python", &version]].concat());
    let lock = std::fs::read_to_string(world.folder.join(".baibox").join(&world.id).join("lock.toml")).unwrap();
    assert!(lock.contains(&format!("[cpython]\nversion = \"{version}\"")) && !lock.contains("name = \"python3\""), "{lock}");
    let image = |name: &str| {
        let line = images.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {images}"));
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let python = |program: &str| docker(&["run", "--rm", &image("manager"), "python", "-c", program]);
    let said = python("import sys, json, ssl; print(sys.version.split()[0], sys.base_prefix, json.__cached__)");
    let minor = version.rsplit_once('.').unwrap().0;
    let cached = format!("/var/cache/pycache/usr/local/lib/python{minor}/json/__init__.cpython-{}.pyc", minor.replace('.', ""));
    assert_eq!(said.trim(), format!("{version} /usr/local {cached}"));
    // Byte code is there, for the library and for packages, and packages are those of the lock.
    let program = "import json, os, yaml; print(all(os.path.exists(one.__cached__) for one in (json, yaml)))";
    assert_eq!(python(program).trim(), "True");
    assert_eq!(docker(&["run", "--rm", &image("manager"), "sh", "-c", "dpkg --audit; ls /usr/bin/python3* || true"]).trim(), "");

    let explained = world.succeeds(&["explain", "manager", "--env", &world.id]);
    assert!(explained.contains(&format!("CPython {version}  ")), "{explained}");
    assert!(world.succeeds(&["sbom", "manager", "--env", &world.id]).contains(&format!("pkg:generic/cpython@{version}")));
    // Without an engine, in a store of its own, on one core: the same.
    let mut check = Command::new(env!("CARGO_BIN_EXE_baibox"));
    let output = format!("oci:{}", scratch.path().join("layout").display());
    check.args(["build", "--env", &world.id, "--image", "python", "--output", &output, "--check"]);
    let output = check
        .env("BAIBOX_CPYTHON", &builds)
        .env("BAIBOX_ENGINE", "none")
        .env("DOCKER_HOST", "unix:///nonexistent")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.starts_with("1 images of") && said.contains("bit for bit the same"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let oci = format!("oci:{}", scratch.path().join("arm64").display());
    let unknown = world.baibox(&["build", "--env", &world.id, "--platform", "linux/arm64", "--output", &oci]);
    let text = String::from_utf8_lossy(&unknown.stderr);
    assert!(text.contains(&format!("no build of CPython {version} for linux/arm64 is known")), "{text}");
    // What was locked is taken, by its digest, and from nowhere but the store.
    std::fs::remove_dir_all(&builds).unwrap();
    world.succeeds(&["build", "--env", &world.id, "--locked", "--offline"]);
    world.succeeds(&["delete", &world.id, "--yes", "--force"]);
}
