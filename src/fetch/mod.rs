//! Downloads: verified before they have a name, resumed after a break, several at once.

mod names;
#[cfg(test)]
mod tests;

use crate::error::Fault;
use crate::model::Digest;
use crate::store::{BlobWriter, Store, StoreError};
use anyhow::{Context, Result};
use futures_util::StreamExt;
use std::io::{self, Write};
use std::time::Duration;

const ATTEMPTS: u32 = 4;
/// What is fetched once stays in the store.
pub const OFFLINE_HINT: &str = "leave `--offline` away once; what is fetched then stays for the next time";
/// The largest answer that is taken when its size is not known before.
const LARGEST: u64 = 2 << 30;

/// Asks through the host's proxies and trust store.
#[derive(Clone)]
pub struct Fetcher {
    /// `None` where nothing may be fetched.
    client: Option<reqwest::Client>,
    store: Store,
    slots: std::sync::Arc<tokio::sync::Semaphore>,
}

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("`{url}` would have to be asked, and nothing may be fetched")]
    Offline { url: String },
    #[error("`{url}` answered {status}")]
    Status { url: String, status: u16 },
    #[error("`{url}` cannot be reached")]
    Network { url: String, source: reqwest::Error },
    #[error("what `{url}` sent cannot be kept")]
    Write { url: String, source: io::Error },
    #[error("`{url}` sent more than {limit} bytes")]
    TooLarge { url: String, limit: u64 },
    #[error("`{url}` sent the content of `{found}`, not `{wanted}`")]
    Digest { url: String, wanted: Digest, found: Digest },
}

impl Fetcher {
    pub fn new(store: &Store) -> Result<Self> {
        let mut builder = reqwest::Client::builder()
            .dns_resolver(std::sync::Arc::new(names::Names::default()))
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
        Ok(Self { client: Some(client), store: store.clone(), slots: std::sync::Arc::new(tokio::sync::Semaphore::new(12)) })
    }

    /// One that has only what the store has.
    pub fn offline(store: &Store) -> Self {
        Self { client: None, store: store.clone(), slots: std::sync::Arc::new(tokio::sync::Semaphore::new(1)) }
    }
    pub fn is_offline(&self) -> bool {
        self.client.is_none()
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
            let mut writer = self.store.writer()?;
            let outcome = self.retry(url, "*/*", LARGEST, &mut writer).await;
            match outcome.and_then(|()| Ok(writer.commit_as(wanted)?)) {
                Ok(_) => return Ok(()),
                Err(error) => match error.downcast::<StoreError>() {
                    Ok(StoreError::Unexpected { wanted, found }) => {
                        let fault = Fault::new("a download was refused")
                            .hint("a proxy or mirror between may be changing files; try again or use another mirror");
                        last = Some(anyhow::Error::new(FetchError::Digest { url: url.clone(), wanted, found }).context(fault));
                    }
                    // A full disk is no reason to ask another mirror.
                    Ok(other) => return Err(other.into()),
                    Err(error) => last = Some(error),
                },
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no address is known for `{wanted}`")))
    }

    async fn retry(&self, url: &str, accept: &str, limit: u64, into: &mut impl Sink) -> Result<()> {
        let mut attempt = 1;
        loop {
            match self.once(url, accept, limit, into).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let passing = match &error {
                        FetchError::Status { status, .. } => *status >= 500 || matches!(*status, 408 | 416 | 429),
                        FetchError::Network { .. } => true,
                        _ => false,
                    };
                    if let FetchError::Offline { .. } = error {
                        let fault = Fault::new("something is missing that was not fetched before");
                        return Err(anyhow::Error::new(error).context(fault.hint(OFFLINE_HINT)));
                    }
                    if !passing || attempt == ATTEMPTS {
                        return Err(error).context(
                            Fault::new(format!("a download failed after {attempt} of {ATTEMPTS} attempts")).hint(
                                "check the network, the proxy and the mirror that this host is configured for, then type the same command again",
                            ),
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
    async fn once(&self, url: &str, accept: &str, limit: u64, into: &mut impl Sink) -> Result<(), FetchError> {
        let network = |source| FetchError::Network { url: url.to_owned(), source };
        let local = |source| FetchError::Write { url: url.to_owned(), source };
        let client = self.client.as_ref().ok_or_else(|| FetchError::Offline { url: url.to_owned() })?;
        let mut request = client.get(url).header("accept", accept);
        if into.held() > 0 {
            request = request.header("range", format!("bytes={}-", into.held()));
        }
        let answer = request.send().await.map_err(network)?;
        match answer.status().as_u16() {
            206 => {}
            200 => into.restart().map_err(local)?,
            // There is nothing after what is held, which was not the whole: begin anew.
            416 if into.held() > 0 => {
                into.restart().map_err(local)?;
                return Err(FetchError::Status { url: url.to_owned(), status: 416 });
            }
            status => return Err(FetchError::Status { url: url.to_owned(), status }),
        }
        let mut stream = answer.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(network)?;
            if into.held() + chunk.len() as u64 > limit {
                return Err(FetchError::TooLarge { url: url.to_owned(), limit });
            }
            into.write_all(&chunk).map_err(local)?;
        }
        Ok(())
    }
}

/// What an answer is written to; it knows how far it got.
trait Sink: Write {
    fn held(&self) -> u64;
    /// Forgets what was written, for a server that begins anew.
    fn restart(&mut self) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn held(&self) -> u64 {
        self.len() as u64
    }
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

impl Sink for BlobWriter {
    fn held(&self) -> u64 {
        self.size()
    }
    fn restart(&mut self) -> io::Result<()> {
        BlobWriter::restart(self)
    }
}
