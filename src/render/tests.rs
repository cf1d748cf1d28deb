use super::*;
use crate::release::{Catalog, Cuda};

pub fn environment(folder: &str) -> Environment {
    environment_of("21.03", folder)
}

pub fn environment_of(branch: &str, folder: &str) -> Environment {
    let release = Catalog::release(branch).unwrap();
    let value = json!({
        "id": format!("dev{}", branch.replace('.', "")), "branch": branch, "folder": folder,
        "ports": release.ports, "blocks": release.blocks, "subnet": "10.213.0.0/24", "gateway": "10.213.0.1",
        "secrets": {"database": "d", "storage-manager": "m", "storage-client": "c",
            "app-proxy-api": "a", "app-proxy-jwt": "j", "app-proxy-permit": "p"},
        "ulimits": {"nofile": 20000},
        "images": release.images.iter().map(|image| (image.name.clone(), format!("baibox.local/{branch}/{}:0", image.name)))
            .collect::<BTreeMap<_, _>>(),
    });
    serde_json::from_value(value).unwrap()
}

pub fn inputs() -> Inputs {
    let release = Catalog::release("21.03").unwrap();
    let compute = release.images.iter().find(|image| image.name == "python").unwrap().settings.clone();
    let socket = "/var/run/docker.sock".into();
    Inputs { socket, start_interval: true, compute_id: "sha256:0".into(), compute, test_engine: None }
}

fn files(folder: &str) -> Result<BTreeMap<String, String>> {
    files_of("21.03", folder)
}

fn files_of(branch: &str, folder: &str) -> Result<BTreeMap<String, String>> {
    let environment = environment_of(branch, folder);
    render(&environment, &inputs(), &Layout::here(&environment)?)
}

/// The files of a `.devcontainer` in a clone of a component's repository, or of another one.
pub fn exported(branch: &str, component: Option<&str>) -> BTreeMap<String, String> {
    let release = Catalog::release(branch).unwrap();
    let mut environment = environment_of(branch, "/home/me/dev");
    environment.id = crate::model::EnvironmentId::parse("exported").unwrap();
    let pinned = |name: &String| format!("registry.example/team/{branch}/{name}@{}", crate::model::Digest::of(name.as_bytes()));
    let tags = [(pinned(&"python".into()), environment.images["python"].clone())].into();
    environment.images = environment.images.into_keys().map(|name| (name.clone(), pinned(&name))).collect();
    let name = component.unwrap_or("notes");
    let commands = release.images.iter().map(|image| (image.name.clone(), image.settings.cmd.clone())).collect();
    let layout = Layout::of_clone(name, Exported { tags, commands, forward: vec!["8080=webserver:8080".into()] });
    let tree = |component: &crate::release::Component| {
        let url = format!("https://git.example/{}.git", component.repository);
        (component.name.clone(), json!({ "url": url, "branch": branch, "commit": "0" }))
    };
    let trees = release.components.iter().filter(|component| component.name != name).map(tree).collect();
    let component = component.map(|name| release.component(name).unwrap());
    exported_files(&environment, &release, component, &inputs(), &layout, &trees).unwrap()
}

/// The manager's repository, or the one of all components.
pub fn repository(branch: &str) -> String {
    let release = Catalog::release(branch).unwrap();
    release.component("manager").unwrap_or(&release.components[0]).name.clone()
}

/// Whether a file is rendered at all.
fn is_rendered(place: &str) -> bool {
    PLAIN.iter().all(|folder| !place.contains(&format!("{folder}/")))
}

fn is_golden(folder: &str, files: &BTreeMap<String, String>) {
    insta::with_settings!({ snapshot_path => folder, prepend_module_to_snapshot => false, omit_expression => true }, {
        for (place, text) in files.iter().filter(|(place, _)| is_rendered(place)) {
            insta::assert_snapshot!(place.trim_start_matches('.').replace('/', "-"), text);
        }
    });
}

