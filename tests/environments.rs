//! What is done with whole environments on a real engine: snapshots, ports, one beside the other.

mod world;

use baibox::store::Store;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use world::{World, containers, docker};

impl World {
    /// A question to the database, or a change of it.
    fn sql(&self, text: &str) -> String {
        let postgres = &containers(&self.id)["postgres"];
        let script = "exec /usr/lib/postgresql/*/bin/psql -U postgres -h /run/postgresql -tAc \"$0\" backend";
        docker(&["exec", postgres, "sh", "-c", script, text]).trim().to_owned()
    }
    /// The same, where its usual database has no name of its own yet.
    fn sql_elsewhere(&self, text: &str) -> Option<String> {
        let script = "exec /usr/lib/postgresql/*/bin/psql -U postgres -h /run/postgresql -tAc \"$0\" postgres";
        let container = containers(&self.id).remove("postgres")?;
        let output = Command::new("docker").args(["exec", &container, "sh", "-c", script, text]).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_slice(&self.baibox(&[arguments, &["--json"]].concat()).stdout).unwrap()
    }
    /// What `ls` says of it.
    fn row(&self) -> serde_json::Value {
        let all = self.json(&["ls"]);
        all.as_array().unwrap().iter().find(|one| one["id"] == self.id.as_str()).unwrap().clone()
    }
    /// ID of a service's container, which may be stopped.
    fn container(&self, service: &str) -> String {
        let label = format!("label=com.docker.compose.service={service}");
        let project = format!("label=com.docker.compose.project={}", self.id);
        docker(&["ps", "--all", "--quiet", "--filter", &label, "--filter", &project]).trim().to_owned()
    }
    fn etcd(&self, words: &[&str]) -> String {
        let etcd = &containers(&self.id)["etcd"];
        docker(&[&["exec", etcd, "etcdctl"], words].concat()).trim().to_owned()
    }
    /// It fails with that code, and says these words.
    fn refuses(&self, arguments: &[&str], code: i32, says: &[&str]) {
        let output = self.baibox(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(says.iter().all(|word| text.contains(word)), "{arguments:?}: {says:?} in\n{text}");
    }
}

const DOMAIN: &str = "select description from domains";

#[test]
#[ignore = "needs an engine and package mirrors: run tests/all"]
fn the_state_of_an_environment_is_kept_and_put_back() {
    let scratch = tempfile::tempdir().unwrap();
    let one = World::apart(scratch.path(), "state");
    let env = one.id.as_str();
    let place = one.folder.to_str().unwrap();
    one.succeeds(&["up", "--branch", "21.03", "--env", env, "--path", place, "--source", "pypi", "--no-verify"]);
    let state = one.folder.join(".baibox").join(env);
    let file = state.join("vfolder/volume1/file");
    let change = |name: &str| {
        one.sql(&format!("update domains set description = '{name}'"));
        one.etcd(&["put", "/sorna/local/test", name]);
        std::fs::write(&file, name).unwrap();
    };
    let is = |name: &str| {
        assert_eq!(one.sql(DOMAIN), name);
        assert!(one.etcd(&["get", "/sorna/local/test"]).ends_with(name));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), name);
    };

    // A state is put back as it was, sessions apart.
    change("kept");
    one.inside("workspace", &["backend.ai", "run", "-t", "session", "-c", "print(1)", "python"]);
    one.succeeds(&["snapshot", "first", "--env", env]);
    let listed = one.succeeds(&["snapshots", "--env", env]);
    assert!(listed.contains("first") && listed.contains(&one.sql("select version_num from alembic_version")), "{listed}");
    change("changed");
    one.refuses(&["restore", "first", "--env", env], 2, &["nothing was changed", "--yes"]);
    one.refuses(&["snapshot", "first", "--env", env], 2, &["has a snapshot `first` already"]);
    one.refuses(&["restore", "absent", "--env", env, "--yes"], 2, &["has no snapshot `absent`", "it has `first`"]);
    is("changed");
    one.succeeds(&["restore", "first", "--env", env, "--yes"]);
    is("kept");
    assert_eq!(one.sql("select distinct status from kernels"), "TERMINATED");
    let sessions = docker(&["ps", "-q", "--filter", &format!("label=ai.baibox.environment={env}"), "--filter", "name=kernel."]);
    assert_eq!(sessions, "");

    // A snapshot whose dump is broken, though its record says it is whole: all stays as it is.
    change("new");
    let snapshots = state.join("snapshots");
    copy(&snapshots.join("first"), &snapshots.join("broken"));
    std::fs::write(snapshots.join("broken/database.dump"), "no dump").unwrap();
    one.refuses(&["restore", "broken", "--env", env, "--yes"], 1, &["the snapshot `broken` is damaged"]);
    let digest = baibox::model::Digest::of(b"no dump");
    let record = snapshots.join("broken/snapshot.json");
    let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    value["files"]["database.dump"] = serde_json::json!([7, digest.as_str()]);
    std::fs::write(&record, value.to_string()).unwrap();
    one.refuses(&["restore", "broken", "--env", env, "--yes"], 1, &["was not restored; all is as it was before", "pg_restore"]);
    is("new");
    assert_eq!(one.row()["state"], "running");

    // One that was cut off between its renames is undone by the next start.
    one.succeeds(&["stop", "--env", env]);
    docker(&["start", &one.container("postgres")]);
    world::wait_until("the database answers", || one.sql_elsewhere("select 1").is_some());
    std::fs::rename(state.join("vfolder"), state.join("vfolder.before")).unwrap();
    std::fs::create_dir_all(state.join("vfolder/volume1")).unwrap();
    one.sql_elsewhere("alter database backend rename to backend_before").unwrap();
    std::fs::write(state.join("restore-under-way"), "").unwrap();
    one.succeeds(&["start", "--env", env]);
    is("new");

    // Ports are leases: who took one meanwhile is named.
    one.succeeds(&["stop", "--env", env]);
    let ports = one.row()["ports"].clone();
    let port = |service: &str| u16::try_from(ports[service].as_u64().unwrap()).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port("manager"))).unwrap();
    let image = docker(&["inspect", "--format", "{{.Config.Image}}", &one.container("redis")]);
    let publish = format!("127.0.0.1:{}:6379", port("redis"));
    let holder = docker(&["run", "--detach", "--rm", "--publish", &publish, image.trim()]);
    let container = docker(&["inspect", "--format", "{{.Name}}", holder.trim()]);
    let by_process = format!("{} of manager is held by", port("manager"));
    let by_container =
        format!("{} of redis is held by the container {}", port("redis"), container.trim().trim_start_matches('/'));
    one.refuses(&["start", "--env", env], 1, &[&by_process, &format!("(process {})", std::process::id()), &by_container]);
    docker(&["rm", "--force", "--volumes", holder.trim()]);
    drop(listener);

    // A reset gives a fresh state, from a stopped one too, and snapshots stay.
    one.succeeds(&["reset", "--env", env, "--yes"]);
    assert_eq!(one.sql(DOMAIN), "The default domain");
    assert!(!file.exists());
    assert!(one.succeeds(&["verify", "--env", env]).contains("Hello World!"));
    one.succeeds(&["snapshots", "--env", env, "--delete", "broken"]);
    let gone = one.succeeds(&["delete", env, "--dry-run"]);
    assert!(gone.contains("snapshot  first") && !gone.contains("broken"), "{gone}");

    // A copy of what runs has its trees and its state, and nothing else in common.
    change("copied");
    let mine = "manager/not-committed-yet";
    std::fs::write(one.folder.join(mine), "").unwrap();
    let two = World::apart(scratch.path(), "copy");
    let copy = ["clone", env, &two.id, "--path", two.folder.to_str().unwrap()];
    one.refuses(&["clone", env, "other", "--path", one.folder.join("inner").to_str().unwrap()], 2, &["is inside that of"]);
    cut_off_at_any_moment(&two, &copy);
    let (store, lock) = (Store::open(&scratch.path().join("cache/baibox")).unwrap(), format!("clone-{}", two.id));
    let held = store.lock(&lock).unwrap();
    one.refuses(&copy, 2, &["another baibox is making the copy"]);
    drop(held);
    one.succeeds(&copy);
    one.refuses(&copy, 2, &["there is an environment", "already"]);
    let left = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(left(&two.folder).all(|name| !name.starts_with(".baibox-clone-")));
    assert_eq!(left(&two.folder.join(".baibox").join(&two.id).join("snapshots")).count(), 0);
    assert_eq!(two.sql(DOMAIN), "copied");
    assert!(two.etcd(&["get", "/sorna/local/test"]).ends_with("copied") && two.folder.join(mine).exists());
    let (first, second) = (one.row(), two.row());
    assert_eq!((&first["state"], &second["state"]), (&"running".into(), &"running".into()));
    for (service, port) in second["ports"].as_object().unwrap() {
        assert_ne!(*port, first["ports"][service], "{service}");
    }

    what_is_seen(&one);

    // One word, and the other one runs.
    let said = two.succeeds(&["switch", &two.id]);
    assert!(said.contains(&format!("`{}` is healthy after", two.id)), "{said}");
    assert_eq!((&one.row()["state"], &two.row()["state"]), (&"stopped".into(), &"running".into()));
    assert_eq!(one.row()["ports"], first["ports"]);
    assert!(two.succeeds(&["verify", "--env", &two.id]).contains("Hello World!"));

    another_stores_images_stay(&one, &two);
}

