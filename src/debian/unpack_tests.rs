use super::*;
use std::io::Write;

const CONTROL: &str = "Package: a\nVersion: 1\nArchitecture: amd64\nMulti-Arch: same\nDescription: x\n";

enum Entry<'a> {
    File(&'a str, &'a str),
    Folder(&'a str),
    Link(&'a str, &'a str),
    Hard(&'a str, &'a str),
    Device(&'a str),
}
use Entry::{Device, File, Folder, Hard, Link};

/// Headers are written raw, since the writer of the crate refuses hostile names.
fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let (path, kind, content, target) = match entry {
            File(path, content) => (path, tar::EntryType::Regular, *content, ""),
            Folder(path) => (path, tar::EntryType::Directory, "", ""),
            Link(path, target) => (path, tar::EntryType::Symlink, "", *target),
            Hard(path, target) => (path, tar::EntryType::Link, "", *target),
            Device(path) => (path, tar::EntryType::Char, "", ""),
        };
        let mut header = tar::Header::new_gnu();
        let raw = header.as_mut_bytes();
        raw[..path.len()].copy_from_slice(path.as_bytes());
        raw[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if path.ends_with("sudo") { 0o104_755 } else { 0o100_644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(content.as_bytes());
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, content) in members {
        writeln!(out, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, content.len()).unwrap();
        out.extend_from_slice(content);
        if content.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

fn deb(control: &[Entry<'_>], data: &[Entry<'_>]) -> Vec<u8> {
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", &tar(control)), ("data.tar", &tar(data))])
}

fn data(entries: &[Entry<'_>], options: &Options) -> Result<Unpacked, DebianError> {
    unpack("a.deb", &deb(&[File("./control", CONTROL)], entries), options)
}

fn paths(unpacked: &Unpacked) -> Vec<&str> {
    unpacked.tree.iter().map(|(path, _)| path).filter(|path| !path.starts_with("var/lib/dpkg")).collect()
}

#[test]
fn the_root_is_merged_and_the_list_is_not() {
    let unpacked = data(
        &[
            Folder("./"),
            Folder("./bin/"),
            File("./bin/x", "1"),
            Hard("./sbin/y", "./bin/x"),
            Link("./lib64", "usr/lib64"),
            File("./usr/bin/sudo", ""),
        ],
        &Options::default(),
    )
    .unwrap();
    assert_eq!(paths(&unpacked), ["usr/bin/sudo", "usr/bin/x", "usr/sbin/y"]);
    assert_eq!(unpacked.tree.get("usr/sbin/y"), Some(&Node::file(0o644, "1")));
    assert_eq!(unpacked.tree.get("usr/bin/sudo"), Some(&Node::file(0o4755, "")));
    let list = Node::file(0o644, "/.\n/bin\n/bin/x\n/sbin/y\n/lib64\n/usr/bin/sudo\n");
    assert_eq!(unpacked.tree.get("var/lib/dpkg/info/a:amd64.list"), Some(&list));
}

#[test]
fn every_compression_of_packages_is_read() {
    let (control, data) = (tar(&[File("./control", CONTROL)]), tar(&[File("./x", "1")]));
    let gz = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&control).unwrap();
        encoder.finish().unwrap()
    };
    let xz = {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(&data).unwrap();
        encoder.finish().unwrap()
    };
    let zst = zstd::encode_all(&data[..], 1).unwrap();
    for (name, content) in [("data.tar", &data), ("data.tar.xz", &xz), ("data.tar.zst", &zst)] {
        let deb = ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &gz), (name, content)]);
        assert_eq!(paths(&unpack("a.deb", &deb, &Options::default()).unwrap()), ["x"], "{name}");
    }
}

#[test]
fn hostile_packages_are_refused() {
    for (entries, reason) in [
        (&[File("/etc/passwd", "x")][..], "absolute"),
        (&[File("./a/../../x", "x")], ".."),
        (&[Link("a", "/etc"), File("a/passwd", "x")], "write through a link"),
        (&[File("a/.wh.b", "")], "whiteout"),
        (&[Hard("a", "/etc/shadow")], "absolute hard link"),
        (&[Hard("a", "b")], "hard link to nothing"),
        (&[File("bin/a", ""), File("usr/bin/a", "")], "one file twice after the merge"),
        (&[Device("dev/null")], "device node"),
    ] {
        let error = data(entries, &Options::default()).expect_err(reason);
        assert!(matches!(error, DebianError::Entry { .. } | DebianError::Kind { .. }), "{reason}: {error}");
    }
}

