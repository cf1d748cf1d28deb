//! Which of the files of a version an image takes: tags of wheels (PEP 425, 600), without asking an interpreter.

use super::{PythonError, normal_name};

/// What the image runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// CPython 3 of this minor version.
    pub minor: u32,
    /// glibc 2 of this minor version.
    pub glibc: u32,
    machine: &'static str,
}

impl Target {
    /// `python` such as `3.9`, the image's minor version of glibc 2, `platform` such as `linux/amd64`.
    pub fn parse(python: &str, glibc: u32, platform: &str) -> Result<Self, PythonError> {
        let unknown = || PythonError::Target { python: python.to_owned(), platform: platform.to_owned() };
        let minor = python.strip_prefix("3.").and_then(|minor| minor.parse().ok()).ok_or_else(unknown)?;
        let machine = match platform {
            "linux/amd64" => "x86_64",
            "linux/arm64" | "linux/arm64/v8" => "aarch64",
            _ => return Err(unknown()),
        };
        Ok(Self { minor, glibc, machine })
    }
}

/// The parts of a wheel's file name; tags may be sets, joined by dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WheelName<'a> {
    pub project: &'a str,
    pub version: &'a str,
    /// Number and rest of the build tag: later builds of one version win.
    pub build: (u64, &'a str),
    pub python: &'a str,
    pub abi: &'a str,
    pub platform: &'a str,
}

impl<'a> WheelName<'a> {
    pub fn parse(file: &'a str) -> Option<Self> {
        let parts: Vec<&str> = file.strip_suffix(".whl")?.split('-').collect();
        let (project, version, build, python, abi, platform) = match parts[..] {
            [project, version, python, abi, platform] => (project, version, "", python, abi, platform),
            [project, version, build, python, abi, platform] => (project, version, build, python, abi, platform),
            _ => return None,
        };
        if parts.iter().any(|part| part.is_empty()) || file.contains('/') {
            return None;
        }
        let digits = build.bytes().take_while(u8::is_ascii_digit).count();
        let number = if build.is_empty() { 0 } else { build[..digits].parse().ok()? };
        Some(Self { project, version, build: (number, &build[digits..]), python, abi, platform })
    }
}

/// How well a wheel fits: compared by interpreter first, then by platform, as pip does. More is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    interpreter: (u8, u32),
    /// Minor version of the glibc that the wheel was built for.
    glibc: u32,
}

/// How well the tags fit, or `None` if the target cannot take the wheel.
pub fn fit(wheel: &WheelName<'_>, target: &Target) -> Option<Fit> {
    let glibc = wheel.platform.split('.').filter_map(|tag| glibc_of(tag, target)).max()?;
    let any = wheel.platform.split('.').all(|tag| tag == "any");
    let interpreters = wheel.python.split('.').flat_map(|python| wheel.abi.split('.').map(move |abi| (python, abi)));
    let interpreter = interpreters.filter_map(|(python, abi)| interpreter(python, abi, any, target)).max()?;
    Some(Fit { interpreter, glibc })
}

/// The oldest glibc 2 that a platform tag asks for. musl's wheels and plain `linux_*` are refused:
/// the one needs another libc, the other does not say what it needs.
fn glibc_of(tag: &str, target: &Target) -> Option<u32> {
    if tag == "any" {
        return Some(0);
    }
    let level = tag.strip_suffix(target.machine)?.strip_suffix('_')?;
    let minor = match level {
        // The old names are of Intel's machines alone, but for the last.
        "manylinux1" if target.machine == "x86_64" => 5,
        "manylinux2010" if target.machine == "x86_64" => 12,
        "manylinux2014" => 17,
        _ => level.strip_prefix("manylinux_2_")?.parse().ok()?,
    };
    (minor <= target.glibc).then_some(minor)
}

/// Rank of one interpreter and ABI tag, and within the rank the newest interpreter.
fn interpreter(python: &str, abi: &str, any: bool, target: &Target) -> Option<(u8, u32)> {
    let minor = |prefix: &str| -> Option<u32> { python.strip_prefix(prefix)?.parse().ok() };
    let own = format!("cp3{}", target.minor);
    if python == own && !any {
        // `cp37m` and older ABIs carry flags; the targets' do not.
        if abi == own {
            return Some((6, target.minor));
        }
    }
    if abi == "abi3" && !any {
        let since = minor("cp3").filter(|since| *since >= 2 && *since <= target.minor)?;
        return Some((if since == target.minor { 5 } else { 3 }, since));
    }
    if abi != "none" {
        return None;
    }
    if python == own {
        return Some((if any { 1 } else { 4 }, target.minor + 1));
    }
    let since = if python == "py3" { 0 } else { minor("py3").filter(|since| *since <= target.minor)? };
    Some((if any { 1 } else { 2 }, since))
}

/// Whether a file is a source distribution of this version.
fn is_sdist(file: &str, project: &str, version: &str) -> Option<bool> {
    let (stem, tar) = match file.strip_suffix(".tar.gz") {
        Some(stem) => (stem, true),
        None => (file.strip_suffix(".zip")?, false),
    };
    // Older ones write names and versions as they like: compare what both forms become.
    (normal_name(stem) == normal_name(&format!("{project}-{version}"))).then_some(tar)
}

