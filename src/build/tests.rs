use super::*;
use crate::engine::Fake;
use crate::error::{Exit, exit_of};
use crate::oci::Settings;
use crate::plan::{Part, PlannedFile, Rank, Recipe, Wanted};

pub(super) fn builder(folder: &std::path::Path) -> (Builder, Arc<Fake>) {
    let store = Store::open(folder).unwrap();
    let engine = Arc::new(Fake::default());
    let builder = Builder {
        fetcher: Fetcher::new(&store).unwrap(),
        store,
        mirror: Arc::new(Mirror::of_host()),
        index: Arc::new(crate::python::Index::new("http://127.0.0.1:1")),
        cpython: Arc::new(crate::python::standalone::Source::Base("http://127.0.0.1:1".into())),
        engine: engine.clone(),
        architecture: "amd64".into(),
        assumed: false,
        ui: Ui::new(true),
        steps: Arc::default(),
        keep_steps: false,
        memory: Arc::new(tokio::sync::Semaphore::new(MEMORY as usize)),
        one_core: false,
        lease: None,
    };
    (builder, engine)
}

/// One image with a layer for each rank of `texts`.
fn plan(texts: &[&str]) -> Plan {
    let ranks = [Rank::Packages, Rank::Wheels, Rank::Files];
    let parts = texts.iter().zip(ranks).map(|(text, rank)| {
        let file = PlannedFile { mode: 0o644, content: text.repeat(2000) };
        Part::new(rank, Recipe::Files { title: (*text).to_owned(), files: [(format!("file-{text}"), file)].into() })
    });
    Plan::new("x", vec![Wanted { name: "a".into(), parts: parts.collect(), settings: Settings::default() }])
}

#[tokio::test]
async fn what_is_there_is_neither_made_nor_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let (builder, engine) = builder(folder.path());
    let first = builder.build(&plan(&["one", "two"]), false).await.unwrap();
    assert_eq!((first.fragments_made, first.images_loaded), (2, 1));

    engine.world().calls.clear();
    let again = builder.build(&plan(&["one", "two"]), false).await.unwrap();
    assert_eq!((again.fragments_made, again.images_loaded, again.bytes_sent), (0, 0, 0));
    assert_eq!(engine.world().calls.len(), 1, "one question for one image");
    assert_eq!(again.images, first.images);

    let more = builder.build(&plan(&["one", "two", "three"]), false).await.unwrap();
    assert_eq!((more.fragments_made, more.images_loaded), (1, 1));
    assert!(more.bytes_sent < first.bytes_sent, "{} of {}", more.bytes_sent, first.bytes_sent);
}

#[tokio::test]
async fn an_engine_that_refuses_a_part_gets_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (builder, engine) = builder(folder.path());
    builder.build(&plan(&["one", "two"]), false).await.unwrap();
    engine.world().takes_whole_archives_only = true;
    let more = builder.build(&plan(&["one", "two", "three"]), false).await.unwrap();
    assert_eq!(more.bytes_sent, more.images[0].1.layers.iter().map(|layer| layer.size).sum::<u64>());
    assert_eq!(engine.world().calls.iter().filter(|call| *call == "load").count(), 3);
}

#[tokio::test]
async fn an_engine_that_stops_half_way_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let (builder, engine) = builder(folder.path());
    for verb in ["image", "load", "images", "sweep_steps"] {
        engine.world().refuses.insert(verb, format!("the engine went away at `{verb}`"));
        let error = builder.build(&plan(&["one", verb]), false).await.unwrap_err();
        assert_eq!(exit_of(&error), Exit::Engine);
        assert!(crate::error::render(&error).contains(&format!("went away at `{verb}`")));
        engine.world().refuses.clear();
        builder.build(&plan(&["one", verb]), false).await.unwrap();
    }
}

#[tokio::test]
async fn a_corrupt_blob_is_found_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (builder, engine) = builder(folder.path());
    let plan = plan(&["one", "two"]);
    let first = builder.build(&plan, false).await.unwrap();
    let fragment = builder.fragment(&plan.images[0].layers[0].fragments[0]).unwrap();
    std::fs::write(builder.store.blob_path(&fragment.content), "rotten").unwrap();
    engine.world().images.clear();
    // Found when it is sent, never given to the engine, and made again at once.
    let again = builder.build(&plan, false).await.unwrap();
    assert_eq!(again.images, first.images);
}

