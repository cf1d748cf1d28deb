//! One requirement (PEP 508), judged for Linux images of one Python.

use super::{PythonError, normal_name};
use pep508_rs::pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder, MarkerTree, Requirement, VerbatimUrl, VersionOrUrl};
use std::str::FromStr;

#[derive(Clone, Debug)]
pub struct Asked {
    /// As it was written.
    pub text: String,
    /// Normal name.
    pub project: String,
    pub extras: Vec<String>,
    /// Its marker holds in the images.
    pub applies: bool,
    version: Option<VersionOrUrl<VerbatimUrl>>,
}

impl Asked {
    /// Whether that version meets it. What is asked for by an address, no pin meets.
    pub fn takes(&self, version: &str) -> bool {
        let Ok(version) = Version::from_str(version) else { return false };
        match &self.version {
            None => true,
            Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers.contains(&version),
            Some(VersionOrUrl::Url(_)) => false,
        }
    }
}

/// A name, of the project or an extra, that `pep508_rs` panics on: it reads such and then cannot take it.
fn bad_name(text: &str) -> Option<&str> {
    let inside = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
    let word = |text: &str| text.find(|letter: char| !inside(letter)).unwrap_or(text.len());
    let text = text.trim_start();
    let end = word(text);
    let extras = text[end..].trim_start().strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or_default();
    let extras = extras.split(',').map(str::trim_start).map(|extra| &extra[..word(extra)]);
    std::iter::once(&text[..end]).chain(extras).find(|name| name.ends_with(['.', '-', '_']))
}

/// Reads a requirement; `python` is a minor version such as `3.9`.
pub fn parse(text: &str, python: &str) -> Result<Asked, PythonError> {
    let fault = |why: String| PythonError::Requirement { text: text.to_owned(), why };
    // `pep508_rs` cuts such texts inside of letters.
    if !text.is_ascii() {
        return Err(fault("only ASCII is understood".to_owned()));
    }
    if let Some(word) = bad_name(text) {
        return Err(fault(format!("the name `{word}` must end with a letter or a digit")));
    }
    let read: Requirement<VerbatimUrl> = Requirement::from_str(text).map_err(|error| fault(error.message.to_string()))?;
    let environment = images(python).map_err(fault)?;
    Ok(Asked {
        text: text.to_owned(),
        project: normal_name(read.name.as_ref()),
        extras: read.extras.iter().map(ToString::to_string).collect(),
        applies: read.marker.evaluate(&environment, &[]),
        version: read.version_or_url,
    })
}

/// Whether a marker (PEP 508) holds in the images.
pub fn holds(marker: &str, python: &str) -> Result<bool, PythonError> {
    let fault = |why: String| PythonError::Requirement { text: marker.to_owned(), why };
    if !marker.is_ascii() {
        return Err(fault("only ASCII is understood".to_owned()));
    }
    let tree = MarkerTree::parse_str::<VerbatimUrl>(marker).map_err(|error| fault(error.message.to_string()))?;
    Ok(tree.evaluate(&images(python).map_err(fault)?, &[]))
}

/// What markers find in Linux images of one Python.
fn images(python: &str) -> Result<MarkerEnvironment, String> {
    let full = format!("{python}.0");
    MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: &full,
        os_name: "posix",
        platform_machine: "x86_64",
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: "Linux",
        platform_version: "",
        python_full_version: &full,
        python_version: python,
        sys_platform: "linux",
    })
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_end_in_a_sign_are_refused_with_the_name() {
        for (text, name) in [("a.", "a."), (" a-_'", "a-_"), ("a..>=1", "a.."), ("a[b, c-]", "c-"), ("a [x.'", "x.")] {
            let said = parse(text, "3.9").unwrap_err().to_string();
            assert!(said.contains(&format!("`{name}` must end")), "{text}: {said}");
        }
        assert!(parse("a.b-c_d[e.f, g]>=1", "3.9").is_ok());
    }
}