#[test]
fn broken_archives_and_bombs_are_refused() {
    let good = deb(&[File("./control", CONTROL)], &[File("./x", "1")]);
    for cut in 0..good.len() - 1100 {
        // No length of a cut archive may panic; which of them fail is not of interest past the last entry.
        let _ = unpack("a.deb", &good[..cut], &Options::default());
    }
    assert!(matches!(unpack("a.deb", b"PK", &Options::default()), Err(DebianError::NotPackage { .. })));
    let bomb = zstd::encode_all(std::io::repeat(0).take(96 << 20), 1).unwrap();
    let deb = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &tar(&[File("control", CONTROL)])), ("data.tar.zst", &bomb)]);
    assert!(matches!(unpack("a.deb", &deb, &Options::default()), Err(DebianError::TooLarge { .. })));
    for control in ["Package: ../x\nVersion: 1\nArchitecture: all\n", "Package: x\nVersion: 1\n", ""] {
        assert!(unpack("a.deb", &super::tests::deb(&[File("control", control)], &[]), &Options::default()).is_err(), "{control}");
    }
}

#[test]
fn records_are_kept_for_dpkg_or_for_scanners() {
    let control = [
        File("./control", CONTROL),
        File("./postinst", "#!/bin/sh\n"),
        File("./conffiles", "/etc/a\nremove-on-upgrade /etc/b\n"),
        File("./odd", ""),
    ];
    let deb = deb(&control, &[File("./etc/a", "1")]);
    let unpacked = unpack("a.deb", &deb, &Options::default()).unwrap();
    assert_eq!(unpacked.control.conffiles, [("/etc/a".to_owned(), "c4ca4238a0b923820dcc509a6f75849b".to_owned())]);
    assert!(unpacked.tree.get("var/lib/dpkg/info/a:amd64.postinst").is_some());
    assert!(unpacked.tree.get("var/lib/dpkg/info/a:amd64.odd").is_none());
    let fixed = unpack("a.deb", &deb, &Options { database: Database::Static, ..Options::default() }).unwrap();
    assert_eq!(fixed.tree.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["etc/a", "var/lib/dpkg/status.d/a"]);
}

#[test]
fn excluded_paths_go_and_licenses_stay() {
    let options = Options {
        database: Database::Static,
        exclude: vec!["usr/share/doc".into(), "usr/share/man".into()],
        blank: None,
        ..Options::default()
    };
    let unpacked = data(
        &[
            Folder("usr/share/doc/"),
            Folder("usr/share/doc/a/"),
            File("usr/share/doc/a/copyright", "c"),
            File("usr/share/doc/a/NEWS", "n"),
            Link("usr/share/doc/b", "a"),
            Folder("usr/share/man/"),
            File("usr/share/man/x", "m"),
            Hard("usr/share/x", "usr/share/man/x"),
            Hard("usr/share/y", "usr/share/man/x"),
            File("usr/share/manual", "k"),
        ],
        &options,
    )
    .unwrap();
    assert_eq!(
        paths(&unpacked),
        [
            "usr/share/doc",
            "usr/share/doc/a",
            "usr/share/doc/a/copyright",
            "usr/share/doc/b",
            "usr/share/manual",
            "usr/share/x",
            "usr/share/y"
        ]
    );
    assert_eq!(unpacked.tree.get("usr/share/x"), Some(&Node::file(0o644, "m")));
    assert_eq!(unpacked.tree.get("usr/share/y"), Some(&Node::file(0o644, "m")));
}

#[test]
fn only_the_version_string_loses_its_suffix() {
    let check = |before: &str, after: Option<&str>| {
        let found = blanked(before.as_bytes(), " (Debian").map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(found.as_deref(), after, "{before:?}");
    };
    check("\x0013.23 (Debian 1)\0x", Some(&format!("\x0013.23{}x", "\0".repeat(" (Debian 1)\0".len()))));
    check("\0PostgreSQL 13.23 (Debian 1)\0", None);
    check("\x0013.23 (Debian 1) on x86\0", None);
    check("\x001.2.3 (Debian 1)\0", None);
    check("13.23 (Debian 1)\0", None);
    check("", None);
    let options = Options {
        blank: Some(Blank { package: "p".into(), path: "usr/bin/p".into(), suffix: " (Debian".into() }),
        ..Options::default()
    };
    assert!(matches!(data(&[File("usr/bin/p", "x")], &options), Err(DebianError::NoSuffix { .. })));
    assert!(matches!(data(&[], &options), Err(DebianError::NoSuffix { .. })));
}
