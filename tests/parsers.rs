//! Parsers of outside bytes under fire: good inputs are changed at random, from a seed that is
//! told, and what comes out must be an error or a tree that is whole. Never a panic.
//!
//! `BAIBOX_ROUNDS=100000 cargo test --release --test parsers` goes on for longer.

mod fire;

use baibox::debian::{self, Database, DebianError, Options};
use baibox::oci::{Node, Tree, compare};
use baibox::python::{Layout, PythonLock, build, marshal, pex, requirement, uv, wheel};
use baibox::source;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fire::{below, change, gzip, rounds, seal, tar_of, under_fire, under_fire_for};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::{Digest as _, Sha256};
use std::io::{Cursor, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is in a tree stays in the image: paths are normal, and the fragment is read as it was written.
fn whole(tree: &Tree) {
    tree.check().unwrap();
    for (path, _) in tree.iter() {
        assert_eq!(Tree::normal_path(path).as_deref(), Ok(path));
    }
    let mut bytes = Vec::new();
    tree.write_fragment(&mut bytes).unwrap();
    assert_eq!(read(&bytes), *tree);
}

/// The tree of a fragment, read by the tar format alone.
fn read(fragment: &[u8]) -> Tree {
    let mut tree = Tree::default();
    for entry in tar::Archive::new(fragment).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let link = entry.link_name_bytes().map(|link| String::from_utf8(link.into_owned()).unwrap());
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), baibox::model::SOURCE_DATE_EPOCH);
        let (mode, kind) = (header.mode().unwrap(), header.entry_type());
        let (uid, gid) = (header.uid().unwrap() as u32, header.gid().unwrap() as u32);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let node = match kind {
            tar::EntryType::Directory => Node::Directory { mode, uid, gid },
            tar::EntryType::Symlink => Node::Symlink { target: link.unwrap() },
            tar::EntryType::Link => Node::Hardlink { target: link.unwrap() },
            _ => Node::File { mode, uid, gid, content: content.into() },
        };
        tree.insert(&path, node).unwrap();
    }
    tree
}

/// Any tree that may be packed.
fn any_tree(random: &mut StdRng) -> Tree {
    const PARTS: [&str; 8] =
        ["a", "usr", "ä", "with space", "x.py", "...", "-", "a-name-that-is-rather-long-for-the-old-format-of-tar"];
    let mut tree = Tree::default();
    for _ in 0..random.random_range(0..30) {
        let depth = random.random_range(1..8);
        let path: Vec<&str> = (0..depth).map(|_| PARTS[random.random_range(0..PARTS.len())]).collect();
        let (mode, uid, gid) = (random.random_range(0..0o10000), random.random_range(0..70000), random.random());
        let node = match random.random_range(0..4) {
            0 => Node::Directory { mode, uid, gid },
            1 => Node::Symlink { target: "../".repeat(random.random_range(0..60)) + "target" },
            _ => {
                let content: Vec<u8> = (0..random.random_range(0..1500)).map(|_| random.random()).collect();
                Node::File { mode, uid, gid, content: content.into() }
            }
        };
        let path = path.join("/");
        if tree.get(&path).is_none() && tree.insert(&path, node).is_ok() && tree.check().is_err() {
            tree.remove(&path);
        }
    }
    let file = tree.iter().find(|(_, node)| matches!(node, Node::File { .. })).map(|(path, _)| path.to_owned());
    if let Some(target) = file {
        tree.insert("hard link", Node::Hardlink { target }).unwrap();
    }
    tree
}

#[test]
fn unpacking_what_was_packed_gives_the_same_tree() {
    for seed in 0..rounds() / 4 {
        let tree = any_tree(&mut StdRng::seed_from_u64(seed));
        let result = catch_unwind(AssertUnwindSafe(|| whole(&tree)));
        assert!(result.is_ok(), "the tree of seed {seed}");
    }
}

fn control() -> Vec<u8> {
    let text = "Package: x\nVersion: 1-1\nArchitecture: amd64\nDescription: x\n more\n";
    tar_of(&[
        ("control", Node::file(0o644, text)),
        ("conffiles", Node::file(0o644, "/etc/x\n")),
        ("postinst", Node::file(0o755, "#!/bin/sh\n")),
        ("triggers", Node::file(0o644, "interest /usr/share/x\n")),
    ])
}

fn data() -> Vec<u8> {
    tar_of(&[
        ("etc/x", Node::file(0o644, "setting")),
        ("bin/x", Node::file(0o4755, "program")),
        ("bin/y", Node::Hardlink { target: "bin/x".into() }),
        ("usr/share/doc/x/copyright", Node::file(0o644, "license")),
        ("usr/lib/x", Node::Symlink { target: "../share/x".into() }),
        (&("d/".repeat(60) + "long"), Node::file(0o644, "deep")),
    ])
}

