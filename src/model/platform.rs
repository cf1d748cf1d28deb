//! What images are made for.

use crate::error::Fault;

/// `linux/amd64` or `linux/arm64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Platform {
    Amd64,
    Arm64,
}

impl Platform {
    /// What locks are of, outside of their tables of platforms.
    pub const LOCKED: Self = Self::Amd64;

    /// `linux/arm64`, also with the variant that all of them are, or an engine's word for the architecture.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        match text.strip_prefix("linux/").unwrap_or(text) {
            "amd64" | "x86_64" => Ok(Self::Amd64),
            "arm64" | "arm64/v8" | "aarch64" => Ok(Self::Arm64),
            _ => Err(Fault::usage(format!("images cannot be made for `{text}`")).hint("there are linux/amd64 and linux/arm64")),
        }
    }

    /// In Go's words, which are Debian's too.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "linux/{}", self.architecture())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_as_engines_and_tools_write_them() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("aarch64", "linux/arm64"),
        ] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), expected);
        }
        for bad in ["", "linux", "linux/s390x", "windows/amd64", "linux/linux/arm64"] {
            assert!(!Platform::parse(bad).unwrap_err().hints.is_empty(), "{bad}");
        }
    }
}
