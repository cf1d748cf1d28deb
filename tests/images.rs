//! The images of a release on a real engine, and what others say of them. `tests/all` runs it.

mod world;

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use world::{Registry, World, docker, wait_until};

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Path → kind, mode, owner, size and link of a tar stream, without what an engine adds.
fn listing(stream: impl Read) -> BTreeMap<String, String> {
    const OF_THE_ENGINE: [&str; 5] = [".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"];
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(stream).entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
        let mounted = ["dev", "proc", "sys"].iter().any(|place| path.split('/').next() == Some(place));
        if path.is_empty() || path == "." || mounted || OF_THE_ENGINE.contains(&path.as_str()) {
            continue;
        }
        let header = entry.header();
        let link = entry.link_name().unwrap().map(|link| link.display().to_string()).unwrap_or_default();
        let (mode, uid, gid) = (header.mode().unwrap() & 0o7777, header.uid().unwrap(), header.gid().unwrap());
        found.insert(path, format!("{:?} {mode:o} {uid}:{gid} {} {link}", header.entry_type(), entry.size()));
    }
    found
}

#[test]
#[ignore = "needs an engine, package mirrors, skopeo, umoci, buildah, podman and docker-registry: run tests/all"]
fn images_are_the_same_when_they_are_made_again_and_to_all_who_read_them() {
    let scratch = tempfile::tempdir().unwrap();
    let world = World::new(scratch.path(), "images");
    let place = world.folder.to_str().unwrap();
    world.succeeds(&["up", "--branch", "21.03", "--env", &world.id, "--path", place, "--source", "pypi", "--no-verify"]);
    world.succeeds(&["stop", "--env", &world.id]);
    let build = |more: &[&str]| world.succeeds(&[&["build", "--env", &world.id], more].concat());

    let said = build(&["--check"]);
    assert!(said.contains("bit for bit the same"), "{said}");

    let path = |name: &str| scratch.path().join(name).display().to_string();
    let (layout, again, archive, docker_archive) = (path("layout"), path("again"), path("oci.tar"), path("docker.tar"));
    build(&["--output", &format!("oci:{layout}")]);
    build(&["--output", &format!("oci:{again}")]);
    build(&["--image", "redis", "--output", &format!("oci-archive:{archive}")]);
    build(&["--image", "redis", "--output", &format!("docker-archive:{docker_archive}")]);
    // The index names every manifest by its digest.
    let index = |folder: &str| std::fs::read_to_string(Path::new(folder).join("index.json")).unwrap();
    assert_eq!(index(&layout), index(&again));

    let record = std::fs::read_to_string(world.folder.join(".baibox").join(&world.id).join("environment.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let id = |name: &str| docker(&["inspect", "--format", "{{.Id}}", record["images"][name].as_str().unwrap()]).trim().to_owned();

    for name in ["manager", "redis"] {
        let manifest: Value =
            serde_json::from_str(&run("skopeo", &["inspect", "--raw", &format!("oci:{layout}:{name}")])).unwrap();
        assert_eq!(manifest["config"]["digest"].as_str(), Some(id(name).as_str()));
        for (key, value) in [("created", "2021-03-01T00:00:00Z"), ("version", "21.03")] {
            assert_eq!(manifest["annotations"][format!("org.opencontainers.image.{key}")], value);
        }
    }
    // skopeo reads every blob and checks its digest on the way.
    run("skopeo", &["copy", "--quiet", &format!("oci:{layout}:python"), &format!("oci:{}:python", path("copied"))]);
    for file in [&archive, &docker_archive] {
        run("podman", &["load", "--quiet", "--input", file]);
        let reference = record["images"]["redis"].as_str().unwrap();
        let held = run("podman", &["inspect", "--type", "image", "--format", "{{.Id}}", reference]);
        assert_eq!(format!("sha256:{}", held.trim()), id("redis"));
        run("podman", &["rmi", reference]);
    }
    docker(&["load", "--input", &docker_archive]);

    // The same files, to umoci, buildah and the engine.
    let bundle = path("bundle");
    let rootless = if run("id", &["-u"]).trim() == "0" { &[][..] } else { &["--rootless"] };
    run("umoci", &[&["unpack", "--image", &format!("{layout}:python")], rootless, &[&bundle]].concat());
    let unpacked = path("unpacked.tar");
    run("tar", &["--create", "--numeric-owner", "--file", &unpacked, "--directory", &format!("{bundle}/rootfs"), "."]);
    let container = docker(&["create", record["images"]["python"].as_str().unwrap()]);
    let exported = path("exported.tar");
    docker(&["export", "--output", &exported, container.trim()]);
    docker(&["rm", container.trim()]);
    let open = |path: &str| listing(std::io::BufReader::new(std::fs::File::open(path).unwrap()));
    let (ours, theirs) = (open(&unpacked), open(&exported));
    assert!(ours.len() > 5000, "{} files", ours.len());
    if rootless.is_empty() {
        assert_eq!(ours, theirs);
    } else {
        // Without root, owners are not umoci's to give.
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    }

    // It makes a name of the layout's path, which must have no capitals.
    let mut from = Command::new("buildah");
    from.args(["from", "--quiet", "--name", &world.id, "oci:layout:python"]).current_dir(scratch.path());
    let from = from.output().unwrap();
    assert!(from.status.success(), "{}", String::from_utf8_lossy(&from.stderr));
    let held = String::from_utf8(from.stdout).unwrap().trim().to_owned();
    let image = run("buildah", &["inspect", "--format", "{{.FromImageID}}", &held]);
    assert_eq!(format!("sha256:{}", image.trim()), id("python"));
    // Its own users see mounts in a namespace of theirs alone.
    if rootless.is_empty() {
        let (root, mounted) = (run("buildah", &["mount", &held]), path("mounted.tar"));
        run("tar", &["--create", "--numeric-owner", "--file", &mounted, "--directory", root.trim(), "."]);
        assert_eq!(open(&mounted), theirs);
    }
    run("buildah", &["rm", &held]);
    run("buildah", &["rmi", image.trim()]);

    // What is there and is not ours stays.
    let taken = path("taken");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(Path::new(&taken).join("file"), "x").unwrap();
    let refused = world.baibox(&["build", "--env", &world.id, "--output", &format!("oci:{taken}")]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(Path::new(&taken).join("file").exists());

    without_an_engine_they_are_the_same_too(&world, scratch.path());
    another_machine_takes_them_from_a_registry(&world, scratch.path());
    for_another_platform_they_are_made_where_no_step_runs(&world, scratch.path());
    a_newer_pin_changes_what_holds_it_and_nothing_else(&world);
    world.succeeds(&["delete", &world.id, "--yes", "--force"]);
}

/// Layers of other builders have opaque folders, and folders that no entry names.
#[test]
#[ignore = "needs user namespaces: run tests/all"]
fn a_step_without_an_engine_stands_on_layers_as_engines_read_them() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let pack = |name: &str, files: &[&str]| {
        let mut tar = tar::Builder::new(std::fs::File::create(path(name)).unwrap());
        for file in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o640);
            header.set_size(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            tar.append_data(&mut header, file, std::io::empty()).unwrap();
        }
        tar.finish().unwrap();
    };
    pack("lower", &["x/deep/one", "y/keep", "gone"]);
    // That the folder is opaque is said after what is new in it.
    pack("upper", &["x/new", "x/.wh..wh..opq", ".wh.gone", "var/spool/file"]);
    std::fs::create_dir(path("root")).unwrap();
    let step = [env!("CARGO_BIN_EXE_baibox"), "step", "unpack", &path("root"), &path("lower"), &path("upper")];
    // An open mask of its caller is seen nowhere.
    run("unshare", &[&["--user", "--map-root-user", "sh", "-c", "umask 0; exec \"$@\"", "sh"], &step[..]].concat());
    let found = run("sh", &["-c", "cd \"$1\" && find . -mindepth 1 -printf '%P %m\\n' | sort", "sh", &path("root")]);
    let wanted = ["var 755", "var/spool 755", "var/spool/file 640", "x 755", "x/new 640", "y 755", "y/keep 640"];
    assert_eq!(found.lines().collect::<Vec<_>>(), wanted);
}

/// One index over both platforms, to whoever reads a layout or a registry. Whether the machine has an
/// emulator does not matter to these images: nothing of them runs when they are made.
fn for_another_platform_they_are_made_where_no_step_runs(world: &World, scratch: &Path) {
    let layout = scratch.join("platforms").display().to_string();
    let both = ["--env", &world.id, "--platform", "linux/arm64,linux/amd64", "--image", "redis"];
    let tells = |arguments: &[&str]| -> Value {
        let output = world.baibox(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let told = tells(&[&["--json", "build"], &both[..], &["--output", &format!("oci:{layout}")]].concat());
    let registry = Registry::start(scratch);
    let place = format!("127.0.0.1:{}/platforms", registry.port);
    let pushed = &tells(&[&["--json", "push"], &both[..], &[&place]].concat())["redis"];
    let pinned = format!("docker://{}@{}", pushed["repository"].as_str().unwrap(), pushed["digest"].as_str().unwrap());
    for architecture in ["amd64", "arm64"] {
        for (number, from) in [&format!("oci:{layout}:redis"), &pinned].into_iter().enumerate() {
            let copy = format!("oci:{}:redis", scratch.join(format!("{architecture}-{number}")).display());
            run("skopeo", &["--override-arch", architecture, "copy", "--quiet", "--src-tls-verify=false", from, &copy]);
            let manifest: Value = serde_json::from_str(&run("skopeo", &["inspect", "--raw", &copy])).unwrap();
            assert_eq!(manifest["config"]["digest"], told[format!("linux/{architecture}")]["redis"]);
            let config: Value = serde_json::from_str(&run("skopeo", &["inspect", "--config", "--raw", &copy])).unwrap();
            assert_eq!(config["architecture"], architecture);
        }
    }
    let bundle = scratch.join("arm64-bundle").display().to_string();
    let rootless = if run("id", &["-u"]).trim() == "0" { &[][..] } else { &["--rootless"] };
    let image = format!("{}:redis", scratch.join("arm64-0").display());
    run("umoci", &[&["unpack", "--image", &image], rootless, &[&bundle]].concat());
    // `e_machine` of an ELF file.
    let program = std::fs::read(Path::new(&bundle).join("rootfs/usr/bin/redis-check-rdb")).unwrap();
    assert_eq!(program[18..20], [183, 0], "AArch64");
}

/// A store that has nothing takes all layers, and nothing is made of the same lock and trees.
fn another_machine_takes_them_from_a_registry(world: &World, scratch: &Path) {
    let registry = Registry::start(scratch);
    let place = format!("127.0.0.1:{}/team", registry.port);
    world.succeeds(&["push", "--env", &world.id, &place]);
    let cache = scratch.join("third");
    let there = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baibox"));
        let output = command.args(arguments).env("XDG_CACHE_HOME", &cache).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let pull = ["--json", "pull", "--branch", "21.03", "--source", "pypi"];
    let (code, _, said) = there(&[&pull[..], &[&format!("{place}/other")]].concat());
    assert!(code == Some(1) && said.contains("has none of the") && said.contains("baibox push"), "{said}");
    let (code, told, said) = there(&[&pull[..], &[&place]].concat());
    assert_eq!(code, Some(0), "{said}");
    let told: BTreeMap<String, Value> = serde_json::from_str(&told).unwrap();
    assert!(told.len() > 5 && told.values().all(|image| image["missing"] == 0), "{told:?}");
    let (code, _, said) = there(&["rebuild", &world.id, world.folder.to_str().unwrap()]);
    assert!(code == Some(0) && !said.contains("fragments made"), "{said}");
}

/// The wheel, its byte code and for each of four images the removal of the old one are made; all layers below stay.
fn a_newer_pin_changes_what_holds_it_and_nothing_else(world: &World) {
    let lock = |more: &[&str]| world.succeeds(&[&["lock", "--env", &world.id, "--json", "--update"], more].concat());
    let read = || std::fs::read_to_string(world.folder.join(".baibox").join(&world.id).join("lock.toml")).unwrap();
    let images = || -> BTreeMap<String, Value> {
        let output = world.baibox(&["build", "--env", &world.id, "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let layers = |images: &BTreeMap<String, Value>| -> Vec<String> {
        let id = images["manager"].as_str().unwrap();
        serde_json::from_str(&docker(&["image", "inspect", "--format", "{{json .RootFS.Layers}}", id])).unwrap()
    };
    let (before, old) = (read(), images());
    let below = layers(&old);
    let newer = ["attrs", "--as-of", "2023-01-15"];
    let dry = lock(&[&newer[..], &["--dry-run"]].concat());
    assert_eq!(read(), before);
    let said = lock(&newer);
    for said in [&dry, &said] {
        assert!(said.contains("\"attrs 21.4.0 → 22.2.0 ("), "{said}");
        assert!(said.contains("\"cut-off 2022-04-01 → 2023-01-15\""), "{said}");
        assert_eq!(said.matches(" → ").count(), 2, "{said}");
    }
    let made = world.succeeds(&["build", "--env", &world.id]);
    // A store that an earlier run left may have some or all of them.
    let few = (1..=6).any(|number| made.contains(&format!("build: {number} of ")));
    assert!(few || !made.contains("fragments made"), "{made}");
    let new = images();
    let changed: Vec<&str> = old.keys().filter(|name| old[*name] != new[*name]).map(String::as_str).collect();
    // The agent's pin stays: so does its image.
    assert_eq!(changed, ["manager", "storage-proxy", "webserver", "workspace"]);
    // The one on top has it, beside links and files.
    let now = layers(&new);
    let (top, rest) = now.split_last().unwrap();
    assert!(rest == &below[..below.len() - 1] && !below.contains(top), "{now:?} after {below:?}");
    let told = "import importlib.metadata as m; print([d.version for d in m.distributions() if d.metadata['Name'] == 'attrs'])";
    let python = ["run", "--rm", new["manager"].as_str().unwrap(), "/opt/venv/bin/python", "-c", told];
    assert_eq!(docker(&python).trim(), "['22.2.0']");
    assert!(lock(&["attrs"]).contains("attrs stays"));
}

/// Also after a build that was killed in the middle of a step.
fn without_an_engine_they_are_the_same_too(world: &World, scratch: &Path) {
    let made = world.succeeds(&["build", "--env", &world.id, "--json"]);
    let cache = scratch.join("second");
    let (store, first) = (cache.join("baibox"), baibox::host::store_root().unwrap());
    std::fs::create_dir_all(&store).unwrap();
    // What is downloaded is known by its digest: once is enough.
    assert!(Command::new("cp").arg("--archive").arg("--link").arg(first.join("blobs")).arg(&store).status().unwrap().success());
    let rebuild = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baibox"));
        command.args(["--json", "rebuild", &world.id]).arg(&world.folder);
        command.env("XDG_CACHE_HOME", &cache).env("BAIBOX_ENGINE", "none").env("DOCKER_HOST", "unix:///nonexistent");
        command
    };
    let steps = store.join("steps");
    let root = || {
        let own = std::fs::read_dir(&steps).ok()?.next()?.ok()?.path();
        std::fs::read_dir(own).ok()?.filter_map(Result::ok).map(|entry| entry.path().join("rootfs")).find(|root| root.exists())
    };
    let mut killed = rebuild().stdout(Stdio::null()).spawn().unwrap();
    wait_until("a step runs", || root().is_some());
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(root().is_some(), "the step's files are still there");
    let output = rebuild().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (made, again): (Value, Value) = (serde_json::from_str(&made).unwrap(), serde_json::from_slice(&output.stdout).unwrap());
    let id = |image: &Value| baibox::model::Digest::of(image[1]["config"].as_str().unwrap().as_bytes()).to_string();
    let again: BTreeMap<&str, String> =
        again.as_array().unwrap().iter().map(|image| (image[0].as_str().unwrap(), id(image))).collect();
    assert_eq!(serde_json::to_value(again).unwrap(), made);
    assert_eq!(std::fs::read_dir(&steps).unwrap().count(), 0, "nothing is left");
}