/// A package: an `ar` archive, see deb(5).
fn deb(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, content.len()).unwrap();
        bytes.extend(*content);
        bytes.extend(vec![b'\n'; content.len() % 2]);
    }
    bytes
}

#[test]
fn debian_packages() {
    let unpack = |bytes: &[u8]| {
        let options = Options { database: Database::Unpacked, exclude: vec!["usr/share/doc".into()], ..Options::default() };
        debian::unpack("x.deb", bytes, &options).map(|unpacked| whole(&unpacked.tree)).is_ok()
    };
    let plain = deb(&[("debian-binary", b"2.0\n"), ("control.tar", &control()), ("data.tar", &data())]);
    let packed = deb(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", &gzip(&control())),
        ("data.tar.xz", &{
            let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
            out.write_all(&data()).unwrap();
            out.finish().unwrap()
        }),
    ]);
    let zstd = deb(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.zst", &zstd::encode_all(&control()[..], 1).unwrap()),
        ("data.tar.zst", &zstd::encode_all(&data()[..], 1).unwrap()),
    ]);
    for good in [&plain, &packed, &zstd] {
        assert!(unpack(good));
    }
    let any = |random: &mut StdRng, mut bytes: Vec<u8>| {
        change(random, &mut bytes);
        bytes
    };
    under_fire("packages", &[plain, packed, zstd], any, unpack);
    // Changed inside, under checksums that are right.
    let inside = |random: &mut StdRng, _: Vec<u8>| {
        let (mut first, mut second) = (control(), data());
        let changed = if random.random() { &mut first } else { &mut second };
        change(random, changed);
        seal(changed);
        deb(&[("debian-binary", b"2.0\n"), ("control.tar", &first), ("data.tar", &second)])
    };
    under_fire("their members", &[Vec::new()], inside, unpack);
}

#[test]
fn sizes_that_lie_and_bombs_are_refused() {
    let unpack = |bytes: &[u8]| debian::unpack("x.deb", bytes, &Options::default()).unwrap_err().to_string();
    // A header that promises eight gigabytes, and one of another base.
    for size in [&b"77777777777\0"[..], b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"] {
        let mut lying = data();
        lying[124..136].copy_from_slice(size);
        seal(&mut lying[..512]);
        unpack(&deb(&[("debian-binary", b"2.0\n"), ("control.tar", &control()), ("data.tar", &lying)]));
    }
    let bomb = zstd::encode_all(Cursor::new(vec![0; 200 << 20]), 1).unwrap();
    let said = unpack(&deb(&[("debian-binary", b"2.0\n"), ("control.tar.zst", &bomb), ("data.tar", &data())]));
    assert!(said.contains("unpacks to more than"), "{said}");
    let deep = tar_of(&[(&("d/".repeat(3000) + "x"), Node::file(0o644, ""))]);
    let said = unpack(&deb(&[("debian-binary", b"2.0\n"), ("control.tar", &control()), ("data.tar", &deep)]));
    assert!(said.contains("is refused"), "{said}");
}