#[test]
fn every_rendered_file_of_a_release_is_its_golden() {
    for branch in Catalog::branches().unwrap() {
        let folder = format!("/home/me/dev{}", branch.replace('.', ""));
        let mut files = files_of(&branch, &folder).unwrap();
        files.extend(editor_files(&environment_of(&branch, &folder), &Catalog::release(&branch).unwrap()).unwrap());
        is_golden(&format!("golden/{branch}"), &files);
    }
}

#[test]
fn every_exported_file_of_a_release_is_its_golden() {
    for branch in Catalog::branches().unwrap() {
        is_golden(&format!("golden/{branch}/exported"), &exported(&branch, Some(&repository(&branch))));
        let mut other = exported(&branch, None);
        other.retain(|place, _| place == "devcontainer.json");
        assert_eq!(other.len(), 1);
        is_golden(&format!("golden/{branch}/exported/none"), &other);
    }
}

#[test]
fn the_graph_has_all_services_and_publishes_to_this_host_alone() {
    for branch in Catalog::branches().unwrap() {
        let files = files_of(&branch, "/home/me/dev").unwrap();
        let compose = &(files["compose.yaml"].clone() + &files["compose.debug.yaml"]);
        for service in Catalog::release(&branch).unwrap().services.keys() {
            assert!(compose.contains(&format!("\n  {service}:\n")), "{branch}: {service}");
        }
        for line in compose.lines().filter(|line| line.trim_start().starts_with("ports:")) {
            assert!(line.contains("[\"127.0.0.1:"), "{branch}: {line}");
        }
        let sockets = compose.lines().filter(|line| line.contains("docker.sock")).count();
        assert_eq!(sockets, 1, "{branch}: one service has the engine's socket");
    }
}

