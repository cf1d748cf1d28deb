//! What the host tells: environment variables, folders, configured mirrors.
//! The only module that reads environment variables.

use std::path::PathBuf;

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

/// The bundle of trusted authorities that this host's programs use.
pub fn trust_bundle() -> Option<PathBuf> {
    let named = ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"].into_iter().filter_map(variable).map(PathBuf::from);
    let usual =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"].map(PathBuf::from);
    named.chain(usual).find(|path| path.is_file())
}

/// Proxy variables as containers need them, in the spelling that the host uses.
pub fn proxies() -> Vec<(String, String)> {
    ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), variable(name)?)))
        .collect()
}

/// The engine's socket as its own host names it.
pub fn engine_socket() -> String {
    variable("DOCKER_HOST")
        .and_then(|host| host.strip_prefix("unix://").map(str::to_owned))
        .unwrap_or_else(|| "/var/run/docker.sock".into())
}
