use super::*;
use std::io::Write;

const FILE: &str = "cpython-3.12.8+20250115-x86_64-unknown-linux-gnu-install_only.tar.gz";

enum Entry<'a> {
    File(&'a str, &'a str),
    Program(&'a str, u32),
    Link(&'a str, &'a str),
    Hard(&'a str, &'a str),
    Kind(&'a str, tar::EntryType),
}
use Entry::{File, Hard, Kind, Link, Program};

/// The name goes in as it is, which the writer of archives would not let it.
fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        let (name, kind, content, mode, target) = match *entry {
            File(name, content) => (name, tar::EntryType::Regular, content, 0o644, ""),
            Program(name, mode) => (name, tar::EntryType::Regular, "program", mode, ""),
            Link(name, target) => (name, tar::EntryType::Symlink, "", 0o777, target),
            Hard(name, target) => (name, tar::EntryType::Link, "", 0o644, target),
            Kind(name, kind) => (name, kind, "", 0o644, ""),
        };
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

const WHOLE: [Entry<'_>; 3] =
    [Program("python/bin/python3.12", 0o755), Link("python/bin/python3", "python3.12"), File("python/lib/python3.12/os.py", "")];

fn with(more: &[Entry<'_>]) -> Result<Tree, PythonError> {
    let all = [&WHOLE[..], more].concat_entries();
    tree(FILE, &archive(&all), "3.12.8")
}

trait Concat<'a> {
    fn concat_entries(self) -> Vec<Entry<'a>>;
}
impl<'a> Concat<'a> for [&[Entry<'a>]; 2] {
    fn concat_entries(self) -> Vec<Entry<'a>> {
        let copy = |entry: &Entry<'a>| match *entry {
            File(a, b) => File(a, b),
            Program(a, b) => Program(a, b),
            Link(a, b) => Link(a, b),
            Hard(a, b) => Hard(a, b),
            Kind(a, b) => Kind(a, b),
        };
        self.into_iter().flatten().map(copy).collect()
    }
}

fn text(tree: &Tree, path: &str) -> String {
    match tree.get(path) {
        Some(Node::File { content, .. }) => String::from_utf8_lossy(content).into_owned(),
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn all_of_it_lies_below_the_prefix_and_says_where_it_is() {
    let data = "build_time_vars = {'CC': 'clang -pthread', 'CXX': \"clang++ -pthread\",\n 'AR': '/tools/llvm/bin/llvm-ar',\n \
                'prefix': '/install', 'CPPFLAGS': '-I/install/include -I/tools/install/include', 'x': '/installed'}\n";
    let tree = with(&[
        Kind("python/", tar::EntryType::Directory),
        Kind("python/share/", tar::EntryType::Directory),
        Program("python/bin/pip3", 0o4755),
        File("python/bin/python3.12-config", "#!/bin/sh\nprefix=\"/install\"\n"),
        File("python/lib/python3.12/_sysconfigdata__linux_x86_64-linux-gnu.py", data),
        File("python/lib/pkgconfig/python-3.12.pc", "prefix=/install\nlibdir=${prefix}/lib\n"),
        File("python/lib/python3.12/other.py", "'/install'"),
        File("python/lib/python3.12/__pycache__/os.cpython-312.pyc", "code"),
        Hard("python/bin/python3.12-hard", "python/bin/python3.12"),
        Link("python/share/terminfo/A/Apple", "../a/apple"),
    ])
    .unwrap();
    tree.check().unwrap();
    let mode = |path: &str| match tree.get(path) {
        Some(Node::File { mode, .. }) => *mode,
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!((mode("usr/local/bin/pip3"), mode("usr/local/bin/python3.12-hard")), (0o755, 0o755));
    assert_eq!(tree.get("usr/local/bin/python3"), Some(&Node::Symlink { target: "python3.12".into() }));
    assert!(tree.iter().all(|(path, node)| !matches!(node, Node::Directory { .. }) && !path.contains("__pycache__")));
    assert_eq!(text(&tree, "usr/local/bin/python3.12-config"), "#!/bin/sh\nprefix=\"/usr/local\"\n");
    assert_eq!(text(&tree, "usr/local/lib/pkgconfig/python-3.12.pc"), "prefix=/usr/local\nlibdir=${prefix}/lib\n");
    assert_eq!(text(&tree, "usr/local/lib/python3.12/other.py"), "'/install'", "other modules mean what they say");
    let expected = "build_time_vars = {'CC': 'cc -pthread', 'CXX': \"c++ -pthread\",\n 'AR': 'ar',\n \
                    'prefix': '/usr/local', 'CPPFLAGS': '-I/usr/local/include -I/tools/install/include', 'x': '/installed'}\n";
    assert_eq!(text(&tree, "usr/local/lib/python3.12/_sysconfigdata__linux_x86_64-linux-gnu.py"), expected);
}

#[test]
fn hostile_entries_are_refused_by_name() {
    for (entries, told) in [
        (vec![File("/etc/passwd", "x")], "`/etc/passwd`"),
        (vec![File("python/../etc/passwd", "x")], "`python/../etc/passwd`"),
        (vec![File("etc/passwd", "x")], "outside of the folder `python`"),
        (vec![File("pythonic/x", "x")], "outside of the folder `python`"),
        (vec![File("python/.wh.lib", "x")], "`python/.wh.lib`"),
        (vec![Link("python/x", "/etc")], "`python/x`"),
        (vec![Link("python/a/x", "../../etc")], "a link out of the folder `python`"),
        (vec![Link("python/a/x", "../..")], "a link out of the folder `python`"),
        (vec![Link("python/a", "lib/../../..")], "a link out of the folder `python`"),
        (vec![Link("python/a", "lib"), File("python/a/x", "through")], "`python/a/x` lies below `python/a`"),
        (vec![Hard("python/x", "etc/passwd")], "the hard link `python/x` names `etc/passwd`"),
        (vec![Hard("python/x", "../x")], "`python/x`"),
        (vec![File("python/x", "1"), File("python/x", "2")], "there twice"),
        (vec![Kind("python/null", tar::EntryType::Char)], "neither a file, a folder nor a link"),
        (vec![Kind("python/pipe", tar::EntryType::Fifo)], "neither a file, a folder nor a link"),
        (vec![File("python/a\nb", "x")], "a line break"),
    ] {
        let error = with(&entries).unwrap_err();
        let text = format!("{:#}", anyhow::Error::new(error));
        assert!(text.contains(told) && text.contains(FILE), "{told}: {text}");
    }
}

#[test]
fn what_is_no_such_build_is_told() {
    let told = |archive: &[u8], version: &str| format!("{:#}", anyhow::Error::new(tree(FILE, archive, version).unwrap_err()));
    let whole = archive(&WHOLE);
    assert!(told(&whole, "3.11.2").contains("has no `bin/python3.11`"));
    assert!(told(&archive(&WHOLE[..2]), "3.12.8").contains("has no `lib/python3.12/os.py`"));
    assert!(told(b"no archive", "3.12.8").contains("cannot be read"));
    // Cut anywhere it is an error and never a part of a tree; damaged, it never panics.
    for end in 0..whole.len() {
        assert!(tree(FILE, &whole[..end], "3.12.8").is_err(), "{end}");
        let mut damaged = whole.clone();
        damaged[end] ^= 0x55;
        let _ = tree(FILE, &damaged, "3.12.8");
    }
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..160 {
        bomb.write_all(&[0; 1 << 20]).unwrap();
    }
    assert!(told(&bomb.finish().unwrap(), "3.12.8").contains("larger than"));
}
