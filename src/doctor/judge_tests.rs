use super::*;
use crate::doctor::facts::{DEFAULT_SOCKET, Limits, Space, Taken};
use std::collections::BTreeMap;

fn good_engine() -> Engine {
    Engine {
        server_version: "28.1".into(),
        driver: "overlay2".into(),
        cgroup_version: "2".into(),
        kernel_version: "6.1".into(),
        runtimes: Some(BTreeMap::from([("runc".to_owned(), serde_json::Value::Null)])),
        mem_total: 16 << 30,
        api: "1.50".into(),
        ..Engine::default()
    }
}

fn good() -> Facts {
    Facts {
        git: Some("2.39".into()),
        client: Some("28.1".into()),
        daemon_installed: true,
        daemon_runs: true,
        endpoint: DEFAULT_SOCKET.into(),
        own_endpoint: "unix:///run/docker.sock".into(),
        engine: Answer::Engine(Box::new(good_engine())),
        compose: Some("2.26.1-4".into()),
        systemd: true,
        user: "kim".into(),
        kernel: Some("6.1".into()),
        overlay: Some(true),
        cgroups_mounted: true,
        limits: Some(Limits { open_files: Some(20000), locked_memory: None, may_raise: true }),
        spaces: vec![Space { uses: vec!["environment", "engine"], path: "/".into(), free: 50 << 30 }],
        memory: Some(16 << 30),
        ..Facts::default()
    }
}

/// What is not fine of a good host after one change: name, state, fix, words of detail and remedy.
#[track_caller]
fn check(change: impl FnOnce(&mut Facts), expected: &[(&str, State, Option<Fix>, &str)]) {
    let mut facts = good();
    change(&mut facts);
    let findings = judge(&facts);
    let ill: Vec<&Finding> = findings.iter().filter(|finding| finding.state != State::Fine).collect();
    assert_eq!(ill.len(), expected.len(), "{ill:#?}");
    for (finding, (name, state, fix, words)) in ill.iter().zip(expected) {
        assert_eq!((finding.name, finding.state, finding.fix), (*name, *state, *fix), "{finding:#?}");
        let text = format!("{} → {}", finding.detail, finding.remedy.as_deref().unwrap_or_default());
        assert!(text.contains(words), "no `{words}` in `{text}`");
    }
}

fn refused(facts: &mut Facts, said: &str) {
    facts.engine = Answer::Refused(said.into());
}

#[test]
fn a_good_host_has_only_fine_findings() {
    check(|_| {}, &[]);
    let names: Vec<&str> = judge(&good()).iter().map(|finding| finding.name).collect();
    assert_eq!(names, ["git", "engine", "compose", "kernel", "limits", "memory", "disk", "ports"]);
}

#[test]
fn what_is_missing_can_be_installed() {
    use Fix::*;
    use State::Fault;
    check(|facts| facts.git = None, &[("git", Fault, Some(InstallGit), "apt-get install git")]);
    check(|facts| facts.compose = None, &[("compose", Fault, Some(InstallCompose), "not installed")]);
    for old in ["1.29.2", "v2.17.3", "2.20.2-1"] {
        check(|facts| facts.compose = Some(old.into()), &[("compose", Fault, Some(InstallCompose), "too old")]);
    }
    for new in ["v2.21.0", "5.0.1", "2.26.1-4", "dev"] {
        check(|facts| facts.compose = Some(new.into()), &[]);
    }
    check(|facts| facts.client = None, &[("engine", Fault, Some(InstallEngine), "its command `docker` is not")]);
    check(
        |facts| {
            facts.daemon_installed = false;
            facts.client = None;
        },
        &[("engine", Fault, Some(InstallEngine), "no container engine")],
    );
    check(
        |facts| {
            (facts.daemon_installed, facts.daemon_runs) = (false, false);
            refused(facts, "Cannot connect");
        },
        &[("engine", Fault, Some(InstallEngine), "docker.io")],
    );
}

#[test]
fn an_engine_that_does_not_answer_has_a_reason() {
    use State::Fault;
    let denied = "permission denied while trying to connect to the Docker daemon socket";
    check(|facts| refused(facts, denied), &[("engine", Fault, None, "usermod -aG docker kim")]);
    check(
        |facts| {
            facts.in_docker_group = true;
            refused(facts, denied);
        },
        &[("engine", Fault, None, "newgrp docker")],
    );
    check(
        |facts| {
            facts.daemon_runs = false;
            refused(facts, "Cannot connect");
        },
        &[("engine", Fault, Some(Fix::StartEngine), "does not run → sudo systemctl start docker")],
    );
    check(
        |facts| {
            (facts.daemon_runs, facts.systemd) = (false, false);
            refused(facts, "Cannot connect");
        },
        &[("engine", Fault, Some(Fix::StartEngine), "does not run → baibox doctor --fix")],
    );
    check(|facts| refused(facts, "EOF"), &[("engine", Fault, Some(Fix::StartEngine), "does not answer at")]);
    // An engine that somebody chose is not replaced by one of this host.
    check(
        |facts| {
            facts.endpoint = "unix:///nonexistent/engine.sock".into();
            refused(facts, "Cannot connect");
        },
        &[("engine", Fault, None, "`unix:///nonexistent/engine.sock` does not answer: Cannot connect")],
    );
}

