//! Dev containers, judged by the reference CLI, and the debugger. `tests/all` runs it.

mod world;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use world::{World, containers, docker, wait_until};

/// The reference CLI, which `tests/all` installs and names.
fn devcontainer(world: &World, configuration: Option<&str>, words: &[&str]) -> Output {
    let program = baibox::host::variable("DEVCONTAINER").expect("`DEVCONTAINER` names the reference CLI: run tests/all");
    let mut command = Command::new(program);
    command.arg(words[0]).arg("--workspace-folder").arg(&world.folder);
    if let Some(name) = configuration {
        command.arg("--config").arg(world.folder.join(".devcontainer").join(name).join("devcontainer.json"));
    }
    let output = command.args(&words[1..]).output().unwrap();
    eprintln!("devcontainer {words:?} {configuration:?}\n{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

fn succeeds(world: &World, configuration: Option<&str>, words: &[&str]) -> String {
    let output = devcontainer(world, configuration, words);
    assert!(output.status.success(), "devcontainer {words:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "needs an engine, package mirrors and the reference CLI: run tests/all"]
fn the_reference_cli_opens_what_baibox_made_and_makes_what_baibox_sees() {
    let scratch = tempfile::tempdir().unwrap();
    // What people call their folders.
    let mut world = World::new(scratch.path(), "dev");
    world.folder = scratch.path().join(format!("mein Ordner ü $x 'q' \"d\" #1, c=2 {}", std::process::id()));
    let place = world.folder.to_str().unwrap();
    world.succeeds(&["up", "--branch", "21.03", "--env", &world.id, "--path", place, "--source", "pypi"]);
    let started = containers(&world.id);

    let components = ["agent", "client", "common", "manager", "storage-proxy", "webserver"];
    for configuration in [None].into_iter().chain(components.map(Some)) {
        let read = succeeds(&world, configuration, &["read-configuration", "--include-merged-configuration"]);
        let value: Value = serde_json::from_str(&read).unwrap();
        assert_eq!(value["configuration"]["remoteUser"], "dev", "{configuration:?}");
        assert_eq!(value["configuration"]["shutdownAction"], "none", "{configuration:?}");
    }

    // The running stack is opened as it is.
    let answer: Value = serde_json::from_str(succeeds(&world, None, &["up"]).lines().last().unwrap()).unwrap();
    assert_eq!((&answer["outcome"], &answer["composeProjectName"]), (&json!("success"), &json!(world.id)));
    assert_eq!(containers(&world.id), started);
    succeeds(&world, None, &["run-user-commands"]);
    let said = succeeds(&world, None, &["exec", "backend.ai", "run", "--rm", "-c", "print('Hello World!')", "python"]);
    assert!(said.lines().any(|line| line.trim() == "Hello World!"), "{said}");
    succeeds(&world, None, &["exec", "touch", "written"]);
    let owner = |path: &Path| std::fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
    assert_eq!(owner(&world.folder.join("written")), owner(&world.folder));

    // A component in its own container: it imports, and its tests run.
    let tests = world.folder.join("manager/tests");
    std::fs::create_dir(&tests).unwrap();
    std::fs::write(
        tests.join("test_here.py"),
        "import ai.backend.manager\nimport urllib.request\n\n\ndef test_halfstack():\n    urllib.request.urlopen('http://127.0.0.1:2379/health')\n",
    )
    .unwrap();
    succeeds(&world, Some("manager"), &["up"]);
    let said = succeeds(&world, Some("manager"), &["exec", "pytest", "-p", "no:cacheprovider"]);
    assert!(said.contains("1 passed"), "{said}");
    // A hook that fails is tried again, which the tools alone do not do.
    let module = world.folder.join("client/src/ai/backend/client/__init__.py");
    let before = std::fs::read_to_string(&module).unwrap();
    std::fs::write(&module, "import nothing_like_this\n").unwrap();
    let failed = devcontainer(&world, Some("client"), &["up"]);
    assert!(!failed.status.success() && text(&failed).contains("`ai.backend.client` cannot be imported"), "{}", text(&failed));
    std::fs::write(&module, before).unwrap();
    let mended = devcontainer(&world, Some("client"), &["up"]);
    assert!(mended.status.success() && text(&mended).contains("ready: "), "{}", text(&mended));
    for service in started.keys().filter(|service| !service.is_empty()) {
        assert_eq!(containers(&world.id).get(service), started.get(service), "{service} was not started twice");
    }

    // Whoever owns the folder, also a user whose number Debian gave away, owns what is written.
    for (user, group) in [(1234, 1235), (33, 33)] {
        std::os::unix::fs::chown(&world.folder, Some(user), Some(group)).unwrap();
        let workspace = format!("{}-workspace-1", world.id);
        docker(&["restart", "--time", "1", &workspace]);
        let wait = r#"until [ "$(id -u dev)" = "$(stat -c %u "$BAIBOX_WORKSPACE")" ]; do sleep 0.1; done"#;
        docker(&["exec", &workspace, "timeout", "20", "sh", "-c", wait]);
        let name = format!("by-{user}");
        world.inside("workspace", &["touch", &name]);
        assert_eq!(owner(&world.folder.join(name)), (user, group));
    }
    let own = owner(&world.folder.join("manager"));
    std::os::unix::fs::chown(&world.folder, Some(own.0), Some(own.1)).unwrap();

    // The tools alone start the same stack.
    world.succeeds(&["stop", "--env", &world.id]);
    // Sessions are the agent's, and end with it or later.
    assert_eq!(containers(&world.id).keys().filter(|service| !service.is_empty()).count(), 0);
    succeeds(&world, None, &["up"]);
    let said = world.succeeds(&["verify", "--env", &world.id]);
    assert!(said.contains("Hello World!"), "{said}");
    let status = world.succeeds(&["status", "--env", &world.id, "--json"]);
    assert!(status.contains("workspace"), "{status}");

    what_is_saved_runs(&world);
    a_breakpoint_is_met(&world, "manager");
    world.succeeds(&["delete", &world.id, "--yes", "--force"]);
    assert!(containers(&world.id).is_empty());
    without_theirs("meinordnerxqd1c2");
}

#[test]
#[ignore = "needs an engine, package mirrors, the reference CLI and a browser: run tests/all"]
fn the_one_tree_is_opened_and_debugged_and_its_apps_are_seen_in_a_browser() {
    let scratch = tempfile::tempdir().unwrap();
    let mut world = World::new(scratch.path(), "tree");
    world.folder = scratch.path().join(format!("tree{}", std::process::id()));
    let place = world.folder.to_str().unwrap();
    world.succeeds(&["up", "--branch", "25.15", "--env", &world.id, "--path", place, "--source", "pypi", "--no-verify"]);

    succeeds(&world, Some("backend.ai"), &["up"]);
    let module = "import ai.backend.manager as m; print(m.__file__)";
    let said = succeeds(&world, Some("backend.ai"), &["exec", "python", "-c", module]);
    let tree = world.folder.join("backend.ai");
    assert_eq!(said.trim(), tree.join("src/ai/backend/manager/__init__.py").to_str().unwrap());
    let read = succeeds(&world, Some("backend.ai"), &["read-configuration"]);
    let value: Value = serde_json::from_str(&read).unwrap();
    let launch = value["configuration"]["customizations"]["vscode"]["settings"]["launch"].to_string();
    for program in ["manager: launch", "app-proxy-worker: launch", "agent: attach", "webserver: attach"] {
        assert!(launch.contains(program), "{program}: {launch}");
    }

    an_app_of_a_session_is_seen(&world);
    what_the_app_proxy_knows_goes_with_a_snapshot(&world);
    a_breakpoint_is_met(&world, "backend.ai");
    world.succeeds(&["delete", &world.id, "--yes", "--force"]);
    without_theirs("tree");
}

/// What the reference CLI made on top of our images, it leaves.
fn without_theirs(folder: &str) {
    let theirs = format!("reference=vsc-{folder}{}-*", std::process::id());
    for image in docker(&["images", "--quiet", "--filter", &theirs]).lines() {
        docker(&["rmi", "--force", image]);
    }
}

/// As the web UI opens it: manager, coordinator, worker, and the program that listens in the session.
fn an_app_of_a_session_is_seen(world: &World) {
    let status: Value = serde_json::from_str(&world.succeeds(&["status", "--env", &world.id, "--json"])).unwrap();
    let record = std::fs::read(world.folder.join(".baibox").join(&world.id).join("environment.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    std::fs::write(world.folder.join("app.py"), include_str!("fixtures/app.py")).unwrap();
    let address = world.inside("workspace", &["python", "app.py", record["images"]["python"].as_str().unwrap()]);
    let address = address.lines().find(|line| line.starts_with("http")).unwrap_or_else(|| panic!("{address}"));
    assert!(address.starts_with(&format!("http://127.0.0.1:{}/", status["ports"]["app-proxy-coordinator"])), "{address}");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/app.mjs");
    let shown = text(&Command::new("node").args([script, address]).output().unwrap());
    let apps = format!(".{}.apps.localhost:{}/ Directory listing for /", world.id, status["ports"]["app-proxy-worker-apps"]);
    assert!(shown.trim().ends_with(&apps), "{shown}");
}

/// Model services come back with it; programs of sessions, which end, do not.
fn what_the_app_proxy_knows_goes_with_a_snapshot(world: &World) {
    let sql = |text: &str| {
        let script = "exec /usr/lib/postgresql/*/bin/psql -U postgres -h /run/postgresql -tAc \"$0\" appproxy";
        docker(&["exec", &containers(&world.id)["postgres"], "sh", "-c", script, text]).trim().to_owned()
    };
    let apps = "select count(*) from circuits where app_mode = 'INTERACTIVE'";
    assert_eq!(sql(apps), "1");
    sql("insert into endpoints (id) values ('0f0e0d0c-0000-4000-8000-000000000001')");
    let kept = "select count(*) from endpoints where id = '0f0e0d0c-0000-4000-8000-000000000001'";
    world.succeeds(&["snapshot", "kept", "--env", &world.id]);
    sql("delete from endpoints");
    assert_eq!(sql(kept), "0");
    world.succeeds(&["restore", "kept", "--env", &world.id, "--yes"]);
    assert_eq!((sql(kept), sql(apps)), ("1".into(), "0".into()));
    assert_eq!(sql("select nodes, status from workers"), "1|ALIVE");
}

/// `up --watch` restarts what runs a module that is saved.
fn what_is_saved_runs(world: &World) {
    let module = world.folder.join("manager/src/ai/backend/manager/server.py");
    let source = std::fs::read_to_string(&module).unwrap();
    let watching = Command::new(env!("CARGO_BIN_EXE_baibox"))
        .args(["up", "--env", &world.id, "--watch"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut watching = Watching(watching);
    let mut said = BufReader::new(watching.0.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().starts_with("watching")));
    let edited = source.replacen("import asyncio\n", "import asyncio\nprint('it was saved', flush=True)\n", 1);
    std::fs::write(&module, edited).unwrap();
    let manager = format!("{}-manager-1", world.id);
    wait_until("the manager runs what was saved", || docker(&["logs", &manager]).contains("it was saved"));
    // Its healthcheck asks for it again before the command says so.
    assert!(said.any(|line| line.unwrap().starts_with("restart: manager (")));
    std::fs::write(&module, source).unwrap();
    assert!(said.any(|line| line.unwrap().starts_with("restart: manager (")));
    rustix::process::kill_process(rustix::process::Pid::from_child(&watching.0), rustix::process::Signal::INT).unwrap();
    assert_eq!(watching.0.wait().unwrap().code(), Some(130));
}

/// A test that fails leaves no `up --watch` behind.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service under the debugger stops where the host's file says.
fn a_breakpoint_is_met(world: &World, tree: &str) {
    let refused = world.baibox(&["debug", "--env", &world.id, "postgres"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    let said = world.succeeds(&["debug", "--env", &world.id, "manager"]);
    let port: u16 = said.split("attach to 127.0.0.1:").nth(1).unwrap().lines().next().unwrap().trim().parse().unwrap();
    let launch = std::fs::read_to_string(world.folder.join(".vscode/launch.json")).unwrap();
    assert!(launch.contains(&port.to_string()), "{launch}");
    let status: Value = serde_json::from_str(&world.succeeds(&["status", "--env", &world.id, "--json"])).unwrap();
    let manager = status["ports"]["manager"].as_u64().unwrap();

    let path = world.folder.join(tree).join("src/ai/backend/manager/server.py");
    let source = std::fs::read_to_string(&path).unwrap();
    let line = 1 + source.lines().position(|line| line.replace('"', "'").contains("'version': LATEST_API_VERSION")).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let (found, met) = std::sync::mpsc::channel();
    let connect = json!({ "host": "127.0.0.1", "port": port });
    let attach = json!({ "subProcess": true, "justMyCode": false, "connect": connect });
    session(port, attach, path.clone(), line - 1, manager, found);
    let met = met.recv_timeout(std::time::Duration::from_secs(60)).expect("the breakpoint is met");
    assert_eq!(met, path);
    world.succeeds(&["debug", "--env", &world.id, "--off", "manager"]);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the debugger's port is closed again");
}

/// One session of the debug adapter protocol, and one more for each process that forks.
/// <https://microsoft.github.io/debug-adapter-protocol/specification>
fn session(port: u16, attach: Value, path: String, line: usize, manager: u64, found: std::sync::mpsc::Sender<String>) {
    std::thread::spawn(move || {
        let mut out = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut input = BufReader::new(out.try_clone().unwrap());
        let mut number = 0;
        let mut send = |command: &str, arguments: Value| {
            number += 1;
            let body = json!({ "seq": number, "type": "request", "command": command, "arguments": arguments }).to_string();
            write!(out, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        };
        send("initialize", json!({ "adapterID": "debugpy", "pathFormat": "path", "linesStartAt1": true }));
        send("attach", attach);
        loop {
            let mut length = 0;
            loop {
                let mut header = String::new();
                if input.read_line(&mut header).unwrap_or(0) == 0 {
                    return;
                }
                match header.trim() {
                    "" => break,
                    header => length = header.split(": ").nth(1).unwrap().parse().unwrap(),
                }
            }
            let mut body = vec![0; length];
            input.read_exact(&mut body).unwrap();
            let message: Value = serde_json::from_slice(&body).unwrap();
            match (message["event"].as_str(), message["command"].as_str()) {
                (Some("initialized"), _) => {
                    send("setBreakpoints", json!({ "source": { "path": path }, "breakpoints": [{ "line": line }] }));
                    send("configurationDone", json!({}));
                }
                // It names the process that forked.
                (Some("debugpyAttach"), _) => session(port, message["body"].clone(), path.clone(), line, manager, found.clone()),
                (_, Some("attach")) => {
                    // Its answer comes when execution goes on, which is what waits.
                    std::thread::spawn(move || {
                        let mut request = TcpStream::connect(("127.0.0.1", u16::try_from(manager).unwrap())).unwrap();
                        write!(request, "GET / HTTP/1.0\r\n\r\n").unwrap();
                        let _ = request.read_to_end(&mut Vec::new());
                    });
                }
                (Some("stopped"), _) => {
                    // As editors ask: debugpy answers for frames of threads that it was asked for.
                    send("threads", json!({}));
                    let thread = &message["body"]["threadId"];
                    send("stackTrace", json!({ "threadId": thread, "startFrame": 0, "levels": 20 }));
                }
                (_, Some("stackTrace")) => {
                    let place = message["body"]["stackFrames"][0]["source"]["path"].as_str().unwrap_or_default().to_owned();
                    send("disconnect", json!({ "terminateDebuggee": false }));
                    let _ = found.send(place);
                    return;
                }
                _ => {}
            }
        }
    });
}
