//! `python.lock` of the one repository as uv writes it: TOML of all packages for every platform,
//! and which of them asks for which. The format is uv's own: what it says of it is at
//! <https://docs.astral.sh/uv/concepts/projects/layout/#the-lockfile>.

use super::tree_lock::{TreeLock, file_name};
use super::{PythonError, normal_name, requirement};
use crate::model::Digest;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
struct Whole {
    version: u32,
    #[serde(rename = "package", default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: String,
    /// Trees with a version of their own making state none.
    #[serde(default)]
    version: String,
    source: BTreeMap<String, toml::Value>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<Dependency>>,
    sdist: Option<Artifact>,
    #[serde(default)]
    wheels: Vec<Artifact>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Where the lock has several of the name.
    version: Option<String>,
    #[serde(default)]
    extra: Vec<String>,
    marker: Option<String>,
}

#[derive(Deserialize)]
struct Artifact {
    url: Option<String>,
    hash: Option<String>,
}

impl Package {
    /// The tree that the lock is of. Pants writes one that only asks for what it locks.
    fn is_tree(&self) -> bool {
        ["virtual", "editable", "directory"].iter().any(|kind| self.source.contains_key(*kind))
    }

    fn pin(&self) -> String {
        format!("{} {}", normal_name(&self.name), self.version)
    }
}

/// Whether a `python.lock` is one of uv.
pub fn is_one(text: &str) -> bool {
    text.lines().any(|line| line.trim_end() == "[[package]]")
}

/// The packages that Linux images of `python` get, such as `3.13`.
pub fn parse(text: &str, python: &str) -> Result<TreeLock, PythonError> {
    let fault = |fault: String| PythonError::Lock { faults: vec![fault] };
    let whole: Whole = toml::from_str(text).map_err(|error| fault(format!("it is no lock of uv: {error}")))?;
    if whole.version != 1 {
        return Err(fault(format!("it is of uv's format {}, and only 1 is known", whole.version)));
    }
    let mut lock = TreeLock::default();
    let mut faults = Vec::new();
    for package in wanted(&whole.packages, python)? {
        let pin = package.pin();
        if !package.source.contains_key("registry") {
            let kinds: Vec<&str> = package.source.keys().map(String::as_str).collect();
            faults.push(format!("`{pin}` is from `{}`, not from an index", kinds.join("`, `")));
            continue;
        }
        let mut files = BTreeMap::new();
        for artifact in package.wheels.iter().chain(&package.sdist) {
            let digest = artifact.hash.as_deref().filter(|hash| hash.starts_with("sha256:")).map(Digest::parse);
            match (digest, artifact.url.as_deref().and_then(file_name)) {
                (Some(Ok(digest)), Some(name)) => drop(files.insert(name, digest)),
                _ => faults.push(format!("`{pin}` has a file without a name or a sha256")),
            }
        }
        faults.extend(lock.add(pin, files));
    }
    if faults.is_empty() { Ok(lock) } else { Err(PythonError::Lock { faults }) }
}