#[tokio::test]
async fn two_makings_that_differ_are_told_apart_by_layer_fragment_path_and_field() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = [0, 1].map(|number| builder(folders[number].path()).0);
    let plan = plan(&["one", "two"]);
    let left = one.build(&plan, true).await.unwrap();
    assert_eq!(left.images, other.build(&plan, true).await.unwrap().images);
    // A recipe that gives something else the second time.
    let mut tree = Tree::default();
    tree.insert("file-two", Node::file(0o600, "two".repeat(2000))).unwrap();
    let mut bytes = Vec::new();
    tree.write_fragment(&mut bytes).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let (third, _) = builder(fresh.path());
    let empty = third.store.put(b"").unwrap();
    let rotten = Fragment { folders: empty, content: third.store.put(&bytes).unwrap() };
    third.store.record_action(&plan.images[0].layers[1].fragments[0], &rotten).unwrap();
    let right = third.build(&plan, true).await.unwrap();
    let found = first_difference((&one.store, &left.images[0].1), (&third.store, &right.images[0].1), &plan.images[0], &plan);
    assert_eq!(found.unwrap(), "layer 2 “Python packages (1 for 1 images)”, of two: `file-two`, mode: 0644 and 0600");
}

#[tokio::test]
async fn without_a_network_all_that_is_missing_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut builder, _) = builder(folder.path());
    builder.fetcher = Fetcher::offline(&builder.store);
    let wheel = |name: &str| {
        let input = crate::plan::Input { file: format!("{name}.whl"), digest: Digest::of(name.as_bytes()) };
        Part::new(Rank::Wheels, Recipe::Wheel { name: name.into(), version: "1".into(), input, python: "3.9".into() })
    };
    let wanted = Wanted { name: "a".into(), parts: vec![wheel("one"), wheel("two")], settings: Settings::default() };
    let error = builder.build(&Plan::new("x", vec![wanted]), false).await.unwrap_err();
    let text = crate::error::render(&error);
    assert!(
        text.starts_with("error: 2 files are not in the store: `one.whl`, `two.whl`") && text.contains("--offline"),
        "{text}"
    );
    // What needs no file is built all the same.
    builder.build(&plan(&["one"]), false).await.unwrap();
}

#[tokio::test]
async fn a_build_is_a_use_of_what_it_stands_on_and_is_noted_once_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let (builder, _) = builder(folder.path());
    let (plan, other) = (plan(&["one", "two"]), plan(&["other"]));
    builder.build(&plan, false).await.unwrap();
    builder.build(&other, false).await.unwrap();
    let blobs = builder.reached(&plan);
    let long_ago = |path: std::path::PathBuf| {
        let file = std::fs::File::open(path).unwrap();
        file.set_modified(SystemTime::now() - DAY * 40).unwrap();
    };
    let month = crate::store::Limits { older_than: Some(DAY * 30), larger_than: None };
    let old = || builder.store.prune(&BTreeSet::new(), month, false, SystemTime::now()).unwrap().freed.files;
    for digest in blobs.iter().chain(&builder.reached(&other)) {
        long_ago(builder.store.blob_path(digest));
    }
    let all = old();
    builder.build(&plan, false).await.unwrap();
    assert_eq!(old(), all, "used today already");
    for entry in std::fs::read_dir(folder.path().join("actions")).unwrap() {
        long_ago(entry.unwrap().path());
    }
    builder.build(&plan, false).await.unwrap();
    assert_eq!(old(), builder.reached(&other).difference(&blobs).count() as u64);
}

