//! Bills of materials: everything that was put into an image, by name, version and digest.
//!
//! SPDX 2.3: <https://spdx.github.io/spdx-spec/v2.3/>,
//! CycloneDX 1.5: <https://cyclonedx.org/docs/1.5/json/>. Computes only; the same image has the same bill.

use crate::lock::Lock;
use crate::model::{CREATED, Digest};
use crate::release::{ImageData, Release};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where a part comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Debian,
    Python,
    /// The interpreter, where it is none of Debian's packages.
    Interpreter,
    /// A linked source tree, which is mounted when the image runs.
    Component,
}

/// One thing in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub kind: Kind,
    pub name: String,
    /// The version of a package, the commit of a component.
    pub version: String,
    /// <https://github.com/package-url/purl-spec>; no two parts have the same.
    pub url: String,
    /// The file that was unpacked, and its digest.
    pub file: Option<(String, Digest)>,
}

/// All parts of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// `repository` and `tag` in the engine.
    pub name: String,
    pub tag: String,
    pub image: Digest,
    pub parts: Vec<Part>,
}

impl Bill {
    /// The bill of an image with this reference and ID.
    pub fn new(release: &Release, lock: &Lock, image: &ImageData, reference: &str, id: Digest) -> Self {
        let (name, tag) = reference.rsplit_once(':').unwrap_or((reference, ""));
        let mut parts = BTreeMap::new();
        let base = image.packages.first().and_then(|set| Some((release.base_of(set)?, set)));
        if let Some((base, set)) = base {
            let replaced =
                |name: &str| image.packages.iter().filter_map(|set| lock.debian.get(set)).flatten().any(|deb| deb.name == name);
            let suite = release.debian.get(set).and_then(|set| set.suites.first()).map(String::as_str).unwrap_or_default();
            let debs = base.packages.iter().filter_map(|line| {
                let [name, version, architecture] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
                let url = format!("pkg:deb/debian/{}@{}?arch={architecture}&distro={suite}", encoded(name), encoded(version));
                (!replaced(name)).then_some((Kind::Debian, name, version, url))
            });
            let wheels = base.python.iter().filter_map(|line| {
                let (name, version) = line.split_once(' ')?;
                Some((Kind::Python, name, version, format!("pkg:pypi/{}@{}", encoded(name), encoded(version))))
            });
            for (kind, name, version, url) in debs.chain(wheels) {
                let part = Part { kind, name: name.to_owned(), version: version.to_owned(), url: url.clone(), file: None };
                parts.insert(url, part);
            }
        }
        for set in &image.packages {
            let suite = release.debian.get(set).and_then(|set| set.suites.first()).map(String::as_str).unwrap_or_default();
            for deb in lock.debian.get(set).into_iter().flatten() {
                let (name, version) = (encoded(&deb.name), encoded(&deb.version));
                let file = deb.file.rsplit('/').next().unwrap_or(&deb.file).to_owned();
                let part = Part {
                    kind: Kind::Debian,
                    name: deb.name.clone(),
                    version: deb.version.clone(),
                    url: format!("pkg:deb/debian/{name}@{version}?arch={}&distro={suite}", deb.architecture),
                    file: Some((file, deb.sha256.clone())),
                };
                parts.insert(part.url.clone(), part);
            }
        }
        if let Some(build) = lock.cpython.as_ref().filter(|_| image.environment.is_some()) {
            let part = Part {
                kind: Kind::Interpreter,
                name: "cpython".into(),
                version: build.version.clone(),
                url: format!("pkg:generic/cpython@{}", encoded(&build.version)),
                file: Some((build.file.clone(), build.sha256.clone())),
            };
            parts.insert(part.url.clone(), part);
        }
        let pins = image.environment.as_ref().and_then(|environment| lock.python.environments.get(environment));
        for file in pins.into_iter().flatten().filter_map(|pin| lock.python.file(pin)) {
            let part = Part {
                kind: Kind::Python,
                name: file.name.clone(),
                version: file.version.clone(),
                url: format!("pkg:pypi/{}@{}", encoded(&file.name), encoded(&file.version)),
                file: Some((file.file.clone(), file.sha256.clone())),
            };
            parts.insert(part.url.clone(), part);
        }
        for component in image.links.iter().filter_map(|link| release.component(link)) {
            let commit = lock.sources.get(&component.name).cloned().unwrap_or_default();
            let part = Part {
                kind: Kind::Component,
                name: component.project.clone(),
                url: format!("pkg:github/lablup/{}@{commit}", component.repository.to_lowercase()),
                version: commit,
                file: None,
            };
            parts.insert(part.url.clone(), part);
        }
        let mut parts: Vec<Part> = parts.into_values().collect();
        parts.sort_by(|left, right| (left.kind, &left.name, &left.version).cmp(&(right.kind, &right.name, &right.version)));
        Self { name: name.to_owned(), tag: tag.to_owned(), image: id, parts }
    }

