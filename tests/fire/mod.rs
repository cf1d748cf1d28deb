//! Good inputs changed at random, and what good inputs are made of.

#![allow(dead_code, reason = "each test takes what it needs")]

use baibox::oci::{Node, Tree};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

pub fn rounds() -> u64 {
    baibox::host::variable("BAIBOX_ROUNDS").map_or(3000, |text| text.parse().expect("`BAIBOX_ROUNDS` is a number"))
}

/// Changes a few places as broken disks and hostile writers do.
pub fn change(random: &mut StdRng, bytes: &mut Vec<u8>) {
    const NUMBERS: [&[u8]; 6] =
        [b"77777777777\0", b"00000000000\0", b"-1", b"9999999999", b"\x80\0\0\0\xff\xff\xff\xff", b"\xff\xff\xff\xff"];
    const NAMES: [&[u8]; 7] = [b"../../etc/x", b"/etc/passwd", b".wh.x", b"a\0b", b"\xff\xfe", b"./", b"x/../../y"];
    for _ in 0..random.random_range(1..6) {
        if bytes.is_empty() {
            return;
        }
        let place = random.random_range(0..bytes.len());
        match random.random_range(0..8) {
            0 => bytes[place] ^= 1 << random.random_range(0..8),
            1 => bytes[place] = random.random(),
            2 => bytes.truncate(place),
            3 => {
                let end = (place + random.random_range(1..600)).min(bytes.len());
                bytes.drain(place..end);
            }
            4 => {
                let end = (place + random.random_range(1..600)).min(bytes.len());
                let copy = bytes[place..end].to_vec();
                bytes.splice(place..place, copy);
            }
            kind => {
                let words = if kind == 5 { &NUMBERS[..] } else { &NAMES[..] };
                let word = words[random.random_range(0..words.len())];
                let end = (place + word.len()).min(bytes.len());
                bytes[place..end].copy_from_slice(&word[..end - place]);
            }
        }
    }
}

/// Gives the headers of a tar stream right checksums again, or readers look no further.
pub fn seal(tar: &mut [u8]) {
    let mut place = 0;
    while place + 512 <= tar.len() {
        let block = &mut tar[place..place + 512];
        if block.iter().all(|byte| *byte == 0) {
            place += 512;
            continue;
        }
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits = block[124..135].iter().take_while(|byte| byte.is_ascii_digit());
        let size = digits.fold(0usize, |size, digit| size.saturating_mul(8).saturating_add(usize::from(digit & 7)));
        place = place.saturating_add(512).saturating_add(size.saturating_add(511) / 512 * 512);
    }
}

/// Runs `parse` on changed inputs; says from which seed a panic came.
pub fn under_fire(
    name: &str,
    corpus: &[Vec<u8>],
    prepare: impl FnMut(&mut StdRng, Vec<u8>) -> Vec<u8>,
    parse: impl Fn(&[u8]) -> bool,
) {
    under_fire_for(rounds(), name, corpus, prepare, parse);
}

pub fn under_fire_for(
    rounds: u64,
    name: &str,
    corpus: &[Vec<u8>],
    mut prepare: impl FnMut(&mut StdRng, Vec<u8>) -> Vec<u8>,
    parse: impl Fn(&[u8]) -> bool,
) {
    let mut taken = 0;
    for seed in 0..rounds {
        let mut random = StdRng::seed_from_u64(seed);
        let input = corpus[random.random_range(0..corpus.len())].clone();
        let input = prepare(&mut random, input);
        match catch_unwind(AssertUnwindSafe(|| parse(&input))) {
            Ok(good) => taken += u64::from(good),
            Err(_) => panic!("{name}: the input of seed {seed} is not taken well: {} bytes", input.len()),
        }
    }
    eprintln!("{name}: {taken} of {rounds} changed inputs were taken");
    // A changer that breaks everything at the door, or nothing at all, tests nothing.
    assert!(taken > 0 && taken < rounds, "{name}: {taken} of {rounds}");
}

pub fn tar_of(files: &[(&str, Node)]) -> Vec<u8> {
    let mut tree = Tree::default();
    for (path, node) in files {
        tree.insert(path, node.clone()).unwrap();
    }
    let mut bytes = Vec::new();
    tree.write_fragment(&mut bytes).unwrap();
    bytes.extend([0; 1024]);
    bytes
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Everything below a folder, and for links where they lead.
pub fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_folder = path.symlink_metadata().unwrap().is_dir();
        found.push(path.clone());
        if is_folder && !path.ends_with(".git") {
            below(&path, found);
        }
    }
}
