//! What a host needs to give containers an NVIDIA GPU.

use super::Finding;
use super::command::ask;
use super::facts::{Answer, Facts};

/// What is there of NVIDIA's.
#[derive(Clone, Debug, Default)]
pub struct Nvidia {
    /// Version of the kernel's driver.
    pub driver: Option<String>,
    /// What the container toolkit says of itself.
    pub toolkit: Option<String>,
}

/// Looks for it on this host, and changes nothing.
pub async fn nvidia() -> Nvidia {
    let (toolkit, older) = tokio::join!(ask("nvidia-ctk", &["--version"]), ask("nvidia-container-cli", &["--version"]));
    let driver = std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    Nvidia { driver: driver_version(&driver), toolkit: [toolkit, older].into_iter().flatten().find_map(|said| said.line()) }
}

/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat …`
fn driver_version(text: &str) -> Option<String> {
    let is_version = |word: &&str| word.contains('.') && word.chars().all(|sign| sign.is_ascii_digit() || sign == '.');
    text.lines().next()?.split_whitespace().find(is_version).map(String::from)
}

/// One finding each for the driver, the toolkit and the engine's runtime.
pub fn judge(facts: &Facts, nvidia: &Nvidia) -> Vec<Finding> {
    let mut findings = Vec::new();
    // The files of an engine elsewhere cannot be seen from here.
    if facts.local() {
        findings.push(match &nvidia.driver {
            Some(version) => Finding::fine("gpu-driver", format!("NVIDIA driver {version}")),
            None => Finding::fault("gpu-driver", "this host has no NVIDIA driver loaded")
                .remedy("install the driver that fits the GPU, and load it: `modprobe nvidia`"),
        });
        findings.push(match &nvidia.toolkit {
            Some(version) => Finding::fine("gpu-toolkit", version.clone()),
            None => Finding::fault("gpu-toolkit", "the NVIDIA Container Toolkit is not installed")
                .remedy("install the package `nvidia-container-toolkit` from NVIDIA's repository"),
        });
    }
    let known = match &facts.engine {
        Answer::Engine(engine) => engine.runtimes().contains(&"nvidia"),
        Answer::Refused(_) => false,
    };
    findings.push(if known {
        Finding::fine("gpu-runtime", "the engine knows the runtime `nvidia`".into())
    } else {
        Finding::fault("gpu-runtime", "the engine knows no runtime `nvidia`: containers get no GPU")
            .remedy("nvidia-ctk runtime configure --runtime=docker, then restart the engine")
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::facts::Engine;
    use super::*;

    #[test]
    fn what_is_missing_for_a_gpu_is_named_with_what_to_do() {
        let known = Answer::Engine(Box::new(Engine {
            runtimes: Some([("nvidia".to_owned(), serde_json::Value::Null)].into()),
            ..Engine::default()
        }));
        let plain = Answer::Engine(Box::default());
        let whole =
            Nvidia { driver: Some("535.104.05".into()), toolkit: Some("NVIDIA Container Toolkit CLI version 1.14".into()) };
        for (endpoint, engine, nvidia, faults) in [
            ("unix:///run/docker.sock", &known, &whole, vec![]),
            ("unix:///run/docker.sock", &plain, &whole, vec!["gpu-runtime"]),
            ("unix:///run/docker.sock", &known, &Nvidia::default(), vec!["gpu-driver", "gpu-toolkit"]),
            ("unix:///run/docker.sock", &plain, &Nvidia::default(), vec!["gpu-driver", "gpu-toolkit", "gpu-runtime"]),
            ("ssh://elsewhere", &known, &Nvidia::default(), vec![]),
            ("ssh://elsewhere", &Answer::default(), &whole, vec!["gpu-runtime"]),
        ] {
            let facts = Facts { endpoint: endpoint.into(), engine: engine.clone(), ..Facts::default() };
            let found = judge(&facts, nvidia);
            let names: Vec<&str> = found.iter().filter(|one| one.state == State::Fault).map(|one| one.name).collect();
            assert_eq!(names, faults, "{endpoint} {nvidia:?}");
            assert!(found.iter().all(|one| one.state == State::Fine || one.remedy.is_some()));
        }
    }

    #[test]
    fn the_driver_tells_its_version() {
        let text =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version: 12.2.0\n";
        assert_eq!(driver_version(text).as_deref(), Some("535.104.05"));
        assert_eq!(driver_version(""), None);
    }
}