    pub fn spdx(&self) -> Value {
        let mut packages = vec![json!({
            "SPDXID": "SPDXRef-image",
            "name": self.name,
            "versionInfo": self.tag,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "primaryPackagePurpose": "CONTAINER",
            "checksums": [{ "algorithm": "SHA256", "checksumValue": self.image.hex() }],
        })];
        let relationship = |from: &str, what: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": what, "relatedSpdxElement": to });
        let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image")];
        for (number, part) in self.parts.iter().enumerate() {
            let id = format!("SPDXRef-{number}");
            let mut package = json!({
                "SPDXID": id,
                "name": part.name,
                "versionInfo": part.version,
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": false,
                "supplier": match part.kind {
                    Kind::Debian => "Organization: Debian",
                    Kind::Python | Kind::Interpreter => "NOASSERTION",
                    Kind::Component => "Organization: Lablup Inc.",
                },
                "externalRefs": [{
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": part.url,
                }],
            });
            if let Some((file, digest)) = &part.file {
                package["packageFileName"] = json!(file);
                package["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": digest.hex() }]);
            }
            packages.push(package);
            // A linked tree is needed by the image, and is not in it.
            let what = if part.kind == Kind::Component { "DEPENDS_ON" } else { "CONTAINS" };
            relationships.push(relationship("SPDXRef-image", what, &id));
        }
        json!({
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": format!("{}:{}", self.name, self.tag),
            "documentNamespace": format!("urn:baibox:image:{}", self.image),
            "creationInfo": { "created": CREATED, "creators": [format!("Tool: baibox-{}", env!("CARGO_PKG_VERSION"))] },
            "packages": packages,
            "relationships": relationships,
        })
    }

    pub fn cyclonedx(&self) -> Value {
        let component = |part: &Part| {
            let mut component = json!({
                "type": if part.kind == Kind::Component { "application" } else { "library" },
                "bom-ref": part.url,
                "name": part.name,
                "version": part.version,
                "purl": part.url,
            });
            if let Some((file, digest)) = &part.file {
                component["hashes"] = json!([{ "alg": "SHA-256", "content": digest.hex() }]);
                component["properties"] = json!([{ "name": "baibox:file", "value": file }]);
            }
            component
        };
        json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "serialNumber": format!("urn:uuid:{}", self.uuid()),
            "version": 1,
            "metadata": {
                "timestamp": CREATED,
                "tools": { "components": [{ "type": "application", "name": "baibox", "version": env!("CARGO_PKG_VERSION") }] },
                "component": {
                    "type": "container",
                    "bom-ref": "image",
                    "name": self.name,
                    "version": self.tag,
                    "hashes": [{ "alg": "SHA-256", "content": self.image.hex() }],
                },
            },
            "components": self.parts.iter().map(component).collect::<Vec<_>>(),
            "dependencies": [{ "ref": "image", "dependsOn": self.parts.iter().map(|part| &part.url).collect::<Vec<_>>() }],
        })
    }

    /// Of version 8, RFC 9562: digits of the image's own.
    fn uuid(&self) -> String {
        let hex = self.image.hex();
        format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
    }
}

/// Percent-encoded as purl asks.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Catalog;
    use std::collections::BTreeSet;

    fn bill(image: &str) -> Bill {
        let release = Catalog::release("21.03").unwrap();
        let mut lock = Lock::of_release(&release).unwrap();
        lock.sources.insert("manager".into(), "c".repeat(40));
        let data = release.images.iter().find(|data| data.name == image).unwrap();
        Bill::new(&release, &lock, data, "baibox.local/21.03/manager:abc", Digest::of(b"image"))
    }

    #[test]
    fn every_package_wheel_and_commit_is_on_the_bill_once() {
        let release = Catalog::release("21.03").unwrap();
        let bill = bill("manager");
        let count = |kind: Kind| bill.parts.iter().filter(|part| part.kind == kind).count();
        assert_eq!(count(Kind::Debian), release.debian_lock["base"].len() + release.debian_lock["tools"].len());
        assert_eq!(count(Kind::Python), release.python_lock.as_ref().unwrap().environments["manager"].len());
        assert_eq!(count(Kind::Component), 2);
        let urls: BTreeSet<&String> = bill.parts.iter().map(|part| &part.url).collect();
        assert_eq!(urls.len(), bill.parts.len());
        assert!(bill.parts.iter().any(|part| part.url == format!("pkg:github/lablup/backend.ai-manager@{}", "c".repeat(40))));
        let compiler = bill.parts.iter().find(|part| part.name == "libstdc++6").unwrap();
        assert!(compiler.url.starts_with("pkg:deb/debian/libstdc%2B%2B6@"), "{}", compiler.url);
    }

    #[test]
    fn both_forms_name_every_part() {
        let bill = bill("manager");
        let (spdx, cyclonedx) = (bill.spdx(), bill.cyclonedx());
        assert_eq!(spdx["packages"].as_array().unwrap().len(), bill.parts.len() + 1);
        assert_eq!(spdx["relationships"].as_array().unwrap().len(), bill.parts.len() + 1);
        assert_eq!(cyclonedx["components"].as_array().unwrap().len(), bill.parts.len());
        let serial = cyclonedx["serialNumber"].as_str().unwrap();
        assert_eq!(serial.len(), "urn:uuid:".len() + 36, "{serial}");
    }
}
