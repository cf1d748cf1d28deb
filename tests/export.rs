//! A dev container that is committed: a clone and a registry are all that it needs.
//! `tests/all` runs it.

mod world;

use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use world::{Registry, World, docker, git, wait_until};

/// git's own server, at the host's end of a network of its own: containers of all networks reach it.
struct GitServer {
    child: Child,
    base: String,
    network: String,
}

impl GitServer {
    fn start(repositories: &Path) -> Self {
        let network = format!("baibox-git-{}", std::process::id());
        docker(&["network", "create", &network]);
        let address = docker(&["network", "inspect", &network, "--format", "{{(index .IPAM.Config 0).Gateway}}"]);
        let address = address.trim();
        let port = std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new("git")
            .args(["daemon", "--export-all", "--reuseaddr", &format!("--listen={address}"), &format!("--port={port}")])
            .arg(format!("--base-path={}", repositories.display()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("git listens", || std::net::TcpStream::connect((address, port)).is_ok());
        Self { child, base: format!("git://{address}:{port}"), network }
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        // It has forked a process that serves; the group is asked to end.
        let _ = Command::new("pkill").args(["--parent", &self.child.id().to_string()]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = Command::new("docker").args(["network", "rm", &self.network]).output();
    }
}

/// What a clone started on the engine, which goes with the test.
struct Clone {
    folder: PathBuf,
    /// What the images were pulled from.
    team: String,
}

impl Clone {
    fn project(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join(".devcontainer/baibox/compose.name.yaml")).unwrap();
        text.trim().strip_prefix("name: ").unwrap().to_owned()
    }
    fn tool(&self, words: &[&str]) -> String {
        let program = baibox::host::variable("DEVCONTAINER").expect("`DEVCONTAINER` names the reference CLI: run tests/all");
        let mut command = Command::new(program);
        let output = command.arg(words[0]).arg("--workspace-folder").arg(&self.folder).args(&words[1..]).output().unwrap();
        eprintln!("devcontainer {words:?}\n{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "devcontainer {words:?}: {said}");
        said
    }
}

impl Drop for Clone {
    fn drop(&mut self) {
        if !self.folder.join(".devcontainer/baibox/compose.name.yaml").exists() {
            return;
        }
        let own = format!("label=ai.baibox.environment={}", self.project());
        let pulled = format!("reference={}/*/*", self.team);
        for (list, filter, remove) in [
            (&["ps", "--all", "--quiet"][..], &own, &["rm", "--force"][..]),
            (&["network", "ls", "--quiet"], &own, &["network", "rm"]),
            (&["volume", "ls", "--quiet"], &own, &["volume", "rm"]),
            (&["images", "--digests", "--format", "{{.Repository}}@{{.Digest}}"], &pulled, &["rmi", "--force"]),
        ] {
            let found = docker(&[list, &["--filter", filter]].concat());
            if !found.is_empty() {
                docker(&remove.iter().copied().chain(found.lines()).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
#[ignore = "needs an engine, package mirrors and the reference CLI: run tests/all"]
fn a_clone_and_a_registry_are_all_that_an_exported_dev_container_needs() {
    let scratch = tempfile::tempdir().unwrap();
    let world = World::new(scratch.path(), "export");
    let place = world.folder.to_str().unwrap();
    let up = ["up", "--branch", "21.03", "--env", &world.id, "--path", place, "--no-verify"];
    world.succeeds(&[&up[..], &["--source", "pypi"]].concat());
    let registry = Registry::start(scratch.path());
    let team = format!("localhost:{}/team", registry.port);

    // The repositories that contributors have, from the trees that there are.
    let repositories = scratch.path().join("repositories");
    std::fs::create_dir(&repositories).unwrap();
    let server = GitServer::start(&repositories);
    let fork = scratch.path().join("fork");
    git(scratch.path(), &["clone", "--quiet", &format!("{place}/manager"), fork.to_str().unwrap()]);
    let export = |arguments: &[&str]| {
        let words = ["devcontainer", "export", fork.to_str().unwrap(), "--env", &world.id, "--registry", &team];
        world.baibox(&[&words[..], arguments].concat())
    };
    // Trees of source distributions are nowhere but here.
    let refused = export(&[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("--source git"), "{said}");
    for name in ["agent", "common", "storage-proxy", "webserver", "client"] {
        let (tree, bare) = (world.folder.join(name), repositories.join(name));
        git(scratch.path(), &["clone", "--quiet", "--bare", tree.to_str().unwrap(), bare.to_str().unwrap()]);
        git(&tree, &["remote", "add", "origin", &format!("{}/{name}", server.base)]);
        git(&tree, &["fetch", "--quiet", "origin"]);
    }
    // So are images that were not pushed.
    let refused = export(&[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("baibox push"), "{said}");
    world.succeeds(&["push", "--env", &world.id, &team]);
    assert!(export(&[]).status.success());
    std::fs::write(fork.join(".gitignore"), "*.toml\n*.conf\n").unwrap();
    git(&fork, &["add", "--all"]);
    git(&fork, &["-c", "user.name=me", "-c", "user.email=me@localhost", "commit", "--quiet", "--message", "dev container"]);
    assert!(export(&[]).status.success());
    assert_eq!(git(&fork, &["status", "--porcelain"]), "", "written again, it is the same");
    world.succeeds(&["delete", &world.id, "--yes", "--force"]);

    // Somebody else's clone; as in Codespaces, nobody changes the number of `dev` before.
    let other = scratch.path().join("anderswo/Mein Klon");
    git(scratch.path(), &["clone", "--quiet", fork.to_str().unwrap(), other.to_str().unwrap()]);
    let clone = Clone { folder: other, team };
    let said = clone.tool(&["up", "--update-remote-user-uid-default", "never"]);
    let answer: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(answer["composeProjectName"].as_str(), Some(clone.project().as_str()));
    assert_eq!(answer["remoteWorkspaceFolder"], "/workspaces/backend.ai/manager");
    let workspace = format!("{}-workspace-1", clone.project());
    let hello = ["exec", "--user", "dev", &workspace, "backend.ai", "run", "--rm", "-c", "print('Hello World!')", "python"];
    // The agent's first heartbeat comes after all are healthy.
    wait_until("a session says hello", || {
        let said = Command::new("docker").args(hello).output().unwrap();
        eprint!("{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stdout).lines().any(|line| line.trim() == "Hello World!")
    });
    // What is forwarded from the container: web UI, manager, storage-proxy.
    for port in ["8080/func/", "8081/", "6021/"] {
        clone.tool(&["exec", "curl", "--silent", "--output", "/dev/null", &format!("http://127.0.0.1:{port}")]);
    }
    clone.tool(&["exec", "touch", "written"]);
    let owner = |path: &Path| std::fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
    assert_eq!(owner(&clone.folder.join("written")), owner(&clone.folder));
    assert_eq!(git(&clone.folder, &["status", "--porcelain"]).trim(), "?? written", "nothing else is new");

    // What is edited runs after a word, without an engine.
    let manager = format!("{}-manager-1", clone.project());
    let module = clone.folder.join("src/ai/backend/manager/server.py");
    let source = std::fs::read_to_string(&module).unwrap();
    std::fs::write(&module, source.replacen("import asyncio\n", "import asyncio\nprint('edited', flush=True)\n", 1)).unwrap();
    clone.tool(&["exec", "touch", "/workspaces/backend.ai/.restart/manager"]);
    wait_until("the manager runs what was edited", || docker(&["logs", &manager]).contains("edited"));
    let ask = ["exec", &manager, "curl", "--fail", "--silent", "http://127.0.0.1:8081/"];
    wait_until("the manager answers again", || Command::new("docker").args(ask).output().unwrap().status.success());

    // A second clone of the same name is another project.
    let second = scratch.path().join("zweitens/Mein Klon");
    git(scratch.path(), &["clone", "--quiet", fork.to_str().unwrap(), second.to_str().unwrap()]);
    let named = Command::new("/bin/sh").arg(second.join(".devcontainer/baibox/services/name.sh")).status().unwrap();
    assert!(named.success());
    let name = |folder: &Path| std::fs::read_to_string(folder.join(".devcontainer/baibox/compose.name.yaml")).unwrap();
    assert_ne!(name(&second), name(&clone.folder));
}
