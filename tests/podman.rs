//! The whole line on Podman behind Docker's interface. `tests/all` runs it.

#[path = "world/podman.rs"]
mod podman;

use podman::Podman;
use std::process::{Command, Output};

#[test]
#[ignore = "needs Podman, root and package mirrors: run tests/all"]
fn the_same_line_goes_to_hello_world_on_podman() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = Podman::start(scratch.path());
    let run = |program: &str, arguments: &[&str]| -> Output {
        let output = Command::new(program).args(arguments).env("DOCKER_HOST", engine.address()).output().unwrap();
        eprintln!("{program} {}\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        output
    };
    let succeeds = |arguments: &[&str]| -> String {
        let output = run(env!("CARGO_BIN_EXE_baibox"), arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "baibox {}: {text}", arguments.join(" "));
        text
    };
    let id = format!("baibox-podman-{}", std::process::id());
    let folder = scratch.path().join("here");
    let folder = folder.to_str().unwrap();

    let said = succeeds(&["doctor"]);
    assert!(said.contains("Podman "), "{said}");
    let said = succeeds(&["up", "--branch", "21.03", "--env", &id, "--path", folder, "--source", "pypi"]);
    assert!(said.contains("Hello World!"), "{said}");
    let said = succeeds(&["up", "--env", &id]);
    assert!(said.contains("nothing to do"), "{said}");
    // A service that starts again is asked for its health, whether or not Podman has timers.
    succeeds(&["restart", "--env", &id, "storage-proxy"]);
    let said = succeeds(&["exec", "--env", &id, "workspace", "--", "sh", "-c", "echo done > written && stat -c %u written"]);
    assert!(said.contains(&rustix::process::getuid().as_raw().to_string()), "{said}");

    succeeds(&["delete", &id, "--yes", "--force"]);
    for kind in ["container", "network", "volume"] {
        let all = if kind == "container" { &["--all"][..] } else { &[] };
        let label = format!("label=ai.baibox.environment={id}");
        let list = [&[kind, "ls", "--quiet", "--filter", &label], all].concat();
        assert_eq!(String::from_utf8_lossy(&run("docker", &list).stdout), "", "{kind}");
    }
}
