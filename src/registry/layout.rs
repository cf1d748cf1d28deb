//! OCI image layouts, in a folder or in a tar file.
//!
//! The format: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>.

use super::manifest::{INDEX, ImageIndex, Manifest, Outgoing, by_name, descriptor};
use crate::error::Fault;
use crate::model::{Digest, canonical_json};
use crate::oci::{archive_file, archive_header, archive_padding, full_name};
use crate::store::Store;
use crate::ui::Stage;
use anyhow::{Context, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

const MARK: &str = "oci-layout";
const VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Files of a layout that are small, by their paths, and the blobs of layers with their sizes.
struct Layout {
    texts: BTreeMap<String, Vec<u8>>,
    blobs: BTreeMap<Digest, u64>,
    digests: BTreeMap<String, Digest>,
}

fn place(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Images are called by their short names in it, such as `manager`.
async fn layout(store: &Store, images: &[Outgoing<'_>], stage: &Stage) -> Result<Layout> {
    let mut layout = Layout { texts: BTreeMap::new(), blobs: BTreeMap::new(), digests: BTreeMap::new() };
    let mut manifests = Vec::new();
    for outgoing in images {
        stage.note(&format!("compressing {}", outgoing.plan.name));
        let manifest = Manifest::of(store, outgoing).await?;
        layout.blobs.extend(manifest.layers.iter().map(|layer| (layer.digest.clone(), layer.size)));
        layout.texts.insert(place(&manifest.digest()), manifest.bytes.clone());
        layout.texts.insert(place(&outgoing.image.id()), outgoing.image.config.clone().into_bytes());
        manifests.push((outgoing, manifest));
    }
    let mut entries = Vec::new();
    for (name, parts) in by_name(&manifests) {
        let (mut entry, reference, digest) = match parts[..] {
            [(outgoing, manifest)] => (descriptor(outgoing, manifest), outgoing.image.reference.clone(), manifest.digest()),
            _ => {
                let index = ImageIndex::over(&parts);
                let digest = index.digest();
                let entry = json!({ "mediaType": INDEX, "digest": digest, "size": index.bytes.len() });
                layout.texts.insert(place(&digest), index.bytes);
                (entry, index.reference, digest)
            }
        };
        entry["annotations"] = json!({
            "io.containerd.image.name": full_name(&reference),
            "org.opencontainers.image.ref.name": name,
        });
        entries.push(entry);
        layout.digests.insert(name.to_owned(), digest);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    layout.texts.insert("index.json".into(), canonical_json(&index));
    layout.texts.insert(MARK.into(), VERSION.into());
    Ok(layout)
}

/// Writes a layout to a folder that is not there, is empty, or holds a layout, which is replaced.
/// Gives the digest of each image's manifest, or of its index over platforms.
pub async fn to_folder(store: &Store, images: &[Outgoing<'_>], folder: &Path, stage: &Stage) -> Result<BTreeMap<String, Digest>> {
    let taken = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if (taken && !folder.join(MARK).is_file()) || folder.is_file() {
        return Err(Fault::usage(format!("`{}` is there, and it is no OCI layout", folder.display()))
            .hint("name a new or an empty folder")
            .into());
    }
    let layout = layout(store, images, stage).await?;
    let cannot = || format!("cannot write `{}`", folder.display());
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(cannot)?;
    // Beside it, so that what has the name is whole.
    let scratch = tempfile::Builder::new().prefix(".baibox-").tempdir_in(parent).with_context(cannot)?;
    let made = scratch.path().join("layout");
    fs::create_dir_all(made.join("blobs/sha256")).with_context(cannot)?;
    for digest in layout.blobs.keys() {
        let mut file = File::create(made.join(place(digest))).with_context(cannot)?;
        std::io::copy(&mut store.reader(digest)?, &mut file).with_context(cannot)?;
        file.sync_data().with_context(cannot)?;
    }
    for (path, text) in &layout.texts {
        fs::write(made.join(path), text).with_context(cannot)?;
    }
    if folder.exists() {
        fs::rename(folder, scratch.path().join("before")).with_context(cannot)?;
    }
    fs::rename(&made, folder).with_context(cannot)?;
    Ok(layout.digests)
}

/// Writes a layout as a tar file.
pub async fn to_archive(store: &Store, images: &[Outgoing<'_>], out: File, stage: &Stage) -> Result<BTreeMap<String, Digest>> {
    let layout = layout(store, images, stage).await?;
    let mut out = BufWriter::with_capacity(1 << 18, out);
    for (digest, size) in &layout.blobs {
        archive_header(&mut out, &place(digest), *size)?;
        std::io::copy(&mut store.reader(digest)?, &mut out)?;
        archive_padding(&mut out, *size)?;
    }
    for (path, text) in &layout.texts {
        archive_file(&mut out, path, text)?;
    }
    out.write_all(&crate::oci::END_MARKER)?;
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_data()?;
    Ok(layout.digests)
}