#[test]
fn an_engine_that_answers_can_still_be_unfit() {
    use State::{Fault, Warning};
    let with = |change: fn(&mut Engine)| {
        move |facts: &mut Facts| {
            let mut engine = good_engine();
            change(&mut engine);
            facts.engine = Answer::Engine(Box::new(engine));
        }
    };
    check(with(|engine| engine.api = "1.40".into()), &[("engine", Fault, None, "needs API 1.41")]);
    check(with(|engine| engine.api = "1.41".into()), &[]);
    check(with(|engine| engine.api = String::new()), &[("engine", Fault, None, "needs API 1.41")]);
    check(with(|engine| engine.driver = "vfs".into()), &[("storage", Warning, None, "overlay2")]);
    check(with(|engine| engine.mem_total = 2 << 30), &[("memory", Warning, None, "2.1 GB of memory")]);
    check(with(|engine| engine.mem_total = 4_010_000_000), &[]);
    let context = |facts: &mut Facts| facts.endpoint = "unix:///run/user/1000/docker.sock".into();
    check(context, &[("context", Fault, None, "export DOCKER_HOST=unix:///run/user/1000/docker.sock")]);
}

#[test]
fn disk_ports_and_limits_are_told_with_figures() {
    use State::{Fault, Warning};
    check(
        |facts| facts.spaces[0].free = 1_000_000_000,
        &[("disk", Fault, None, "1.0 GB free at `/` (environment, engine), an environment takes about 6.4 GB")],
    );
    check(
        |facts| {
            facts.taken =
                vec![Taken { port: 8101, holder: Some("postgres (process 12)".into()) }, Taken { port: 8090, holder: None }];
        },
        &[("ports", Warning, None, "8101 by postgres (process 12), 8090; a new environment gets others")],
    );
    let low = Limits { open_files: Some(20000), locked_memory: Some(8 << 20), may_raise: false };
    check(
        |facts| facts.limits = Some(low),
        &[("limits", Warning, None, "20000 open files (sessions ask 1048576), 8.4 MB of locked memory")],
    );
    check(|facts| facts.limits = Some(Limits { open_files: Some(1 << 20), ..Limits::default() }), &[]);
}

#[test]
fn of_an_engine_elsewhere_only_what_it_says_is_judged() {
    let mut facts = good();
    facts.endpoint = "ssh://build".into();
    facts.own_endpoint = facts.endpoint.clone();
    let names: Vec<&str> = judge(&facts).iter().map(|finding| finding.name).collect();
    assert_eq!(names, ["git", "engine", "compose", "kernel", "memory", "disk"]);
}

#[test]
fn a_kernel_without_control_groups_is_told_before_an_engine_fails_on_it() {
    let bare = |facts: &mut Facts| {
        facts.daemon_runs = false;
        facts.cgroups_mounted = false;
        refused(facts, "Cannot connect");
    };
    check(bare, &[("engine", State::Fault, Some(Fix::StartEngine), ""), ("kernel", State::Fault, None, "cgroupfs-mount")]);
}

#[test]
fn podman_is_known_with_what_it_lacks() {
    use State::*;
    let podman = |facts: &mut Facts| {
        facts.endpoint = "unix:///run/podman/podman.sock".into();
        facts.own_endpoint = facts.endpoint.clone();
        facts.catatonit = true;
        facts.engine = Answer::Engine(Box::new(Engine { podman: true, api: "1.41".into(), ..good_engine() }));
    };
    check(podman, &[]);
    let mut facts = good();
    podman(&mut facts);
    assert!(judge(&facts).iter().any(|finding| finding.name == "engine" && finding.detail.starts_with("Podman 28.1")));
    check(
        |facts| {
            podman(facts);
            facts.catatonit = false;
            facts.systemd = false;
        },
        &[("init", Fault, None, "apt-get install catatonit"), ("health", Warning, None, "baibox asks while it waits")],
    );
    check(
        |facts| {
            podman(facts);
            let Answer::Engine(engine) = &mut facts.engine else { panic!("it answers") };
            engine.docker_root_dir = "/home/user/.local/share/containers/storage".into();
        },
        &[("sessions", Warning, None, "rootful socket")],
    );
    check(
        |facts| {
            refused(facts, "Cannot connect to the Docker daemon");
            facts.daemon_runs = false;
            facts.daemon_installed = false;
            facts.podman_installed = true;
        },
        &[("engine", Fault, None, "systemctl --user start podman.socket && export DOCKER_HOST=unix://$XDG_RUNTIME_DIR")],
    );
}
