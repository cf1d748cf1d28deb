use super::*;

#[test]
fn places_are_checked() {
    let check = |text: &str, wanted: Option<(&str, bool)>| {
        let found = Place::parse(text).ok().map(|place| (place.to_string(), place.is_loopback()));
        assert_eq!(found, wanted.map(|(text, loopback)| (text.to_owned(), loopback)), "{text}");
    };
    check("registry.example/team", Some(("registry.example/team", false)));
    check("localhost:5000/a/b/", Some(("localhost:5000/a/b", true)));
    check("127.0.0.1:5000/a", Some(("127.0.0.1:5000/a", true)));
    check("localhost.example:5000/a", Some(("localhost.example:5000/a", false)));
    check("team", None);
    check("team/x", None);
    check("https://registry.example/team", None);
    check("registry.example/Team", None);
    check("registry.example/a//b", None);
    check("registry.example/a:tag", None);
}

#[test]
fn images_keep_their_names_below_a_place() {
    let place = Place::parse("localhost:5000/team").unwrap();
    let reference = place.reference("baibox.local/21.03/manager:abc").unwrap();
    assert_eq!(reference.whole(), "localhost:5000/team/21.03/manager:abc");
}

#[test]
fn a_bundle_is_cut_into_certificates() {
    let one = "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----";
    let parts = pem_parts(format!("# x\n{one}\n# y\n{one}\nrest").as_bytes());
    assert_eq!(parts, [one.as_bytes(), one.as_bytes()]);
}

/// A registry that gives every question the same answer.
fn answering(answer: String) -> String {
    use std::io::{BufRead, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = std::io::BufReader::new(&stream).lines();
            for _ in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {}
            // Who is not understood hangs up.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    answering(format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"))
}

async fn asked(mut registry: Registry) -> String {
    registry.pace = Duration::from_millis(1);
    let image = crate::oci::Image::new("baibox.local/x/y:z".into(), "amd64", &crate::oci::Settings::default(), Vec::new());
    crate::error::render(&find(&registry, &image).await.unwrap_err())
}

#[tokio::test]
async fn a_refusal_is_told_with_what_to_do() {
    let check = async |address: String, says: &str, hint: &str| {
        let registry = Registry::new(Place::parse(&format!("{address}/team")).unwrap(), false).unwrap();
        let text = asked(registry).await;
        let (told, hints) = text.split_once("\n\n").unwrap_or((&text, ""));
        assert!(told.contains(says) && hints.contains(hint), "{says}, {hint}:\n{text}");
    };
    let envelope = |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"because of {code}"}}]}}"#);
    check(answer("401 x", "www-authenticate: Basic realm=\"r\"\r\n", ""), "refused", "docker login 127.0.0.1").await;
    check(answer("403 x", "", &envelope("DENIED")), "because of DENIED", "see that your account may use").await;
    check(answer("403 x", "", ""), "refused", "see that your account may use").await;
    check(answer("404 x", "", &envelope("UNSUPPORTED")), "because of UNSUPPORTED", "mend what it says").await;
    check(answer("429 x", "retry-after: 1\r\n", &envelope("TOOMANYREQUESTS")), "because of TOOMANY", "too many requests").await;
    check(answer("429 x", "", ""), "refused", "too many requests").await;
    check(answer("503 x", "", "away"), "503", "wait until it is well").await;
    // Nobody listens at a port that was just given back.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    check(gone.to_string(), "cannot be reached", "name and port").await;
    check(answering("no HTTP at all\r\n\r\n".into()), "cannot be reached", "name and port").await;
}

#[tokio::test]
async fn what_does_not_speak_tls_is_not_spoken_to_without() {
    let address = answering("HTTP/1.1 400 x\r\n\r\n".into());
    let place = Place::parse(&format!("{address}/team")).unwrap();
    let text = asked(Registry::speaking(place, ClientProtocol::Https).unwrap()).await;
    assert!(text.contains("does not speak TLS") && text.contains("--plain-http"), "{text}");
}
