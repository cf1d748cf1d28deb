//! Which package index this host is configured for, and pip's own default where it is configured for none.

use crate::host;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

/// Where pip keeps the source that knows its default.
const MODULE: &str = "pip/_internal/models/index.py";

/// The simple API's address that this host is configured for, if it is.
pub fn configured() -> Option<String> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    chosen(&host::variable, &read)
}

/// Variables before files, pip's files before uv's, the user's before the host's.
fn chosen(variable: &dyn Fn(&str) -> Option<String>, read: &dyn Fn(&Path) -> Option<String>) -> Option<String> {
    // `UV_INDEX_URL` is the older name of `UV_DEFAULT_INDEX`, which may give the index a name: `name=address`.
    let by_variable = ["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"].into_iter().find_map(variable);
    if let Some(value) = by_variable {
        let unnamed = value.split_once('=').filter(|(name, _)| !name.contains([':', '/'])).map(|(_, address)| address.to_owned());
        return Some(unnamed.unwrap_or(value));
    }
    let home = variable("HOME").map(PathBuf::from);
    let settings = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".config")));
    let in_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let in_settings = |path: &str| settings.as_ref().map(|settings| settings.join(path));
    let named = variable("PIP_CONFIG_FILE").map(PathBuf::from);
    // pip's way to say that no file counts.
    let pip = if named.as_deref() == Some(Path::new("/dev/null")) {
        Vec::new()
    } else {
        vec![
            named,
            in_settings("pip/pip.conf"),
            in_home("Library/Application Support/pip/pip.conf"),
            in_home(".pip/pip.conf"),
            Some("/etc/xdg/pip/pip.conf".into()),
            Some("/etc/pip.conf".into()),
        ]
    };
    let uv = [variable("UV_CONFIG_FILE").map(PathBuf::from), in_settings("uv/uv.toml"), Some("/etc/uv/uv.toml".into())];
    let by_pip = pip.into_iter().flatten().find_map(|path| of_pip_configuration(&read(&path)?));
    by_pip.or_else(|| uv.into_iter().flatten().find_map(|path| of_uv_configuration(&read(&path)?)))
}

/// `index-url` of pip's configuration file; `[install]` is nearer to what is done than `[global]`.
fn of_pip_configuration(text: &str) -> Option<String> {
    let mut section = "";
    let (mut install, mut global) = (None, None);
    for line in text.lines() {
        let content = line.trim();
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = name.trim();
        } else if !content.starts_with(['#', ';'])
            && let Some((name, value)) = content.split_once(['=', ':'])
            && name.trim().to_lowercase().replace('_', "-") == "index-url"
            && !value.trim().is_empty()
        {
            match section {
                "install" => install = Some(value.trim().to_owned()),
                "global" => global = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    install.or(global)
}

/// The default index of `uv.toml`, in the new form or in the older ones.
fn of_uv_configuration(text: &str) -> Option<String> {
    let table: toml::Table = text.parse().ok()?;
    let listed = table.get("index").and_then(toml::Value::as_array).into_iter().flatten();
    let default = listed.filter(|index| index.get("default").and_then(toml::Value::as_bool) == Some(true));
    let older = [table.get("index-url"), table.get("pip").and_then(|pip| pip.get("index-url"))];
    default
        .filter_map(|index| index.get("url"))
        .chain(older.into_iter().flatten())
        .find_map(|url| url.as_str().map(str::to_owned))
}

/// pip's own default, read from its source: this repository does not spell it.
pub fn default_of_pip(source: &str) -> Option<String> {
    let call = source.split_once("PyPI = PackageIndex(")?.1.trim_start();
    let quote = call.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let base = call[1..].split(quote).next()?;
    (base.starts_with("https://") && !base.contains(char::is_whitespace))
        .then(|| format!("{}/simple", base.trim_end_matches('/')))
}

/// The same from a wheel of pip, as distributions keep one for new virtual environments.
pub fn default_of_pip_archive(wheel: &[u8]) -> Option<String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(wheel)).ok()?;
    let mut text = String::new();
    archive.by_name(MODULE).ok()?.take(1 << 20).read_to_string(&mut text).ok()?;
    default_of_pip(&text)
}

