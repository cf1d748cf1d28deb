//! Images that stand on an image of a registry, on a real engine. `tests/all` runs it.

mod world;

use std::path::Path;
use std::process::{Command, Output};
use world::{Registry, World, docker};

/// Moves Debian's Python to `/usr/local`, where images of Python have theirs, and removes its packages.
/// As Debian's images do, it lets no package start a service; that this is said in a file of an odd mode is a test's.
const PYTHON_OF_ITS_OWN: &str = r#"
archive=$(python3 /pack.py /tmp 20210301)
tar --extract --file "/tmp/$archive" --directory /usr/local --strip-components 1
rm "/tmp/$archive" /pack.py
dpkg --purge --force-depends $(dpkg-query --show --showformat '${db:Status-Abbrev}${Package}\n' '*python3*' | sed -n 's/^ii //p')
printf '#!/bin/sh\n# As the base says.\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 750 /usr/sbin/policy-rc.d
"#;

/// A plain Debian and, on it, an image with a Python of its own, both under the names of a registry.
struct Base {
    plain: String,
    reference: String,
    container: String,
    /// IDs, whatever their tags are by then.
    images: Vec<String>,
}

impl Base {
    fn make(repository: &str) -> Self {
        let files =
            baibox::host::variable("PYTHON_DEBIAN").expect("`PYTHON_DEBIAN` names the files of a Debian 11: run tests/all");
        let container = format!("baibox-base-{}", std::process::id());
        let mut base =
            Self { plain: format!("{repository}:plain"), reference: format!("{repository}:3.9"), container, images: Vec::new() };
        base.images.push(docker(&["import", &files, &base.plain]));
        docker(&["create", "--name", &base.container, &base.plain, "sh", "-ec", PYTHON_OF_ITS_OWN]);
        docker(&["cp", "tests/fixtures/standalone_archive.py", &format!("{}:/pack.py", base.container)]);
        docker(&["start", "--attach", &base.container]);
        base.images.push(docker(&["commit", "--change", "ENV OF_THE_BASE=kept", &base.container, &base.reference]));
        base
    }
    /// The digest that the registry knows it by.
    fn push(&self) -> String {
        let said = docker(&["push", &self.reference]);
        let digest = said.split_whitespace().find(|word| word.starts_with("sha256:"));
        digest.unwrap_or_else(|| panic!("no digest: {said}")).to_owned()
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", &self.container]).output();
        let images = self.images.iter().rev().map(|id| id.trim());
        let _ = Command::new("docker").args(["rmi", "--force"]).args(images).output();
    }
}

#[test]
#[ignore = "needs an engine, package mirrors, user namespaces, docker-registry and `PYTHON_DEBIAN`: run tests/all"]
fn images_stand_on_an_image_of_a_registry_as_it_was_pinned() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = Registry::start(scratch.path());
    let host = format!("127.0.0.1:{}", registry.port);
    let base = Base::make(&format!("{host}/their/python"));
    let digest = base.push();

    let world = World::new(scratch.path(), "bases");
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let (place, archive) = (world.folder.to_str().unwrap(), path("docker.tar"));
    let of = ["--branch", "21.03", "--env", &world.id, "--path", place, "--source", "pypi"];
    let outputs = ["--output", &format!("oci:{}", path("first")), "--output", &format!("docker-archive:{archive}")];
    let refused = world.baibox(&[&["build"], &of[..], &["--base", &base.plain]].concat());
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains(&format!("has no image `{}`", base.plain)) && text.contains("hint: see that its name"), "{text}");
    world.succeeds(&[&["build", "--image", "webserver", "--base", &base.reference], &of[..], &outputs].concat());

    let lock_file = world.folder.join(".baibox").join(&world.id).join("lock.toml");
    let lock = || std::fs::read_to_string(&lock_file).unwrap();
    let pinned = lock();
    let read: toml::Table = pinned.parse().unwrap();
    assert_eq!(read["base"]["reference"].as_str(), Some(base.reference.as_str()));
    assert_eq!(read["base"]["digest"].as_str(), Some(digest.as_str()));
    assert_eq!(read["base"]["env"]["OF_THE_BASE"].as_str(), Some("kept"));
    // What it has is not brought again, and its Python takes the place of Debian's.
    let brought: Vec<&str> = read["debian"]["base"].as_array().unwrap().iter().filter_map(|deb| deb["name"].as_str()).collect();
    assert!(brought.contains(&"curl"), "{brought:?}");
    assert!(!["python3", "libc6", "dpkg"].iter().any(|name| brought.contains(name)), "{brought:?}");

    let loaded = docker(&["load", "--input", &archive]);
    let image = loaded.lines().find_map(|line| line.strip_prefix("Loaded image: ")).unwrap_or_else(|| panic!("{loaded}"));
    let look =
        "import aiohttp, json, os, sys; print(sys.base_prefix, os.environ['OF_THE_BASE'], os.path.exists(json.__cached__))";
    let script = format!(
        "stat --format '%a %u:%g' /usr/sbin/policy-rc.d* && cat /usr/sbin/policy-rc.d && \
         dpkg --audit && ! dpkg --status python3 2> /dev/null && python -c \"{look}\""
    );
    let said = docker(&["run", "--rm", image, "sh", "-c", &script]);
    assert_eq!(said, "750 0:0\n#!/bin/sh\n# As the base says.\nexit 101\n/usr/local kept True\n");
    docker(&["rmi", image]);

    // Where the tag goes changes nothing, until that is asked for; and then what it names must do.
    docker(&["tag", &base.plain, &base.reference]);
    assert_ne!(base.push(), digest);
    let index = |name: &str| std::fs::read_to_string(Path::new(&path(name)).join("index.json")).unwrap();
    let build = |name: &str| {
        let output = format!("oci:{}", path(name));
        ["build", "--env", &world.id, "--image", "webserver", "--base", &base.reference, "--output", &output].map(str::to_owned)
    };
    world.succeeds(&build("moved").each_ref().map(String::as_str));
    assert_eq!((index("moved"), lock()), (index("first"), pinned.clone()));
    let refused = world.baibox(&["lock", "--env", &world.id, "--update", "base"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && text.contains("it has no Python in `/usr/local/bin`"), "{text}");
    assert_eq!(lock(), pinned);

    // In a store of their own: made without an engine, and taken from a registry when the base is gone from its own.
    let elsewhere = |name: &str, words: &[&str]| {
        let store = scratch.path().join(name).join("baibox");
        std::fs::create_dir_all(store.join("environments")).unwrap();
        std::fs::write(store.join("environments").join(&world.id), place).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_baibox"));
        command.args(words).env("XDG_CACHE_HOME", scratch.path().join(name));
        command.env("BAIBOX_ENGINE", "none").env("DOCKER_HOST", "unix:///nonexistent");
        let Output { status, stderr, .. } = command.output().unwrap();
        assert!(status.success(), "baibox {}: {}", words.join(" "), String::from_utf8_lossy(&stderr));
    };
    elsewhere("second", &build("without").each_ref().map(String::as_str));
    assert_eq!(index("without"), index("first"));
    let ours = format!("{host}/ours");
    world.succeeds(&["push", "--env", &world.id, "--image", "webserver", &ours]);
    std::fs::remove_dir_all(scratch.path().join("registry/docker/registry/v2/repositories/their")).unwrap();
    elsewhere("third", &["pull", "--env", &world.id, &ours]);
    let offline = [&["--offline".to_owned()], &build("pulled")[..]].concat();
    elsewhere("third", &offline.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(index("pulled"), index("first"));

    world.succeeds(&["delete", &world.id, "--yes", "--force"]);
}
