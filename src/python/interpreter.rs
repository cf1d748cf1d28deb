//! The interpreter of an image: where it is, and who put it there.

use serde::{Deserialize, Serialize};

/// Steps run it, and virtual environments stand on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// Its `sys.prefix`, without the first slash.
    pub prefix: String,
    pub from: Provider,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// `python3` of the base's package set.
    Debian,
    /// A build of CPython that is whole in itself.
    Standalone,
    /// A base of a registry.
    Image,
}

impl Default for Interpreter {
    fn default() -> Self {
        Self::debian()
    }
}

impl Interpreter {
    pub fn debian() -> Self {
        Self { prefix: "usr".into(), from: Provider::Debian }
    }
    /// Where images of Python have theirs, too, so that what is known of those holds: found before
    /// Debian's in every `PATH`, should a package bring that one.
    pub fn standalone() -> Self {
        Self { prefix: "usr/local".into(), from: Provider::Standalone }
    }
    /// Where images of Python have theirs.
    pub fn of_image() -> Self {
        Self { prefix: "usr/local".into(), from: Provider::Image }
    }
    pub fn is_debian(&self) -> bool {
        self.from == Provider::Debian
    }
    /// The folder that the program is in.
    pub fn home(&self) -> String {
        format!("/{}/bin", self.prefix)
    }
    /// The program, by the name that every minor version has.
    pub fn program(&self) -> String {
        format!("{}/python3", self.home())
    }
    /// The program of a minor version, such as `3.9`.
    pub fn program_of(&self, python: &str) -> String {
        format!("{}/python{python}", self.home())
    }
    /// Where packages lie that are not in a virtual environment, without the first slash.
    pub fn site_packages(&self, python: &str) -> String {
        match self.from {
            Provider::Debian => format!("{}/lib/python3/dist-packages", self.prefix),
            Provider::Standalone | Provider::Image => format!("{}/lib/python{python}/site-packages", self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_packages_are_where_the_provider_has_them() {
        let places = |one: Interpreter| [one.program(), one.program_of("3.9"), one.site_packages("3.9")];
        assert_eq!(places(Interpreter::debian()), ["/usr/bin/python3", "/usr/bin/python3.9", "usr/lib/python3/dist-packages"]);
        let local = ["/usr/local/bin/python3", "/usr/local/bin/python3.9", "usr/local/lib/python3.9/site-packages"];
        assert_eq!(places(Interpreter::standalone()), local);
    }
}
