//! The Python package index of this host: where a file of a project is, and which files there are.

use super::select::{self, Target};
use super::{LockedFile, PythonError, normal_name};
use crate::fetch::Fetcher;
use crate::model::Digest;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Mutex, OnceCell};

/// What an index tells of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFile {
    /// Relative ones are resolved.
    pub url: String,
    pub sha256: Option<Digest>,
    /// In bytes.
    pub size: Option<u64>,
    /// RFC 3339, where the index tells it.
    pub uploaded: Option<String>,
}

type Page = BTreeMap<String, IndexFile>;

/// The simple API of an index; pages are asked once per project.
pub struct Index {
    base: String,
    pages: Mutex<BTreeMap<String, Arc<OnceCell<Arc<Page>>>>>,
}

impl Index {
    /// `base` is the simple API's address, such as pip's `index-url`.
    pub fn new(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), pages: Mutex::default() }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// All files of a project, by file name.
    pub async fn files(&self, fetcher: &Fetcher, project: &str) -> Result<Arc<Page>> {
        let project = normal_name(project);
        let cell = self.pages.lock().await.entry(project.clone()).or_default().clone();
        Ok(cell.get_or_try_init(|| self.page(fetcher, &project)).await?.clone())
    }

    /// Addresses of one file.
    pub async fn urls(&self, fetcher: &Fetcher, project: &str, file: &str) -> Result<Vec<String>> {
        match self.files(fetcher, project).await?.get(file) {
            Some(found) => Ok(vec![found.url.clone()]),
            None => Err(PythonError::NoFile { project: normal_name(project), file: file.to_owned() }.into()),
        }
    }

    /// The file of a version that images for `target` take, for a lock.
    ///
    /// `cutoff` is a date; what was uploaded after that day (UTC) does not exist, as for uv.
    pub async fn choose(
        &self,
        fetcher: &Fetcher,
        project: &str,
        version: &str,
        target: &Target,
        cutoff: Option<&str>,
    ) -> Result<LockedFile> {
        let files = self.files(fetcher, project).await?;
        let old = |found: &IndexFile| match (found.uploaded.as_deref().and_then(|time| time.get(..10)), cutoff) {
            (Some(day), Some(cutoff)) => day <= cutoff,
            _ => true,
        };
        let known = files.iter().filter(|(_, found)| old(found)).map(|(file, _)| file.as_str());
        Self::take(&files, select::best(known, project, version, target), project, version)
    }

    /// The source distribution of a version.
    pub async fn sdist(&self, fetcher: &Fetcher, project: &str, version: &str, target: &Target) -> Result<LockedFile> {
        let files = self.files(fetcher, project).await?;
        let known = files.keys().map(String::as_str).filter(|file| !file.ends_with(".whl"));
        Self::take(&files, select::best(known, project, version, target), project, version)
    }

    /// What is locked of the file that was chosen.
    fn take(files: &Page, file: Option<&str>, project: &str, version: &str) -> Result<LockedFile> {
        let file = file.ok_or_else(|| PythonError::NoneFits { pin: format!("{project} {version}") })?;
        let IndexFile { sha256: Some(sha256), size: Some(size), .. } = &files[file] else {
            return Err(PythonError::Untold { file: file.to_owned() }.into());
        };
        let (name, version, file) = (project.to_owned(), version.to_owned(), file.to_owned());
        Ok(LockedFile { name, version, file, sha256: sha256.clone(), size: *size })
    }

    async fn page(&self, fetcher: &Fetcher, project: &str) -> Result<Arc<Page>> {
        let url = format!("{}/{project}/", self.base);
        let accept = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.5, text/html;q=0.2";
        let bytes =
            fetcher.text(&url, accept).await.with_context(|| format!("the package index does not tell about `{project}`"))?;
        let text = String::from_utf8_lossy(&bytes);
        let base = reqwest::Url::parse(&url).with_context(|| format!("`{url}` is not an address"))?;
        let files = json_files(&text).unwrap_or_else(|| html_files(&text));
        Ok(Arc::new(
            files
                .into_iter()
                .filter_map(|(name, found)| {
                    let url = base.join(&found.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
                    // A name is a name: it becomes part of paths and messages.
                    (!name.contains(['/', '\\', '\0'])).then(|| (name, IndexFile { url: url.into(), ..found }))
                })
                .collect(),
        ))
    }
}

/// A JSON page (PEP 691, sizes and times by PEP 700). Pages have megabytes of fields
/// that nobody asks for, so only these are kept.
#[derive(serde::Deserialize)]
struct JsonPage {
    files: Vec<PageFile>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PageFile {
    filename: Option<String>,
    url: Option<String>,
    #[serde(default)]
    hashes: Hashes,
    size: Option<u64>,
    upload_time: Option<String>,
}

#[derive(Default, serde::Deserialize)]
struct Hashes {
    sha256: Option<String>,
}

fn json_files(text: &str) -> Option<Vec<(String, IndexFile)>> {
    let page: JsonPage = serde_json::from_str(text).ok()?;
    let file = |entry: PageFile| {
        let sha256 = entry.hashes.sha256.and_then(|digits| Digest::parse(&digits).ok());
        Some((entry.filename?, IndexFile { url: entry.url?, sha256, size: entry.size, uploaded: entry.upload_time }))
    };
    Some(page.files.into_iter().filter_map(file).collect())
}

/// The same of an HTML page (PEP 503): the text of a link is the file's name.
fn html_files(text: &str) -> Vec<(String, IndexFile)> {
    text.split("<a")
        .skip(1)
        .filter_map(|link| {
            let (tag, rest) = link.split_once('>')?;
            let (_, value) = tag.split_once("href=")?;
            let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
            let href = value[1..].split(quote).next()?.replace("&amp;", "&");
            let (url, fragment) = href.split_once('#').unwrap_or((&href, ""));
            let sha256 = fragment.strip_prefix("sha256=").and_then(|digits| Digest::parse(digits).ok());
            let name = rest.split_once('<')?.0.trim().to_owned();
            Some((name, IndexFile { url: url.to_owned(), sha256, size: None, uploaded: None }))
        })
        .collect()
}

pub use super::configuration::{configured, default_of_host_pip, default_of_pip, default_of_pip_archive};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_page_are_read() {
        let zeros = "0".repeat(64);
        let json = format!(
            r#"{{"files":[{{"filename":"x-1.whl","url":"../../x-1.whl","hashes":{{"sha256":"{zeros}"}},"size":7,"upload-time":"2022-01-01T00:00:00Z"}},{{"filename":"broken"}}]}}"#
        );
        let found = json_files(&json).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0.as_str(), found[0].1.url.as_str(), found[0].1.size), ("x-1.whl", "../../x-1.whl", Some(7)));
        let html =
            format!("<a data-x=\"y\" href='../x-1.whl?a&amp;b#sha256={zeros}'>x-1.whl</a><br/><abbr>no</abbr><a href=x>x</a>");
        let found = html_files(&html);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0.as_str(), found[0].1.url.as_str()), ("x-1.whl", "../x-1.whl?a&b"));
        assert!(found[0].1.sha256.is_some());
    }

    #[test]
    fn nonsense_is_an_empty_page() {
        for text in ["", "{}", "{\"files\": 1}", "<a", "<a href=\"", "<a href=\"x\">", "[1]"] {
            let found = json_files(text).unwrap_or_else(|| html_files(text));
            assert!(found.is_empty(), "{text:?}");
        }
    }
}
