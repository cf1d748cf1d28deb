//! CUDA without a GPU: devices that are made up, and requests for real ones that reach an engine. `tests/all` runs it.

mod world;

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use world::{World, git, wait_until};

/// Upstream's mock plug-in is in git alone: a small one of ours stands in its tree.
fn plugin(scratch: &Path) -> String {
    let tree = scratch.join("plugin");
    for (path, text) in [
        (
            "setup.cfg",
            "[metadata]\nname = backend.ai-accelerator-cuda\n[options]\ninstall_requires =\n    attrs>=21.2\n\
             [options.entry_points]\nbackendai_accelerator_v20 =\n    cuda = ai.backend.accelerator.cuda.plugin:CUDAPlugin\n",
        ),
        ("src/ai/backend/accelerator/cuda/__init__.py", "__version__ = '1'\n"),
        ("src/ai/backend/accelerator/cuda/plugin.py", include_str!("fixtures/mock_plugin.py")),
    ] {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    git(&tree, &["init", "--quiet"]);
    git(&tree, &["add", "--all"]);
    git(&tree, &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "x"]);
    format!("accelerator-cuda-mock={}", tree.display())
}

/// An engine of the test's own with a runtime called `nvidia`, which is runc, and with NVIDIA's hook if it is asked for.
struct Engine {
    child: Child,
    socket: String,
    folder: PathBuf,
}

