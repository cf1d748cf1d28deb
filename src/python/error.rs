use crate::oci::TreeError;

#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    #[error("`{file}` is not a readable wheel")]
    Zip { file: String, source: zip::result::ZipError },
    #[error("`{file}` cannot be unpacked at `{entry}`")]
    Read { file: String, entry: String, source: std::io::Error },
    #[error("`{file}` has an entry that no image takes")]
    Tree { file: String, source: TreeError },
    #[error("the entry `{entry}` of `{file}` is {what}")]
    Entry { file: String, entry: String, what: &'static str },
    #[error("`{file}` is larger than {limit} bytes when unpacked")]
    TooLarge { file: String, limit: u64 },
    #[error("`{file}` has no `*.dist-info/{member}`")]
    Member { file: String, member: &'static str },
    #[error("the entry `{entry}` of `{file}` has not the digest that its RECORD says")]
    Record { file: String, entry: String },
    #[error("`{file}` holds {entries} entries by its end record, and {found} different ones")]
    Entries { file: String, entries: u64, found: u64 },
    #[error("`{file}` cannot be read")]
    Archive { file: String, source: std::io::Error },
    #[error("the entry `{entry}` of `{file}` is refused")]
    TreeEntry { file: String, entry: String, source: TreeError },
    #[error("`{file}` is no build of CPython {version}: it has no `{place}`")]
    NoBuild { file: String, place: String, version: String },
    #[error("`{file}` is not the name of a build of CPython {version} that images can take")]
    BuildName { file: String, version: String },
    #[error("the entry point `{name}` of `{file}` is `{target}`, which names no function")]
    EntryPoint { file: String, name: String, target: String },
    #[error("no wheels are known for Python {python} on `{platform}`")]
    Target { python: String, platform: String },
    #[error("the Python lock is not valid:\n{}", faults.join("\n"))]
    Lock { faults: Vec<String> },
    #[error("`{text}` is not a requirement: {why}")]
    Requirement { text: String, why: String },
    #[error("the package index has no file `{file}` of `{project}`")]
    NoFile { project: String, file: String },
    #[error("the package index has no file of `{pin}` that the images can take")]
    NoneFits { pin: String },
    #[error("the package index tells neither size nor sha256 of `{file}`")]
    Untold { file: String },
    #[error("no Python package index is configured on this host, and pip's own default was not found")]
    NoIndex,
}
