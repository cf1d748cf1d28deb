//! What goes wrong outside, on a real engine or against servers that fail: an error that
//! says so, nothing lost, and the same command succeeds once the cause is gone.

mod world;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baibox"));
    command.args(arguments).current_dir(folder).env("XDG_CACHE_HOME", folder.join("cache"));
    command
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let output: Output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A mirror that gives every question the same answer, and says when it is asked.
fn mirror(answer: &'static [u8]) -> (String, std::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/debian", listener.local_addr().unwrap());
    let (asked, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            for line in BufReader::new(&stream).lines() {
                if line.unwrap().is_empty() {
                    break;
                }
            }
            stream.write_all(answer).unwrap();
            // One that says nothing keeps the connection open.
            if answer.is_empty() {
                open.push(stream);
            }
            if asked.send(()).is_err() {
                break;
            }
        }
    });
    (address, receiver)
}

fn empty(folder: &Path) -> bool {
    std::fs::read_dir(folder.join("cache/baibox/temporary")).unwrap().next().is_none()
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

fn as_root(program: &str) -> Command {
    let user = Command::new("id").arg("-u").output().unwrap().stdout;
    if user == b"0\n" {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", program]);
    command
}

const UPDATE: [&str; 4] = ["lock", "--branch", "21.03", "--update"];

#[test]
fn a_mirror_that_fails_is_named_with_its_answer() {
    for (answer, says) in [
        (&b"HTTP/1.1 500 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"[..], "answered 500"),
        (b"HTTP/1.1 404 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "answered 404"),
        (b"HTTP/1.1 200 x\r\ncontent-length: 4\r\nconnection: close\r\n\r\nevil", "is not a clear-signed text"),
        (b"nonsense", "cannot be reached"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (address, _asked) = mirror(answer);
        let (code, text) = run(command(folder.path(), &UPDATE).env("BAIBOX_DEBIAN_MIRROR", &address));
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(says) && text.starts_with("lock: stopped"), "{says}: {text}");
        assert!(empty(folder.path()));
    }
}

#[test]
fn ctrl_c_ends_at_once_and_leaves_nothing_half_made() {
    let folder = tempfile::tempdir().unwrap();
    let (address, asked) = mirror(b"");
    let mut child = command(folder.path(), &UPDATE).env("BAIBOX_DEBIAN_MIRROR", &address).stderr(Stdio::piped()).spawn().unwrap();
    asked.recv().unwrap();
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("stopped by Ctrl-C") && text.contains("hint: type the same command again"), "{text}");
    assert!(empty(folder.path()));
}

#[test]
#[ignore = "needs root and package mirrors: run tests/all"]
fn a_full_disk_is_an_error_that_leaves_the_store_whole() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    std::fs::create_dir(&cache).unwrap();
    let mount = |options: &str| {
        let done = as_root("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&cache).status().unwrap();
        assert!(done.success(), "this test mounts a small file system, which needs root or sudo");
    };
    mount("size=2m,mode=777");
    let (code, text) = run(&mut command(folder.path(), &UPDATE));
    let clean = empty(folder.path());
    // Grown, it is the same store.
    mount("remount,size=400m");
    let (again, said) = run(&mut command(folder.path(), &UPDATE));
    assert!(as_root("umount").arg(&cache).status().unwrap().success());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("No space left on device") && clean, "{text}");
    assert_eq!(again, Some(0), "{said}");
}

/// A server of these files, by the ends of their paths; below `/snapshot/` there is only what the mirror dropped.
fn archive(files: Vec<(String, PathBuf)>, dropped: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head: Vec<String> =
                BufReader::new(&stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            let path = head[0].split(' ').nth(1).unwrap().replace("%2b", "+");
            let file = files.iter().find(|(name, _)| path.ends_with(name));
            let there = |name: &str| name.contains(dropped) == path.starts_with("/snapshot/");
            let (answer, body) = match file.filter(|(name, _)| there(name)) {
                Some((_, file)) => ("200 OK", std::fs::read(file).unwrap()),
                None => ("404 x", Vec::new()),
            };
            let head = format!("HTTP/1.1 {answer}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            // Who asks may have enough.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    address
}

#[test]
#[ignore = "needs package mirrors: run tests/all"]
fn what_a_mirror_dropped_comes_from_a_snapshot_and_no_engine_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let build = |cache: &str, more: &[&str]| {
        let path = folder.path().join(cache).join("dev");
        let words = ["build", "--locked", "--image", "etcd", "--output", "oci:images", "--env", "dev"];
        let new = ["--branch", "21.03", "--source", "pypi", "--path", path.to_str().unwrap()];
        let mut command = command(folder.path(), &[&words[..], if more.is_empty() { &new } else { more }].concat());
        command.env("XDG_CACHE_HOME", folder.path().join(cache));
        command.env("BAIBOX_ENGINE", "none").env("DOCKER_HOST", "unix:///nonexistent");
        command
    };
    let (code, text) = run(&mut build("first", &[]));
    assert_eq!(code, Some(0), "{text}");
    let store = baibox::store::Store::open(&folder.path().join("first/baibox")).unwrap();
    let lock = command(folder.path(), &["lock", "--branch", "21.03", "--json"]).output().unwrap().stdout;
    let lock: serde_json::Value = serde_json::from_slice(&lock).unwrap();
    let debs = lock.as_object().unwrap().values().filter_map(|set| set.as_array()).flatten();
    let files = debs.filter_map(|deb| {
        let digest = baibox::model::Digest::parse(deb["sha256"].as_str()?).ok()?;
        Some((deb["file"].as_str()?.to_owned(), store.blob_path(&digest))).filter(|(_, path)| path.exists())
    });
    let address = archive(files.collect(), "/etcd-server_");
    // The mirror alone, with an empty store: the one file is named, and how to go on.
    let (code, text) = run(build("second", &[]).env("BAIBOX_DEBIAN_MIRROR", format!("{address}/debian")));
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("cannot be had any more: `pool/main/e/etcd/etcd-server_") && text.contains("BAIBOX_DEBIAN_SNAPSHOT"),
        "{text}"
    );
    let snapshots = format!("{address}/nothing {address}/snapshot/");
    let mut again = build("second", &["--quiet"]);
    let again = again.env("BAIBOX_DEBIAN_MIRROR", format!("{address}/debian")).env("BAIBOX_DEBIAN_SNAPSHOT", snapshots);
    let (code, text) = run(again);
    assert_eq!((code, text.as_str()), (Some(0), ""));
    // What was made without an engine goes without one.
    for cache in ["first", "second"] {
        let mut delete = command(folder.path(), &["delete", "dev", "--yes"]);
        delete.env("XDG_CACHE_HOME", folder.path().join(cache)).env("BAIBOX_ENGINE", "none");
        let (code, text) = run(&mut delete);
        assert_eq!(code, Some(0), "{text}");
        assert!(!folder.path().join(cache).join("dev").exists());
    }
}

/// After a failed assertion too, nothing of the test stays on the engine.
struct Gone<'a> {
    id: &'a str,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let done = Command::new(env!("CARGO_BIN_EXE_baibox")).args(["delete", self.id, "--yes", "--force"]).status();
            eprintln!("{}: {done:?}", self.id);
        }
    }
}

