//! Rendered files before judges: `devcontainer.json` against its format, spelled out as
//! types, and all that has a public JSON schema against that.

use super::tests::{environment_of, exported, inputs, repository};
use super::*;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What baibox uses of the format's Compose form; a key more, or a value of another kind, is a fault.
/// <https://containers.dev/implementors/json_reference/>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "reading is the test")]
struct DevContainer {
    name: String,
    docker_compose_file: Vec<String>,
    service: String,
    run_services: Vec<String>,
    workspace_folder: String,
    shutdown_action: ShutdownAction,
    override_command: bool,
    remote_user: String,
    #[serde(rename = "updateRemoteUserUID")]
    update_remote_user_uid: bool,
    forward_ports: Vec<Port>,
    ports_attributes: BTreeMap<String, PortAttributes>,
    other_ports_attributes: PortAttributes,
    remote_env: BTreeMap<String, Option<String>>,
    initialize_command: Hook,
    post_create_command: Hook,
    post_attach_command: Hook,
    wait_for: WaitFor,
    host_requirements: HostRequirements,
    customizations: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ShutdownAction {
    None,
    StopCompose,
}

/// A number, or `host:port` with a host of `[a-z0-9-]`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "reading is the test")]
enum Port {
    Number(u16),
    Elsewhere(String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "reading is the test")]
struct PortAttributes {
    label: Option<String>,
    on_auto_forward: OnAutoForward,
    protocol: Option<Protocol>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum OnAutoForward {
    Notify,
    OpenBrowser,
    OpenBrowserOnce,
    OpenPreview,
    Silent,
    Ignore,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Protocol {
    Http,
    Https,
}

/// One command without a shell, or several at once by name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "reading is the test")]
enum Hook {
    One(Vec<String>),
    Several(BTreeMap<String, Vec<String>>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::enum_variant_names, reason = "the format's words")]
enum WaitFor {
    InitializeCommand,
    OnCreateCommand,
    UpdateContentCommand,
    PostCreateCommand,
    PostStartCommand,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "reading is the test")]
struct HostRequirements {
    cpus: std::num::NonZeroU32,
    memory: String,
    gpu: Gpu,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Gpu {
    Optional,
}

/// The rendered files of every kind of environment of every release, each kind with a name.
fn all() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for branch in Catalog::branches().unwrap() {
        let release = Catalog::release(&branch).unwrap();
        let plain = environment_of(&branch, "/home/me/dev");
        let debugged = Environment { debug: [("manager".into(), true), ("agent".into(), false)].into(), ..plain.clone() };
        let odd = environment_of(&branch, r#"/home/it's "$HOME" & {{x}} \ ü"#);
        let files = |environment: &Environment, start_interval| {
            let inputs = Inputs { start_interval, ..inputs() };
            let mut files = render(environment, &inputs, &Layout::here(environment).unwrap()).unwrap();
            files.extend(editor_files(environment, &release).unwrap());
            files
        };
        let kinds = [
            ("plain", files(&plain, true)),
            ("older-engine", files(&plain, false)),
            ("debugged", files(&debugged, true)),
            ("odd-folder", files(&odd, true)),
            ("exported", exported(&branch, Some(&repository(&branch)))),
            ("exported-elsewhere", exported(&branch, None)),
        ];
        all.extend(kinds.map(|(kind, files)| (format!("{branch}-{kind}"), files)));
    }
    all
}

fn is_dev_container(place: &str) -> bool {
    place.ends_with("devcontainer.json")
}

/// Graphs, and what is laid over them.
fn is_compose(place: &str) -> bool {
    place.ends_with(".yaml")
}

#[test]
fn every_dev_container_keeps_to_the_format() {
    let mut count = 0;
    for (kind, files) in all() {
        for (place, text) in files.iter().filter(|(place, _)| is_dev_container(place)) {
            let read: DevContainer = serde_json::from_str(text).unwrap_or_else(|error| panic!("{kind} {place}: {error}"));
            for port in &read.forward_ports {
                let Port::Elsewhere(port) = port else { continue };
                let (host, number) = port.split_once(':').unwrap();
                let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
                assert!(!host.is_empty() && host.chars().all(plain) && number.parse::<u16>().is_ok(), "{kind} {place}: {port}");
            }
            // A number and its unit, in lower case.
            let memory = read.host_requirements.memory.strip_suffix("gb").unwrap_or_else(|| panic!("{kind} {place}"));
            assert!(memory.parse::<u32>().is_ok(), "{kind} {place}: {memory}");
            count += 1;
        }
    }
    let branches = Catalog::branches().unwrap();
    let components = branches.iter().map(|branch| Catalog::release(branch).unwrap().components.len());
    // The workspace's and each component's in four kinds, and one in each exported kind.
    assert_eq!(count, components.map(|components| 4 * (components + 1) + 2).sum::<usize>());
}

/// The files, each below its kind's folder, for tools that read files.
fn written(folder: &Path, judged: fn(&str) -> bool) -> Vec<PathBuf> {
    let mut written = Vec::new();
    for (kind, files) in all() {
        for (place, text) in files.into_iter().filter(|(place, _)| judged(place)) {
            let path = folder.join(&kind).join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            written.push(path);
        }
    }
    written
}

/// `check-jsonschema`, which brings schemas of Compose and GitHub Actions along.
fn check(schema: &[&str], files: &[PathBuf]) {
    let program = crate::host::variable("CHECK_JSONSCHEMA").expect("`CHECK_JSONSCHEMA` names the program: run tests/all");
    assert!(!files.is_empty());
    let output = Command::new(program).args(schema).args(files).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{schema:?}: {said}");
}

#[test]
#[ignore = "needs check-jsonschema: run tests/all"]
fn public_schemas_accept_what_is_rendered() {
    let scratch = tempfile::tempdir().unwrap();
    check(&["--builtin-schema", "vendor.compose-spec"], &written(scratch.path(), is_compose));
    let github = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github");
    let workflows = std::fs::read_dir(github.join("workflows")).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    check(&["--builtin-schema", "vendor.github-workflows"], &workflows);
    check(&["--builtin-schema", "vendor.github-actions"], &[github.join("actions/baibox-ci/action.yml")]);
    // No package carries the schema of dev containers; who has the file names it.
    if let Some(schema) = crate::host::variable("DEVCONTAINER_SCHEMA") {
        let mut files = written(scratch.path(), is_dev_container);
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("devcontainer/templates/src");
        let folders = std::fs::read_dir(templates).unwrap().map(|entry| entry.unwrap().path());
        files.extend(folders.map(|folder| folder.join(".devcontainer/devcontainer.json")));
        check(&["--schemafile", &schema], &files);
    }
}
