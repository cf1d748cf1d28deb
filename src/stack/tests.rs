use super::*;
use crate::engine::{Container, Fake};
use crate::error::{Exit, exit_of};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

fn environment(id: &str, image: &str) -> Environment {
    let value = json!({
        "id": id, "branch": "21.03", "folder": "/nowhere", "ports": {}, "subnet": "", "gateway": "",
        "secrets": {}, "images": {"manager": image},
    });
    serde_json::from_value(value).unwrap()
}

fn container(id: &str, service: &str, state: &str, health: &str, exit_code: Option<i64>) -> Container {
    let text = String::from;
    Container {
        id: text(id),
        name: text(id),
        service: text(service),
        state: text(state),
        health: text(health),
        exit_code,
        image: text("i"),
        config_hash: text(""),
    }
}

fn fake(containers: &[(&str, Container)]) -> Fake {
    let fake = Fake::default();
    fake.world().containers = containers.iter().map(|(owner, container)| ((*owner).to_owned(), container.clone())).collect();
    fake
}

async fn waited(fake: &Fake) -> anyhow::Error {
    let services = BTreeMap::from([("manager".to_owned(), false)]);
    wait_healthy(fake, &environment("one", "i"), &services, Duration::ZERO, |_| {}).await.unwrap_err()
}

#[tokio::test]
async fn an_ill_service_is_a_failure_with_its_last_words() {
    for (found, says) in [
        (Some(container("m", "manager", "exited", "", Some(3))), "exited with code 3"),
        (Some(container("m", "manager", "running", "unhealthy", None)), "running unhealthy"),
        (None, "there is no container"),
    ] {
        let known = found.is_some();
        let list: Vec<(&str, Container)> = found.into_iter().map(|found| ("one", found)).collect();
        let error = waited(&fake(&list)).await;
        let text = crate::error::render(&error);
        assert!(text.contains("these services are ill: manager") && text.contains(says), "{text}");
        assert!(!known || text.contains("the last words of m"), "{text}");
        assert!(text.contains("hint: read more: `baibox logs --env one manager`"), "{text}");
        assert_eq!(exit_of(&error), Exit::Unhealthy);
    }
}

#[tokio::test]
async fn a_service_that_takes_too_long_is_named_with_the_time() {
    let error = waited(&fake(&[("one", container("m", "manager", "running", "starting", None))])).await;
    let text = crate::error::render(&error);
    assert!(text.contains("after 0 s these services are not healthy: manager"), "{text}");
    assert_eq!(exit_of(&error), Exit::Unhealthy);
}

#[tokio::test]
async fn an_engine_that_goes_away_is_not_a_healthy_stack() {
    let engine = fake(&[]);
    engine.world().refuses.insert("containers", "connection closed".into());
    assert_eq!(exit_of(&waited(&engine).await), Exit::Engine);
}

#[tokio::test]
async fn only_what_belongs_to_the_environment_goes() {
    let engine = fake(&[
        ("one", container("manager", "manager", "running", "", None)),
        ("one", container("agent", "agent", "running", "", None)),
        ("one", container("session", "", "running", "", None)),
        ("two", container("other", "manager", "running", "", None)),
    ]);
    let pair = |owner: &str, name: &str| (owner.to_owned(), name.to_owned());
    engine.world().networks = vec![pair("one", "one_default"), pair("two", "two_default")];
    engine.world().volumes = vec![pair("one", "one_etcd"), pair("two", "two_etcd")];
    for (id, reference) in [("1", "own:1"), ("2", "shared:1")] {
        let image = crate::engine::HeldImage { id: id.into(), references: vec![reference.into()], diff_ids: Vec::new() };
        engine.world().images.push(image);
    }
    let mut one = environment("one", "own:1");
    one.images.insert("agent".into(), "shared:1".into());
    let two = environment("two", "shared:1");
    let found = leftovers(&engine, &one, &[one.clone(), two]).await.unwrap();
    assert_eq!((found.images.as_slice(), found.containers.len()), (&["own:1".to_owned()][..], 3));
    remove(&engine, &one, &found).await.unwrap();
    let world = engine.world();
    assert_eq!(world.containers.iter().map(|(_, own)| own.id.as_str()).collect::<Vec<_>>(), ["other"]);
    assert_eq!((&world.networks, &world.volumes), (&vec![pair("two", "two_default")], &vec![pair("two", "two_etcd")]));
    assert_eq!(world.images.len(), 1);
    // The agent first: what it would make meanwhile is not made.
    let removed: Vec<&String> = world.calls.iter().filter(|call| call.starts_with("remove_container")).collect();
    assert_eq!(removed[0], "remove_container agent");
}

