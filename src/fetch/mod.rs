//! Downloads: verified before they have a name, resumed after a break, several at once.

use crate::error::Fault;
use crate::model::Digest;
use crate::store::Store;
use anyhow::{Context, Result};
use futures_util::StreamExt;
use std::io::Write;
use std::time::Duration;

const ATTEMPTS: u32 = 4;
/// The largest answer that is taken when its size is not known before.
const LARGEST: u64 = 2 << 30;

/// Asks through the host's proxies and trust store.
#[derive(Clone)]
pub struct Fetcher {
    client: reqwest::Client,
    store: Store,
    slots: std::sync::Arc<tokio::sync::Semaphore>,
}

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("`{url}` answered {status}")]
    Status { url: String, status: u16 },
    #[error("`{url}` cannot be reached")]
    Network { url: String, source: reqwest::Error },
    #[error("`{url}` sent more than {limit} bytes")]
    TooLarge { url: String, limit: u64 },
    #[error("`{url}` sent the content of `{found}`, not `{wanted}`")]
    Digest { url: String, wanted: Digest, found: Digest },
}

impl Fetcher {
    pub fn new(store: &Store) -> Result<Self> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("baibox/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(20))
            .read_timeout(Duration::from_secs(60));
        if let Some(bundle) = crate::host::trust_bundle() {
            let text = std::fs::read(&bundle).with_context(|| format!("cannot read the trust store `{}`", bundle.display()))?;
            let roots = reqwest::Certificate::from_pem_bundle(&text)
                .with_context(|| format!("the trust store `{}` is not a PEM bundle", bundle.display()))?;
            builder = builder.tls_certs_only(roots);
        }
        let client = builder.build().context("cannot prepare downloads")?;
        Ok(Self { client, store: store.clone(), slots: std::sync::Arc::new(tokio::sync::Semaphore::new(12)) })
    }

    /// A small answer in memory, such as an index page.
    pub async fn text(&self, url: &str, accept: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.retry(url, accept, 512 << 20, &mut bytes).await?;
        Ok(bytes)
    }

    /// Brings a file into the store under the digest it must have.
    pub async fn file(&self, urls: &[String], wanted: &Digest) -> Result<()> {
        if self.store.has(wanted) {
            return Ok(());
        }
        let _slot = self.slots.acquire().await.expect("never closed");
        let mut last = None;
        for url in urls {
            let mut bytes = Vec::new();
            match self.retry(url, "*/*", LARGEST, &mut bytes).await {
                Ok(()) => {
                    let found = Digest::of(&bytes);
                    if found != *wanted {
                        last = Some(
                            anyhow::Error::new(FetchError::Digest { url: url.clone(), wanted: wanted.clone(), found }).context(
                                Fault::new("a download was refused")
                                    .hint("a proxy or mirror between may be changing files; try again or use another mirror"),
                            ),
                        );
                        continue;
                    }
                    let mut writer = self.store.writer()?;
                    writer.write_all(&bytes)?;
                    writer.commit_as(wanted)?;
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no address is known for `{wanted}`")))
    }

    async fn retry(&self, url: &str, accept: &str, limit: u64, into: &mut Vec<u8>) -> Result<()> {
        let mut attempt = 1;
        loop {
            match self.once(url, accept, limit, into).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let passing = match &error {
                        FetchError::Status { status, .. } => *status >= 500 || *status == 429 || *status == 408,
                        FetchError::Network { .. } => true,
                        _ => false,
                    };
                    if !passing || attempt == ATTEMPTS {
                        return Err(error).context(
                            Fault::new(format!("a download failed after {attempt} of {ATTEMPTS} attempts"))
                                .hint("check the network, the proxy and the mirror that this host is configured for, then type the same command again"),
                        );
                    }
                }
            }
            // Back-off between attempts, not a wait for a state.
            tokio::time::sleep(Duration::from_millis(250 << attempt)).await;
            attempt += 1;
        }
    }

    /// Goes on after the bytes that are already there, if the server can.
    async fn once(&self, url: &str, accept: &str, limit: u64, into: &mut Vec<u8>) -> Result<(), FetchError> {
        let network = |source| FetchError::Network { url: url.to_owned(), source };
        let mut request = self.client.get(url).header("accept", accept);
        if !into.is_empty() {
            request = request.header("range", format!("bytes={}-", into.len()));
        }
        let answer = request.send().await.map_err(network)?;
        match answer.status().as_u16() {
            206 => {}
            200 => into.clear(),
            status => return Err(FetchError::Status { url: url.to_owned(), status }),
        }
        let mut stream = answer.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(network)?;
            if (into.len() + chunk.len()) as u64 > limit {
                return Err(FetchError::TooLarge { url: url.to_owned(), limit });
            }
            into.extend_from_slice(&chunk);
        }
        Ok(())
    }
}
