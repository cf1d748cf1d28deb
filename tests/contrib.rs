//! The way to a pull request, on real git repositories; nothing here needs an engine.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Upstream's repository of the manager, an environment with a clone of it, and a store that knows it.
struct Desk {
    scratch: tempfile::TempDir,
    repository: &'static str,
    component: &'static str,
}

const TOWNCRIER: &str = "[tool.towncrier]\ndirectory = \"changes/\"\n\n[[tool.towncrier.type]]\n    directory = \"feature\"\n\n[[tool.towncrier.type]]\n    directory = \"fix\"\n\n[[tool.towncrier.type]]\n    directory = \"misc\"\n";
const WORKFLOW: &str = "jobs:\n  lint:\n    steps:\n    - run: |\n        python -m flake8 src/ai/backend tests\n";

const PANTS: &str = "[GLOBAL]\nbackend_packages = ['pants.backend.experimental.python.lint.ruff.check', 'pants.backend.experimental.python.lint.ruff.format', 'pants.backend.python.typecheck.mypy']\npants_ignore = ['.*/', '/scripts/']\n";

impl Desk {
    fn new() -> Self {
        Self::of("21.03", "backend.ai-manager", "manager")
    }
    /// The one repository.
    fn one() -> Self {
        Self::of("25.15", "backend.ai", "backend.ai")
    }
    fn of(release: &'static str, repository: &'static str, component: &'static str) -> Self {
        let desk = Self { scratch: tempfile::tempdir().unwrap(), repository, component };
        let upstream = desk.upstream();
        fs::create_dir_all(upstream.join("changes")).unwrap();
        fs::create_dir_all(upstream.join(".github/workflows")).unwrap();
        fs::write(upstream.join("pyproject.toml"), TOWNCRIER).unwrap();
        fs::write(upstream.join("changes/template.md"), "{{ x }}\n").unwrap();
        fs::write(upstream.join(".github/workflows/default.yml"), WORKFLOW).unwrap();
        git(&upstream, &["init", "--quiet", "--initial-branch", release]);
        commit(&upstream, "release: 21.03.1");
        let environment = desk.environment();
        fs::create_dir_all(environment.join(".baibox/desk")).unwrap();
        git(&environment, &["clone", "--quiet", &format!("file://{}", upstream.display()), component]);
        let record = json!({
            "id": "desk", "branch": release, "folder": environment, "ports": {}, "subnet": "10.0.0.0/24",
            "gateway": "10.0.0.1", "secrets": {}, "images": {},
        });
        fs::write(environment.join(".baibox/desk/environment.json"), record.to_string()).unwrap();
        let known = desk.scratch.path().join("cache/baibox/environments");
        fs::create_dir_all(&known).unwrap();
        fs::write(known.join("desk"), environment.to_str().unwrap()).unwrap();
        desk
    }
    fn upstream(&self) -> PathBuf {
        self.scratch.path().join("lablup").join(self.repository)
    }
    fn environment(&self) -> PathBuf {
        self.scratch.path().join("environment")
    }
    fn tree(&self) -> PathBuf {
        self.environment().join(self.component)
    }
    fn contrib(&self, folder: &Path, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_baibox"))
            .arg("contrib")
            .args(arguments)
            .current_dir(folder)
            .env("XDG_CACHE_HOME", self.scratch.path().join("cache"))
            .env("DOCKER_HOST", "unix:///nonexistent/engine.sock")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap()
    }
    /// Exit code and all that was said, from the component's tree.
    fn says(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.contrib(&self.tree(), arguments);
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code().unwrap(), text)
    }
    fn refuses(&self, arguments: &[&str], code: i32, parts: &[&str]) {
        let (got, text) = self.says(arguments);
        assert_eq!(got, code, "{arguments:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{arguments:?}: no `{part}` in\n{text}");
        }
    }
    fn does(&self, arguments: &[&str]) -> String {
        let (code, text) = self.says(arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        text
    }
    /// What `check` finds, as `rule state` and the rest.
    fn check(&self) -> (i32, Vec<(String, String)>) {
        let output = self.contrib(&self.tree(), &["check", "--no-lint", "--json"]);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
        let one = |one: &Value| (format!("{} {}", text(one, "rule"), text(one, "state")), text(one, "what") + &text(one, "mend"));
        (output.status.code().unwrap(), found.as_array().unwrap().iter().map(one).collect())
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let who = ["-c", "user.name=a", "-c", "user.email=a@b"];
    let output = Command::new("git").arg("-C").arg(folder).args(who).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn commit(tree: &Path, message: &str) {
    git(tree, &["add", "--all"]);
    git(tree, &["commit", "--quiet", "--allow-empty", "--message", message]);
}

fn branch(tree: &Path) -> String {
    git(tree, &["symbolic-ref", "--short", "HEAD"])
}

#[test]
fn a_topic_branch_begins_at_upstreams_newest_commit_and_loses_nothing() {
    let desk = Desk::new();
    let tree = desk.tree();
    desk.refuses(&["start", "memory-leak"], 2, &["what kind of change", "`fix/memory-leak`", "`docs` for documentation"]);
    desk.refuses(&["start", "feat/Memory_Leak"], 2, &["no prefix of the guide", "hint: name it `feature/memory-leak`"]);
    assert_eq!(branch(&tree), "21.03");

    // Upstream moved on; work that was begun comes along, and commits on the release branch stay there.
    commit(&desk.upstream(), "fix: Something else");
    fs::write(tree.join("begun.py"), "x = 1\n").unwrap();
    git(&tree, &["commit", "--quiet", "--allow-empty", "--message", "fix: Mine"]);
    let said = desk.does(&["start", "fix/memory-leak-in-stats"]);
    assert!(said.contains("manager is on `fix/memory-leak-in-stats`, at origin/21.03"), "{said}");
    assert!(said.contains("1 commits of `21.03`") && said.contains("contrib fork --env desk"), "{said}");
    assert_eq!(git(&tree, &["log", "-1", "--format=%s"]), "fix: Something else");
    assert!(tree.join("begun.py").is_file());
    commit(&tree, "fix: Free what stats hold");

    // The same command again goes on from there; from the environment's folder too, where it is the only topic branch.
    git(&tree, &["switch", "--quiet", "21.03"]);
    commit(&desk.upstream(), "fix: Yet another");
    let said = desk.does(&["start", "fix/memory-leak-in-stats"]);
    assert!(said.contains("goes on with `fix/memory-leak-in-stats`: 1 commits above origin/21.03, 1 behind"), "{said}");
    let output = desk.contrib(&desk.environment(), &["check", "--no-lint"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("fix/memory-leak-in-stats"), "{output:?}");

    // A change that cannot come along is not lost.
    fs::write(desk.upstream().join("pyproject.toml"), format!("{TOWNCRIER}# new\n")).unwrap();
    commit(&desk.upstream(), "repo: Change it");
    fs::write(tree.join("pyproject.toml"), "mine\n").unwrap();
    desk.refuses(&["start", "fix/other"], 1, &["does not go to the branch `fix/other`", "hint: commit or stash"]);
    assert_eq!(fs::read_to_string(tree.join("pyproject.toml")).unwrap(), "mine\n");
    assert_eq!(branch(&tree), "fix/memory-leak-in-stats");

    git(&tree, &["remote", "set-url", "origin", "file:///nowhere"]);
    desk.refuses(&["start", "fix/third"], 1, &["cannot fetch the branch `21.03` of `origin`", "hint: see where it is"]);
    git(&tree, &["remote", "remove", "origin"]);
    desk.refuses(&["start", "fix/third"], 1, &["came from no git repository", "--source git"]);
}

#[test]
fn a_branch_is_checked_by_every_rule_and_each_message_says_how_to_mend_it() {
    let desk = Desk::new();
    let tree = desk.tree();
    let (code, found) = desk.check();
    assert_eq!((code, found[0].0.as_str()), (1, "branch fault"), "{found:?}");
    assert!(found[0].1.contains("the work is on `21.03` itself") && found[0].1.contains("switch -c"), "{found:?}");

    git(&tree, &["switch", "--quiet", "--create", "fix/leak"]);
    fs::write(tree.join("stats.py"), "# 누수\n").unwrap();
    commit(&tree, "Fixed the leak\n\n설명\n\nCo-authored-by: 김 <a@b>");
    commit(&tree, "setup: Update the common pkg\n\nWhy.\n\nCo-authored-by: 김 <a@b>");
    commit(&desk.upstream(), "fix: Something else");
    git(&tree, &["fetch", "--quiet"]);
    fs::write(tree.join("new.py"), "").unwrap();
    let (code, found) = desk.check();
    assert_eq!(code, 1);
    let find = |rule: &str, part: &str| {
        assert!(found.iter().any(|(at, text)| at == rule && text.contains(part)), "no {rule} with `{part}` in {found:#?}");
    };
    find("branch good", "fix/leak");
    find("base remark", "rebase origin/21.03");
    find("title fault", "`Fixed the leak` has no typebegin with a type");
    find("title good", "setup: Update the common pkg");
    find("english fault", "the letters 설명 in its text");
    find("english remark", "`stats.py` gets lines with the letters 누수");
    find("commit remark", "not committed");
    find(
        "news fault",
        "no fragment is new in `changes/`when the pull request is open: baibox contrib news --env desk -c manager",
    );
    find("flake8 skipped", "not asked for");
    assert_eq!(found.iter().filter(|(at, _)| at.starts_with("english fault")).count(), 1, "names in trailers are no text");

    fs::remove_file(tree.join("new.py")).unwrap();
    fs::write(tree.join("stats.py"), "\n").unwrap();
    git(&tree, &["reset", "--quiet", "--soft", "origin/21.03"]);
    commit(&tree, "fix: Free what stats hold");
    desk.does(&["news", "123", "fix", "Free what stats hold."]);
    commit(&tree, "doc: Add the news fragment");
    let (code, found) = desk.check();
    assert_eq!(code, 0, "{found:#?}");
    assert!(found.contains(&("news good".into(), "changes/123.fix.md".into())), "{found:?}");

    // Without an engine, linters are what cannot be said.
    let unmade = ["changes/123.fix.md", "the linters did not run", "`desk` has no images yet", "baibox up --env desk"];
    desk.refuses(&["check"], 1, &unmade);
}

#[test]
fn news_are_written_as_the_components_own_configuration_takes_them() {
    let desk = Desk::new();
    let tree = desk.tree();
    desk.refuses(&["news", "123", "feat", "Add it."], 2, &["`feat` is no type of news", "hint: take `feature`"]);
    desk.refuses(&["news", "123", "doc", "Write it."], 2, &["`doc` is no type of news", "hint: take one of feature, fix, misc"]);
    desk.refuses(&["news", "0", "fix", "x"], 2, &["0 is no pull request's number"]);
    desk.refuses(&["news", "x", "fix", "x"], 2, &["invalid value 'x'"]);
    desk.refuses(&["news", "123", "fix", "고침"], 2, &["the letters 고침", "hint: write it in English"]);
    desk.refuses(&["news", "123", "fix", "One.\nTwo."], 2, &["`changes/123.fix.md` has several lines"]);
    let said = desk.does(&["news", "123", "fix", "Free what stats hold."]);
    assert!(said.contains("changes/123.fix.md") && said.contains("commit it: git -C"), "{said}");
    assert_eq!(fs::read_to_string(tree.join("changes/123.fix.md")).unwrap(), "Free what stats hold.\n");
    desk.does(&["news", "123", "fix", "Free what stats hold."]);
    desk.refuses(&["news", "123", "fix", "Other."], 1, &["is there and says: Free what stats hold.", "hint: change it by hand"]);

    // Upstream's older fragments have no ending, and new ones are called like them.
    fs::rename(tree.join("changes/123.fix.md"), tree.join("changes/122.fix")).unwrap();
    desk.does(&["news", "123", "misc", "Tidy up."]);
    assert!(tree.join("changes/123.misc").is_file());
    fs::write(tree.join("pyproject.toml"), "[tool.towncrier\n").unwrap();
    desk.refuses(&["news", "124", "fix", "x"], 1, &["cannot read what", "says of news"]);
    fs::write(tree.join("pyproject.toml"), "").unwrap();
    desk.refuses(&["news", "124", "fix", "x"], 1, &["it takes no news"]);
}

#[test]
fn components_of_the_one_repository_are_folders_of_one_tree() {
    let desk = Desk::one();
    let (upstream, tree) = (desk.upstream(), desk.tree());
    for (path, text) in [
        ("src/ai/backend/manager/server.py", "x = 1\n"),
        ("tests/manager/test_server.py", "def test_x():\n    pass\n"),
        ("pants.toml", PANTS),
        ("scripts/tool.py", "y = 1\n"),
    ] {
        fs::create_dir_all(upstream.join(path).parent().unwrap()).unwrap();
        fs::write(upstream.join(path), text).unwrap();
    }
    commit(&upstream, "repo: Move here");
    desk.refuses(
        &["start", "fix/x", "-c", "nothing"],
        2,
        &["has no component `nothing`", "it has backend.ai, account-manager, agent"],
    );
    let said = desk.does(&["start", "fix/leak", "-c", "manager"]);
    assert!(said.contains("manager is on `fix/leak`, at origin/25.15"), "{said}");
    assert!(said.contains("contrib check --env desk -c manager"), "{said}");

    // The part is that of the current folder, wherever its code and its tests are.
    for (inside, component) in [("src/ai/backend/manager", "manager"), ("tests/manager", "manager"), ("scripts", "backend.ai")] {
        let output = desk.contrib(&tree.join(inside), &["start", "fix/leak"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("{component} goes on with `fix/leak`")), "{inside}: {said}");
    }

    let names = |found: &[(String, String)]| found.iter().map(|(at, _)| at.clone()).collect::<Vec<_>>();
    fs::write(tree.join("scripts/tool.py"), "y = 2\n").unwrap();
    commit(&tree, "fix: Free what stats hold");
    desk.does(&["news", "123", "fix", "Free what stats hold."]);
    let (code, text) = desk.says(&["check"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("ruff     the branch changes no Python file that it looks at"),
        "what pants ignores is not looked at: {text}"
    );

    // A file that it looks at needs the linters, and they the environment.
    fs::write(tree.join("src/ai/backend/manager/more.py"), "z = 1\n").unwrap();
    let (code, found) = desk.check();
    assert_eq!(code, 0, "{found:#?}");
    assert!(names(&found).ends_with(&["ruff skipped", "format skipped", "mypy skipped"].map(String::from)), "{found:#?}");
    desk.refuses(&["check"], 1, &["changes/123.fix.md", "the linters did not run", "`desk` has no images yet"]);
    desk.refuses(&["test", "-c", "agent"], 1, &["the tests of `agent` did not run: there are none"]);
    fs::write(tree.join("pants.toml"), "[GLOBAL]\nbackend_packages = 1\n").unwrap();
    desk.refuses(&["check"], 1, &["cannot read which linters", "pants.toml` turns on", "is no list of texts"]);
}

#[test]
fn one_command_makes_the_fork_origin() {
    let desk = Desk::new();
    let tree = desk.tree();
    let base = desk.scratch.path().display().to_string();
    desk.does(&["fork", "me"]);
    assert_eq!(git(&tree, &["remote", "get-url", "origin"]), format!("file://{base}/me/backend.ai-manager"));
    assert_eq!(git(&tree, &["remote", "get-url", "upstream"]), format!("file://{base}/lablup/backend.ai-manager"));
    assert_eq!(git(&tree, &["rev-parse", "--abbrev-ref", "21.03@{upstream}"]), "upstream/21.03");
    assert!(desk.does(&["fork", "me"]).contains("nothing to do"));
    desk.refuses(&["fork", "somebody"], 1, &["is `file://", "remote set-url origin"]);
    desk.refuses(&["fork", "not good"], 2, &["is not the name of an account"]);
    let said = desk.does(&["start", "feature/x"]);
    assert!(said.contains("at upstream/21.03") && !said.contains("contrib fork"), "{said}");
    // What is pushed goes to the fork.
    git(desk.scratch.path(), &["init", "--quiet", "--bare", "me/backend.ai-manager"]);
    git(&tree, &["push", "--quiet", "--set-upstream", "origin", "feature/x"]);
    assert!(git(&desk.scratch.path().join("me/backend.ai-manager"), &["branch"]).contains("feature/x"));
    desk.refuses(&["check", "-c", "nothing"], 2, &["has no component `nothing`"]);
    desk.refuses(&["check", "-c", "agent"], 1, &["is not a git working tree", "it brings what is missing"]);
}

#[test]
fn sync_moves_clean_trees_and_tells_of_the_rest() {
    let desk = Desk::new();
    let (tree, upstream) = (desk.tree(), desk.upstream());
    // The other trees came from elsewhere; what they say of themselves decides images.
    for (name, project) in [
        ("manager", "backend.ai-manager"),
        ("agent", "backend.ai-agent"),
        ("common", "backend.ai-common"),
        ("storage-proxy", "backend.ai-storage-proxy"),
        ("webserver", "backend.ai-webserver"),
        ("client", "backend.ai-client"),
    ] {
        let folder = if name == "manager" { upstream.clone() } else { desk.environment().join(name) };
        fs::create_dir_all(folder.join("src/ai/backend/x")).unwrap();
        fs::write(folder.join("setup.cfg"), format!("[metadata]\nname = {project}\n")).unwrap();
        fs::write(folder.join("src/ai/backend/x/VERSION"), "1").unwrap();
    }
    commit(&upstream, "setup: Say what it is");
    let sync = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_baibox"))
            .arg("sync")
            .args(arguments)
            .current_dir(&tree)
            .env("XDG_CACHE_HOME", desk.scratch.path().join("cache"))
            .env("DOCKER_HOST", "unix:///nonexistent/engine.sock")
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code().unwrap(), text)
    };
    let says = |parts: &[&str]| {
        let (code, text) = sync(&[]);
        assert_eq!(code, 0, "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} in {text}");
    };
    git(&tree, &["pull", "--quiet"]);
    says(&["nothing new"]);
    fs::write(upstream.join("more.py"), "").unwrap();
    commit(&upstream, "fix: Something");
    says(&["1 new commit", "no image changes", "baibox restart --env desk"]);
    assert!(tree.join("more.py").is_file());

    // An entry point is in images; a revision of the schema is in the database.
    let points = "[options.entry_points]\nbackendai_x = \n    a = b:c\n";
    fs::write(upstream.join("setup.cfg"), format!("[metadata]\nname = backend.ai-manager\n{points}")).unwrap();
    let revision = upstream.join("src/ai/backend/manager/models/alembic/versions");
    fs::create_dir_all(&revision).unwrap();
    fs::write(revision.join("abc_add.py"), "").unwrap();
    commit(&upstream, "feat: Add");
    says(&["schema moves: abc_add.py", "images that change: manager\n", "baibox up --env desk", "alembic upgrade head"]);

    commit(&upstream, "fix: Yet another");
    fs::write(tree.join("more.py"), "mine").unwrap();
    says(&["stays: uncommitted changes", "merge --ff-only origin/21.03", "0 of 1 trees moved, 1 stay"]);
    assert_eq!(fs::read_to_string(tree.join("more.py")).unwrap(), "mine");
    commit(&tree, "fix: Mine");
    says(&["stays: diverged, 1 commits here and 1 in origin/21.03", "rebase origin/21.03"]);
    git(&tree, &["switch", "--quiet", "--create", "fix/mine"]);
    says(&["stays: a topic branch, 1 commits above origin/21.03 and 1 behind"]);
    git(&tree, &["checkout", "--quiet", "--detach"]);
    says(&["stays: no branch is checked out", "switch 21.03"]);
    git(&tree, &["remote", "set-url", "origin", "file:///nowhere"]);
    let (code, text) = sync(&[]);
    assert!(
        code == 1 && text.contains("cannot fetch the branch `21.03` of manager") && text.contains("nothing was changed"),
        "{text}"
    );
}