/// What goes with an environment that has these images, beside a stranger with these containers.
async fn goes_beside(stranger: &[&str], images: &[&str]) -> (Vec<String>, Vec<String>) {
    let engine = fake(&[]);
    for image in stranger {
        let container = Container { image: (*image).to_owned(), ..container("s", "x", "exited", "", Some(0)) };
        engine.world().containers.push(("stranger".to_owned(), container));
    }
    engine.world().volumes = vec![("stranger".to_owned(), "stranger_etcd".to_owned())];
    for image in images.iter().copied().chain(HELPERS) {
        let references = vec![image.to_owned()];
        engine.world().images.push(crate::engine::HeldImage { id: image.into(), references, diff_ids: Vec::new() });
    }
    let mut one = environment("one", images[0]);
    one.images = images.iter().map(|image| ((*image).to_owned(), (*image).to_owned())).collect();
    let found = leftovers(&engine, &one, std::slice::from_ref(&one)).await.unwrap();
    remove(&engine, &one, &found).await.unwrap();
    let left = |image: &String| engine.world().images.iter().any(|held| held.references.contains(image));
    assert!(found.stay.iter().all(left) && !found.images.iter().any(left));
    (found.images, found.stay)
}

#[tokio::test]
async fn images_that_another_stores_environment_may_use_stay() {
    let mine = ["baibox.local/21.03/manager:a", "baibox.local/21.03/python:b"];
    let (goes, stays) = goes_beside(&["baibox.local/21.03/manager:other"], &mine).await;
    assert_eq!((goes.len(), stays.len()), (0, 4), "of its release, and the helpers: {stays:?}");
    let (goes, stays) = goes_beside(&["baibox.local/20.09/manager:a", "redis:6"], &mine).await;
    assert_eq!((goes.as_slice(), stays.as_slice()), (&mine.map(String::from)[..], &HELPERS.map(String::from)[..]));
    for untold in [&[][..], &["sha256:0123"]] {
        assert_eq!(goes_beside(untold, &mine).await.0, [""; 0], "nothing tells what it was made of");
        let (goes, _) = goes_beside(untold, &[mine[0], "baibox.local/step:c"]).await;
        assert_eq!(goes, ["baibox.local/step:c"], "of one store alone");
    }
}

#[tokio::test]
async fn images_that_nobody_needs_any_more_are_found() {
    let ours = ["baibox.local/21.03/manager:now", "baibox.local/21.03/manager:before"];
    let left = ["baibox.local/20.09/manager:left", "baibox.local/21.03/manager:left"];
    let theirs = ["redis:6", "registry.example/baibox.local/21.03/manager:x", "baibox.local/step:abc"];
    let check = async |stranger: &[&str], environments: &[Environment], expected: &[&str]| {
        let engine = fake(&[]);
        for image in ours.iter().chain(&left).chain(&theirs).chain(&HELPERS) {
            let references = vec![(*image).to_owned()];
            engine.world().images.push(crate::engine::HeldImage { id: (*image).into(), references, diff_ids: Vec::new() });
        }
        for image in stranger {
            let container = Container { image: (*image).to_owned(), ..container("s", "x", "exited", "", Some(0)) };
            engine.world().containers.push(("stranger".to_owned(), container));
        }
        assert_eq!(unused_images(&engine, environments).await.unwrap(), expected, "{stranger:?}");
    };
    let mut one = environment("one", ours[0]);
    one.superseded.insert(ours[1].to_owned());
    let one = [one];
    check(&[], &one, &left).await;
    check(&["baibox.local/21.03/manager:other"], &one, &left[..1]).await;
    check(&["baibox.local/20.09/manager:left"], &one, &left[1..]).await;
    check(&["sha256:0123"], &one, &[]).await;
    let mut all = [HELPERS.as_slice(), &ours, &left].concat();
    all.sort_unstable();
    check(&[], &[], &all).await;
}

#[test]
fn a_missing_or_old_compose_is_told_from_a_graph_that_fails() {
    for said in [
        "unknown flag: --progress\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]",
        "docker: 'compose' is not a docker command.\nSee 'docker --help'",
        "services.postgres.healthcheck Additional property start_interval is not allowed",
    ] {
        assert!(is_missing(said), "{said}");
    }
    assert!(!is_missing("dependency failed to start: container one-manager-1 exited (1)"));
}

#[tokio::test]
async fn what_an_ended_compose_had_asked_for_is_waited_for() {
    let fake = fake(&[]);
    let id = environment("nobody-else", "i").id;
    let (quiet, after) = (Duration::from_secs(1), Duration::from_millis(150));
    let begun = tokio::time::Instant::now();
    let late = async {
        for name in ["etcd", "redis"] {
            tokio::time::sleep(after).await;
            fake.world().containers.push((id.to_string(), container(name, name, "created", "", None)));
        }
    };
    let (ended, ()) = tokio::join!(settled(&fake, &id, quiet), late);
    ended.unwrap();
    assert!(begun.elapsed() >= quiet + 2 * after, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_session_that_prints_nothing_is_no_proof() {
    let check = async |prints: &[&str]| {
        let fake = fake(&[("one", container("w", "workspace", "running", "", None))]);
        fake.world().prints = prints.iter().map(|text| (*text).to_owned()).collect();
        verify(&fake, &environment("one", "i")).await
    };
    let proof = check(&["i-1 ALIVE", "ready\nHello World!\n"]).await.unwrap();
    assert_eq!((proof.agents.as_str(), proof.hello.as_str()), ("i-1 ALIVE", "Hello World!"));
    let error = check(&["i-1 ALIVE", "it ran\n"]).await.unwrap_err();
    let text = crate::error::render(&error);
    assert!(text.contains("it ran"), "{text}");
    assert_eq!(exit_of(&error), Exit::Unhealthy);
}
