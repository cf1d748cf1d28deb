//! OCI registries: images go there for other machines, and layers come back from there.
//!
//! The protocol: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.

pub mod base;
mod bounded;
mod compress;
pub mod layout;
mod manifest;
mod pull;
mod push;
mod refusal;
#[cfg(test)]
mod tests;

pub use compress::{Compressed, compress, compressed};
pub use manifest::{ImageIndex, Manifest, Outgoing};
pub use pull::{find, pull};
pub use push::{Pushed, push};

use crate::error::Fault;
use crate::host;
use anyhow::{Context, Result};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use std::future::Future;
use std::time::Duration;

/// On a layer's descriptor: the key that the layer has in plans, so that it is found without being made.
pub const LAYER_KEY: &str = "ai.baibox.layer";

const ATTEMPTS: u32 = 4;

/// `registry/prefix`, below which images are called `<branch>/<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub registry: String,
    pub prefix: String,
}

impl Place {
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let refused = |why: &str| {
            Fault::usage(format!("`{text}` is no place in a registry: {why}"))
                .hint("write it as `registry.example/team`, without scheme and tag")
        };
        if text.contains("://") {
            return Err(refused("it has a scheme"));
        }
        let (registry, prefix) = text.trim_end_matches('/').split_once('/').ok_or_else(|| refused("it has no `/`"))?;
        if !(registry.contains(['.', ':']) || registry == "localhost") {
            return Err(refused("it does not begin with the name of a host"));
        }
        // <https://github.com/distribution/reference>: path components are lower case.
        let good = |part: &str| {
            part.starts_with(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit())
                && part.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "._-".contains(letter))
        };
        if !prefix.split('/').all(good) {
            return Err(refused("a part of its path is not in lower case letters, digits, `.`, `_` and `-`"));
        }
        Ok(Self { registry: registry.to_owned(), prefix: prefix.to_owned() })
    }

    /// Machines that nobody else listens to.
    fn is_loopback(&self) -> bool {
        let name = self.registry.rsplit_once(':').map_or(self.registry.as_str(), |(name, _)| name);
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()) || name == "[::1]"
    }

    /// The place of an image whose reference in the engine is `baibox.local/<branch>/<name>:<tag>`.
    fn reference(&self, image: &str) -> Result<Reference> {
        let rest = image.strip_prefix("baibox.local/").unwrap_or(image);
        let (repository, tag) = rest.rsplit_once(':').context("an image reference has a tag")?;
        Ok(Reference::with_tag(self.registry.clone(), format!("{}/{repository}", self.prefix), tag.to_owned()))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.registry, self.prefix)
    }
}

/// A registry that is spoken to, as this user.
pub struct Registry {
    client: Client,
    /// For what that client reads without a bound.
    http: reqwest::Client,
    scheme: &'static str,
    auth: RegistryAuth,
    pub place: Place,
    /// Between the first attempts; it doubles with each.
    pace: Duration,
}

impl Registry {
    /// `plain` allows HTTP without TLS, which loopback addresses get anyway.
    pub fn new(place: Place, plain: bool) -> Result<Self> {
        let protocol = if plain || place.is_loopback() { ClientProtocol::Http } else { ClientProtocol::Https };
        Self::speaking(place, protocol)
    }

    fn speaking(place: Place, protocol: ClientProtocol) -> Result<Self> {
        let auth = credentials(&place.registry)?;
        let (connect, read, agent) =
            (Duration::from_secs(20), Duration::from_secs(60), concat!("baibox/", env!("CARGO_PKG_VERSION")));
        let mut http = reqwest::Client::builder().connect_timeout(connect).read_timeout(read).user_agent(agent);
        let scheme = if matches!(protocol, ClientProtocol::Http) { "http" } else { "https" };
        let mut config = ClientConfig {
            protocol,
            use_monolithic_push: true,
            connect_timeout: Some(connect),
            read_timeout: Some(read),
            user_agent: agent,
            ..ClientConfig::default()
        };
        if let Some(bundle) = host::trust_bundle() {
            let text = std::fs::read(&bundle).with_context(|| format!("cannot read the trust store `{}`", bundle.display()))?;
            config.tls_certs_only = pem_parts(&text)
                .into_iter()
                .map(|data| oci_client::client::Certificate { encoding: oci_client::client::CertificateEncoding::Pem, data })
                .collect();
            let roots = reqwest::Certificate::from_pem_bundle(&text)
                .with_context(|| format!("the trust store `{}` is not a PEM bundle", bundle.display()))?;
            http = http.tls_certs_only(roots);
        }
        Ok(Self {
            client: Client::try_from(config).context("cannot prepare for the registry")?,
            http: http.build().context("cannot prepare for the registry")?,
            scheme,
            auth,
            place,
            pace: Duration::from_millis(250),
        })
    }

    /// Asks again after what passes by itself, and says in the end what to do.
    async fn retry<T, F: Future<Output = Result<T, OciDistributionError>>>(&self, what: &str, ask: impl Fn() -> F) -> Result<T> {
        let mut attempt = 1;
        loop {
            match ask().await {
                Ok(value) => return Ok(value),
                Err(error) if passes(&error) && attempt < ATTEMPTS => {
                    // Back-off between attempts, not a wait for a state.
                    tokio::time::sleep(self.pace * (1 << attempt)).await;
                    attempt += 1;
                }
                Err(error) => {
                    let fault = refusal::refusal(self, what, &error);
                    return Err(anyhow::Error::new(error).context(fault));
                }
            }
        }
    }
}

fn passes(error: &OciDistributionError) -> bool {
    match error {
        // What nobody listens to or trusts is not mended by waiting, nor what cannot be asked.
        OciDistributionError::RequestError(error) => !error.is_connect() && !error.is_builder(),
        OciDistributionError::IoError(error) => error.kind() != std::io::ErrorKind::InvalidData,
        OciDistributionError::ServerError { code, .. } => *code >= 500 || *code == 429,
        _ => false,
    }
}

/// What `docker login` left for the registry: its file, or the helper that the file names.
fn credentials(registry: &str) -> Result<RegistryAuth> {
    if host::docker_logins().is_none() {
        return Ok(RegistryAuth::Anonymous);
    }
    match docker_credential::get_credential(registry) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(RegistryAuth::Basic(user, password)),
        Ok(DockerCredential::IdentityToken(_)) => {
            Err(Fault::usage(format!("the login for `{registry}` is an identity token, which is not understood yet"))
                .hint(format!("log in with a user name and an access token: `docker login {registry}`"))
                .into())
        }
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
        Err(error) => Err(Fault::usage(format!("the login for `{registry}` cannot be read: {}", error.to_string().trim()))
            .hint(format!("log in again: `docker login {registry}`"))
            .into()),
    }
}

/// The certificates of a bundle, one by one.
fn pem_parts(bundle: &[u8]) -> Vec<Vec<u8>> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = String::from_utf8_lossy(bundle);
    let parts = text.split_inclusive(END).filter_map(|part| Some(&part[part.find("-----BEGIN CERTIFICATE-----")?..]));
    parts.filter(|part| part.ends_with(END)).map(|part| part.as_bytes().to_vec()).collect()
}
