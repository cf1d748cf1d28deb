//! The Python package index of this host: where a file of a project is.

use super::{PythonError, normal_name};
use crate::fetch::Fetcher;
use crate::host;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Mutex, OnceCell};

/// File name → address.
type Page = BTreeMap<String, String>;

/// The simple API of an index; pages are asked once per project.
pub struct Index {
    base: String,
    pages: Mutex<BTreeMap<String, Arc<OnceCell<Page>>>>,
}

impl Index {
    /// `base` is the simple API's address, such as pip's `index-url`.
    pub fn new(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), pages: Mutex::default() }
    }

    /// Addresses of one file.
    pub async fn urls(&self, fetcher: &Fetcher, project: &str, file: &str) -> Result<Vec<String>> {
        let project = normal_name(project);
        let cell = self.pages.lock().await.entry(project.clone()).or_default().clone();
        let page = cell.get_or_try_init(|| self.page(fetcher, &project)).await?;
        match page.get(file) {
            Some(url) => Ok(vec![url.clone()]),
            None => Err(PythonError::NoFile { project, file: file.to_owned() }.into()),
        }
    }

    async fn page(&self, fetcher: &Fetcher, project: &str) -> Result<BTreeMap<String, String>> {
        let url = format!("{}/{project}/", self.base);
        let accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";
        let bytes =
            fetcher.text(&url, accept).await.with_context(|| format!("the package index does not tell about `{project}`"))?;
        let text = String::from_utf8_lossy(&bytes);
        let files = json_files(&text).unwrap_or_else(|| html_files(&text));
        let base = reqwest::Url::parse(&url).with_context(|| format!("`{url}` is not an address"))?;
        Ok(files.into_iter().filter_map(|(name, href)| Some((name, base.join(&href).ok()?.into()))).collect())
    }
}

/// File name and address of each file of a JSON page (PEP 691).
fn json_files(text: &str) -> Option<Vec<(String, String)>> {
    let page: serde_json::Value = serde_json::from_str(text).ok()?;
    let files = page.get("files")?.as_array()?;
    let field = |file: &serde_json::Value, name: &str| file.get(name)?.as_str().map(str::to_owned);
    Some(files.iter().filter_map(|file| Some((field(file, "filename")?, field(file, "url")?))).collect())
}

/// The same of an HTML page (PEP 503): the text of a link is the file's name.
fn html_files(text: &str) -> Vec<(String, String)> {
    text.split("<a ")
        .skip(1)
        .filter_map(|link| {
            let href = link.split_once("href=\"")?.1.split_once('"')?.0;
            let name = link.split_once('>')?.1.split_once('<')?.0;
            let href = href.split('#').next()?.replace("&amp;", "&");
            Some((name.trim().to_owned(), href))
        })
        .collect()
}

/// The address that this host is configured for, if it is.
pub fn configured() -> Option<String> {
    let by_variable = ["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"].into_iter().find_map(host::variable);
    by_variable.or_else(|| {
        let home = host::home().unwrap_or_default();
        let files = [
            host::variable("PIP_CONFIG_FILE").map(PathBuf::from).unwrap_or_default(),
            home.join(".config/pip/pip.conf"),
            home.join(".pip/pip.conf"),
            PathBuf::from("/etc/pip.conf"),
        ];
        files.iter().filter_map(|path| std::fs::read_to_string(path).ok()).find_map(|text| of_pip_configuration(&text))
    })
}

/// `index-url` of pip's configuration file.
fn of_pip_configuration(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(['=', ':'])?;
        (name.trim().replace('_', "-") == "index-url").then(|| value.trim().to_owned())
    })
}

/// pip's own default, read from its source: this repository does not spell it.
pub fn default_of_pip(source: &str) -> Option<String> {
    let call = source.split_once("PyPI = PackageIndex(")?.1;
    let base = call.split('"').nth(1)?;
    base.starts_with("https://").then(|| format!("{}/simple", base.trim_end_matches('/')))
}

/// Where a pip of this host keeps that source.
pub fn default_of_host_pip() -> Option<String> {
    let roots = ["/usr/lib/python3/dist-packages", "/usr/local/lib/python3/dist-packages"];
    roots
        .iter()
        .filter_map(|root| std::fs::read_to_string(format!("{root}/pip/_internal/models/index.py")).ok())
        .find_map(|text| default_of_pip(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_page_are_read() {
        let json = r#"{"files":[{"filename":"x-1.whl","url":"../../x-1.whl","hashes":{}}]}"#;
        assert_eq!(json_files(json).unwrap(), [("x-1.whl".to_owned(), "../../x-1.whl".to_owned())]);
        let html = "<a href=\"../x-1.whl#sha256=0\" data-x=\"y\">x-1.whl</a><br/>";
        assert_eq!(html_files(html), [("x-1.whl".to_owned(), "../x-1.whl".to_owned())]);
    }

    #[test]
    fn the_address_comes_from_configuration_or_from_pip_itself() {
        assert_eq!(of_pip_configuration("[global]\nindex-url = http://mirror/simple\n").unwrap(), "http://mirror/simple");
        assert_eq!(of_pip_configuration("[global]\ncert = /x\n"), None);
        let source = "PyPI = PackageIndex(\"https://index.example/\", file_storage_domain=\"files.example\")";
        assert_eq!(default_of_pip(source).unwrap(), "https://index.example/simple");
        assert_eq!(default_of_pip("PyPI = 1"), None);
    }
}
