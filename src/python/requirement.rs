//! One requirement (PEP 508), judged for Linux images of one Python.

use super::{PythonError, normal_name};
use pep508_rs::pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder, Requirement, VerbatimUrl, VersionOrUrl};
use std::str::FromStr;

#[derive(Clone, Debug)]
pub struct Asked {
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

/// Reads a requirement; `python` is a minor version such as `3.9`.
pub fn parse(text: &str, python: &str) -> Result<Asked, PythonError> {
    let fault = |why: String| PythonError::Requirement { text: text.to_owned(), why };
    let read: Requirement<VerbatimUrl> = Requirement::from_str(text).map_err(|error| fault(error.message.to_string()))?;
    let full = format!("{python}.0");
    let environment = MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
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
    .map_err(|error| fault(error.to_string()))?;
    Ok(Asked {
        project: normal_name(read.name.as_ref()),
        extras: read.extras.iter().map(ToString::to_string).collect(),
        applies: read.marker.evaluate(&environment, &[]),
        version: read.version_or_url,
    })
}
