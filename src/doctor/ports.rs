//! Which default ports are taken on 127.0.0.1, and by whom.

use super::facts::Taken;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

/// Taken are ports that cannot be bound, and those that containers publish, with what to call
/// them: an engine without its proxy process redirects them where nobody listens.
pub fn taken(ports: &BTreeSet<u16>, published: &BTreeMap<u16, String>) -> Vec<Taken> {
    let busy: Vec<u16> = ports.iter().copied().filter(|port| published.contains_key(port) || !free(*port)).collect();
    if busy.is_empty() {
        return Vec::new();
    }
    let mut sockets = BTreeMap::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        sockets.extend(listening(&fs::read_to_string(table).unwrap_or_default()));
    }
    let wanted: BTreeSet<u64> =
        busy.iter().filter(|port| !published.contains_key(port)).filter_map(|port| sockets.get(port).copied()).collect();
    let holders = holders(&wanted);
    let holder = |port: &u16| match published.get(port) {
        Some(holder) => Some(holder.clone()),
        None => holders.get(sockets.get(port)?).cloned(),
    };
    busy.iter().map(|port| Taken { port: *port, holder: holder(port) }).collect()
}

/// Only an address in use makes a port taken; the listener ends at once.
fn free(port: u16) -> bool {
    !TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

/// Ports and socket inodes of `/proc/net/tcp` and `tcp6` that hold 127.0.0.1, see proc_net(5).
fn listening(table: &str) -> BTreeMap<u16, u64> {
    const LISTEN: &str = "0A";
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        // Any address, or 127.0.0.1 alone or inside IPv6; words are in the order of a little-endian machine.
        let any = address.bytes().all(|digit| digit == b'0');
        let local = address == "0100007F" || address == "0000000000000000FFFF00000100007F";
        if *fields.get(3)? != LISTEN || !(any || local) {
            return None;
        }
        Some((u16::from_str_radix(port, 16).ok()?, fields.get(9)?.parse().ok()?))
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// Who has these sockets open, as far as this user may look.
fn holders(inodes: &BTreeSet<u64>) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    if inodes.is_empty() {
        return found;
    }
    for (pid, name) in processes() {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
                found.entry(inode).or_insert_with(|| format!("{name} (process {pid})"));
            }
        }
    }
    found
}

/// Number and name of the processes of this host, in the order of their numbers.
pub fn processes() -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let named = pids.filter_map(|pid| Some((pid, fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())));
    let mut all: Vec<_> = named.collect();
    all.sort_unstable();
    all
}

/// Host ports of `docker ps --format '{{.Names}}\t{{.Ports}}'`, each with its container.
pub fn published(list: &str) -> BTreeMap<u16, String> {
    let mut found = BTreeMap::new();
    for (name, ports) in list.lines().filter_map(|line| line.split_once('\t')) {
        for mapping in ports.split(", ").filter(|mapping| mapping.ends_with("/tcp")) {
            let Some((address, range)) = mapping.split_once("->").and_then(|(host, _)| host.rsplit_once(':')) else { continue };
            if !matches!(address, "127.0.0.1" | "0.0.0.0") {
                continue;
            }
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { continue };
            found.extend((first..=last).map(|port| (port, format!("container {name}"))));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        \x20  0: 0100007F:1F55 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 704432 1 0 100 0 0 10 0\n\
        \x20  1: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1053 1 0 100 0 0 10 0\n\
        \x20  2: 0A00000A:1F9B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0 100 0 0 10 0\n\
        \x20  3: 0100007F:B0E2 0100007F:1F55 01 00000000:00000000 00:00000000 00000000     0        0 8 1 0 100 0 0 10 0\n\
        \x20  4: 00000000000000000000000000000000:1785 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 9 1 0\n";

    #[test]
    fn listeners_on_the_local_address_have_port_and_inode() {
        assert_eq!(listening(TABLE), BTreeMap::from([(8021, 704_432), (2024, 1053), (6021, 9)]));
        assert_eq!(listening(""), BTreeMap::new());
    }

    #[test]
    fn published_ports_name_their_containers() {
        let list = "web\t127.0.0.1:8090->8090/tcp, 0.0.0.0:9000-9001->9000-9001/tcp, :::9000->9000/tcp\n\
            dns\t0.0.0.0:53->53/udp\nidle\t6379/tcp\nother\t10.0.0.1:81->81/tcp\nnone\t\n";
        let expected = [8090, 9000, 9001].map(|port| (port, "container web".to_owned()));
        assert_eq!(published(list), BTreeMap::from(expected));
    }

    #[test]
    fn a_port_with_a_listener_is_taken_by_its_process() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = taken(&BTreeSet::from([port]), &BTreeMap::new());
        assert_eq!(found.iter().map(|taken| taken.port).collect::<Vec<_>>(), [port]);
        if cfg!(target_os = "linux") {
            let own = format!("(process {})", std::process::id());
            assert!(found[0].holder.as_deref().is_some_and(|holder| holder.ends_with(&own)), "{found:?}");
        }
        let container = BTreeMap::from([(port, "container db".to_owned())]);
        assert_eq!(taken(&BTreeSet::from([port]), &container)[0].holder.as_deref(), Some("container db"));
    }
}