#[test]
fn tests_find_an_engine_in_what_is_thrown_away() {
    let environment = environment("/home/me/dev2103");
    let engine = Catalog::release("21.03").unwrap().test_engine;
    let inputs = Inputs { test_engine: Some(engine.clone()), ..inputs() };
    let text = &render(&environment, &inputs, &Layout::here(&environment).unwrap()).unwrap()["compose.yaml"];
    for component in &engine.components {
        let (_, service) = text.split_once(&format!("\n  {}:\n", tested_by(component))).unwrap();
        assert!(service.contains(&format!("network_mode: \"service:{}\"", developed_in(component))), "{component}");
        assert!(
            service.contains(r#"\"redis\":{\"image\":\"baibox.local/21.03/redis:0\",\"ports\":[\"6379/tcp\"]}"#),
            "{service}"
        );
    }
    assert_eq!(text.matches("docker.sock").count(), 2 * (1 + engine.components.len()), "no container with tests has the socket");
    assert!(text.contains("DOCKER_HOST: \"tcp://127.0.0.1:2375\""));
}

#[test]
fn the_agent_of_the_one_tree_turns_on_the_plug_in_that_was_chosen() {
    let on = |branch: &str, cuda: Option<Cuda>| {
        let environment = Environment { cuda, ..environment_of(branch, "/home/me/dev") };
        let files = render(&environment, &inputs(), &Layout::here(&environment).unwrap()).unwrap();
        let text: toml::Table = files["agent/agent.toml"].parse().unwrap();
        text["agent"].get("allow-compute-plugins").map(|names| names.to_string())
    };
    for branch in ["23.03", "25.15", "26.4", "26.8"] {
        assert_eq!(on(branch, None).as_deref(), Some("[]"), "{branch}");
        for (cuda, name) in [(Cuda::Gpu, "cuda_open"), (Cuda::Mock, "mock")] {
            assert_eq!(on(branch, Some(cuda)), Some(format!("[\"ai.backend.accelerator.{name}\"]")), "{branch}");
        }
    }
    assert_eq!(on("21.03", Some(Cuda::Mock)), None);
}

#[test]
fn odd_folders_are_escaped_or_refused() {
    let odd = r#"/home/it's "$HOME" & {{x}} \ ü"#;
    let files = files(odd).unwrap();
    for place in ["etcd.json", "fixtures.json"] {
        serde_json::from_str::<Value>(&files[place]).unwrap();
    }
    for place in ["manager/manager.toml", "agent/agent.toml", "storage-proxy/storage-proxy.toml", "webserver/webserver.conf"] {
        toml::from_str::<toml::Table>(&files[place]).unwrap_or_else(|error| panic!("{place}: {error}"));
    }
    let agent: toml::Table = toml::from_str(&files["agent/agent.toml"]).unwrap();
    assert_eq!(agent["container"]["scratch-root"].as_str(), Some(format!("{odd}/.baibox/dev2103/scratches").as_str()));
    let line = files["compose.yaml"].lines().find(|line| line.contains("BAIBOX_WORKSPACE")).unwrap();
    assert_eq!(line.trim(), r#"BAIBOX_WORKSPACE: "/home/it's \"$$HOME\" & {{x}} \\ ü""#);
    for bad in ["/home/a:b", "/home/a\nb"] {
        let error = self::files(bad).unwrap_err();
        assert_eq!(crate::error::exit_of(&error), crate::error::Exit::Usage, "{bad}");
    }
}

#[test]
fn dev_containers_open_services_of_the_graph() {
    for branch in Catalog::branches().unwrap() {
        let folder = "/home/me/dev";
        let graph = &files_of(&branch, folder).unwrap()["compose.yaml"];
        let release = Catalog::release(&branch).unwrap();
        let rendered = editor_files(&environment_of(&branch, folder), &release).unwrap();
        assert_eq!(rendered.len(), release.components.len() + 2);
        for (place, text) in rendered.iter().filter(|(place, _)| place.starts_with(".devcontainer")) {
            let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{branch} {place}: {error}"));
            for service in value["runServices"].as_array().unwrap().iter().chain([&value["service"]]) {
                assert!(graph.contains(&format!("\n  {}:", service.as_str().unwrap())), "{branch} {place}: {service}");
            }
            for file in value["dockerComposeFile"].as_array().unwrap() {
                let file = std::path::Path::new(place).parent().unwrap().join(file.as_str().unwrap());
                let ups = file.components().filter(|part| *part == std::path::Component::ParentDir).count();
                assert_eq!(ups, place.matches('/').count(), "{place}: the path leads back to the environment's folder");
            }
            for configuration in value["customizations"]["vscode"]["settings"]["launch"]["configurations"].as_array().unwrap() {
                assert_eq!(configuration["type"], "debugpy", "{place}");
            }
        }
    }
}

#[test]
fn templates_are_what_releases_say() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("devcontainer");
    let mut names = std::collections::BTreeSet::new();
    for branch in Catalog::branches().unwrap() {
        for (place, text) in template_files(&Catalog::release(&branch).unwrap(), FEATURE).unwrap() {
            let there = std::fs::read_to_string(folder.join("templates/src").join(&place));
            let again = "`baibox devcontainer template devcontainer/templates` writes it again";
            assert_eq!(there.ok().as_deref(), Some(text.as_str()), "{place}: {again}");
            names.insert(place.split('/').next().unwrap().to_owned());
        }
    }
    let there = std::fs::read_dir(folder.join("templates/src")).unwrap();
    assert_eq!(
        there.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<std::collections::BTreeSet<_>>(),
        names
    );
    let feature = std::fs::read_to_string(folder.join("features/src/baibox/devcontainer-feature.json")).unwrap();
    let feature: Value = serde_json::from_str(&feature).unwrap();
    assert_eq!(feature["version"], env!("CARGO_PKG_VERSION"), "the Feature goes with the program");
}

#[test]
fn folders_that_no_mount_can_name_are_refused_and_odd_ones_are_not() {
    for folder in ["/a:b", "/a%b", "/a\nb"] {
        let error = files(folder).unwrap_err();
        let text = crate::error::render(&error);
        assert!(text.contains("cannot be mounted") && text.contains("--path FOLDER"), "{text}");
    }
    files("/mein Ordner ü $x 'q' \"d\" #1, c=2").unwrap();
}
