use super::*;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// Serves one prepared answer a connection; gives its address and the `range` each question had.
fn server(answers: Vec<Vec<u8>>) -> (String, Arc<Mutex<Vec<Option<String>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/file", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let lines: Vec<String> =
                BufReader::new(&stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            seen.lock().unwrap().push(lines.iter().find_map(|line| Some(line.strip_prefix("range: ")?.to_owned())));
            stream.write_all(&answer).unwrap();
        }
    });
    (address, asked)
}

/// An answer whose head may promise more than its body holds.
fn answer(status: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

async fn file(answers: Vec<Vec<u8>>, wanted: &[u8]) -> (Result<()>, Vec<Option<String>>, Option<Vec<u8>>) {
    let (_folder, store) = store();
    let (address, asked) = server(answers);
    let digest = Digest::of(wanted);
    let outcome = Fetcher::new(&store).unwrap().file(&[address], &digest).await;
    assert_eq!(std::fs::read_dir(store.temporary()).unwrap().count(), 0, "nothing half made stays");
    let asked = asked.lock().unwrap().clone();
    (outcome, asked, store.read(&digest).ok())
}

#[tokio::test]
async fn a_server_that_fails_is_asked_again() {
    let (outcome, asked, kept) =
        file(vec![answer("500 x", 0, b""), answer("503 x", 0, b""), answer("200 x", 4, b"body")], b"body").await;
    outcome.unwrap();
    assert_eq!((asked.len(), kept.as_deref()), (3, Some(&b"body"[..])));
}

#[tokio::test]
async fn a_server_that_keeps_failing_is_named_with_what_to_do() {
    let (outcome, asked, _) = file(vec![answer("500 x", 0, b""); 4], b"body").await;
    let text = crate::error::render(&outcome.unwrap_err());
    assert_eq!(asked.len(), 4);
    assert!(text.contains("failed after 4 of 4 attempts") && text.contains("answered 500") && text.contains("hint:"), "{text}");
}

#[tokio::test]
async fn what_is_not_there_is_asked_for_once() {
    let (outcome, asked, _) = file(vec![answer("404 x", 0, b""); 2], b"body").await;
    assert!(matches!(outcome.unwrap_err().downcast_ref(), Some(FetchError::Status { status: 404, .. })));
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let (outcome, asked, kept) = file(vec![answer("200 x", 8, b"half"), answer("206 x", 4, b"more")], b"halfmore").await;
    outcome.unwrap();
    assert_eq!((asked, kept.as_deref()), (vec![None, Some("bytes=4-".into())], Some(&b"halfmore"[..])));
}

#[tokio::test]
async fn a_server_that_begins_anew_is_believed() {
    let (outcome, _, kept) = file(vec![answer("200 x", 8, b"half"), answer("200 x", 8, b"halfmore")], b"halfmore").await;
    outcome.unwrap();
    assert_eq!(kept.as_deref(), Some(&b"halfmore"[..]));
}

#[tokio::test]
async fn a_server_that_has_no_more_is_asked_from_the_start() {
    let answers = vec![answer("200 x", 8, b"rott"), answer("416 x", 0, b""), answer("200 x", 4, b"body")];
    let (outcome, asked, kept) = file(answers, b"body").await;
    outcome.unwrap();
    assert_eq!((asked, kept.as_deref()), (vec![None, Some("bytes=4-".into()), None], Some(&b"body"[..])));
}

#[tokio::test]
async fn other_content_is_refused_and_not_kept() {
    let (outcome, _, kept) = file(vec![answer("200 x", 4, b"evil")], b"good").await;
    let text = crate::error::render(&outcome.unwrap_err());
    assert!(text.contains("a download was refused") && text.contains("sent the content of"), "{text}");
    assert_eq!(kept, None);
}
