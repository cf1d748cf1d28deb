//! Where trees come from, on real git repositories; nothing here needs an engine.
//!
//! `baibox` brings sources only on the way to images, so the source room is asked itself.

use baibox::model::Digest;
use baibox::source::{self, topic};
use baibox::store::Store;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn git(folder: &Path, arguments: &[&str]) -> String {
    let who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"];
    let output = Command::new("git").arg("-C").arg(folder).args(who).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn commit(tree: &Path, file: &str) -> String {
    fs::write(tree.join(file), file).unwrap();
    git(tree, &["add", "--all"]);
    git(tree, &["commit", "--quiet", "--message", file]);
    git(tree, &["rev-parse", "HEAD"])
}

struct Place {
    scratch: tempfile::TempDir,
    store: Store,
}

impl Place {
    /// A repository `x` with the branches 21.03 and 21.09, a tag, and a commit that is on no branch.
    fn new() -> (Self, String) {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("store")).unwrap();
        let x = scratch.path().join("lablup/x");
        fs::create_dir_all(&x).unwrap();
        git(&x, &["init", "--quiet", "--initial-branch", "21.03"]);
        commit(&x, "one");
        git(&x, &["tag", "21.03.1"]);
        git(&x, &["switch", "--quiet", "--create", "gone"]);
        let alone = commit(&x, "alone");
        git(&x, &["switch", "--quiet", "--create", "21.09", "21.03"]);
        commit(&x, "nine");
        git(&x, &["switch", "--quiet", "21.03"]);
        git(&x, &["branch", "--quiet", "-D", "gone"]);
        commit(&x, "two");
        git(&x, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
        (Self { scratch, store }, alone)
    }
    fn upstream(&self) -> PathBuf {
        self.scratch.path().join("lablup/x")
    }
    fn url(&self) -> String {
        format!("file://{}", self.upstream().display())
    }
    async fn clone(&self, reference: &str, shallow: bool, name: &str) -> PathBuf {
        let tree = self.scratch.path().join(name);
        let found = source::find(&self.url(), reference).await.unwrap();
        source::clone(&self.store, &found, shallow, &tree).await.unwrap();
        tree
    }
}

/// Inodes of the objects that a repository holds.
fn objects(repository: &Path) -> Vec<u64> {
    let mut found = Vec::new();
    let mut folders = vec![repository.join("objects")];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(fs::metadata(path).unwrap().ino()) }
        }
    }
    found.sort_unstable();
    found
}

#[tokio::test]
async fn environments_share_objects_and_none_needs_another() {
    let (place, _) = Place::new();
    let (one, two) = (place.clone("21.03", false, "one/x").await, place.clone("21.03", false, "two/x").await);
    let shared = objects(&one.join(".git"));
    assert!(!shared.is_empty() && shared == objects(&two.join(".git")), "the same files, twice linked");
    // Both are on the branch at once, and each goes its way.
    for tree in [&one, &two] {
        assert_eq!(git(tree, &["rev-parse", "--abbrev-ref", "HEAD@{upstream}"]), "origin/21.03");
        assert_eq!(git(tree, &["remote", "get-url", "origin"]), place.url());
        let state = source::state(tree).await.unwrap();
        assert!(!state.dirty && !state.unpushed);
    }
    commit(&one, "mine");
    fs::remove_dir_all(&one).unwrap();
    fs::remove_dir_all(place.scratch.path().join("store/git")).unwrap();
    git(&two, &["fsck", "--strict"]);
    git(&two, &["fetch", "--quiet"]);
    // A store that is gone is made again.
    let three = place.clone("21.09", false, "three/x").await;
    assert!(three.join("nine").is_file());
    let beside: Vec<_> = fs::read_dir(three.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["x"]);
}

#[tokio::test]
async fn branches_tags_and_commits_are_found_and_what_is_not_there_is_told() {
    let (place, alone) = Place::new();
    for (reference, file, shallow) in [
        ("21.09", "nine", false),
        ("21.03.1", "one", false),
        (alone.as_str(), "alone", false),
        (alone.as_str(), "alone", true),
        ("21.03", "two", true),
    ] {
        let tree = place.clone(reference, shallow, &format!("{reference}-{shallow}/x")).await;
        assert!(tree.join(file).is_file(), "{reference}");
        assert!(topic::is_at(&tree, reference).await.unwrap() && !topic::is_at(&tree, "no-such").await.unwrap());
        let state = source::state(&tree).await.unwrap();
        assert!(!state.dirty && !state.unpushed, "{reference}: {state:?}");
        let count = git(&tree, &["rev-list", "--count", "HEAD"]);
        assert_eq!(count == "1", shallow || reference == "21.03.1", "{reference}: {count} commits");
    }
    let refused = |reference: &'static str| {
        let url = place.url();
        async move { source::find(&url, reference).await.unwrap_err().to_string() }
    };
    assert!(refused("99.99").await.ends_with("has no branch and no tag `99.99`"));
    let short = source::find(&place.url(), &alone[..12]).await.unwrap_err();
    assert!(baibox::error::render(&short).contains("all of its 40 digits"), "{short:?}");
    let nowhere = source::find("file:///nowhere/x", "21.03").await.unwrap_err();
    assert!(baibox::error::render(&nowhere).contains("--git-base URL"), "{nowhere:?}");
}

