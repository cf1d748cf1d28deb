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
