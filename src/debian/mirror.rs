//! Where Debian's archive is, by the host's own configuration.

use crate::host;
use std::path::Path;

/// Base addresses of a mirror, without a slash at the end, in the order to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub main: Vec<String>,
    pub security: Vec<String>,
    /// Where packages are that mirrors dropped; only what is locked by its digest is taken from there.
    pub snapshots: Vec<String>,
}

/// Serve where the host configures nothing, such as on macOS.
const PUBLIC: [&str; 3] =
    ["https://mirrors.kernel.org/debian", "https://ftp.halifax.rwth-aachen.de/debian", "https://mirror.init7.net/debian"];

impl Mirror {
    /// `BAIBOX_DEBIAN_MIRROR`, else apt's sources, else public mirrors.
    ///
    /// The variable holds the address of a `/debian` folder; the security
    /// archive is `/debian-security` beside it. `BAIBOX_DEBIAN_SNAPSHOT` holds addresses of
    /// folders that have a `pool`, such as one day's of a snapshot archive, with spaces between.
    pub fn of_host() -> Self {
        let snapshots = host::variable("BAIBOX_DEBIAN_SNAPSHOT").unwrap_or_default();
        let snapshots = snapshots.split_whitespace().map(|base| base.trim_end_matches('/').to_owned()).collect();
        Self { snapshots, ..Self::current() }
    }

    fn current() -> Self {
        if let Some(base) = host::variable("BAIBOX_DEBIAN_MIRROR") {
            return Self::beside(&[base.as_str()]);
        }
        let mut texts = Vec::new();
        let mut paths = vec![Path::new("/etc/apt/sources.list").to_owned()];
        if let Ok(folder) = std::fs::read_dir("/etc/apt/sources.list.d") {
            let mut found: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
            found.sort();
            paths.extend(found);
        }
        for path in paths {
            let deb822 = match path.extension().and_then(|extension| extension.to_str()) {
                Some("list") => false,
                Some("sources") => true,
                _ => continue,
            };
            // An unreadable source is apt's trouble; the others still serve.
            if let Ok(text) = std::fs::read_to_string(&path) {
                texts.push((deb822, text));
            }
        }
        Self::of_sources(texts.iter().map(|(deb822, text)| (*deb822, text.as_str())))
    }

    /// From texts of apt sources, each with whether it is in deb822 form.
    pub fn of_sources<'a>(texts: impl IntoIterator<Item = (bool, &'a str)>) -> Self {
        let (mut main, mut security) = (Vec::new(), Vec::new());
        for address in texts.into_iter().flat_map(|(deb822, text)| if deb822 { deb822_uris(text) } else { list_uris(text) }) {
            let address = address.trim_end_matches('/').to_owned();
            if !address.starts_with("http://") && !address.starts_with("https://") {
                continue;
            }
            let into = if address.ends_with("/debian") {
                &mut main
            } else if address.ends_with("/debian-security") {
                &mut security
            } else {
                continue;
            };
            if !into.contains(&address) {
                into.push(address);
            }
        }
        if main.is_empty() && security.is_empty() {
            return Self::beside(&PUBLIC);
        }
        // One of the two says where the other most likely is.
        if main.is_empty() {
            main = security.iter().map(|address| address.trim_end_matches("-security").to_owned()).collect();
        }
        if security.is_empty() {
            security = main.iter().map(|address| format!("{address}-security")).collect();
        }
        Self { main, security, snapshots: Vec::new() }
    }

    fn beside(bases: &[&str]) -> Self {
        let main: Vec<String> = bases.iter().map(|base| base.trim_end_matches('/').to_owned()).collect();
        let security = main.iter().map(|base| format!("{base}-security")).collect();
        Self { main, security, snapshots: Vec::new() }
    }

    pub(super) fn bases(&self, security: bool) -> &[String] {
        if security { &self.security } else { &self.main }
    }
}

/// `deb [options] uri suite components`, one a line.
fn list_uris(text: &str) -> Vec<String> {
    let mut uris = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t'])) else { continue };
        let rest = rest.trim_start();
        let rest = if rest.starts_with('[') { rest.split_once(']').map_or("", |(_, after)| after) } else { rest };
        uris.extend(rest.split_whitespace().next().map(str::to_owned));
    }
    uris
}

fn deb822_uris(text: &str) -> Vec<String> {
    let mut uris = Vec::new();
    for stanza in super::stanza::stanzas(text) {
        let field = |name: &str| stanza.get(name).unwrap_or("");
        let disabled = matches!(field("Enabled").to_ascii_lowercase().as_str(), "no" | "false" | "off" | "0");
        if !disabled && field("Types").split_whitespace().any(|kind| kind == "deb") {
            uris.extend(field("URIs").split_whitespace().map(str::to_owned));
        }
    }
    uris
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_that_apt_uses() {
        let check = |deb822: bool, text: &str, main: &[&str], security: &[&str]| {
            let mirror = Mirror::of_sources([(deb822, text)]);
            assert_eq!(
                (mirror.main, mirror.security),
                (main.iter().map(|x| x.to_string()).collect(), security.iter().map(|x| x.to_string()).collect()),
                "{text}"
            );
        };
        check(
            false,
            "deb http://a.example/debian/ bullseye main\ndeb-src http://b.example/debian bullseye main",
            &["http://a.example/debian"],
            &["http://a.example/debian-security"],
        );
        check(
            false,
            "deb [arch=amd64 signed-by=/x] https://a.example/debian-security bullseye-security main",
            &["https://a.example/debian"],
            &["https://a.example/debian-security"],
        );
        check(
            true,
            "Types: deb\n# a comment\nURIs: http://a.example/debian\n http://b.example/debian\nSuites: bookworm\n\nTypes: deb\nURIs: http://s.example/debian-security\n\nEnabled: no\nTypes: deb\nURIs: http://c.example/debian\n",
            &["http://a.example/debian", "http://b.example/debian"],
            &["http://s.example/debian-security"],
        );
        // Another distribution's host has nothing of Debian's: the public mirrors serve.
        let public =
            Mirror::of_sources([(false, "deb http://a.example/ubuntu jammy main"), (false, "deb file:/srv/debian x main")]);
        assert_eq!(public.main.len(), PUBLIC.len());
    }
}
