use super::*;
use std::io::Write;

fn wheel(files: &[(&str, &str)], record: Option<&str>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = zip::ZipWriter::new(&mut bytes);
    let mut lines = String::new();
    for (path, content) in files {
        writer.start_file(*path, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
        lines.push_str(&format!("{path},sha256={},{}\n", digest_of(content.as_bytes()), content.len()));
    }
    lines.push_str("x-1.dist-info/RECORD,,\n");
    writer.start_file("x-1.dist-info/RECORD", zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(record.unwrap_or(&lines).as_bytes()).unwrap();
    writer.finish().unwrap();
    bytes.into_inner()
}

#[test]
fn modules_scripts_and_data_find_their_places() {
    let wheel = wheel(
        &[
            ("x/__init__.py", ""),
            ("x-1.data/scripts/run", "#!python\n"),
            ("x-1.data/data/share/x", "d"),
            ("x-1.dist-info/entry_points.txt", "[console_scripts]\nx = x.cli:main\n"),
        ],
        None,
    );
    let tree = install("x.whl", &wheel, &Layout::new("3.9")).unwrap();
    let text = |path: &str| match tree.get(path) {
        Some(Node::File { content, .. }) => String::from_utf8(content.to_vec()).unwrap(),
        other => panic!("{path}: {other:?}"),
    };
    assert!(text("opt/venv/bin/x").contains("from x.cli import main"));
    assert_eq!(text("opt/venv/bin/run"), "#!/opt/venv/bin/python\n");
    assert_eq!(text("opt/venv/share/x"), "d");
    let record = text("opt/venv/lib/python3.9/site-packages/x-1.dist-info/RECORD");
    assert!(record.contains("../../../bin/x,sha256="), "{record}");
    assert!(record.contains("x/__init__.py,sha256="));
}

#[test]
fn hostile_wheels_are_refused() {
    let refused =
        |files: &[(&str, &str)], record: Option<&str>| install("x.whl", &wheel(files, record), &Layout::new("3.9")).unwrap_err();
    refused(&[("../../etc/passwd", "x")], None);
    refused(&[("/etc/passwd", "x")], None);
    refused(&[("x.py", "x")], Some("x.py,sha256=AAAA,1\nx-1.dist-info/RECORD,,\n"));
    refused(&[("x.py", "x")], Some("x-1.dist-info/RECORD,,\n"));
    refused(&[], Some("missing.py,sha256=AAAA,1\nx-1.dist-info/RECORD,,\n"));
    refused(&[("x-1.data/unknown/x", "x")], None);
    refused(&[("a\\b.py", "x")], None);
    refused(&[("x.py", "x"), ("x.py/y", "x")], None);
    refused(&[("y-1.dist-info/METADATA", "x")], None);
    refused(&[("x-1.dist-info/entry_points.txt", "[console_scripts]\n../x = a:b\n")], None);
    refused(&[("x-1.dist-info/entry_points.txt", "[console_scripts]\nx = a:b;import os\n")], None);
    refused(&[("x-1.dist-info/entry_points.txt", "[gui_scripts]\nx = a\n")], None);
    let right = digest_of(b"x");
    let record = |line: &str| format!("{line}\nx-1.dist-info/RECORD,,\n");
    assert!(
        install("x.whl", &wheel(&[("x.py", "x")], Some(&record(&format!("x.py,sha256={right},1")))), &Layout::new("3.9")).is_ok()
    );
    for line in [
        format!("x.py,sha256={right},2"),
        format!("x.py,md5={right},1"),
        "x.py,,".to_owned(),
        format!("x.py,sha512={right},1"),
        format!("x.py,sha256={right},1\nx.py,sha256={right},1"),
    ] {
        refused(&[("x.py", "x")], Some(&record(&line)));
    }
    assert!(install("x.whl", b"no zip", &Layout::new("3.9")).is_err());
}

#[test]
fn what_is_installed_does_not_overwrite_itself() {
    let both = [("x.py", "1"), ("x-1.data/purelib/x.py", "2")];
    assert!(install("x.whl", &wheel(&both, None), &Layout::new("3.9")).is_err());
}

#[test]
fn stronger_digests_of_a_record_are_checked_too() {
    for digest in [
        format!("sha384={}", URL_SAFE_NO_PAD.encode(Sha384::digest(b"x"))),
        format!("sha512={}", URL_SAFE_NO_PAD.encode(Sha512::digest(b"x"))),
    ] {
        let record = format!("x.py,{digest},\nx-1.dist-info/RECORD,,\n");
        install("x.whl", &wheel(&[("x.py", "x")], Some(&record)), &Layout::new("3.9")).unwrap();
    }
}

#[test]
fn two_entries_of_one_name_are_refused() {
    // No writer makes such an archive: the second name is changed in its bytes.
    let mut bytes = wheel(&[("x.py", "1"), ("y.py", "2")], Some("x.py,,\n"));
    for place in 0..bytes.len() - 4 {
        if &bytes[place..place + 4] == b"y.py" {
            bytes[place] = b'x';
        }
    }
    let fault = install("x.whl", &bytes, &Layout::new("3.9")).unwrap_err();
    assert!(matches!(fault, PythonError::Entries { entries: 3, found: 2, .. }), "{fault}");
}

#[test]
fn links_and_devices_are_refused() {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = zip::ZipWriter::new(&mut bytes);
    writer.add_symlink("x.py", "/etc/passwd", zip::write::SimpleFileOptions::default()).unwrap();
    writer.finish().unwrap();
    assert!(matches!(contents("x.whl", &bytes.into_inner()), Err(PythonError::Entry { .. })));
}

#[test]
fn a_small_file_that_becomes_huge_is_refused() {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = zip::ZipWriter::new(&mut bytes);
    writer.start_file("x.py", zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(&vec![0; 1 << 20]).unwrap();
    writer.finish().unwrap();
    let bytes = bytes.into_inner();
    assert!(bytes.len() < 1 << 14);
    assert!(matches!(bounded("x.whl", &bytes, 1 << 16), Err(PythonError::TooLarge { limit: 65536, .. })));
}

#[test]
fn broken_archives_never_panic() {
    let whole = wheel(&[("x.py", "content"), ("x-1.dist-info/entry_points.txt", "[console_scripts]\nx = x:main\n")], None);
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 0x55;
        let _ = install("x.whl", &changed, &Layout::new("3.9"));
        let _ = install("x.whl", &whole[..place], &Layout::new("3.9"));
    }
}
