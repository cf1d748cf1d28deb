//! Manifests, which are small: `oci-client` would read an answer to its end, however long it is.

use super::Registry;
use crate::model::Digest;
use anyhow::Result;
use oci_client::errors::{OciDistributionError, OciEnvelope};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use std::io;

/// What registries take at least; <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests>.
const LARGEST: usize = 4 << 20;

impl Registry {
    /// A manifest or an index of one of these media types; by a digest, it has that digest.
    pub(super) async fn manifest(&self, reference: &Reference, kinds: &[&str]) -> Result<Vec<u8>> {
        self.retry(&format!("the manifest of `{reference}`"), || self.ask(reference, kinds)).await
    }

    async fn ask(&self, reference: &Reference, kinds: &[&str]) -> Result<Vec<u8>, OciDistributionError> {
        let name = reference.digest().or(reference.tag()).unwrap_or("latest");
        let (scheme, host) = (self.scheme, reference.resolve_registry());
        let url = format!("{scheme}://{host}/v2/{}/manifests/{name}", reference.repository());
        let mut request = self.http.get(&url).header("accept", kinds.join(", "));
        match (self.client.auth(reference, &self.auth, RegistryOperation::Pull).await?, &self.auth) {
            (Some(token), _) => request = request.bearer_auth(token),
            (None, RegistryAuth::Basic(user, password)) => request = request.basic_auth(user, Some(password)),
            _ => {}
        }
        let mut answer = request.send().await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > LARGEST {
                return Err(lie(format!("it is of more than {LARGEST} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let code = answer.status().as_u16();
        match code {
            200 => {}
            401 => return Err(OciDistributionError::UnauthorizedError { url }),
            _ => {
                return Err(match serde_json::from_slice::<OciEnvelope>(&body) {
                    Ok(envelope) if code < 500 => OciDistributionError::RegistryError { envelope, url },
                    _ => OciDistributionError::ServerError { code, url, message: String::from_utf8_lossy(&body).into() },
                });
            }
        }
        let told = answer.headers().get("docker-content-digest").and_then(|digest| digest.to_str().ok());
        let found = Digest::of(&body);
        match reference.digest().into_iter().chain(told).find(|wanted| *wanted != found.as_str()) {
            Some(wanted) => Err(lie(format!("its digest is `{found}`, not `{wanted}`"))),
            None => Ok(body),
        }
    }
}

fn lie(what: String) -> OciDistributionError {
    io::Error::new(io::ErrorKind::InvalidData, what).into()
}
