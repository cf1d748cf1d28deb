//! Which API an engine speaks, asked by `/_ping`: what else tells it makes the engine run programs first.

use super::client_version;
use anyhow::{Context, Result};
use bollard::ClientVersion;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// One that takes longer is asked in the usual way.
const LIMIT: Duration = Duration::from_secs(5);

/// Nothing where there is no such socket, or nobody who answers there as engines do.
pub async fn api_version(socket: &str) -> Option<ClientVersion> {
    let asked = async { ask(tokio::net::UnixStream::connect(socket).await?).await };
    tokio::time::timeout(LIMIT, asked).await.ok()?.ok()
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<ClientVersion> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::get("/_ping").header(hyper::header::HOST, "localhost").body(Empty::<bytes::Bytes>::new())?;
    // Does its part of the work while an answer is awaited, and ends when the sender is gone.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let version = answer.headers().get("api-version").context("the engine does not say which API it speaks")?;
    client_version(version.to_str()?).context("the engine speaks an API of no known form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn the_version_is_in_a_header_and_whatever_else_is_answered_is_none() {
        let check = async |answer: &str, wanted: Option<(usize, usize)>| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("engine.sock");
            let listening = tokio::net::UnixListener::bind(&path).unwrap();
            let answering = async {
                let (mut stream, _) = listening.accept().await.unwrap();
                let mut asked = [0; 512];
                let size = stream.read(&mut asked).await.unwrap();
                assert!(asked[..size].starts_with(b"GET /_ping HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            };
            let (version, ()) = tokio::join!(api_version(path.to_str().unwrap()), answering);
            assert_eq!(version.map(|version| (version.major_version, version.minor_version)), wanted, "{answer}");
        };
        check("HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK", Some((1, 41))).await;
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", None).await;
        check("HTTP/1.1 200 OK\r\nApi-Version: new\r\nContent-Length: 2\r\n\r\nOK", None).await;
        check("SSH-2.0-OpenSSH_9.2\r\n", None).await;
        check("", None).await;
        assert_eq!(api_version("/nobody/listens.sock").await.map(|version| version.major_version), None);
    }
}