#[tokio::test]
async fn a_clone_that_was_killed_goes_on_and_leaves_nothing() {
    let (place, _) = Place::new();
    let folder = place.scratch.path().join("env");
    // What a process that is no more left: half a tree, and an object store without references.
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    fs::create_dir_all(folder.join(format!(".baibox-clone-{node}_{}_1-abc/tree/.git", std::process::id()))).unwrap();
    let elsewhere = folder.join(".baibox-clone-elsewhere_1_1-abc");
    fs::create_dir_all(&elsewhere).unwrap();
    let tree = place.clone("21.03", false, "env/x").await;
    assert!(tree.join("two").is_file());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "another machine's is left alone");
    // A pack that was cut off in the store.
    let stores: Vec<_> =
        fs::read_dir(place.scratch.path().join("store/git")).unwrap().map(|entry| entry.unwrap().path()).collect();
    fs::write(stores[0].join("objects/pack/tmp_pack_abc"), "half").unwrap();
    commit(&place.upstream(), "three");
    assert!(place.clone("21.03", false, "again/x").await.join("three").is_file());
}

#[tokio::test]
async fn submodules_come_along_and_pointers_of_large_files_are_told() {
    let (place, _) = Place::new();
    let upstream = place.upstream();
    let pages = place.scratch.path().join("lablup/pages");
    fs::create_dir_all(&pages).unwrap();
    git(&pages, &["init", "--quiet", "--initial-branch", "main"]);
    commit(&pages, "index.html");
    git(&upstream, &["submodule", "--quiet", "add", &format!("file://{}", pages.display()), "static"]);
    // As upstream does it, by an address that this host must look for elsewhere.
    git(&upstream, &["config", "--file", ".gitmodules", "submodule.static.url", "https://git.example/lablup/pages"]);
    fs::write(upstream.join(".gitattributes"), "*.bin filter=lfs\n").unwrap();
    fs::write(upstream.join("a.bin"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n").unwrap();
    fs::write(upstream.join("b.bin"), "content").unwrap();
    git(&upstream, &["-c", "filter.lfs.required=false", "add", "--all"]);
    git(&upstream, &["commit", "--quiet", "--message", "parts"]);
    let tree = place.clone("21.03", false, "env/x").await;
    let base = format!("file://{}", place.scratch.path().join("lablup").display());
    let lacking = source::complete(&tree, Some(("https://git.example/lablup", &base))).await.unwrap();
    assert_eq!((lacking.submodules, lacking.pointers), (Vec::new(), vec!["a.bin".to_owned()]));
    assert!(tree.join("static/index.html").is_file());

    fs::rename(&pages, place.scratch.path().join("lablup/moved")).unwrap();
    let other = place.clone("21.03", false, "other/x").await;
    let lacking = source::complete(&other, Some(("https://git.example/lablup", &base))).await.unwrap();
    assert_eq!(lacking.submodules.len(), 1);
    assert!(lacking.submodules[0].0 == "static" && !lacking.submodules[0].1.is_empty(), "{lacking:?}");
}

#[tokio::test]
#[ignore = "needs git-lfs: run tests/all"]
async fn large_files_come_from_the_remote_and_leave_the_tree_clean() {
    let (place, _) = Place::new();
    let upstream = place.upstream();
    fs::write(upstream.join(".gitattributes"), "*.bin filter=lfs diff=lfs merge=lfs -text\n").unwrap();
    let kept = ["content of a", "content of b"].map(|content| {
        let oid = Digest::of(content.as_bytes()).hex().to_owned();
        (content, format!(".git/lfs/objects/{}/{}/{oid}", &oid[..2], &oid[2..4]), oid)
    });
    for (name, (content, object, oid)) in ["a.bin", "b.bin"].into_iter().zip(&kept) {
        let object = upstream.join(object);
        fs::create_dir_all(object.parent().unwrap()).unwrap();
        fs::write(object, content).unwrap();
        let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n", content.len());
        fs::write(upstream.join(name), pointer).unwrap();
    }
    git(&upstream, &["-c", "filter.lfs.required=false", "add", "--all"]);
    git(&upstream, &["commit", "--quiet", "--message", "large"]);
    let tree = place.clone("21.03", false, "env/x").await;
    let lacking = source::complete(&tree, None).await.unwrap();
    assert_eq!(lacking, source::Lacking::default());
    assert_eq!(fs::read_to_string(tree.join("b.bin")).unwrap(), kept[1].0);
    assert_eq!(git(&tree, &["status", "--porcelain"]), "");

    fs::remove_file(upstream.join(&kept[0].1)).unwrap();
    let other = place.clone("21.03", true, "other/x").await;
    let lacking = source::complete(&other, None).await.unwrap();
    assert_eq!(lacking.pointers, ["a.bin"]);
    assert!(lacking.refused.unwrap().contains(&kept[0].2), "Git LFS says which object");
}

#[tokio::test]
async fn a_fork_that_was_cloned_by_hand_gets_its_upstream() {
    let (place, _) = Place::new();
    let tree = place.clone("21.03", false, "env/x").await;
    git(&tree, &["remote", "set-url", "origin", "https://git.example/me/x"]);
    assert!(topic::fork(&tree, "https://git.example/me/x", "https://git.example/lablup/x").await.unwrap());
    assert_eq!(git(&tree, &["remote", "get-url", "upstream"]), "https://git.example/lablup/x");
    assert_eq!(topic::upstream(&tree).await.unwrap().unwrap(), "https://git.example/lablup/x");
    assert!(!topic::fork(&tree, "https://git.example/me/x", "https://git.example/lablup/x").await.unwrap());
}
