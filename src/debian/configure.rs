//! The configure step: what runs in the container, and what of its outcome stays.

use crate::oci::{Node, Tree};

/// Where images look for byte code (`PYTHONPYCACHEPREFIX`), outside of the packages' own folders.
pub const BYTE_CODE: &str = "var/cache/pycache";

/// Environment that every script of a package runs in.
const PREAMBLE: &str = r#"set -eu
umask 022
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TZ=UTC
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true DEBCONF_NOWARNINGS=yes
export PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 SOURCE_DATE_EPOCH=@EPOCH@
unset PYTHONPYCACHEPREFIX || true

# No service is started while packages are configured; a base's own word on that comes back as it was.
policy=/usr/sbin/policy-rc.d
if [ -e $policy ] || [ -L $policy ]; then mv $policy $policy.own; fi
printf '#!/bin/sh\nexit 101\n' > $policy
chmod 755 $policy

# Found before the programs of these names. In a chroot, no package waits for an init to start anew (libc6 a second).
# Certificates are gathered at the end, where packages would do so one after the other.
found_first=/run/configure
mkdir -p $found_first
printf '#!/bin/sh\nexit 0\n' > $found_first/ischroot
printf '#!/bin/sh\n: > %s/certificates\n' $found_first > $found_first/update-ca-certificates
chmod 755 $found_first/*
export PATH=$found_first:$PATH

# Packages say here which modules are to be compiled; that is done at the end, all at once.
for place in /usr/lib/python3*/py_compile.py; do
    [ -e "$place" ] || continue
    mv "$place" "$place.own"
    cat > "$place" <<'END'
import os, sys
if __name__ != "__main__":
    exec(open(__file__ + ".own").read())
else:
    for name in sys.stdin.read().splitlines() if sys.argv[1:] == ["-"] else sys.argv[1:]:
        folder, file = os.path.split(name)
        folder = os.path.join(folder, "__pycache__")
        os.makedirs(folder, exist_ok=True)
        code = f"{os.path.splitext(file)[0]}.{sys.implementation.cache_tag}.pyc"
        open(os.path.join(folder, code), "w").close()
END
done
"#;

