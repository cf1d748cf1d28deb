//! Releases besides 21.03, on a real engine. `baibox releases --verify` runs all of them.

mod world;

use world::World;

#[test]
#[ignore = "needs an engine and package mirrors: run tests/all"]
fn another_release_says_hello_from_its_own_data() {
    let scratch = tempfile::tempdir().unwrap();
    let world = World::new(scratch.path(), "release");
    let place = world.folder.to_str().unwrap();
    let said = world.succeeds(&["up", "--branch", "21.9", "--env", &world.id, "--path", place, "--source", "pypi"]);
    assert!(said.contains("`21.9` is of release branch 21.09") && said.contains("Hello World!"), "{said}");

    // The agent's tree came from a wheel: it is clean, and what it says of itself holds.
    let version = "import importlib.metadata as m; print(m.version('backend.ai-agent'), m.version('backend.ai-common'))";
    assert!(world.inside("agent", &["python", "-c", version]).contains("21.9.8 21.9.8"));
    let status = world::git(&world.folder.join("agent"), &["status", "--porcelain"]);
    assert_eq!(status, "");
    // Its sessions publish where the release's own configuration says.
    let state = world.folder.join(".baibox").join(&world.id);
    assert!(std::fs::read_to_string(state.join("agent/agent.toml")).unwrap().contains("bind-host"));
    world.succeeds(&["delete", &world.id, "--yes"]);
}

#[test]
#[ignore = "needs an engine and package mirrors: run tests/all"]
fn a_webserver_of_another_release_stands_in_a_stack_with_its_own_libraries() {
    let scratch = tempfile::tempdir().unwrap();
    let world = World::new(scratch.path(), "mix");
    let place = world.folder.to_str().unwrap();
    let up =
        ["up", "--branch", "21.03", "--component", "webserver=20.09", "--env", &world.id, "--path", place, "--source", "pypi"];
    let said = world.succeeds(&up);
    assert!(said.contains("21.03+webserver=20.09") && said.contains("Hello World!"), "{said}");
    let version = "import importlib.metadata as m; print(m.version('backend.ai-client'))";
    assert!(world.inside("workspace", &["python", "-c", version]).contains("21.3."));
    assert!(world.inside("webserver", &["python", "-c", version]).contains("20.9."));
    assert!(world.succeeds(&["ls"]).contains("21.03+webserver=20.09"));
    let refused = world.baibox(&["up", "--env", &world.id, "--component", "agent=20.09"]);
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
    world.succeeds(&["delete", &world.id, "--yes"]);
}