fn zip(files: &[(String, Vec<u8>)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = zip::ZipWriter::new(&mut bytes);
    for (path, content) in files {
        writer.start_file(path.as_str(), zip::write::SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap();
    bytes.into_inner()
}

fn wheel_files() -> Vec<(String, Vec<u8>)> {
    let files = [
        ("x/__init__.py", "value = 1\n"),
        ("x-1.data/scripts/run", "#!python\n"),
        ("x-1.data/data/share/x", "d"),
        ("x-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: x\nVersion: 1\n"),
        ("x-1.dist-info/WHEEL", "Wheel-Version: 1.0\n"),
        ("x-1.dist-info/entry_points.txt", "[console_scripts]\nx = x.cli:main\n"),
    ];
    files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).to_vec()
}

/// The RECORD of these files, see PEP 376.
fn record(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let line = |(path, content): &(String, Vec<u8>)| {
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(content));
        format!("{path},sha256={digest},{}\n", content.len())
    };
    let lines: String = files.iter().map(line).collect();
    (lines + "x-1.dist-info/RECORD,,\n").into_bytes()
}

#[test]
fn wheels() {
    let install = |bytes: &[u8]| wheel::install("x.whl", bytes, &Layout::new("3.9")).map(|tree| whole(&tree)).is_ok();
    let contents = |bytes: &[u8]| wheel::contents("x.whl", bytes).map(|tree| whole(&tree)).is_ok();
    let mut files = wheel_files();
    files.push(("x-1.dist-info/RECORD".to_owned(), record(&files)));
    let corpus = [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated].map(|method| zip(&files, method));
    assert!(corpus.iter().all(|good| contents(good)));
    let any = |random: &mut StdRng, mut bytes: Vec<u8>| {
        change(random, &mut bytes);
        bytes
    };
    under_fire("archives of wheels", &corpus, any, contents);
    // One name or one file is changed; the archive around it is right, its RECORD too.
    let inside = |random: &mut StdRng, _: Vec<u8>| {
        let mut files = wheel_files();
        let one = random.random_range(0..files.len());
        if random.random_range(0..4) == 0 {
            let mut name = files[one].0.clone().into_bytes();
            change(random, &mut name);
            files[one].0 = String::from_utf8_lossy(&name).into_owned();
        } else {
            change(random, &mut files[one].1);
        }
        files.sort();
        files.dedup_by(|one, other| one.0 == other.0);
        let mut lines = record(&files);
        if random.random_range(0..4) == 0 {
            change(random, &mut lines);
        }
        files.retain(|(path, _)| path != "x-1.dist-info/RECORD");
        files.push(("x-1.dist-info/RECORD".to_owned(), lines));
        zip(&files, zip::CompressionMethod::Stored)
    };
    under_fire("their files", &[Vec::new()], inside, install);
}

#[test]
fn byte_code() {
    const PROGRAM: &str = "import json, marshal, sys; from importlib.util import MAGIC_NUMBER; \
        code = compile(open(json.__file__).read(), 'm', 'exec'); \
        sys.stdout.buffer.write(MAGIC_NUMBER + bytes(12) + marshal.dumps(code))";
    let made = std::process::Command::new("python3").args(["-X", "utf8", "-c", PROGRAM]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let any = |random: &mut StdRng, mut bytes: Vec<u8>| {
        change(random, &mut bytes);
        bytes
    };
    under_fire("byte code", &[made.stdout], any, |bytes| {
        let Ok(once) = marshal::canonical(bytes) else { return false };
        assert!(marshal::canonical(&once).unwrap() == once);
        true
    });
}

#[test]
fn texts() {
    let text = |random: &mut StdRng, mut bytes: Vec<u8>| {
        change(random, &mut bytes);
        bytes
    };
    let index = "Package: a\nVersion: 1\nArchitecture: amd64\nDepends: b (>= 1) | c, d\nFilename: pool/main/a/a_1_amd64.deb\nSize: 10\nSHA256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\nPackage: b\nVersion: 2:1~rc-1\n";
    let packages = |bytes: &[u8]| {
        let found = debian::index::parse(&String::from_utf8_lossy(bytes), false);
        let locked = found.iter().map(debian::LockedDeb::try_from);
        let request = debian::Request { packages: vec!["a".into()], ..debian::Request::default() };
        locked.filter(Result::is_ok).count() > 0 && debian::resolve(&found, &request).is_err()
    };
    under_fire("indexes", &[index.as_bytes().to_vec()], text, packages);
    // Signed by a key that nobody has: what is read of it is never believed.
    let signed = std::fs::read("tests/fixtures/InRelease").unwrap();
    under_fire("signed texts", &[signed], text, |bytes| match debian::signature::verified_text("InRelease", bytes) {
        Ok(text) => panic!("{text} is believed"),
        Err(error) => matches!(error, DebianError::Signature { .. }),
    });
    let lock = std::fs::read("images/releases/21.03/python.lock").unwrap();
    let start = lock.len() - 1200;
    let head = b"python = '3.9'\ncutoff = '2022-04-01'\nbuilders = []\nfile = []\n[environments]\nx = []\n".to_vec();
    let corpus = [head, lock[start..].to_vec()];
    under_fire("locks", &corpus, text, |bytes| PythonLock::parse(&String::from_utf8_lossy(bytes)).is_ok());
    let pex_lock = r#"// made by pex
{"locked_resolves": [{"locked_requirements": [
 {"project_name": "a.b", "version": "1.0", "requires_dists": ["c>=1"], "artifacts":
  [{"algorithm": "sha256", "hash": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "url": "https://files.example/a_b-1.0-py3-none-any.whl"}]}]}]}"#;
    under_fire("locks of pex", &[pex_lock.as_bytes().to_vec()], text, |bytes| {
        let lock = pex::parse(&String::from_utf8_lossy(bytes));
        lock.is_ok_and(|lock| lock.requirements().iter().all(|line| requirement::parse(line, "3.9").is_ok()))
    });
    let uv_lock = r#"version = 1
revision = 3
[[package]]
name = "tree"
version = "0.0.0"
source = { virtual = "." }
dependencies = [{ name = "a-b", extra = ["x"] }, { name = "c", marker = "sys_platform == 'win32'" }]
[[package]]
name = "a-b"
version = "1.0"
source = { registry = "https://index.example/" }
dependencies = [{ name = "c", version = "2", marker = "python_full_version >= '3.13'" }]
wheels = [{ url = "https://files.example/a_b-1.0-py3-none-any.whl", hash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", size = 1 }]
[package.optional-dependencies]
x = [{ name = "c" }]
[[package]]
name = "c"
version = "2"
source = { registry = "https://index.example/" }
sdist = { url = "https://files.example/c-2.tar.gz", hash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
"#;
    under_fire("locks of uv", &[uv_lock.as_bytes().to_vec()], text, |bytes| {
        let lock = uv::parse(&String::from_utf8_lossy(bytes), "3.13");
        lock.is_ok_and(|lock| lock.requirements().iter().all(|line| requirement::parse(line, "3.13").is_ok()))
    });
    let corpus = ["aiohttp[speedups]>=3.7,<4; python_version < '3.10'", "x", "y~=1.0 ; sys_platform == 'win32'"];
    let corpus = corpus.map(|text| text.as_bytes().to_vec());
    under_fire("requirements", &corpus, text, |bytes| requirement::parse(&String::from_utf8_lossy(bytes), "3.9").is_ok());
}

#[test]
fn source_distributions() {
    let sdist = tar_of(&[
        ("x-1/setup.py", Node::file(0o755, "setup()\n")),
        ("x-1/src/x/__init__.py", Node::file(0o644, "value = 1\n")),
        ("x-1/src/x/link", Node::Symlink { target: "../../setup.py".into() }),
        (&("x-1/".to_owned() + &"d/".repeat(60) + "long"), Node::file(0o644, "deep")),
    ]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let unpack = |bytes: &[u8]| {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("trees/x");
        let outcome = runtime.block_on(source::unpack(&[("x-1.tar.gz", bytes)], "21.03", &tree));
        // Nothing is beside the tree, nothing half-made, and no link leads out of it.
        let mut found = Vec::new();
        below(scratch.path(), &mut found);
        let root = scratch.path().canonicalize().unwrap().join("trees/x");
        assert!(found.iter().all(|path| path.starts_with(&tree) || tree.starts_with(path)), "{found:?}");
        for link in found.iter().filter(|path| path.is_symlink()) {
            assert!(link.canonicalize().map_or(true, |target| target.starts_with(&root)), "{}", link.display());
        }
        assert_eq!(outcome.is_ok(), tree.exists());
        outcome.is_ok()
    };
    assert!(unpack(&gzip(&sdist)));
    let inside = |random: &mut StdRng, mut bytes: Vec<u8>| {
        change(random, &mut bytes);
        seal(&mut bytes);
        gzip(&bytes)
    };
    // One that is taken becomes a git repository, by several processes.
    under_fire_for(rounds() / 20, "source distributions", &[sdist], inside, unpack);
}

#[test]
fn builds_of_cpython() {
    let build = tar_of(&[
        ("python/bin/python3.12", Node::file(0o755, "program")),
        ("python/bin/python3", Node::Symlink { target: "python3.12".into() }),
        ("python/lib/python3.12/os.py", Node::file(0o644, "")),
        ("python/lib/python3.12/_sysconfigdata__linux.py", Node::file(0o644, "{'CC': 'clang', 'prefix': '/install'}\n")),
        ("python/share/terminfo/A/Apple", Node::Symlink { target: "../a/apple".into() }),
    ]);
    let read = |archive: &[u8]| match build::tree("cpython.tar.gz", archive, "3.12.8") {
        Ok(tree) => {
            whole(&tree);
            assert!(tree.iter().all(|(path, _)| path.starts_with("usr/local/")));
            true
        }
        Err(_) => false,
    };
    assert!(read(&gzip(&build)));
    let inside = |random: &mut StdRng, mut bytes: Vec<u8>| {
        change(random, &mut bytes);
        seal(&mut bytes);
        gzip(&bytes)
    };
    under_fire("builds of CPython", &[build], inside, read);
}

#[test]
fn layers_of_others() {
    let layer = tar_of(&[("a", Node::file(0o644, "x")), ("b", Node::Symlink { target: "a".into() }), ("c", Node::Removed)]);
    let sealed = |random: &mut StdRng, mut bytes: Vec<u8>| {
        change(random, &mut bytes);
        seal(&mut bytes);
        bytes
    };
    let same = layer.clone();
    let compared = |bytes: &[u8]| compare::first_difference(|| Ok(bytes), || Ok(&same[..])).is_ok();
    under_fire("layers", &[layer], sealed, compared);
}