/// Begins a command several times, and ends it at a moment that is chosen at random.
fn cut_off_at_any_moment(world: &World, arguments: &[&str]) {
    for signal in ["-KILL", "-INT", "-KILL", "-KILL", "-INT", "-KILL"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baibox"));
        let mut child = command.args(arguments).env("XDG_CACHE_HOME", world.cache.as_ref().unwrap()).spawn().unwrap();
        let moment = Duration::from_millis(rand::random_range(0..5000));
        eprintln!("{signal} after {moment:?}");
        // No state is waited for: any may be there.
        std::thread::sleep(moment);
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let code = child.wait().unwrap().code();
        assert!(code.is_none() || code == Some(130), "{signal} after {moment:?}: {code:?}");
    }
}

/// Both environments go, while one that their store does not know has a container.
fn another_stores_images_stay(one: &World, two: &World) {
    let compute = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "baibox.local/21.03/python"]);
    let compute = compute.lines().next().unwrap();
    let label = format!("ai.baibox.environment={}-stranger", one.id);
    let manager = docker(&["inspect", "--format", "{{.Config.Image}}", &two.container("manager")]);
    let stranger = docker(&["create", "--label", &label, manager.trim(), "true"]);
    let said = [one, two].map(|world| world.succeeds(&["delete", &world.id, "--dry-run"]));
    for world in [one, two] {
        world.succeeds(&["delete", &world.id, "--yes", "--force"]);
    }
    docker(&["image", "inspect", compute, manager.trim()]);
    docker(&["rm", "--volumes", stranger.trim()]);
    // The two share theirs: whichever goes first lists none of them.
    assert!(said.iter().all(|said| !said.contains("image     baibox.local/")), "{said:?}");
}

