use super::END_MARKER;
use crate::model::{Digest, canonical_json};
use oci_spec::image::{ConfigBuilder, HistoryBuilder, ImageConfigurationBuilder, RootFsBuilder};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

/// An ordered list of fragments; the bytes are theirs, then the end marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// What the layer holds, for people.
    pub title: String,
    /// The digest of the uncompressed layer.
    pub diff_id: Digest,
    /// In bytes, end marker included.
    pub size: u64,
    /// Digests of the fragments, in order.
    pub fragments: Vec<Digest>,
}

impl Layer {
    /// Hashes the fragments that `open` gives; nothing is written.
    pub fn assemble<R: Read>(
        title: &str,
        fragments: Vec<Digest>,
        mut open: impl FnMut(&Digest) -> io::Result<R>,
    ) -> io::Result<Self> {
        let mut hasher = HashingSink { hasher: Sha256::new(), size: 0 };
        for fragment in &fragments {
            io::copy(&mut open(fragment)?, &mut hasher)?;
        }
        hasher.write_all(&END_MARKER)?;
        Ok(Self { title: title.to_owned(), diff_id: Digest::from_hasher(hasher.hasher), size: hasher.size, fragments })
    }
}

struct HashingSink {
    hasher: Sha256,
    size: u64,
}

impl Write for HashingSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a container of the image runs as, by the names of the image configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub user: String,
    pub env: BTreeMap<String, String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: String,
}

/// An image: a config over layers, with the digests that name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `repository:tag` in the engine.
    pub reference: String,
    pub layers: Vec<Layer>,
    /// Canonical JSON of the image config; its digest is the image ID.
    pub config: String,
    /// Canonical JSON of the manifest over uncompressed layers.
    pub manifest: String,
}

impl Image {
    pub fn new(reference: String, architecture: &str, settings: &Settings, layers: Vec<Layer>) -> Self {
        let env: Vec<String> = settings.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut config = ConfigBuilder::default().env(env).labels(
            settings.labels.clone().into_iter().collect::<std::collections::BTreeMap<_, _>>().into_iter().collect::<Labels>(),
        );
        if !settings.user.is_empty() {
            config = config.user(&settings.user);
        }
        if !settings.entrypoint.is_empty() {
            config = config.entrypoint(settings.entrypoint.clone());
        }
        if !settings.cmd.is_empty() {
            config = config.cmd(settings.cmd.clone());
        }
        if !settings.working_dir.is_empty() {
            config = config.working_dir(&settings.working_dir);
        }
        if !settings.stop_signal.is_empty() {
            config = config.stop_signal(&settings.stop_signal);
        }
        let created = crate::model::CREATED;
        let history: Vec<_> = layers
            .iter()
            .map(|layer| {
                HistoryBuilder::default()
                    .created(created)
                    .created_by(format!("baibox: {}", layer.title))
                    .build()
                    .expect("all set")
            })
            .collect();
        let root = RootFsBuilder::default()
            .typ("layers")
            .diff_ids(layers.iter().map(|layer| layer.diff_id.to_string()).collect::<Vec<_>>())
            .build()
            .expect("all set");
        let configuration = ImageConfigurationBuilder::default()
            .created(created)
            .architecture(architecture)
            .os("linux")
            .config(config.build().expect("all set"))
            .rootfs(root)
            .history(history)
            .build()
            .expect("all set");
        let config = String::from_utf8(canonical_json(&configuration)).expect("JSON is UTF-8");
        let manifest = canonical_json(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::of(config.as_bytes()),
                "size": config.len(),
            },
            "layers": layers.iter().map(|layer| json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer.diff_id,
                "size": layer.size,
            })).collect::<Vec<_>>(),
        }));
        Self { reference, layers, config, manifest: String::from_utf8(manifest).expect("JSON is UTF-8") }
    }

    /// The image that these of its layers alone would be, without settings.
    pub fn of_lowest_layers(&self, count: usize) -> Self {
        let config: serde_json::Value = serde_json::from_str(&self.config).expect("a config is JSON");
        let architecture = config["architecture"].as_str().unwrap_or_default();
        Self::new(self.reference.clone(), architecture, &Settings::default(), self.layers[..count].to_vec())
    }

    /// The digest of the config: what graph-driver engines call the image ID.
    pub fn id(&self) -> Digest {
        Digest::of(self.config.as_bytes())
    }
    /// The digest of the manifest: what containerd image stores call the image ID.
    pub fn manifest_digest(&self) -> Digest {
        Digest::of(self.manifest.as_bytes())
    }
    pub fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.diff_id.clone()).collect()
    }
}

/// The map type that `oci-spec` asks for; its order never reaches a digest, since
/// configs are hashed in canonical form.
#[expect(clippy::disallowed_types, reason = "the type of a foreign interface")]
type Labels = std::collections::HashMap<String, String>;

