//! The whole line on a real engine, from package mirrors to hello world. `tests/all` runs it.

mod world;

use std::process::{Command, Output};
use world::{World, docker, git};

fn labelled(kind: &str, id: &str) -> String {
    docker(&[kind, "ls", "-q", "--filter", &format!("label=ai.baibox.environment={id}")])
}

#[test]
#[ignore = "needs an engine and package mirrors: run tests/all"]
fn a_release_branch_becomes_a_stack_that_says_hello_and_goes_without_a_trace() {
    let scratch = tempfile::tempdir().unwrap();
    let images = || docker(&["images", "-q", "--no-trunc", "--filter", "label=ai.baibox.release=21.03"]);
    let before_images = images();
    let world = World::new(scratch.path(), "test");
    let place = world.folder.to_str().unwrap();

    let said = world.succeeds(&["up", "--branch", "21.03", "--env", &world.id, "--path", place, "--source", "pypi"]);
    assert!(said.contains("Hello World!"), "{said}");
    for component in ["agent", "client", "common", "manager", "storage-proxy", "webserver"] {
        assert_eq!(git(&world.folder.join(component), &["status", "--porcelain"]), "", "{component}");
    }

    let said = world.succeeds(&["up", "--branch", "21.03", "--env", &world.id]);
    assert!(said.contains("nothing to do"), "{said}");

    // Another branch's environment of this name, and a folder that is not ours, are refused.
    let taken = scratch.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("file"), "").unwrap();
    let refused = world.baibox(&["up", "--branch", "21.03", "--env", "other", "--path", taken.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));

    // A changed line is seen by the next process, without a build.
    let module = world.folder.join("common/src/ai/backend/common/__init__.py");
    let before = std::fs::read_to_string(&module).unwrap();
    std::fs::write(&module, format!("{before}\nEDITED = 'seen'\n")).unwrap();
    let seen = world.inside("manager", &["python", "-c", "import ai.backend.common as c; print(c.EDITED)"]);
    assert!(seen.contains("seen"), "{seen}");
    world.succeeds(&["restart", "--env", &world.id, "manager"]);

    // Work that is nowhere else is not deleted.
    assert_eq!(world.baibox(&["delete", &world.id, "--yes"]).status.code(), Some(1));
    std::fs::write(&module, before).unwrap();

    // Plug-ins are found by entry point, and packages are what they say.
    let points = "import pkg_resources as p; print([e.name for e in p.iter_entry_points('backendai_scheduler_v10')])";
    assert!(world.inside("manager", &["python", "-c", points]).contains("fifo"));
    world.inside("manager", &["dpkg", "--audit"]);

    // Compose alone gives the same stack.
    world.succeeds(&["stop", "--env", &world.id]);
    let file = world.folder.join(".baibox").join(&world.id).join("compose.yaml");
    docker(&[
        "compose",
        "--file",
        file.to_str().unwrap(),
        "--project-name",
        &world.id,
        "up",
        "--detach",
        "--wait",
        "--no-recreate",
        "manager",
        "agent",
        "webserver",
        "storage-proxy",
        "workspace",
    ]);
    let proof = world.succeeds(&["verify", "--env", &world.id, "--json"]);
    assert!(proof.contains("ALIVE"), "{proof}");

    world.succeeds(&["stop", "--env", &world.id]);
    world.succeeds(&["start", "--env", &world.id]);
    a_browser_is_let_into_the_web_ui(&world);

    world.succeeds(&["delete", &world.id, "--yes"]);
    assert!(!world.folder.exists());
    for kind in ["network", "volume"] {
        assert_eq!(labelled(kind, &world.id), "", "{kind}");
    }
    let containers = docker(&["ps", "-aq", "--filter", &format!("label=ai.baibox.environment={}", &world.id)]);
    assert_eq!(containers, "");
    // Those that no environment uses any more may go with it; none is new.
    let new: Vec<String> = images().lines().filter(|id| !before_images.contains(*id)).map(str::to_owned).collect();
    assert_eq!(new, Vec::<String>::new());
}

