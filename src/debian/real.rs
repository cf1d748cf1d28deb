//! Against the configured mirror and a real engine: `cargo test --lib debian::real -- --ignored --nocapture`.

use super::*;
use crate::fetch::Fetcher;
use crate::oci::{END_MARKER, Node, Tree};
use crate::store::Store;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

const SUITES: [&str; 2] = ["bullseye", "bullseye-security"];

struct World {
    store: Store,
    fetcher: Fetcher,
    mirror: Mirror,
    since: Instant,
}

impl World {
    fn open() -> Self {
        let store = Store::open(&std::env::temp_dir().join("baibox-debian-test")).unwrap();
        let fetcher = Fetcher::new(&store).unwrap();
        Self { store, fetcher, mirror: Mirror::of_host(), since: Instant::now() }
    }
    fn lap(&mut self, what: &str) {
        eprintln!("{what}: {:.2} s", self.since.elapsed().as_secs_f64());
        self.since = Instant::now();
    }
    async fn packages(&mut self, suites: &[&str]) -> Vec<Package> {
        let mut packages = Vec::new();
        for suite in suites {
            let index = index::fetch(&self.fetcher, &self.store, &self.mirror, suite, "amd64").await.unwrap();
            eprintln!("{suite}: {} packages {:?}", index.packages.len(), index.notes);
            packages.extend(index.packages);
        }
        self.lap("indexes");
        packages
    }
    async fn unpacked(&mut self, set: &[Package], options: &Options) -> Vec<Unpacked> {
        let debs: Vec<LockedDeb> = set.iter().map(|package| package.try_into().unwrap()).collect();
        futures_util::future::try_join_all(debs.iter().map(|deb| download(&self.fetcher, &self.mirror, deb))).await.unwrap();
        self.lap(&format!("download of {} packages, {} MB", debs.len(), debs.iter().map(|deb| deb.size).sum::<u64>() >> 20));
        let work = debs.into_iter().map(|deb| {
            let (store, options) = (self.store.clone(), options.of_package(&deb.name));
            tokio::task::spawn_blocking(move || unpack(&deb.file, &store.read(&deb.sha256).unwrap(), &options).unwrap())
        });
        let unpacked = futures_util::future::try_join_all(work).await.unwrap();
        self.lap("unpack");
        unpacked
    }
    fn import(&mut self, trees: &[&Tree], image: &str) {
        self.send(trees, &["import", "-", image]);
    }
    fn send(&mut self, trees: &[&Tree], arguments: &[&str]) {
        let mut child = Command::new("docker").args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut input = std::io::BufWriter::new(child.stdin.take().unwrap());
        // The engine refuses a tar stream that names a path twice, folders too.
        let mut seen = std::collections::BTreeSet::new();
        for tree in trees {
            let mut tree = (*tree).clone();
            let again: Vec<String> =
                tree.iter().map(|(path, _)| path.to_owned()).filter(|path| !seen.insert(path.clone())).collect();
            for path in again {
                assert!(matches!(tree.remove(&path), Some(Node::Directory { .. })), "{path} is in two packages");
            }
            tree.write_fragment(&mut input).unwrap();
        }
        input.write_all(&END_MARKER).unwrap();
        drop(input);
        assert!(child.wait().unwrap().success());
        self.lap(arguments[0]);
    }
    fn docker(&mut self, arguments: &[&str]) -> String {
        let out = Command::new("docker").args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{arguments:?}: {} {errors}", String::from_utf8_lossy(&out.stdout));
        self.lap(&format!("docker {}", arguments[0]));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
    fn run(&mut self, image: &str, arguments: &[&str]) -> String {
        let out = Command::new("docker")
            .args(["run", "--rm", "--pull=never", "--network=none", "--label=ai.baibox.test=debian", image])
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{arguments:?}: {text}");
        self.lap(&format!("run {:.60}", arguments.last().unwrap().replace('\n', " ")));
        text
    }
}

fn request(essentials: bool, packages: &[&str], exclude: &[&str]) -> Request {
    let texts = |list: &[&str]| list.iter().map(|text| text.to_string()).collect();
    Request { essentials, packages: texts(packages), exclude: texts(exclude), on_top_of: Vec::new() }
}

fn lean(database: Database) -> Options {
    let exclude = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"].map(String::from).to_vec();
    let blank =
        Blank { package: "postgresql-13".into(), path: "usr/lib/postgresql/13/bin/postgres".into(), suffix: " (Debian".into() };
    Options { database, exclude, blank: Some(blank), ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a mirror and an engine"]
async fn a_bullseye_system_configures_and_runs_python() {
    let mut world = World::open();
    let packages = world.packages(&SUITES).await;
    let wanted = ["ca-certificates", "curl", "python3", "python3-distutils", "procps", "iproute2"];
    let set = resolve(&packages, &request(true, &wanted, &[])).unwrap();
    world.lap("resolve");
    let base = world.unpacked(&set, &lean(Database::Unpacked)).await;
    let controls: Vec<&Control> = base.iter().map(|one| &one.control).collect();
    let mut records = database::triggers(controls.iter().copied());
    records.insert("var/lib/dpkg/status", Node::file(0o644, database::status(controls.iter().copied()))).unwrap();
    let skeleton = database::skeleton();
    let mut trees = vec![&skeleton];
    trees.extend(base.iter().map(|one| &one.tree));
    trees.push(&records);
    let image = "baibox-debian-test:base";
    world.import(&trees, image);
    let python = "python3 -c 'import ssl, distutils.core; print(ssl.OPENSSL_VERSION)' && curl --version | head -1 && ip -V && ps --version && ls /var/lib/dpkg/triggers";
    let text = world.run(image, &["/bin/sh", "-c", &format!("{}\n{python}", configure::script())]);
    eprintln!("{text}");
    assert!(text.contains("OpenSSL 1.1.1"), "{text}");

    // More packages on top of the configured base.
    let (first, second) = ("baibox-debian-test-base", "baibox-debian-test-top");
    let configured = "baibox-debian-test:configured";
    world.docker(&["run", "--name", first, "--pull=never", "--network=none", image, "/bin/sh", "-c", &configure::script()]);
    world.docker(&["commit", first, configured]);
    world.docker(&["rm", first]);
    let status = world.docker(&["run", "--rm", "--pull=never", "--network=none", configured, "cat", "/var/lib/dpkg/status"]);
    let more = Request { on_top_of: set, ..request(false, &["git", "gcc", "python3-yaml"], &[]) };
    let top = resolve(&packages, &more).unwrap();
    let top = world.unpacked(&top, &lean(Database::Unpacked)).await;
    let mut records = Tree::default();
    let merged = database::merge(&status, top.iter().map(|one| &one.control));
    records.insert("var/lib/dpkg/status", Node::file(0o644, merged)).unwrap();
    let script = format!(
        "{}\ngit --version; gcc --version | head -1; python3 -c 'import yaml; print(yaml.__version__)'",
        configure::script_on_top()
    );
    world.docker(&["create", "--name", second, "--network=none", configured, "/bin/sh", "-c", &script]);
    let trees: Vec<&Tree> = top.iter().map(|one| &one.tree).chain([&records]).collect();
    world.send(&trees, &["cp", "-", &format!("{second}:/")]);
    eprintln!("{}", world.docker(&["start", "--attach", second]));
    world.docker(&["rm", second]);
    world.docker(&["rmi", configured, image]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a mirror and an engine"]
async fn the_halfstack_runs_from_static_sets() {
    let mut world = World::open();
    let bookworm = world.packages(&["bookworm", "bookworm-security"]).await;
    let bullseye = world.packages(&SUITES).await;
    let cut = [
        "perl",
        "perl-base",
        "libllvm11",
        "postgresql-common",
        "postgresql-client-common",
        "ssl-cert",
        "locales",
        "debconf",
        "systemd",
        "adduser",
        "init-system-helpers",
        "sysvinit-utils",
    ];
    for (name, packages, wanted, programs) in [
        ("redis", &bookworm, &["redis-server", "redis-tools"][..], &["redis-server", "--version"][..]),
        ("etcd", &bookworm, &["etcd-server", "etcd-client"], &["etcd", "--version"]),
        ("postgres", &bullseye, &["postgresql-13", "dash"], &["/usr/lib/postgresql/13/bin/postgres", "-V"]),
    ] {
        let set = resolve(packages, &request(false, wanted, &cut)).unwrap();
        eprintln!("{name}: {}", set.iter().map(|package| package.name.as_str()).collect::<Vec<_>>().join(" "));
        let unpacked = world.unpacked(&set, &lean(Database::Static)).await;
        let base = database::base();
        let trees: Vec<&Tree> = std::iter::once(&base).chain(unpacked.iter().map(|one| &one.tree)).collect();
        let image = format!("baibox-debian-test:{name}");
        world.import(&trees, &image);
        eprintln!("{}", world.run(&image, programs));
        world.docker(&["rmi", &image]);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a mirror"]
async fn a_changed_release_file_is_refused() {
    let world = World::open();
    let url = format!("{}/dists/bullseye-security/InRelease", world.mirror.security[0]);
    let bytes = world.fetcher.text(&url, "*/*").await.unwrap();
    signature::verified_text("whole", &bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let outside = format!("Codename: evil\n{text}\nCodename: evil\n");
    assert!(
        signature::verified_text("outside", outside.as_bytes()).is_ok_and(|text| !text.contains("evil"))
            || signature::verified_text("outside", outside.as_bytes()).is_err()
    );
    let changed = text.replacen("Label: Debian-Security", "Label: Debian-Securitx", 1);
    assert!(matches!(signature::verified_text("changed", changed.as_bytes()), Err(DebianError::Signature { .. })));
}