/// Writes one archive of several images: an OCI layout that also has Docker's
/// `manifest.json`, so that graph-driver engines and containerd image stores take
/// it. Layers for which `left_out` is true are named, but not in it.
pub fn write_archive<R: Read>(
    out: &mut impl Write,
    images: &[Image],
    left_out: impl Fn(&Layer) -> bool,
    mut open: impl FnMut(&Digest) -> io::Result<R>,
) -> io::Result<()> {
    let mut written = std::collections::BTreeSet::new();
    for image in images {
        for layer in &image.layers {
            if left_out(layer) || !written.insert(layer.diff_id.clone()) {
                continue;
            }
            archive_header(out, &blob_name(&layer.diff_id), layer.size)?;
            for fragment in &layer.fragments {
                io::copy(&mut open(fragment)?, out)?;
            }
            out.write_all(&END_MARKER)?;
            archive_padding(out, layer.size)?;
        }
        for text in [&image.config, &image.manifest] {
            let digest = Digest::of(text.as_bytes());
            if written.insert(digest.clone()) {
                archive_file(out, &blob_name(&digest), text.as_bytes())?;
            }
        }
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": images.iter().map(|image| json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": image.manifest_digest(),
            "size": image.manifest.len(),
            "annotations": {
                "io.containerd.image.name": full_name(&image.reference),
                "org.opencontainers.image.ref.name": image.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag),
            },
        })).collect::<Vec<_>>(),
    });
    let docker = json!(
        images
            .iter()
            .map(|image| json!({
                "Config": blob_name(&image.id()),
                "RepoTags": [image.reference],
                "Layers": image.layers.iter().map(|layer| blob_name(&layer.diff_id)).collect::<Vec<_>>(),
            }))
            .collect::<Vec<_>>()
    );
    archive_file(out, "index.json", &canonical_json(&index))?;
    archive_file(out, "oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}")?;
    archive_file(out, "manifest.json", &canonical_json(&docker))?;
    out.write_all(&END_MARKER)
}

/// The reference as containerd writes it.
pub fn full_name(reference: &str) -> String {
    // Docker's short form stands for its own registry.
    match reference.split_once('/') {
        Some((host, _)) if host.contains('.') || host.contains(':') || host == "localhost" => reference.to_owned(),
        Some(_) => format!("docker.io/{reference}"),
        None => format!("docker.io/library/{reference}"),
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The header of one file of an archive; its content follows, then [`archive_padding`].
pub fn archive_header(out: &mut impl Write, name: &str, size: u64) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(crate::model::SOURCE_DATE_EPOCH);
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// A whole file of an archive.
pub fn archive_file(out: &mut impl Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    archive_header(out, name, bytes.len() as u64)?;
    out.write_all(bytes)?;
    archive_padding(out, bytes.len() as u64)
}

/// Fills the last block of a file of this size.
pub fn archive_padding(out: &mut impl Write, size: u64) -> io::Result<()> {
    let rest = (512 - size % 512) % 512;
    out.write_all(&END_MARKER[..usize::try_from(rest).expect("below a block")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Node, Tree};

    #[test]
    fn the_same_inputs_give_the_same_image_id() {
        let fragment = || {
            let mut tree = Tree::default();
            tree.insert("etc/motd", Node::file(0o644, "hello\n")).unwrap();
            let mut bytes = Vec::new();
            tree.write_fragment(&mut bytes).unwrap();
            bytes
        };
        let image = || {
            let bytes = fragment();
            let layer = Layer::assemble("motd", vec![Digest::of(&bytes)], |_| Ok(&bytes[..])).unwrap();
            let labels = ["b", "a", "c"].map(|key| (key.to_owned(), "1".to_owned())).into();
            Image::new("baibox/test:1".into(), "amd64", &Settings { labels, ..Settings::default() }, vec![layer])
        };
        assert_eq!(image().id(), image().id());
        assert_eq!(image().id().as_str(), "sha256:616f37cb129209fd5e302c2d58d54b1c1b4f8be8372d60f63ce09714a32dea34");
    }

    #[test]
    fn an_archive_names_layers_that_it_leaves_out() {
        let bytes = vec![0u8; 512];
        let layer = Layer::assemble("x", vec![Digest::of(&bytes)], |_| Ok(&bytes[..])).unwrap();
        let image = Image::new("baibox/test:1".into(), "amd64", &Settings::default(), vec![layer]);
        let mut archive = Vec::new();
        write_archive(&mut archive, std::slice::from_ref(&image), |_| true, |_| Ok(&bytes[..])).unwrap();
        let names: Vec<String> = tar::Archive::new(&archive[..])
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names.len(), 5);
        assert!(!names.contains(&blob_name(&image.layers[0].diff_id)));
    }
}
