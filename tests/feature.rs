//! The Feature and a Template: packaged, tried and opened by the reference CLI. `tests/all` runs it.

mod world;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use world::{Registry, containers, docker};

const SOURCES: &str = env!("CARGO_MANIFEST_DIR");

fn variable(name: &str, what: &str) -> String {
    baibox::host::variable(name).unwrap_or_else(|| panic!("`{name}` names {what}: run tests/all"))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    eprintln!("{command:?}\n{}", text(&output));
    output
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

fn devcontainer(words: &[&str]) -> String {
    let output = run(Command::new(variable("DEVCONTAINER", "the reference CLI")).args(words));
    assert!(output.status.success(), "devcontainer {words:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the test leaves on the engine, which goes with it.
struct Engine {
    /// Name of the image of a plain Debian, and of the volume that the Feature's own test gets.
    name: String,
    /// The workspace that the Template is applied to.
    workspace: PathBuf,
}

impl Engine {
    fn new(workspace: PathBuf) -> Self {
        let name = format!("baibox-plain-{}", std::process::id());
        docker(&["import", &variable("PLAIN_DEBIAN", "a Debian's files"), &name]);
        Self { name, workspace }
    }
    fn environments(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.workspace.join("backend.ai/.baibox")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
    /// Containers with one of the labels that the CLI gives, and the images that they are of.
    fn containers(label: &str) -> Vec<(String, String)> {
        let found = docker(&["ps", "--all", "--quiet", "--filter", &format!("label={label}")]);
        found.lines().map(|id| (id.to_owned(), docker(&["inspect", "--format", "{{.Image}}", id]).trim().to_owned())).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for id in self.environments() {
            run(Command::new(env!("CARGO_BIN_EXE_baibox")).args(["delete", &id, "--yes", "--force"]));
        }
        let opened = Self::containers(&format!("devcontainer.local_folder={}", self.workspace.display()));
        for (container, _) in opened.into_iter().chain(Self::containers("devcontainer.is_test_run=true")) {
            run(Command::new("docker").args(["rm", "--force", &container]));
        }
        // All that was built on the plain Debian, newest first: builders leave their steps behind.
        let base = docker(&["image", "inspect", "--format", "{{.Id}}", &self.name]).trim().to_owned();
        for image in built_on(base).into_iter().rev() {
            run(Command::new("docker").args(["rmi", "--force", &image]));
        }
        run(Command::new("docker").args(["volume", "rm", "--force", &self.name]));
    }
}

/// An image and all that have it below them, each before those that stand on it.
fn built_on(base: String) -> Vec<String> {
    let mut inspect = Command::new("docker");
    inspect.args(["image", "inspect", "--format", "{{.Id}} {{.Parent}}"]).args(docker(&["images", "--all", "--quiet"]).lines());
    // Images that others removed in between are said on standard error, the rest is here.
    let listed = String::from_utf8_lossy(&inspect.output().unwrap().stdout).into_owned();
    let mut found = vec![base];
    let mut next = 0;
    while let Some(parent) = found.get(next).cloned() {
        let children = listed.lines().filter_map(|line| line.split_once(' ')).filter(|(_, of)| *of == parent);
        for (child, _) in children {
            if !found.iter().any(|image| image == child) {
                found.push(child.to_owned());
            }
        }
        next += 1;
    }
    found
}

/// The Feature's script in a plain Debian, with options; what it said when it refused.
fn refused(engine: &Engine, options: &[&str]) -> String {
    let feature = format!("{SOURCES}/devcontainer/features/src/baibox:/feature:ro");
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--network", "none", "--volume", &feature]);
    command.args(options.iter().flat_map(|option| ["--env", option]));
    let output = run(command.args([&engine.name, "sh", "/feature/install.sh"]));
    assert!(!output.status.success());
    text(&output)
}

#[test]
#[ignore = "needs an engine, package mirrors and the reference CLI: run tests/all"]
fn a_template_makes_an_empty_folder_a_dev_container_with_a_running_stack() {
    let scratch = tempfile::tempdir().unwrap();
    let workspace = scratch.path().join("my notes");
    std::fs::create_dir(&workspace).unwrap();
    let engine = Engine::new(workspace.clone());

    // As the sources have it, the Feature has no program; one from elsewhere needs its digest.
    assert!(refused(&engine, &[]).contains("carries no program"));
    assert!(refused(&engine, &["FROM=https://host.invalid/baibox"]).contains("only with a digest"));
    assert!(refused(&engine, &["FROM=/bin/true", "SHA256=00"]).contains("not 00"));
    assert!(refused(&engine, &["FROM=bin/true"]).contains("neither an address nor an absolute path"));
    assert!(refused(&engine, &["FROM=/etc/passwd"]).contains("does not run in this image"));

    let registry = Registry::start(scratch.path());
    let place = format!("localhost:{}", registry.port);
    let output = scratch.path().join("output");
    let mut package = Command::new(format!("{SOURCES}/devcontainer/package"));
    package.arg(&output).args([&place, "team"]).env("BAIBOX", env!("CARGO_BIN_EXE_baibox"));
    assert!(run(&mut package).status.success());

    // The Feature's own test, in a container that stays, with a volume that is not the user's.
    let feature = output.join("features/src/baibox/devcontainer-feature.json");
    let with_volume = std::fs::read_to_string(&feature).unwrap().replace("baibox-store", &engine.name);
    assert!(with_volume.contains(&engine.name));
    std::fs::write(&feature, with_volume).unwrap();
    let collection = output.join("features");
    let test = ["features", "test", "--preserve-test-containers", "--base-image", &engine.name, "--project-folder"];
    let said = devcontainer(&[&test[..], &[collection.to_str().unwrap()]].concat());
    assert!(said.contains("Passed:      'baibox'"));
    // The Template starts from the tested image: the engine's command is in there already.
    let (_, image) = Engine::containers("devcontainer.is_test_run=true").remove(0);

    let folder = workspace.to_str().unwrap();
    let template = format!("{place}/team/templates/backend.ai-21.03:0");
    let arguments = serde_json::json!({ "image": image }).to_string();
    devcontainer(&[
        "templates",
        "apply",
        "--workspace-folder",
        folder,
        "--template-id",
        &template,
        "--template-args",
        &arguments,
    ]);
    with_the_stores_of_the_tests(&workspace);
    devcontainer(&["read-configuration", "--workspace-folder", folder]);
    devcontainer(&["up", "--workspace-folder", folder]);

    let inside = |command: &str| devcontainer(&["exec", "--workspace-folder", folder, "sh", "-c", command]);
    let [id] = engine.environments().try_into().unwrap();
    let status: Value = serde_json::from_str(&inside("cd backend.ai && baibox status --json")).unwrap();
    assert!(status["ports"]["manager"].is_u64(), "{status}");
    // What runs is left alone.
    let started = containers(&id);
    assert!(started.contains_key("manager"));
    inside("cd backend.ai && baibox up");
    assert_eq!(containers(&id), started);
}

/// The Template's own store is a volume that is empty at first.
fn with_the_stores_of_the_tests(workspace: &Path) {
    let path = workspace.join(".devcontainer/devcontainer.json");
    let mut configuration: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let store = baibox::host::store_root().unwrap();
    let mount = serde_json::json!({ "type": "bind", "source": store, "target": "/var/lib/baibox" });
    configuration["mounts"].as_array_mut().unwrap().push(mount);
    std::fs::write(path, configuration.to_string()).unwrap();
}