/// Two environments of the same images run.
fn what_is_seen(one: &World) {
    let env = one.id.as_str();
    let disk = one.json(&["df"]);
    let count = |value: &serde_json::Value| value.as_u64().unwrap();
    let mut sum = count(&disk["shared_images"]) + count(&disk["store"]);
    for account in disk["environments"].as_array().unwrap() {
        let parts: u64 = ["images", "data", "trees", "snapshots"].iter().map(|part| count(&account[part])).sum();
        assert_eq!(parts, count(&account["together"]));
        assert!(count(&account["data"]) > 50_000_000 && count(&account["trees"]) > 1_000_000, "{account}");
        assert_eq!((count(&account["images"]), &account["shared_images"]), (0, &disk["shared_images"]));
        sum += parts;
    }
    assert_eq!(sum, count(&disk["all"]));

    let graph = one.json(&["graph", "--env", env]);
    let manager = graph.as_array().unwrap().iter().find(|service| service["name"] == "manager").unwrap();
    assert_eq!((&manager["state"], &manager["ports"][0]), (&"healthy".into(), &one.row()["ports"]["manager"]));
    assert!(one.succeeds(&["graph", "--env", env, "--format", "svg"]).contains("<svg"));

    let top = one.json(&["top", "--env", env]);
    let used = |row: &serde_json::Value| row["name"] == "manager" && count(&row["memory"]) > 10_000_000;
    assert!(top.as_array().unwrap().iter().any(used), "{top}");

    let logs = one.succeeds(&["logs", "--env", env, "--since", "1h", "manager", "webserver"]);
    assert!(["manager   | ", "webserver | "].iter().all(|name| logs.contains(name)) && !logs.contains('\x1b'), "{logs}");
    one.refuses(&["logs", "--env", env, "nothing"], 2, &["no container of a service `nothing`"]);
    let address = one.succeeds(&["open", "webui", "--env", env, "--print"]);
    assert!(
        address.contains(&format!("http://{}.localhost:{}  admin@lablup.com", one.id, one.row()["ports"]["webserver"])),
        "{address}"
    );
}

/// A copy of a folder of plain files.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
