//! What the host tells: environment variables, folders, configured mirrors.
//! The only module that reads environment variables.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// A variable that is set and not empty.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

pub fn home() -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from)
}

/// `$XDG_CACHE_HOME/baibox`, else `~/.cache/baibox`.
pub fn store_root() -> Option<PathBuf> {
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| home().map(|home| home.join(".cache")))?;
    Some(cache.join("baibox"))
}

/// Where a program is: users of Debian have no `sbin` in their `PATH`.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = variable("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
    path.split(':').chain(usual).map(|folder| PathBuf::from(folder).join(program)).find(|place| place.is_file())
}

/// The bundle of trusted authorities that this host's programs use.
pub fn trust_bundle() -> Option<PathBuf> {
    let named = ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"].into_iter().filter_map(variable).map(PathBuf::from);
    let usual =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"].map(PathBuf::from);
    named.chain(usual).find(|path| path.is_file())
}

/// The program that opens an address in a browser, where a person could see one.
pub fn opener() -> Option<&'static str> {
    if cfg!(target_os = "macos") {
        return Some("open");
    }
    (variable("DISPLAY").is_some() || variable("WAYLAND_DISPLAY").is_some()).then_some("xdg-open")
}

/// Proxy variables as containers need them, in the spelling that the host uses.
pub fn proxies() -> Vec<(String, String)> {
    ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), variable(name)?)))
        .collect()
}

/// Where the engine is: `DOCKER_HOST`, else the Docker context that is chosen, as the
/// `docker` program sees it; `None` for the default socket.
pub fn engine_address() -> Option<String> {
    variable("DOCKER_HOST").or_else(|| context_address(&docker_folder()?, variable("DOCKER_CONTEXT")))
}

/// Where the `docker` program keeps contexts and logins.
fn docker_folder() -> Option<PathBuf> {
    variable("DOCKER_CONFIG").map(PathBuf::from).or_else(|| home().map(|home| home.join(".docker")))
}

/// The file with the logins of this user, if there is one.
pub fn docker_logins() -> Option<PathBuf> {
    docker_folder().map(|folder| folder.join("config.json")).filter(|file| file.is_file())
}

/// Contexts are stored by the digest of their name, see docker/cli `cli/context/store`.
fn context_address(folder: &Path, named: Option<String>) -> Option<String> {
    let json = |path: PathBuf| serde_json::from_slice::<Value>(&std::fs::read(path).ok()?).ok();
    let name = named.or_else(|| Some(json(folder.join("config.json"))?["currentContext"].as_str()?.to_owned()))?;
    if name == "default" {
        return None;
    }
    let digest = crate::model::Digest::of(name.as_bytes());
    let contexts = folder.join("contexts");
    let meta = json(contexts.join("meta").join(digest.hex()).join("meta.json"));
    let host = meta.as_ref().and_then(|meta| meta["Endpoints"]["docker"]["Host"].as_str());
    // What cannot be followed is named: the default socket would be another engine.
    Some(match host {
        None => format!("unknown context {name}"),
        Some(host) if contexts.join("tls").join(digest.hex()).is_dir() => format!("{host} with TLS"),
        Some(host) => host.to_owned(),
    })
}

/// The engine's socket as its own host names it.
pub fn engine_socket() -> String {
    engine_address()
        .and_then(|host| host.strip_prefix("unix://").map(str::to_owned))
        .unwrap_or_else(|| "/var/run/docker.sock".into())
}

/// A process of a machine, so that it is known again: host, number and start.
pub fn process() -> String {
    let number = std::process::id();
    format!("{} {number} {}", node(), started(number).unwrap_or_default())
}

/// Whether that process ended; of other machines nothing is known.
pub fn has_ended(process: &str) -> bool {
    let mut words = process.split(' ');
    let (Some(host), Some(number), Some(start)) = (words.next(), words.next(), words.next()) else { return false };
    host == node() && !start.is_empty() && number.parse().is_ok_and(|number| started(number).as_deref() != Some(start))
}

/// Processes of this machine whose arguments hold these words in a row.
pub fn processes_with(words: &[&str]) -> std::io::Result<Vec<rustix::process::Pid>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir("/proc") {
        // Where there is no such list, nothing is known.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // A process may end while it is looked at.
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        if arguments.windows(words.len()).any(|window| window.iter().zip(words).all(|(have, want)| *have == want.as_bytes())) {
            found.extend(rustix::process::Pid::from_raw(number));
        }
    }
    Ok(found)
}

/// Networks that this machine has a way to, as `address/length`: those of every engine on it.
pub fn networks() -> Vec<String> {
    parse_routes(&std::fs::read_to_string("/proc/net/route").unwrap_or_default())
}

/// See proc_pid_net(5): numbers in hexadecimal, in the order of the machine's bytes.
fn parse_routes(table: &str) -> Vec<String> {
    let rows = table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |place: usize| u32::from_str_radix(words.get(place)?, 16).ok();
        let (network, mask) = (number(1)?, number(7)?);
        // The way to everywhere is no network.
        (mask != 0).then(|| format!("{}/{}", std::net::Ipv4Addr::from(network.to_ne_bytes()), mask.count_ones()))
    });
    rows.collect()
}

fn node() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Clock ticks between the machine's start and the process's, see proc_pid_stat(5).
fn started(process: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

/// Starts a process that has one core for itself and all that it starts in turn.
#[cfg(target_os = "linux")]
pub fn on_one_core<T>(start: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    // A new process gets the cores of the thread that starts it.
    let before = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    if let Some(core) = (0..CpuSet::MAX_CPU).find(|core| before.is_set(*core)) {
        one.set(core);
        sched_setaffinity(None, &one)?;
    }
    let started = start();
    sched_setaffinity(None, &before)?;
    started
}

/// Where processes cannot be bound to cores, it has all.
#[cfg(not(target_os = "linux"))]
pub fn on_one_core<T>(start: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_again_until_it_ends() {
        assert!(!has_ended(&process()));
        assert!(has_ended(&format!("{} {} 1", node(), std::process::id())));
        assert!(!has_ended("elsewhere 1 1") && !has_ended("") && !has_ended("x"));
    }

    #[test]
    fn routes_tell_which_networks_are_there() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            podman1\t0004D50A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let expected: &[&str] = if cfg!(target_endian = "little") { &["10.213.4.0/24"] } else { &["0.4.213.10/24"] };
        assert_eq!(parse_routes(table), expected);
        assert!(parse_routes("").is_empty());
    }

    #[test]
    fn the_chosen_context_tells_where_the_engine_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: Option<&str>| context_address(folder.path(), name.map(String::from));
        assert_eq!(at(None), None);
        std::fs::write(folder.path().join("config.json"), r#"{"currentContext": "far"}"#).unwrap();
        assert_eq!(at(None).as_deref(), Some("unknown context far"));
        let meta = folder.path().join("contexts/meta").join(crate::model::Digest::of(b"far").hex());
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(meta.join("meta.json"), r#"{"Endpoints": {"docker": {"Host": "unix:///far.sock"}}}"#).unwrap();
        assert_eq!(at(None).as_deref(), Some("unix:///far.sock"));
        assert_eq!(at(Some("far")).as_deref(), Some("unix:///far.sock"));
        assert_eq!(at(Some("default")), None);
    }
}