/// The best file of a version: the best wheel that fits, else a source distribution.
pub fn best<'a>(files: impl IntoIterator<Item = &'a str>, project: &str, version: &str, target: &Target) -> Option<&'a str> {
    let (mut wheels, mut sdists) = (Vec::new(), Vec::new());
    for file in files {
        if let Some(tar) = is_sdist(file, project, version) {
            sdists.push((tar, file));
        } else if let Some(wheel) = WheelName::parse(file)
            && normal_name(wheel.project) == normal_name(project)
            && same_version(wheel.version, version)
            && let Some(fit) = fit(&wheel, target)
        {
            wheels.push((fit, wheel.build, file));
        }
    }
    // The file name decides last, so that the index's order does not matter.
    let wheel = wheels.into_iter().max().map(|(_, _, file)| file);
    wheel.or_else(|| sdists.into_iter().max().map(|(_, file)| file))
}

/// File names write `-` of a version as `_`.
fn same_version(left: &str, right: &str) -> bool {
    left.replace('-', "_").eq_ignore_ascii_case(&right.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose<'a>(platform: &str, files: &[&'a str]) -> Option<&'a str> {
        best(files.iter().copied(), "x", "1.0", &Target::parse("3.9", 31, platform).unwrap())
    }

    #[test]
    fn only_wheels_that_run_are_taken() {
        let rows: [(&str, bool, bool); 23] = [
            ("py3-none-any", true, true),
            ("py2.py3-none-any", true, true),
            ("py2-none-any", false, false),
            ("cp39-cp39-manylinux2014_x86_64", true, false),
            ("cp39-cp39-manylinux_2_17_aarch64.manylinux2014_aarch64", false, true),
            ("cp39-cp39-manylinux1_x86_64", true, false),
            ("cp39-cp39-manylinux1_aarch64", false, false),
            ("cp39-cp39-manylinux_2_31_x86_64", true, false),
            ("cp39-cp39-manylinux_2_35_x86_64", false, false),
            ("cp39-cp39-manylinux_2_35_x86_64.manylinux_2_28_x86_64", true, false),
            ("cp39-cp39-musllinux_1_1_x86_64", false, false),
            ("cp39-cp39-linux_x86_64", false, false),
            ("cp39-cp39-macosx_11_0_arm64", false, false),
            ("cp39-cp39-win_amd64", false, false),
            ("cp36-abi3-manylinux2010_x86_64", true, false),
            ("cp36.cp37.cp38.cp39-abi3-manylinux_2_17_aarch64", false, true),
            ("cp310-abi3-manylinux2014_x86_64", false, false),
            ("cp38-cp38-manylinux2014_x86_64", false, false),
            ("cp310-cp310-manylinux2014_x86_64", false, false),
            ("pp39-pypy39_pp73-manylinux2014_x86_64", false, false),
            ("py3-none-manylinux2014_x86_64", true, false),
            ("py310-none-any", false, false),
            ("py39-none-any", true, true),
        ];
        for (tags, amd64, arm64) in rows {
            let file = format!("x-1.0-{tags}.whl");
            assert_eq!(choose("linux/amd64", &[&file]).is_some(), amd64, "{tags} on amd64");
            assert_eq!(choose("linux/arm64", &[&file]).is_some(), arm64, "{tags} on arm64");
        }
    }

    #[test]
    fn the_closest_wheel_wins_in_any_order() {
        // Each is better than the next.
        let files = [
            "x-1.0-cp39-cp39-manylinux_2_24_x86_64.whl",
            "x-1.0-cp39-cp39-manylinux2010_x86_64.whl",
            "x-1.0-cp39-abi3-manylinux2014_x86_64.whl",
            "x-1.0-cp39-none-manylinux2014_x86_64.whl",
            "x-1.0-cp37-abi3-manylinux2014_x86_64.whl",
            "x-1.0-cp36-abi3-manylinux_2_24_x86_64.whl",
            "x-1.0-py3-none-manylinux2014_x86_64.whl",
            "x-1.0-2-py3-none-any.whl",
            "x-1.0-py3-none-any.whl",
            "x-1.0.tar.gz",
            "x-1.0.zip",
        ];
        for first in 0..files.len() {
            let mut rest = files[first..].to_vec();
            assert_eq!(choose("linux/amd64", &rest), Some(files[first]));
            rest.reverse();
            assert_eq!(choose("linux/amd64", &rest), Some(files[first]));
        }
    }

    #[test]
    fn other_versions_and_projects_are_not_this_one() {
        for file in
            ["x-1.0.1-py3-none-any.whl", "y-1.0-py3-none-any.whl", "x-1.0.1.tar.gz", "x-y-1.0.tar.gz", "x-1.0.exe", "x.whl"]
        {
            assert_eq!(choose("linux/amd64", &[file]), None, "{file}");
        }
        let target = Target::parse("3.9", 31, "linux/amd64").unwrap();
        assert!(best(["Backend.AI_cli-0.5.0.post1.tar.gz"], "backend-ai-cli", "0.5.0.post1", &target).is_some());
        assert!(best(["ruamel.yaml-1.0-py3-none-any.whl"], "ruamel-yaml", "1.0", &target).is_some());
    }

    #[test]
    fn other_targets_are_an_error() {
        for (python, platform) in [("2.7", "linux/amd64"), ("3", "linux/amd64"), ("3.9", "linux/s390x"), ("3.9", "darwin/arm64")]
        {
            assert!(Target::parse(python, 31, platform).is_err(), "{python} {platform}");
        }
    }
}
