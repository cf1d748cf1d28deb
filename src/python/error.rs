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
    #[error("the Python lock is not valid:\n{}", faults.join("\n"))]
    Lock { faults: Vec<String> },
    #[error("the package index has no file `{file}` of `{project}`")]
    NoFile { project: String, file: String },
    #[error("no Python package index is configured on this host, and pip's own default was not found")]
    NoIndex,
}