/// Fails when a package is left half configured, and names it.
///
/// Packages do not compile byte code themselves: their scripts call Python with `-E`, which ignores
/// `PYTHONHASHSEED`, so theirs would differ from run to run. Unchecked: sources in an image do not change
/// beside their byte code.
const ENDING: &str = r#"
rm -f $policy
if [ -e $policy.own ] || [ -L $policy.own ]; then mv $policy.own $policy; fi
export PATH=${PATH#*:}
running= certificates=
if [ -e $found_first/certificates ]; then
    update-ca-certificates > /dev/null &
    certificates=$!
fi
rm -r $found_first
ldconfig
for place in /usr/lib/python3*/py_compile.py.own; do
    if [ -e "$place" ]; then mv "$place" "${place%.own}"; fi
done
if command -v python3 > /dev/null; then
    list=$(mktemp)
    find /usr/lib/python3* -path '*/__pycache__/*.pyc' | sort |
        sed -n 's|/__pycache__/\([^/]*\)\.cpython-[0-9]*\.pyc$|/\1.py|p' > "$list"
    find /usr/lib/python3* -path '*/__pycache__/*.pyc' -delete
    split --number "r/$(nproc)" "$list" "$list."
    for part in "$list".*; do
        [ -s "$part" ] || continue
        python3 -m compileall -q --invalidation-mode unchecked-hash -i "$part" &
        running="$running $!"
    done
fi
failed() { printf '%s failed\n' "$1" >&2; exit 1; }
for one in $running; do wait "$one" || failed 'compiling the byte code of Debian packages'; done
[ -z "$certificates" ] || wait "$certificates" || failed update-ca-certificates
if [ -n "${list:-}" ]; then rm -f "$list" "$list".*; fi
audit=$(dpkg --audit)
if [ -n "$audit" ]; then
    printf 'packages are not whole after configuring:\n%s\n' "$audit" >&2
    exit 1
fi
"#;

/// Configures a set that holds the essentials and was never configured; root, `/bin/sh`, no network.
pub fn script() -> String {
    // Scripts of packages call awk before the alternative for it exists; perl,
    // mawk and dpkg itself must be configured before base-files can be, which
    // the dependencies alone do not say (debootstrap knows it by heart too).
    // bash adds itself to `/etc/shells`, which on bullseye debianutils makes.
    // Podman gives containers accounts of its own where nobody made any.
    let steps = r#"
rm -f /etc/passwd /etc/group
[ -e /usr/bin/awk ] || ln -s mawk /usr/bin/awk
[ -e /etc/localtime ] || ln -s /usr/share/zoneinfo/UTC /etc/localtime
dpkg --force-depends --configure base-passwd libc6 dpkg perl-base mawk
dpkg --force-depends --configure base-files debianutils bash
dpkg --configure -a
"#;
    format!("{}{steps}{ENDING}", preamble())
}

/// Configures packages unpacked on top of a configured base, whose status file was merged.
pub fn script_on_top() -> String {
    format!("{}\ndpkg --configure -a\ndpkg --triggers-only -a\n{ENDING}", preamble())
}

fn preamble() -> String {
    PREAMBLE.replace("@EPOCH@", &crate::model::SOURCE_DATE_EPOCH.to_string())
}

/// Leaves in the changes of a configure container only what is the same in
/// every run, and moves Python's byte code to [`BYTE_CODE`].
pub fn seal(changes: &mut Tree) {
    let paths: Vec<String> = changes.iter().map(|(path, _)| path.to_owned()).collect();
    for path in paths {
        if passing(&path) {
            changes.remove(&path);
            continue;
        }
        if !path.starts_with("usr/lib/python3") {
            continue;
        }
        if path.ends_with("/__pycache__") {
            changes.remove(&path);
        } else if let Some((folder, name)) = path.split_once("/__pycache__/")
            && !name.contains('/')
            && let Some(node @ Node::File { .. }) = changes.remove(&path)
        {
            let moved = format!("{BYTE_CODE}/{folder}/{name}");
            for (end, _) in moved.match_indices('/').filter(|(end, _)| *end >= "var/cache".len()) {
                if changes.get(&moved[..end]).is_none() {
                    changes.insert(&moved[..end], Node::directory(0o755)).expect("parts of good paths are good");
                }
            }
            changes.insert(&moved, node).expect("each name is in one folder once");
        }
    }
}

/// Written anew by each run, by the engine or by dpkg for itself.
fn passing(path: &str) -> bool {
    const FILES: [&str; 14] = [
        ".dockerenv",
        "run/.containerenv",
        "etc/hosts",
        "etc/hostname",
        "etc/resolv.conf",
        "etc/mtab",
        "etc/machine-id",
        "etc/.pwd.lock",
        "var/lib/dbus/machine-id",
        "var/cache/ldconfig/aux-cache",
        "var/lib/dpkg/lock",
        "var/lib/dpkg/lock-frontend",
        "var/lib/dpkg/triggers/Lock",
        "var/lib/systemd/random-seed",
    ];
    // Backups of the account files: `/etc/passwd-` and the like.
    const BACKUPS: [&str; 6] = ["etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-"];
    let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    FILES.contains(&path)
        || BACKUPS.contains(&path)
        || ["dev", "proc", "sys", "run", "tmp", "var/tmp", "root", "var/log", "var/lib/dpkg/updates"].into_iter().any(below)
        || (path.starts_with("var/lib/dpkg/") || path.starts_with("var/cache/debconf/") || path.starts_with("var/lib/ucf/"))
            && (path.ends_with("-old") || path.ends_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_between_runs_is_dropped_and_byte_code_moved() {
        let mut tree = Tree::default();
        for (path, kept) in [
            ("var/log/alternatives.log", None),
            ("var/cache/ldconfig/aux-cache", None),
            ("etc/hosts", None),
            ("etc/passwd-", None),
            ("var/lib/dpkg/status-old", None),
            ("var/cache/debconf/config.dat-old", None),
            ("var/lib/dpkg/status", Some("var/lib/dpkg/status")),
            ("etc/passwd", Some("etc/passwd")),
            (
                "usr/lib/python3.9/json/__pycache__/a.cpython-39.pyc",
                Some("var/cache/pycache/usr/lib/python3.9/json/a.cpython-39.pyc"),
            ),
            ("usr/share/x/__pycache__/a.pyc", Some("usr/share/x/__pycache__/a.pyc")),
        ] {
            let mut one = Tree::default();
            one.insert(path, Node::file(0o644, "x")).unwrap();
            seal(&mut one);
            let files: Vec<_> = one.iter().filter(|(_, node)| matches!(node, Node::File { .. })).map(|(path, _)| path).collect();
            assert_eq!(files, kept.into_iter().collect::<Vec<_>>(), "{path}");
            tree.insert(path, Node::file(0o644, "x")).unwrap();
        }
        tree.insert("usr/lib/python3.9/json/__pycache__", Node::directory(0o755)).unwrap();
        seal(&mut tree);
        assert!(tree.get("usr/lib/python3.9/json/__pycache__").is_none());
        assert_eq!(tree.get("var/cache/pycache/usr/lib"), Some(&Node::directory(0o755)));
        tree.check().unwrap();
    }

    #[test]
    fn the_script_configures_in_the_order_of_debootstrap() {
        let script = script();
        let at = |text: &str| script.find(text).unwrap();
        assert!(
            at("libc6 dpkg") < at("base-files debianutils")
                && at("base-files debianutils") < at("--configure -a")
                && at("-a\n") < at("--audit")
        );
    }
}