impl Engine {
    fn start(scratch: &Path, name: &str, hook: bool) -> Self {
        let folder = scratch.join(name);
        let programs = folder.join("bin");
        fs::create_dir_all(&programs).unwrap();
        let script = |name: &str, text: &str| {
            let path = programs.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        script("stand-in", "#!/bin/sh\nexec runc \"$@\"\n");
        if hook {
            // The engine adds NVIDIA's hook to containers that ask for a GPU; this one keeps what they were started with.
            let keep =
                "bundle=$(sed 's/.*\"bundle\":\"\\([^\"]*\\)\".*/\\1/')\ncp \"$bundle/config.json\" \"${0%/*}/../asked.json\"\n";
            script("nvidia-container-runtime-hook", &format!("#!/bin/sh\n{keep}"));
        }
        let socket = format!("unix://{}/sock", folder.display());
        let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
        // In a network of its own: an engine without a bridge takes away the host's `docker0`, which is another engine's.
        let child = Command::new("unshare")
            .env("PATH", path)
            .args(["--net", "dockerd", "--bridge", "none", "--iptables=false", "--host", &socket])
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .arg("--add-runtime")
            .arg(format!("nvidia={}", programs.join("stand-in").display()))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let engine = Self { child, socket, folder };
        wait_until("the engine answers", || engine.docker(&["info"]).0);
        engine
    }
    fn docker(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new("docker").args(arguments).env("DOCKER_HOST", &self.socket).output().unwrap();
        (output.status.success(), [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat())
    }
    /// What the overlay is that `gpu.sh` chooses on this engine.
    fn chosen(&self, state: &Path, image: &str) -> String {
        let script = state.join("services/gpu.sh");
        let output = Command::new("/bin/sh").arg(script).arg(image).env("DOCKER_HOST", &self.socket).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        fs::read_to_string(state.join("compose.gpu.yaml")).unwrap()
    }
    /// Starts a service `agent` with the chosen overlay; what the engine made of it.
    fn starts(&self, state: &Path, image: &str) -> Value {
        let file = self.folder.join("compose.yaml");
        let service = format!("services:\n  agent:\n    image: {image}\n    entrypoint: [/bin/true]\n    network_mode: none\n");
        fs::write(&file, service).unwrap();
        let overlay = state.join("compose.gpu.yaml");
        let files = ["compose", "--project-name", "gpu", "--file", file.to_str().unwrap(), "--file", overlay.to_str().unwrap()];
        let (well, said) = self.docker(&[&files[..], &["up", "--exit-code-from", "agent"]].concat());
        assert!(well, "{said}");
        let (_, found) = self.docker(&["inspect", "gpu-agent-1"]);
        serde_json::from_str(&found).unwrap()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Asked to end, it ends its own children too.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs an engine, to start another one, and package mirrors: run tests/all"]
fn a_session_gets_a_made_up_device_and_requests_for_real_ones_reach_the_engine() {
    let scratch = tempfile::tempdir().unwrap();
    let world = World::new(scratch.path(), "cuda");
    let folder = world.folder.to_str().unwrap();
    let up = ["up", "--branch", "21.03", "--source", "pypi", "--env", &world.id, "--path", folder];

    // This host has no GPU, or the rest of the test says nothing of such hosts.
    let output = world.baibox(&[&up[..], &["--cuda"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("there is no GPU for the agent") && said.contains("`--cuda mock`"), "{said}");
    assert!(!world.folder.exists(), "nothing was made for it");

    // Hello world runs in a session that asks for a device.
    world.succeeds(&[&up[..], &["--cuda", "mock", "--tree", &plugin(scratch.path())]].concat());
    let devices = world.folder.join(".baibox").join(&world.id).join("agent/cuda-mock.toml");
    let text = fs::read_to_string(&devices).unwrap();
    let code = "import os; print('got', os.environ['GIVEN_DEVICES'])";
    let run = |amount: &str| {
        let words = ["run", "--rm", "--resources", amount, "-c", code, "python"];
        world.inside("workspace", &[&["backend.ai"][..], &words].concat())
    };
    let said = run("cuda.device=1");
    let first = text.split("mother_uuid = \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(said.contains(&format!("got {first}")), "{said}");

    // A person's devices stay, and the agent sees them when it starts again.
    let third = first.replace(&first[first.len() - 1..], "3");
    let (head, one) = text.split_once("[[devices]]").unwrap();
    fs::write(
        &devices,
        format!("{head}[[devices]]{one}\n[[devices]]{}", one.split("[[devices]]").next().unwrap().replace(first, &third)),
    )
    .unwrap();
    world.succeeds(&["restart", "--env", &world.id, "agent"]);
    let said = run("cuda.device=3");
    assert!(said.contains(&third), "{said}");

    // Requests for real devices: on an engine with NVIDIA's hook as device requests, on one with the runtime alone by it.
    let state = world.folder.join(".baibox").join(&world.id);
    // The smallest image that can start: a program of this host, with what it loads.
    let image = "stand-in:1";
    let archive = scratch.path().join("image.tar");
    let libraries = String::from_utf8(Command::new("ldd").arg("/bin/true").output().unwrap().stdout).unwrap();
    let loaded = libraries.split_whitespace().filter(|word| word.starts_with('/')).chain(["/bin/true"]);
    let packed = Command::new("tar").args(["-chf", archive.to_str().unwrap()]).args(loaded).stderr(Stdio::null()).status();
    assert!(packed.unwrap().success());
    for hook in [true, false] {
        let engine = Engine::start(scratch.path(), if hook { "new" } else { "old" }, hook);
        let (well, said) = engine.docker(&["import", archive.to_str().unwrap(), image]);
        assert!(well, "{said}");
        let overlay = engine.chosen(&state, image);
        let found = engine.starts(&state, image);
        let has = |values: &Value, wanted: &str| values.as_array().is_some_and(|values| values.iter().any(|one| one == wanted));
        if hook {
            assert!(overlay.contains("capabilities: [gpu]"), "{overlay}");
            let asked: Value = serde_json::from_slice(&fs::read(engine.folder.join("asked.json")).unwrap()).unwrap();
            for wanted in ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"] {
                assert!(has(&asked["process"]["env"], wanted), "{wanted}: {}", asked["process"]["env"]);
            }
            assert_eq!(found[0]["HostConfig"]["DeviceRequests"][0]["Count"], -1);
        } else {
            assert!(overlay.contains("runtime: nvidia"), "{overlay}");
            assert_eq!(found[0]["HostConfig"]["Runtime"], "nvidia");
            assert!(has(&found[0]["Config"]["Env"], "NVIDIA_VISIBLE_DEVICES=all"), "{found}");
        }
    }
}