/// An environment whose build is ended at many moments, each told by a line of its own.
#[test]
#[ignore = "needs an engine and package mirrors: run tests/all"]
fn an_up_that_is_ended_goes_on_when_it_is_typed_again() {
    let scratch = tempfile::tempdir().unwrap();
    let id = format!("baibox-ended-{}", std::process::id());
    let up = ["up", "--branch", "21.03", "--env", &id, "--path", "here", "--source", "pypi", "--no-verify"];
    let _gone = Gone { id: &id };
    for (line, signal) in [("source:", "-INT"), ("", "-KILL"), ("up:", "-INT")] {
        // The user's own store: what is tested is not the download.
        let mut child = Command::new(env!("CARGO_BIN_EXE_baibox"));
        let mut child = child.args(up).current_dir(scratch.path()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let said: Vec<String> = lines.by_ref().take_while(|said| !said.starts_with(line)).collect();
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success();
        let rest: Vec<String> = lines.collect();
        let code = child.wait().unwrap().code();
        let ended = killed && (code == Some(130) || code.is_none());
        // Only the last stage may end well before the signal comes.
        assert!(ended || (line == "up:" && code == Some(0)), "{line} {signal} {code:?}: {said:?} {rest:?}");
    }
    // A port of the stopped environment that another program took.
    let baibox = |arguments: &[&str]| run(Command::new(env!("CARGO_BIN_EXE_baibox")).args(arguments).current_dir(scratch.path()));
    let (code, text) = baibox(&up);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(baibox(&["stop", "--env", &id]).0, Some(0));
    let record = std::fs::read_to_string(scratch.path().join("here/.baibox").join(&id).join("environment.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let port = u16::try_from(record["ports"]["webserver"].as_u64().unwrap()).unwrap();
    let holder = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (code, text) = baibox(&["start", "--env", &id]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("{port} of webserver is held by")) && text.contains("hint:"), "{text}");
    drop(holder);
    // What another release's data says does not change what an environment is of.
    let images = scratch.path().join("images/releases/99.03");
    std::fs::create_dir_all(&images).unwrap();
    for file in ["release.toml", "python.lock"] {
        let text = std::fs::read_to_string(format!("images/releases/21.03/{file}")).unwrap();
        std::fs::write(images.join(file), text.replace("branch = \"21.03\"", "branch = \"99.03\"")).unwrap();
    }
    let mut other = Command::new(env!("CARGO_BIN_EXE_baibox"));
    other.args(["up", "--branch", "99.03", "--env", &id]).env("BAIBOX_IMAGES", scratch.path().join("images"));
    let (code, text) = run(&mut other);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("is of release 21.03, not 99.03") && text.contains("hint:"), "{text}");

    // A lock that names what no mirror has: refused when it must hold, else mended and told.
    let lock = scratch.path().join("here/.baibox").join(&id).join("lock.toml");
    let whole = std::fs::read_to_string(&lock).unwrap();
    let (head, tail) = whole.split_once("name = \"redis-tools\"").unwrap();
    let digest = tail.split("sha256:").nth(1).unwrap().get(..64).unwrap();
    let tail = tail.replacen("_amd64.deb", "~gone_amd64.deb", 1).replacen(digest, &"0".repeat(64), 1);
    std::fs::write(&lock, format!("{head}name = \"redis-tools\"{tail}")).unwrap();
    let (code, text) = baibox(&["build", "--env", &id, "--locked"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("what is locked cannot be had any more") && text.contains("~gone_amd64.deb"), "{text}");
    let (code, text) = baibox(&["build", "--env", &id]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Debian packages are resolved again"), "{text}");

    // A tree that requires what no pin meets: uv chooses, and says what came.
    let setup = scratch.path().join("here/storage-proxy/setup.cfg");
    let text = std::fs::read_to_string(&setup).unwrap();
    std::fs::write(&setup, text + "\n[options]\ninstall_requires =\n    humanize>=3.0\n").unwrap();
    let (code, text) = baibox(&["build", "--env", &id, "--locked"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("storage-proxy asks for `humanize>=3.0`, the lock has nothing"), "{text}");
    let (code, text) = baibox(&["build", "--env", &id]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("humanize 4.0.0 is new (storage-proxy)"), "{text}");
    // And then it is locked.
    let (code, text) = baibox(&["build", "--env", &id, "--locked"]);
    assert_eq!((code, text.as_str()), (Some(0), ""));

    let (code, text) = baibox(&["delete", &id, "--yes", "--force"]);
    assert_eq!(code, Some(0), "{text}");
}

/// A second Docker daemon with data of its own, whose bridge and rules are in a network namespace: the host's stay.
struct Daemon {
    folder: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    fn socket(&self) -> String {
        format!("unix://{}", self.folder.join("socket").display())
    }
    fn start(&mut self) {
        let place = |name: &str| self.folder.join(name).display().to_string();
        let mut daemon = as_root("unshare");
        daemon.args(["--net", "dockerd", "--bridge", "none", "--iptables=false", "--host", &self.socket()]);
        for option in ["data-root", "exec-root", "pidfile"] {
            daemon.arg(format!("--{option}={}", place(option)));
        }
        let log = std::fs::File::create(self.folder.join("log")).unwrap();
        self.child = Some(daemon.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        world::wait_until("the second daemon answers", || {
            let asked = Command::new("docker").args(["--host", &self.socket(), "version"]).output().unwrap();
            asked.status.success()
        });
    }
    fn end(&mut self, signal: &str) {
        let Some(mut child) = self.child.take() else { return };
        // Its own number: the child may be `sudo`.
        if let Ok(pid) = std::fs::read_to_string(self.folder.join("pidfile")) {
            let _ = as_root("kill").args([signal, pid.trim()]).status();
        }
        child.wait().unwrap();
        // Its containerd dies with it; the next daemon must not go by that one's number.
        let _ = as_root("rm").arg("-f").arg(self.folder.join("exec-root/containerd/containerd.pid")).status();
    }
    /// Layers that were unpacked and registered.
    fn layers(&self) -> usize {
        let list = "ls -d image/*/layerdb/sha256/* 2> /dev/null | wc -l";
        let counted = as_root("sh").args(["-c", &format!("cd {}/data-root && {list}", self.folder.display())]).output().unwrap();
        String::from_utf8_lossy(&counted.stdout).trim().parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end("-TERM");
        let _ = as_root("umount").arg("--quiet").arg(self.folder.join("data-root")).status();
        let _ = as_root("rm").arg("-rf").args(["data-root", "exec-root"].map(|name| self.folder.join(name))).status();
    }
}

#[test]
#[ignore = "needs root, an engine and package mirrors: run tests/all"]
fn an_engine_that_dies_while_it_takes_images_is_told_and_gets_them_when_it_is_back() {
    let scratch = tempfile::tempdir().unwrap();
    let id = format!("baibox-engine-dies-{}", std::process::id());
    let mut daemon = Daemon { folder: scratch.path().to_owned(), child: None };
    daemon.start();
    let baibox = |arguments: &[&str], socket: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baibox"));
        command.args(arguments).current_dir(scratch.path()).env("DOCKER_HOST", socket);
        command
    };
    let up = ["up", "--branch", "21.03", "--env", &id, "--path", "here", "--source", "pypi", "--no-verify"];
    let mut child = baibox(&up, &daemon.socket()).stderr(Stdio::piped()).spawn().unwrap();
    world::wait_until("some layers are taken", || daemon.layers() > 2 || child.try_wait().unwrap().is_some());
    daemon.end("-KILL");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("load: stopped") && text.contains("the container engine went away"), "{text}");
    assert!(text.contains("cause: the engine did not take the images to their end"), "{text}");
    assert!(text.contains("hint: then type the same command again"), "{text}");
    let build = ["build", "--env", &id, "--locked"];
    let (code, text) = run(&mut baibox(&build, &daemon.socket()));
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("no container engine answers at unix://"), "{text}");

    daemon.start();
    // Every byte that is sent is verified: what the store has is whole. Images that it has taken stay.
    let (code, text) = run(&mut baibox(&build, &daemon.socket()));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("load: ") && !text.contains("build:"), "{text}");
    assert_eq!(run(&mut baibox(&build, &daemon.socket())), (Some(0), String::new()), "nothing is left to do");
    let (code, text) = run(&mut baibox(&["delete", &id, "--yes", "--force"], &daemon.socket()));
    assert_eq!(code, Some(0), "{text}");
}
