//! The outer form of a `.deb`: an `ar` archive with compressed tar streams.

use super::DebianError;
use crate::oci::may_unpack_to;
use std::io::{self, Read};

/// What the control member may unpack to.
const CONTROL_LIMIT: u64 = 32 << 20;
/// What the data member may unpack to.
const DATA_LIMIT: u64 = 2 << 30;

/// The two tar streams of a package, uncompressed.
pub struct Members {
    pub control: Vec<u8>,
    pub data: Vec<u8>,
}

pub fn members(file: &str, bytes: &[u8]) -> Result<Members, DebianError> {
    let [control, data] = packed(file, bytes)?;
    Ok(Members { control: control.unpacked(file, CONTROL_LIMIT)?, data: data.unpacked(file, DATA_LIMIT)? })
}

/// The first of them alone, which is small.
pub fn control(file: &str, bytes: &[u8]) -> Result<Vec<u8>, DebianError> {
    let [control, _] = packed(file, bytes)?;
    control.unpacked(file, CONTROL_LIMIT)
}

#[derive(Clone, Copy)]
struct Packed<'a> {
    name: &'a str,
    content: &'a [u8],
}

impl Packed<'_> {
    fn unpacked(self, file: &str, limit: u64) -> Result<Vec<u8>, DebianError> {
        decompressed(file, self.name, self.content, limit)
    }
}

/// `control.tar` and `data.tar` as they are.
fn packed<'a>(file: &str, bytes: &'a [u8]) -> Result<[Packed<'a>; 2], DebianError> {
    let fault = |reason| DebianError::NotPackage { file: file.to_owned(), reason };
    let mut rest = bytes.strip_prefix(b"!<arch>\n").ok_or(fault("it does not begin as an `ar` archive"))?;
    let (mut control, mut data) = (None, None);
    let mut first = true;
    while !rest.is_empty() {
        let (header, body) = rest.split_at_checked(60).ok_or(fault("a header is cut off"))?;
        if &header[58..] != b"`\n" {
            return Err(fault("a header is broken"));
        }
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).map(str::trim);
        let name = text(0..16).map_err(|_| fault("a name is not UTF-8"))?.trim_end_matches('/');
        let size: usize = text(48..58).ok().and_then(|text| text.parse().ok()).ok_or(fault("a size is no number"))?;
        let content = body.get(..size).ok_or(fault("a member is cut off"))?;
        // Members begin at even offsets; the last may lack its padding.
        rest = body.get(size + size % 2..).unwrap_or_default();
        if first {
            if name != "debian-binary" || !content.starts_with(b"2.") {
                return Err(fault("its format is not 2"));
            }
            first = false;
            continue;
        }
        let into = match name.split('.').next() {
            Some("control") if name.starts_with("control.tar") => &mut control,
            Some("data") if name.starts_with("data.tar") => &mut data,
            _ if name.starts_with('_') => continue,
            _ => return Err(fault("it has a member that no package has")),
        };
        if into.is_some() {
            return Err(fault("a member is there twice"));
        }
        *into = Some(Packed { name, content });
    }
    match (control, data) {
        (Some(control), Some(data)) => Ok([control, data]),
        _ => Err(fault("it lacks `control.tar` or `data.tar`")),
    }
}

fn decompressed(file: &str, member: &str, bytes: &[u8], limit: u64) -> Result<Vec<u8>, DebianError> {
    let limit = limit.min(may_unpack_to(bytes.len() as u64));
    let broken = |source| DebianError::Member { file: file.to_owned(), member: member.to_owned(), source };
    let mut reader: Box<dyn Read + '_> = match member.rsplit_once(".tar").map(|(_, codec)| codec) {
        Some("") => Box::new(bytes),
        Some(".gz") => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        Some(".xz") => Box::new(liblzma::read::XzDecoder::new_multi_decoder(bytes)),
        Some(".zst") => Box::new(zstd::Decoder::new(bytes).map_err(broken)?),
        Some(".bz2") => Box::new(bzip2::read::MultiBzDecoder::new(bytes)),
        _ => return Err(broken(io::Error::other("its compression is unknown"))),
    };
    let mut out = Vec::new();
    reader.by_ref().take(limit + 1).read_to_end(&mut out).map_err(broken)?;
    if out.len() as u64 > limit {
        return Err(DebianError::TooLarge { file: file.to_owned(), member: member.to_owned(), limit });
    }
    Ok(out)
}
