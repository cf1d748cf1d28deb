//! Ports and networks that nothing else uses.

use crate::error::Fault;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

/// How many ports are tried for a service, 1000 apart.
const BLOCKS: u16 = 40;

/// The wanted port on 127.0.0.1, or the first free one of the blocks above it.
///
/// `taken` are ports that other environments hold, also while they are stopped.
pub fn free_port(service: &str, wanted: u16, taken: &BTreeSet<u16>, is_free: impl Fn(u16) -> bool) -> Result<u16, Fault> {
    let blocks = || (0..BLOCKS).filter_map(|block| wanted.checked_add(block * 1000));
    blocks().find(|port| !taken.contains(port) && is_free(*port)).ok_or_else(|| {
        let leased = blocks().filter(|port| taken.contains(port)).count();
        let others = blocks().count() - leased;
        Fault::new(format!(
            "no port is left for {service}: of {wanted} and those above it in steps of 1000, environments hold {leased} \
             and other programs {others}"
        ))
        .hint("delete an environment that is not needed: `baibox ls` shows all, `baibox delete ID` removes one")
    })
}

/// Whether something could listen at the port now, by listening there for a moment.
pub fn listens_nowhere(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A network `a.b.c.0/24` and its gateway that overlaps none of `used` (in `a.b.c.d/n` form).
///
/// Others choose too, and their networks are seen only when they are there: whoever begins
/// at a random `first` rarely meets them.
pub fn free_subnet(used: &[String], first: u8) -> Result<(String, String), Fault> {
    let used: Vec<(u32, u32)> = used.iter().filter_map(|text| parse_network(text)).collect();
    // One /16 first, so that environments stand together; then others, should it be taken.
    [213]
        .into_iter()
        .chain(64..=127u8)
        .flat_map(|second| (0..=255u8).map(move |third| u32::from(Ipv4Addr::new(10, second, first.wrapping_add(third), 0))))
        .find(|base| !used.iter().any(|(other, mask)| base & mask == other & mask || base & 0xffff_ff00 == other & 0xffff_ff00))
        .map(|base| (format!("{}/24", Ipv4Addr::from(base)), Ipv4Addr::from(base | 1).to_string()))
        .ok_or_else(|| {
            Fault::new("no network of 256 addresses is free in 10.0.0.0/8")
                .hint("remove networks that are not used: `docker network prune`")
        })
}

fn parse_network(text: &str) -> Option<(u32, u32)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits): (Ipv4Addr, u32) = (address.parse().ok()?, bits.parse().ok()?);
    let mask = if bits == 0 { 0 } else { u32::MAX.checked_shl(32 - bits.min(32))? };
    Some((address.into(), mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_step_aside() {
        assert_eq!(free_port("manager", 8091, &BTreeSet::new(), |_| true).unwrap(), 8091);
        assert_eq!(free_port("manager", 8091, &[8091].into(), |_| true).unwrap(), 9091);
        assert_eq!(free_port("manager", 8091, &BTreeSet::new(), |port| port > 10000).unwrap(), 10091);
        let fault = free_port("manager", 8091, &[8091, 9091].into(), |_| false).unwrap_err();
        assert!(fault.message.contains("left for manager") && fault.message.contains("hold 2 and other programs 38"), "{fault}");
    }

    #[test]
    fn networks_do_not_overlap() {
        assert_eq!(free_subnet(&[], 0).unwrap().0, "10.213.0.0/24");
        assert_eq!(free_subnet(&["10.213.0.0/24".into()], 0).unwrap(), ("10.213.1.0/24".into(), "10.213.1.1".into()));
        assert_eq!(free_subnet(&["10.213.0.0/16".into()], 0).unwrap().0, "10.64.0.0/24");
        assert!(free_subnet(&["0.0.0.0/0".into()], 0).is_err());
    }
}
