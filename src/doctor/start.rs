//! Starts the engine, and waits until it answers.

use super::apt::as_root;
use super::command::{ask, last_lines, run};
use super::look;
use crate::error::Fault;
use crate::ui::Ui;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A daemon that is started directly, where no systemd does it.
struct Daemon {
    /// Words of a shell, without redirections.
    command: String,
    log: PathBuf,
    limit: Duration,
    /// An engine needs root; its stand-in in a test does not.
    root: bool,
}

const PID_FILE: &str = "/var/run/docker.pid";

/// What the engine said when asked once.
enum Reply {
    Answers,
    /// It runs, and this user may not talk to it.
    Denied,
    Silent(String),
}

async fn reply() -> Reply {
    let Some(said) = ask("docker", &["info", "--format", "{{.ServerVersion}}"]).await else {
        return Reply::Silent("there is no command `docker`".into());
    };
    let errors = said.errors.trim().to_owned();
    match said.line() {
        Some(_) => Reply::Answers,
        None if errors.to_ascii_lowercase().contains("permission denied") => Reply::Denied,
        None => Reply::Silent(errors),
    }
}

/// Starts the engine of this host unless it answers or is about to.
pub async fn start(ui: &Ui) -> Result<()> {
    // Installing the package may have started it.
    if let Reply::Answers = reply().await {
        return Ok(());
    }
    let daemon = Daemon {
        command: format!("dockerd --pidfile {PID_FILE}"),
        log: "/var/log/dockerd.log".into(),
        limit: Duration::from_secs(60),
        root: true,
    };
    let mut begin = 0;
    if look::daemon().is_some() {
        ui.say("doctor: waiting for the dockerd that runs already");
        begin = length(&daemon.log).saturating_sub(4096);
    } else if look::systemd() {
        ui.say("doctor: systemctl start docker");
        as_root(&["systemctl", "start", "docker"]).await?;
    } else {
        if stale(&fs::read_to_string(PID_FILE).unwrap_or_default(), &super::ports::processes()) {
            // Older engines refuse to start while any process has the number in it.
            ui.say(&format!("doctor: removing {PID_FILE}, whose process is not an engine"));
            as_root(&["rm", "-f", PID_FILE]).await?;
        }
        ui.say(&format!("doctor: starting dockerd; its log is {}", daemon.log.display()));
        begin = launch(&daemon).await?;
    }
    wait(&daemon, begin, reply).await
}

/// The file names a process that is not the engine's.
fn stale(pid_file: &str, processes: &[(u32, String)]) -> bool {
    match pid_file.trim().parse::<u32>() {
        Ok(pid) => !processes.iter().any(|(other, name)| *other == pid && name == "dockerd"),
        Err(_) => !pid_file.is_empty(),
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Detached, in a session of its own; gives the place in the log where this start begins.
async fn launch(daemon: &Daemon) -> Result<u64> {
    let begin = length(&daemon.log);
    let script = format!("exec setsid --fork {} >> '{}' 2>&1 < /dev/null", daemon.command, daemon.log.display());
    let words = ["sh", "-c", &script];
    let started = if daemon.root { as_root(&words).await } else { run(&words).await };
    started.context("the Docker daemon cannot be started")?;
    Ok(begin)
}

/// Until the engine answers, gives up, or the time is over.
async fn wait(daemon: &Daemon, begin: u64, reply: impl AsyncFn() -> Reply) -> Result<()> {
    let started = Instant::now();
    loop {
        let silence = match reply().await {
            Reply::Answers => return Ok(()),
            Reply::Denied => {
                return Err(Fault::engine("the Docker daemon runs, but this user may not talk to it")
                    .hint("type `sudo usermod -aG docker $USER`, then log in again")
                    .into());
            }
            Reply::Silent(said) => said,
        };
        let log = said_since(&daemon.log, begin);
        let gave_up = log.contains("failed to start daemon");
        if gave_up || started.elapsed() > daemon.limit {
            let what = if gave_up { "did not start" } else { "did not answer" };
            let evidence = if log.is_empty() { journal().await.unwrap_or(silence) } else { log };
            return Err(Fault::engine(format!(
                "the Docker daemon {what} in {}; it said last:\n{}",
                crate::ui::duration(started.elapsed()),
                last_lines(evidence.trim_end(), 8)
            ))
            .hint(if look::systemd() {
                "read `journalctl -u docker`".to_owned()
            } else {
                format!("read `{}`", daemon.log.display())
            })
            .into());
        }
        // The pace of asking; the condition is the answer.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn said_since(log: &Path, begin: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let begin = usize::try_from(begin).unwrap_or(usize::MAX).min(bytes.len());
    String::from_utf8_lossy(&bytes[begin..]).into_owned()
}

async fn journal() -> Option<String> {
    if !look::systemd() {
        return None;
    }
    let said = ask("journalctl", &["-u", "docker", "-n", "8", "--no-pager", "-o", "cat"]).await?;
    Some(said.output).filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(folder: &Path, script: &str) -> Daemon {
        let program = folder.join("engine.sh");
        fs::write(&program, script).unwrap();
        Daemon {
            command: format!("sh '{}'", program.display()),
            log: folder.join("engine.log"),
            limit: Duration::from_secs(20),
            root: false,
        }
    }

    async fn answers_when(path: &Path) -> Reply {
        if path.exists() { Reply::Answers } else { Reply::Silent("Cannot connect".into()) }
    }

    #[tokio::test]
    async fn a_daemon_is_waited_for_until_it_answers() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let daemon = daemon(folder.path(), &format!("echo up; : > '{}'", socket.display()));
        let begin = launch(&daemon).await.unwrap();
        wait(&daemon, begin, async || answers_when(&socket).await).await.unwrap();
    }

    #[tokio::test]
    async fn a_daemon_that_gives_up_is_quoted_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = daemon(folder.path(), "echo 'failed to start daemon: no iptables'; exit 1");
        fs::write(&daemon.log, "failed to start daemon: an older reason\n").unwrap();
        let begin = launch(&daemon).await.unwrap();
        let error = wait(&daemon, begin, async || Reply::Silent("Cannot connect".into())).await.unwrap_err().to_string();
        assert!(error.contains("did not start in") && error.ends_with("failed to start daemon: no iptables"), "{error}");
        assert!(!error.contains("older"), "{error}");
    }

    #[tokio::test]
    async fn a_silent_daemon_is_a_failure_with_the_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon { limit: Duration::ZERO, ..daemon(folder.path(), "") };
        let error = wait(&daemon, 0, async || Reply::Silent("Cannot connect".into())).await.unwrap_err().to_string();
        assert!(error.contains("did not answer in") && error.ends_with("Cannot connect"), "{error}");
        let denied = wait(&daemon, 0, async || Reply::Denied).await.unwrap_err();
        assert!(crate::error::render(&denied).contains("usermod -aG docker"));
    }

    #[test]
    fn a_pid_file_is_stale_when_its_process_is_another_program() {
        let processes = [(7, "dockerd".to_owned()), (8, "sshd".to_owned())];
        let cases = [("7\n", false), ("8", true), ("9", true), ("", false), ("x", true)];
        assert!(cases.into_iter().all(|(file, expected)| stale(file, &processes) == expected));
    }
}