#[tokio::test]
async fn a_step_that_the_host_cannot_run_says_what_is_missing_and_what_can_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let (builder, engine) = builder(folder.path());
    let base = Part::new(Rank::Packages, Recipe::DebianSkeleton);
    let below = vec![vec![base.key.clone()]];
    let step = Part::new(Rank::Configured, Recipe::DebianConfigured { below, again: false });
    let image = |name: &str, parts| Wanted { name: name.into(), parts, settings: Settings::default() };
    let plan = Plan::new("x", vec![image("steps", vec![base.clone(), step]), image("none", vec![base])]);
    engine.world().refuses.insert("run_step", "exec /bin/sh: exec format error".into());
    let error = builder.on(Platform::Arm64).build(&plan, true).await.unwrap_err();
    let text = crate::error::render(&error);
    assert!(text.starts_with("error: a step must run for linux/arm64"), "{text}");
    assert!(text.contains("hint: give that host an emulator") && text.contains("`--image none`"), "{text}");
    // Other failures stay what they are.
    engine.world().refuses.insert("run_step", "no space left on device".into());
    let text = crate::error::render(&builder.on(Platform::Arm64).build(&plan, true).await.unwrap_err());
    assert!(!text.contains("emulator"), "{text}");
}

#[tokio::test]
async fn what_byte_code_is_compiled_on_stays_for_the_next_build_where_that_is_asked_for() {
    let plan = |text: &str| {
        let file = PlannedFile { mode: 0o644, content: text.to_owned() };
        let base = Recipe::DebianSkeleton;
        let on = Recipe::Unpacked { layers: vec![vec![base.key()]] };
        let modules = Recipe::Files { title: "modules".into(), files: [("a.py".to_owned(), file)].into() };
        let code = Recipe::ByteCode { of: modules.key(), on: on.key() };
        let parts = [(Rank::Packages, base), (Rank::Wheels, on), (Rank::Wheels, modules), (Rank::Wheels, code)];
        let parts = parts.map(|(rank, recipe)| Part::new(rank, recipe)).into();
        Plan::new("x", vec![Wanted { name: "a".into(), parts, settings: Settings::default() }])
    };
    let folder = tempfile::tempdir().unwrap();
    let (builder, engine) = builder(folder.path());
    // Of Python 3.9, and nothing but None.
    engine.world().step_output = b"0 1\n17 a.pyc\na\r\r\n\0\0\0\0\0\0\0\0\0\0\0\0N".to_vec();
    let on_steps = || {
        let images = engine.world().images.clone();
        images.into_iter().flat_map(|image| image.references).filter(|name| name.starts_with("baibox.local/step:")).collect()
    };
    let outcome = builder.build(&plan("1"), false).await.unwrap();
    assert_eq!((outcome.steps, on_steps()), (BTreeSet::new(), BTreeSet::new()));

    let keeping = Builder { keep_steps: true, ..builder.clone() };
    let outcome = keeping.build(&plan("2"), false).await.unwrap();
    assert_eq!((outcome.steps.len(), &outcome.steps), (1, &on_steps()));
    engine.world().calls.clear();
    let again = keeping.build(&plan("3"), false).await.unwrap();
    assert_eq!(again.steps, outcome.steps);
    let loads = engine.world().calls.iter().filter(|call| call.starts_with("load")).count();
    assert_eq!(loads, 1, "the image itself: {:?}", engine.world().calls);

    // A build that fails leaves none.
    engine.world().step_output.clear();
    keeping.build(&plan("4"), false).await.unwrap_err();
    assert_eq!(on_steps(), BTreeSet::new());
}

#[tokio::test]
async fn an_assumed_architecture_is_asked_for_before_anything_is_loaded_and_not_where_nothing_is_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (builder, engine) = builder(folder.path());
    let other = Builder { architecture: "arm64".into(), assumed: true, ..builder.clone() };
    for store_only in [true, false] {
        let error = other.build(&plan(&["one"]), store_only).await.unwrap_err();
        assert!(error.is::<AnotherArchitecture>(), "{error:#}");
    }
    assert!(engine.world().images.is_empty());
    let right = Builder { assumed: true, ..builder };
    right.build(&plan(&["one"]), false).await.unwrap();
    engine.world().calls.clear();
    right.build(&plan(&["one"]), false).await.unwrap();
    assert!(engine.world().calls.iter().all(|call| !call.starts_with("architecture")));
}
