//! Python: where the index is, wheels as trees, the virtual environment, links to sources.

pub mod build;
mod configuration;
pub mod editable;
mod error;
pub mod index;
pub mod interpreter;
pub mod lock;
pub mod marshal;
pub mod pex;
#[cfg(test)]
mod real;
pub mod requirement;
pub mod select;
pub mod standalone;
mod tree_lock;
pub mod uv;
pub mod venv;
pub mod wheel;

pub use error::PythonError;
pub use index::Index;
pub use interpreter::Interpreter;
pub use lock::{LockedFile, PythonLock};
pub use standalone::LockedBuild;
pub use tree_lock::TreeLock;

/// Builds source distributions to wheels, inside a container.
pub const BUILD_WHEELS: &str = include_str!("../../images/python/build_wheels.py");
/// Compiles modules to byte code, inside a container.
pub const COMPILE: &str = include_str!("../../images/python/compile.py");

/// What `PYTHONPYCACHEPREFIX` names in images, without the first slash.
pub const BYTE_CODE: &str = "var/cache/pycache";

/// Where Python packages go in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The virtual environment, without the first slash.
    pub prefix: String,
    /// Minor version, such as `3.9`.
    pub python: String,
}

impl Layout {
    pub fn new(python: &str) -> Self {
        Self { prefix: "opt/venv".into(), python: python.into() }
    }
    pub fn site_packages(&self) -> String {
        format!("{}/lib/python{}/site-packages", self.prefix, self.python)
    }
    pub fn scripts(&self) -> String {
        format!("{}/bin", self.prefix)
    }
    /// Where the interpreter looks for the byte code of a module.
    pub fn byte_code(&self, module: &str) -> Option<String> {
        let stem = module.strip_suffix(".py")?;
        Some(format!("{BYTE_CODE}/{stem}.cpython-{}.pyc", self.python.replace('.', "")))
    }
    pub fn interpreter(&self) -> String {
        format!("/{}/bin/python", self.prefix)
    }
}

/// The script that a console entry point becomes.
pub fn entry_script(layout: &Layout, target: &str) -> Option<String> {
    let target = target.split('[').next()?.trim();
    let (module, function) = target.split_once(':')?;
    let name =
        |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_alphanumeric() || letter == '_' || letter == '.');
    let first = function.split('.').next()?;
    (name(module) && name(function)).then(|| {
        format!(
            "#!{}\nimport sys\nfrom {module} import {first}\nif __name__ == \"__main__\":\n    sys.exit({function}())\n",
            layout.interpreter()
        )
    })
}

/// Names compare in lower case with `-` for runs of `-`, `_` and `.`.
pub fn normal_name(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if matches!(letter, '-' | '_' | '.') {
            if !out.ends_with('-') {
                out.push('-');
            }
        } else {
            out.extend(letter.to_lowercase());
        }
    }
    out
}