/// What the tree asks for by way of edges whose markers hold. The lock has more: what is for other platforms.
fn wanted<'a>(packages: &'a [Package], python: &str) -> Result<Vec<&'a Package>, PythonError> {
    let mut named: BTreeMap<String, Vec<&Package>> = BTreeMap::new();
    for package in packages {
        named.entry(normal_name(&package.name)).or_default().push(package);
    }
    let mut faults = Vec::new();
    let mut found: BTreeMap<String, &Package> = BTreeMap::new();
    let mut edges: Vec<&Dependency> = packages.iter().filter(|one| one.is_tree()).flat_map(|tree| &tree.dependencies).collect();
    if edges.is_empty() {
        faults.push("it has no package that is the tree itself and asks for others".to_owned());
    }
    let mut followed = BTreeSet::new();
    while let Some(edge) = edges.pop() {
        if let Some(marker) = &edge.marker
            && !requirement::holds(marker, python)?
        {
            continue;
        }
        let name = normal_name(&edge.name);
        let all = named.get(&name).map(Vec::as_slice).unwrap_or_default();
        let fits: Vec<&Package> =
            all.iter().copied().filter(|one| edge.version.as_ref().is_none_or(|version| *version == one.version)).collect();
        let [package] = fits.as_slice() else {
            faults.push(format!("it has {} packages where `{name}` is asked for", fits.len()));
            continue;
        };
        if let Some(other) = found.insert(name.clone(), package)
            && other.version != package.version
        {
            faults.push(format!("it asks for `{}` and for `{}`", other.pin(), package.pin()));
        }
        if followed.insert((package.pin(), String::new())) {
            edges.extend(&package.dependencies);
        }
        for extra in &edge.extra {
            if followed.insert((package.pin(), extra.clone())) {
                // An extra that the version has not is no fault, as for pip.
                edges.extend(package.optional_dependencies.get(extra).into_iter().flatten());
            }
        }
    }
    if faults.is_empty() { Ok(found.into_values().collect()) } else { Err(PythonError::Lock { faults }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::select::Target;

    /// `name version [more lines of TOML]`, each a package of an index with one wheel.
    fn package(name: &str, version: &str, more: &str) -> String {
        let url = format!("https://files.example/ab/{}-{version}-py3-none-any.whl", name.replace('-', "_"));
        let hash = "0".repeat(64);
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = {{ registry = \"https://index.example/\" }}\n\
             wheels = [{{ url = \"{url}\", hash = \"sha256:{hash}\", size = 1, upload-time = \"2026-01-01T00:00:00Z\" }}]\n{more}\n"
        )
    }

    /// The whole lock of a tree that has these edges.
    fn lock(edges: &str, packages: &[String]) -> String {
        format!(
            "version = 1\nrevision = 3\nrequires-python = \"==3.13.7\"\n\n[[package]]\nname = \"tree\"\nversion = \"0.0.0\"\n\
             source = {{ virtual = \".\" }}\ndependencies = [{edges}]\n\n{}",
            packages.concat()
        )
    }

    fn pins(text: &str) -> Vec<String> {
        assert!(is_one(text));
        parse(text, "3.13").unwrap().requirements()
    }

    #[test]
    fn what_the_images_need_is_what_markers_and_extras_lead_to() {
        let a = package("A.b", "1.0", "dependencies = [{ name = \"c\", extra = [\"x\", \"none\"] }]");
        let c = package("c", "2", "[package.optional-dependencies]\nx = [{ name = \"d\" }]\ny = [{ name = \"e\" }]");
        let rest = ["d", "e", "w"].map(|name| package(name, "3", ""));
        let all = [vec![a, c], rest.to_vec()].concat();
        for (edges, expected) in [
            ("{ name = \"a-b\" }", vec!["a-b==1.0", "c==2", "d==3"]),
            ("{ name = \"c\" }", vec!["c==2"]),
            ("{ name = \"d\" }, { name = \"w\", marker = \"sys_platform == 'win32'\" }", vec!["d==3"]),
            ("{ name = \"w\", marker = \"python_full_version >= '3.13' and os_name == 'posix'\" }", vec!["w==3"]),
        ] {
            assert_eq!(pins(&lock(edges, &all)), expected, "{edges}");
        }
        // A circle ends, and of two versions the edge says which.
        let all = [
            package("a", "1", "dependencies = [{ name = \"b\" }]"),
            package("b", "1", "dependencies = [{ name = \"a\", version = \"1\" }]"),
            package("a", "2", ""),
        ];
        assert_eq!(pins(&lock("{ name = \"a\", version = \"1\" }", &all)), ["a==1", "b==1"]);
    }

    #[test]
    fn the_file_that_fits_is_taken_with_its_digest() {
        let hash = |digit: &str| digit.repeat(64);
        let wheel = |tags: &str, digit: &str| {
            format!("{{ url = \"https://files.example/x/v-1.0%2Bcpu-{tags}.whl#a\", hash = \"sha256:{}\" }}", hash(digit))
        };
        let text = lock(
            "{ name = \"v\" }",
            &[format!(
                "[[package]]\nname = \"v\"\nversion = \"1.0+cpu\"\nsource = {{ registry = \"https://index.example/\" }}\n\
                 sdist = {{ url = \"https://files.example/v-1.0+cpu.tar.gz\", hash = \"sha256:{}\" }}\nwheels = [{}]\n",
                hash("1"),
                [wheel("cp313-cp313-win_amd64", "2"), wheel("cp313-cp313-manylinux_2_28_x86_64", "3")].join(", ")
            )],
        );
        let lock = parse(&text, "3.13").unwrap();
        for (python, file, digit) in
            [("3.13", "v-1.0+cpu-cp313-cp313-manylinux_2_28_x86_64.whl", "3"), ("3.12", "v-1.0+cpu.tar.gz", "1")]
        {
            let target = Target::parse(python, 41, "linux/amd64").unwrap();
            let (found, digest) = lock.file("v 1.0+cpu", &target).unwrap();
            assert_eq!((found, digest.hex()), (file, hash(digit).as_str()), "{python}");
        }
    }

    #[test]
    fn what_is_no_such_lock_is_told() {
        assert!(!is_one("python = '3.13'\n[[file]]\n"));
        let a = || package("a", "1", "");
        let asked = "{ name = \"a\" }";
        for (text, says) in [
            ("[[package]]\n".to_owned(), "no lock of uv"),
            (lock(asked, &[a()]).replace("version = 1\nrevision", "version = 2\nrevision"), "format 2, and only 1"),
            (lock("", &[a()]), "no package that is the tree itself"),
            (lock(asked, &[]), "0 packages where `a`"),
            (lock(asked, &[a(), a()]), "2 packages where `a`"),
            (lock(asked, &[a().replace("sha256:", "md5:")]), "`a 1` has a file without a name or a sha256"),
            (lock(asked, &[a().replace("url =", "path =")]), "`a 1` has a file without a name or a sha256"),
            (lock(asked, &[a().replace("wheels =", "other =")]), "`a 1` has no file"),
            (lock(asked, &[a().replace("registry", "git")]), "`a 1` is from `git`, not from an index"),
            (lock("{ name = \"a\", marker = \"what\" }", &[a()]), "`what` is not a requirement"),
            (
                lock("{ name = \"a\", version = \"1\" }, { name = \"a\", version = \"2\" }", &[a(), package("a", "2", "")]),
                "asks for `a 2` and for `a 1`",
            ),
        ] {
            let error = parse(&text, "3.13").unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