/// The same from a pip of this host, installed or kept as a wheel.
pub fn default_of_host_pip() -> Option<String> {
    let mut folders: Vec<PathBuf> = Vec::new();
    for root in ["/usr/lib", "/usr/local/lib", "/usr/lib64", "/opt/homebrew/lib"] {
        let pythons = listed(Path::new(root)).into_iter().filter(|path| name_of(path).starts_with("python3"));
        folders.extend(pythons);
    }
    let modules = folders.iter().flat_map(|python| ["dist-packages", "site-packages"].map(|site| python.join(site).join(MODULE)));
    let installed = modules.filter_map(|path| fs::read_to_string(path).ok()).find_map(|text| default_of_pip(&text));
    installed.or_else(|| {
        let kept =
            folders.iter().map(|python| python.join("ensurepip/_bundled")).chain([PathBuf::from("/usr/share/python-wheels")]);
        let wheels = kept.flat_map(|folder| listed(&folder)).filter(|path| {
            let name = name_of(path);
            name.starts_with("pip-") && name.ends_with(".whl")
        });
        wheels.filter_map(|path| fs::read(path).ok()).find_map(|bytes| default_of_pip_archive(&bytes))
    })
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// `NAME=value` are variables, `/path: text` files.
    fn check(host: &[(&str, &str)], expected: Option<&str>) {
        let look = |name: &str| host.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(chosen(&look, &|path| look(path.to_str()?)).as_deref(), expected, "{host:?}");
    }

    #[test]
    fn the_nearest_configuration_wins() {
        let system = ("/etc/pip.conf", "[global]\nindex-url = http://system/simple\n");
        let user = ("/h/.config/pip/pip.conf", "[global]\nindex_url: http://user/simple\n");
        check(&[], None);
        check(&[system], Some("http://system/simple"));
        check(&[system, user, ("HOME", "/h")], Some("http://user/simple"));
        check(&[system, user, ("HOME", "/h"), ("PIP_INDEX_URL", "http://v/simple")], Some("http://v/simple"));
        check(&[("UV_DEFAULT_INDEX", "team=http://v/simple?a=b")], Some("http://v/simple?a=b"));
        check(&[("UV_DEFAULT_INDEX", "http://v/simple?a=b")], Some("http://v/simple?a=b"));
        check(&[system, ("PIP_CONFIG_FILE", "/dev/null")], None);
        check(&[("XDG_CONFIG_HOME", "/x"), ("/x/uv/uv.toml", "index-url = 'http://uv/simple'")], Some("http://uv/simple"));
        check(&[system, ("/etc/uv/uv.toml", "index-url = 'http://uv/simple'")], Some("http://system/simple"));
    }

    #[test]
    fn both_tools_files_are_read() {
        for (text, expected) in [
            ("[global]\nindex-url = http://g\n[install]\nindex-url = http://i\n", Some("http://i")),
            ("[global]\n# index-url = http://g\ncert = /x\n", None),
            ("[download]\nindex-url = http://d\n", None),
            ("[global]\nindex-url =\n", None),
            ("[global]\nextra-index-url = http://e\n", None),
        ] {
            assert_eq!(of_pip_configuration(text).as_deref(), expected, "{text:?}");
        }
        for (text, expected) in [
            ("[[index]]\nurl = 'http://a'\n[[index]]\nurl = 'http://b'\ndefault = true\n", Some("http://b")),
            ("[[index]]\nurl = 'http://a'\n", None),
            ("[pip]\nindex-url = 'http://p'\n", Some("http://p")),
            ("not toml", None),
        ] {
            assert_eq!(of_uv_configuration(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn pip_itself_tells_its_default() {
        let source =
            "class X: pass\n\n\nPyPI = PackageIndex(\n    \"https://index.example/\", file_storage_domain=\"files.example\"\n)";
        assert_eq!(default_of_pip(source).unwrap(), "https://index.example/simple");
        for bad in ["PyPI = 1", "PyPI = PackageIndex(", "PyPI = PackageIndex(URL)", "PyPI = PackageIndex('ftp://x')"] {
            assert_eq!(default_of_pip(bad), None, "{bad}");
        }
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = zip::ZipWriter::new(&mut bytes);
        writer.start_file(MODULE, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(source.as_bytes()).unwrap();
        writer.finish().unwrap();
        assert_eq!(default_of_pip_archive(&bytes.into_inner()).unwrap(), "https://index.example/simple");
        assert_eq!(default_of_pip_archive(b"no zip"), None);
    }
}
