//! The images of a release on a real engine, and what others say of them. `tests/all` runs it.

mod world;

use world::World;

#[test]
#[ignore = "needs an engine and package mirrors: run tests/all"]
fn images_are_the_same_when_they_are_made_again() {
    let scratch = tempfile::tempdir().unwrap();
    let world = World::new(scratch.path(), "images");
    let place = world.folder.to_str().unwrap();
    world.succeeds(&["up", "--branch", "21.03", "--env", &world.id, "--path", place, "--source", "pypi", "--no-verify"]);
    world.succeeds(&["stop", "--env", &world.id]);
    let env = ["--env", &world.id];

    let said = world.succeeds(&[&["build", "--check"][..], &env].concat());
    assert!(said.contains("bit for bit the same"), "{said}");

    world.succeeds(&["delete", &world.id, "--yes", "--force"]);
}