/// By the address and account that `open` gives; with another password it is not.
fn a_browser_is_let_into_the_web_ui(world: &World) {
    let output = world.baibox(&["open", "webui", "--env", &world.id, "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = |name: &str| told[name].as_str().unwrap_or_else(|| panic!("no {name}: {told}")).to_owned();
    let login = |password: &str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/login.mjs");
        Command::new("node").args([script, &told("url"), &told("user"), password]).output().unwrap()
    };
    let [good, bad] = [login(&told("password")), login("another")];
    let errors = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&good.stdout).trim(), "Admin", "{}", errors(&good));
    assert!(!bad.status.success() && errors(&bad).contains("refused: "), "{}", errors(&bad));
}

#[test]
#[ignore = "needs an engine and package mirrors: run tests/all"]
fn two_environments_live_side_by_side_one_of_them_from_git() {
    let scratch = tempfile::tempdir().unwrap();
    let (one, two) = (World::new(scratch.path(), "one"), World::new(scratch.path(), "two"));
    let up = |world: &World, more: &[&str]| {
        let place = world.folder.to_str().unwrap();
        let arguments = ["up", "--branch", "21.03", "--env", &world.id, "--path", place];
        world.succeeds(&[&arguments[..], more].concat())
    };
    up(&one, &["--source", "pypi"]);

    // The same sources as git repositories, as a mirror would serve them.
    let mirror = scratch.path().join("mirror");
    for component in ["agent", "client", "common", "manager", "storage-proxy", "webserver"] {
        let name = if component == "client" { "client-py" } else { component };
        let place = mirror.join(format!("backend.ai-{name}"));
        let tree = one.folder.join(component);
        git(scratch.path(), &["clone", "--quiet", "--bare", tree.to_str().unwrap(), place.to_str().unwrap()]);
    }
    let base = format!("file://{}", mirror.display());
    let said = up(&two, &["--git-base", &base]);
    assert!(said.contains("Hello World!"), "{said}");
    assert!(!said.contains("fragments made"), "the second environment of a release builds nothing: {said}");
    assert_eq!(git(&two.folder.join("common"), &["remote", "get-url", "origin"]).trim(), format!("{base}/backend.ai-common"));

    // An agent removes sessions that it does not know every ten seconds: neither may see the other's.
    for world in [&one, &two] {
        world.inside("workspace", &["backend.ai", "run", "-t", "neighbour", "-c", "print(1)", "python"]);
    }
    let sessions = || {
        docker(&[
            "ps",
            "--no-trunc",
            "--filter",
            "label=ai.backend.kernel-id",
            "--format",
            "{{.ID}} {{.Label \"ai.baibox.environment\"}}",
        ])
    };
    let before = sessions();
    for world in [&one, &two] {
        assert!(before.contains(&world.id), "{before}");
    }
    let begin = std::time::Instant::now();
    while begin.elapsed() < std::time::Duration::from_secs(60) {
        // What is tested is that nothing happens for a minute; each look is a check.
        std::thread::sleep(std::time::Duration::from_secs(5));
        assert_eq!(sessions(), before, "a session did not outlive its neighbour's agent");
    }

    one.succeeds(&["delete", &one.id, "--yes"]);
    // What the other one stands on is still there.
    let said = two.succeeds(&["verify", "--env", &two.id]);
    assert!(said.contains("Hello World!"), "{said}");
    two.succeeds(&["delete", &two.id, "--yes"]);
    for world in [&one, &two] {
        assert_eq!(docker(&["ps", "-aq", "--filter", &format!("label=ai.baibox.environment={}", world.id)]), "");
        assert_eq!(labelled("volume", &world.id), "");
        assert_eq!(labelled("network", &world.id), "");
    }
}
