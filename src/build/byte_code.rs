//! Byte code: modules go to the interpreter of an image, what it makes of them comes back.
//!
//! `images/python/compile.py` says how both streams are written, and [`python::marshal`] makes what comes
//! back a function of a module's place and text alone. So modules that another version of their package had, too,
//! are not compiled again.

use super::make::{each_file, keep, step_environment};
use super::{Builder, Fragment};
use crate::engine::{Output, Step};
use crate::model::Digest;
use crate::oci::{Node, Tree};
use crate::plan::Recipe;
use crate::python;
use crate::store::Store;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read, Write};

/// Bytes of modules after which a chunk ends: a fork costs little beside compiling them, and packages are several.
const CHUNK: usize = 128 << 10;
/// The longest line between contents.
const LONGEST_LINE: u64 = 1 << 16;
/// Versions of a package whose byte code is looked into.
const VERSIONS: usize = 3;

/// Modules of a package, and what the compiler made of them: contents of fragments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Compiled {
    modules: Digest,
    byte_code: Digest,
}

/// A fragment whose modules are to be compiled.
struct Work {
    /// Of the fragment with the byte code.
    key: Digest,
    modules: Digest,
    /// Where the versions of its package are recorded that were compiled.
    record: Option<Digest>,
    /// Those that are still there, the last one first.
    before: Vec<Compiled>,
}

/// What was cut of all fragments.
#[derive(Default)]
struct Cut {
    /// The fragment of each chunk, by its place.
    chunks: Vec<usize>,
    /// For each fragment what is taken from before: contents of fragments, and which of their modules.
    taken: Vec<Vec<(Digest, BTreeSet<String>)>>,
}

impl Builder {
    pub(super) async fn compile(&self, recipes: &BTreeMap<Digest, Recipe>, on: &Digest, keys: &[Digest]) -> Result<()> {
        let mut works = Vec::new();
        for key in keys {
            let Recipe::ByteCode { of, .. } = &recipes[key] else { bail!("not byte code") };
            let modules = self.fragment(of).context("the modules to compile are missing")?.content;
            // Of whatever version: as if byte code were of the name.
            let of_any = |name: &str| Recipe::ByteCode { of: Digest::of(name.as_bytes()), on: on.clone() };
            let record = recipes[of].package().map(|name| Digest::of_value(&("compiled", of_any(name).key())));
            let mut before: Vec<Compiled> = record.as_ref().and_then(|record| self.store.action(record)).unwrap_or_default();
            before.retain(|one| self.store.has(&one.modules) && self.store.has(&one.byte_code));
            works.push(Work { key: key.clone(), modules, record, before });
        }
        let store = self.store.clone();
        let (works, input, cut) = tokio::task::spawn_blocking(move || {
            let mut file = tempfile::NamedTempFile::new_in(store.temporary())?;
            let cut = write_chunks(&store, &works, &mut std::io::BufWriter::with_capacity(1 << 18, &mut file))?;
            anyhow::Ok((works, file, cut))
        })
        .await??;
        let compiled = if cut.chunks.is_empty() { None } else { Some(self.run_compiler(recipes, on, &input).await?) };
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            let stream: Box<dyn BufRead> = match compiled {
                Some(file) => Box::new(std::io::BufReader::with_capacity(1 << 18, file.reopen()?)),
                None => Box::new(std::io::empty()),
            };
            keep_compiled(&store, &works, &cut, stream)?;
            works.into_iter().try_for_each(|work| record(&store, work))
        })
        .await?
    }

    async fn run_compiler(
        &self,
        recipes: &BTreeMap<Digest, Recipe>,
        on: &Digest,
        input: &tempfile::NamedTempFile,
    ) -> Result<tempfile::NamedTempFile> {
        let (image, interpreter) = self.step_base(recipes, on).await?;
        self.steps.lock().await.insert(image.clone(), true);
        // No byte code holds it by chance.
        let end = format!("end {:032x}", rand::random::<u128>());
        let step = Step {
            name: "compile".into(),
            image,
            // Without site's modules, which it does not use.
            command: [&interpreter.program(), "-S", "-c", python::COMPILE, &end].map(String::from).to_vec(),
            environment: step_environment(&[]),
            stdin: Some(input.path().to_owned()),
            output: Output::Stream { end: format!("{end}\n") },
            ..Step::default()
        };
        self.run_step(step).await
    }
}

/// Remembers of which modules the byte code is, for the package's next version.
fn record(store: &Store, work: Work) -> Result<()> {
    let made: Option<Fragment> = store.action(&work.key);
    if let Some((record, made)) = work.record.zip(made) {
        let others = work.before.into_iter().filter(|one| one.modules != work.modules).take(VERSIONS - 1);
        let now = Compiled { modules: work.modules.clone(), byte_code: made.content };
        store.record_action(&record, &std::iter::once(now).chain(others).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn is_module(path: &str) -> bool {
    path.ends_with(".py")
}

/// Writes what must be compiled of these fragments, one of them in memory at a time.
fn write_chunks(store: &Store, works: &[Work], out: &mut impl Write) -> Result<Cut> {
    let mut cut = Cut::default();
    for (place, work) in works.iter().enumerate() {
        let mut modules = BTreeMap::new();
        each_file(store.reader(&work.modules)?, is_module, |path, content| {
            ensure!(!path.contains('\n'), "the name of the module {path:?} has a line break");
            modules.insert(path.to_owned(), content);
            Ok(())
        })?;
        cut.taken.push(take(store, &mut modules, &work.before)?);
        for chunk in in_chunks(modules) {
            writeln!(out, "{} {}", cut.chunks.len(), chunk.len())?;
            for (path, content) in chunk {
                writeln!(out, "{} {path}", content.len())?;
                out.write_all(&content)?;
            }
            cut.chunks.push(place);
        }
    }
    out.flush()?;
    Ok(cut)
}

/// Takes out the modules that were compiled before, and tells where.
fn take(store: &Store, modules: &mut BTreeMap<String, Vec<u8>>, before: &[Compiled]) -> Result<Vec<(Digest, BTreeSet<String>)>> {
    let mut taken = Vec::new();
    for one in before {
        if modules.is_empty() {
            break;
        }
        let mut same = BTreeSet::new();
        each_file(store.reader(&one.modules)?, is_module, |path, content| {
            if modules.get(path) == Some(&content) {
                same.insert(path.to_owned());
            }
            Ok(())
        })?;
        modules.retain(|path, _| !same.contains(path));
        taken.push((one.byte_code.clone(), same));
    }
    Ok(taken)
}

/// Modules in the order of their names, cut after each [`CHUNK`].
fn in_chunks(modules: BTreeMap<String, Vec<u8>>) -> Vec<Vec<(String, Vec<u8>)>> {
    let (mut chunks, mut size) = (Vec::new(), CHUNK);
    for module in modules {
        if size >= CHUNK {
            chunks.push(Vec::new());
            size = 0;
        }
        size += module.1.len();
        chunks.last_mut().expect("the first module begins one").push(module);
    }
    chunks
}

/// The module that byte code is of: `var/cache/pycache/a/b.cpython-39.pyc` is of `a/b.py`.
fn module_of(path: &str) -> Option<String> {
    let place = path.strip_prefix(python::BYTE_CODE)?.strip_prefix('/')?;
    let (module, _tag) = place.strip_suffix(".pyc")?.rsplit_once('.')?;
    Some(format!("{module}.py"))
}

/// Keeps what came back as fragments, each as soon as its chunks are there.
fn keep_compiled(store: &Store, works: &[Work], cut: &Cut, mut stream: impl BufRead) -> Result<()> {
    let mut left = vec![0; works.len()];
    for place in &cut.chunks {
        left[*place] += 1;
    }
    let whole = |place: usize, mut tree: Tree| {
        for (byte_code, same) in &cut.taken[place] {
            let wanted = |path: &str| module_of(path).is_some_and(|module| same.contains(&module));
            each_file(store.reader(byte_code)?, wanted, |path, content| Ok(tree.insert(path, Node::file(0o644, content))?))?;
        }
        keep(store, &works[place].key, tree)
    };
    for (place, _) in left.iter().enumerate().filter(|(_, left)| **left == 0) {
        whole(place, Tree::default())?;
    }
    let mut trees: BTreeMap<usize, Tree> = BTreeMap::new();
    let mut awaited: Vec<bool> = vec![true; cut.chunks.len()];
    for _ in &cut.chunks {
        let (number, count) = numbers(&line(&mut stream)?)?;
        let asked = awaited
            .get_mut(usize::try_from(number)?)
            .with_context(|| format!("the compile step gave chunk {number}, which it was not asked for"))?;
        ensure!(std::mem::take(asked), "the compile step gave chunk {number} twice");
        let place = cut.chunks[usize::try_from(number)?];
        let tree = trees.entry(place).or_default();
        for _ in 0..count {
            let head = line(&mut stream)?;
            let (size, path) = head.split_once(' ').with_context(|| format!("the compile step said {head:?}"))?;
            let size: u64 = size.parse()?;
            let largest = python::marshal::LARGEST;
            ensure!(size <= largest as u64, "the byte code `{path}` is larger than {largest} bytes");
            let mut content = Vec::new();
            (&mut stream).take(size).read_to_end(&mut content)?;
            ensure!(content.len() as u64 == size, "the compile step ended within `{path}`");
            let content = python::marshal::canonical(&content)
                .with_context(|| format!("the compile step gave no byte code as `{path}`"))?;
            tree.insert(&format!("{}/{}", python::BYTE_CODE, Tree::normal_path(path)?), Node::file(0o644, content))?;
        }
        left[place] -= 1;
        if left[place] == 0 {
            whole(place, trees.remove(&place).unwrap_or_default())?;
        }
    }
    Ok(())
}

/// The same for byte code that was compiled in another way.
pub(super) fn settle(tree: &mut Tree) -> Result<()> {
    let files = tree.iter().filter(|(path, node)| module_of(path).is_some() && matches!(node, Node::File { .. }));
    for path in files.map(|(path, _)| path.to_owned()).collect::<Vec<_>>() {
        if let Some(Node::File { mode, uid, gid, content }) = tree.remove(&path) {
            let content = python::marshal::canonical(&content).with_context(|| format!("`{path}` is no byte code"))?;
            tree.insert(&path, Node::File { mode, uid, gid, content: content.into() })?;
        }
    }
    Ok(())
}

fn line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    stream.take(LONGEST_LINE).read_line(&mut line)?;
    let line = line.strip_suffix('\n').context("the compile step ended within a line")?;
    Ok(line.to_owned())
}

fn numbers(line: &str) -> Result<(u64, u64)> {
    let two = line.split_once(' ').and_then(|(one, two)| Some((one.parse().ok()?, two.parse().ok()?)));
    two.with_context(|| format!("the compile step said {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::make::files_of;
    use std::process::{Command, Stdio};

    fn fragment(store: &Store, files: &[(String, Vec<u8>)]) -> Digest {
        let mut tree = Tree::default();
        for (path, content) in files {
            tree.insert(path, Node::file(0o644, content.clone())).unwrap();
        }
        let mut bytes = Vec::new();
        tree.write_fragment(&mut bytes).unwrap();
        store.put(&bytes).unwrap()
    }

    fn work(store: &Store, name: &str, files: &[(String, Vec<u8>)]) -> Work {
        let record = Some(Digest::of_value(&("compiled", name.split(' ').next())));
        Work { key: Digest::of(name.as_bytes()), modules: fragment(store, files), record, before: Vec::new() }
    }

    fn compiled(store: &Store, work: &Work) -> Vec<(String, Vec<u8>)> {
        let fragment: Fragment = store.action(&work.key).unwrap();
        files_of(store.reader(&fragment.content).unwrap()).unwrap()
    }

    /// As a step runs it, with this host's interpreter.
    fn python(input: &[u8], cores: &str) -> Vec<u8> {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", cores, "python3", "-S", "-c", python::COMPILE, "that is all"]).env("PYTHONHASHSEED", "0");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
        let writing = std::thread::spawn(move || stdin.write_all(&input));
        let ended = child.wait_with_output().unwrap();
        writing.join().unwrap().unwrap();
        assert!(ended.status.success());
        assert!(ended.stdout.ends_with(b"that is all\n"));
        ended.stdout
    }

    /// Compiles; gives the modules that the interpreter was given.
    fn compile(store: &Store, works: &[Work], cores: &str) -> Vec<String> {
        let mut input = Vec::new();
        let cut = write_chunks(store, works, &mut input).unwrap();
        keep_compiled(store, works, &cut, &*python(&input, cores)).unwrap();
        let text = String::from_utf8_lossy(&input).into_owned();
        text.lines().filter_map(|line| Some(line.split_once(' ')?.1.strip_suffix(".py")?.to_owned())).collect()
    }

    fn module(name: &str) -> (String, Vec<u8>) {
        let line = format!("def {name}(x={{'shared', 'names'}}): return x, 'shared', {name}\n");
        (format!("opt/venv/{name}.py"), line.repeat(CHUNK / 2 / line.len() + 1).into_bytes())
    }

    #[test]
    fn chunks_end_by_the_size_of_their_modules_and_hold_one_at_least() {
        let modules = [("a", 10), ("b", CHUNK), ("c", 1), ("d", CHUNK * 3), ("e", 1)];
        let modules = modules.map(|(name, size)| (name.to_owned(), vec![b'#'; size])).into();
        let names: Vec<Vec<String>> =
            in_chunks(modules).into_iter().map(|chunk| chunk.into_iter().map(|(name, _)| name).collect()).collect();
        assert_eq!(names, [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
        assert!(in_chunks(BTreeMap::new()).is_empty());
    }

    #[test]
    fn modules_come_back_as_byte_code_whatever_is_compiled_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let large = ["a", "b", "c", "d", "e"].map(module);
        let small = [
            ("opt/venv/ä b.py".to_owned(), b"shared = 1".to_vec()),
            ("opt/venv/broken.py".to_owned(), b"print 'of another Python'".to_vec()),
            ("opt/venv/nul.py".to_owned(), b"\0".to_vec()),
            ("opt/venv/data.txt".to_owned(), b"no module".to_vec()),
        ];
        let works = [work(&store, "small", &small), work(&store, "large", &large), work(&store, "empty", &[])];
        compile(&store, &works, "0");
        let first: Vec<_> = works.iter().map(|work| compiled(&store, work)).collect();
        let tag = first[0][0].0.split('.').nth(1).unwrap().to_owned();
        let places = |number: usize| first[number].iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>();
        assert_eq!(places(0), [format!("var/cache/pycache/opt/venv/ä b.{tag}.pyc")]);
        assert_eq!((places(1).len(), places(2).len()), (5, 0));

        // On all cores, and cut otherwise.
        let cores = format!("0-{}", std::thread::available_parallelism().unwrap().get() - 1);
        let other = tempfile::tempdir().unwrap();
        let again = Store::open(other.path()).unwrap();
        let works = [work(&again, "four", &large[1..]), work(&again, "one", &large[..1])];
        compile(&again, &works, &cores);
        assert_eq!([compiled(&again, &works[1]), compiled(&again, &works[0])].concat(), first[1]);
    }

    #[test]
    fn modules_that_a_version_before_had_are_not_compiled_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let broken = |text: &str| ("opt/venv/broken.py".to_owned(), format!("print '{text}'").into_bytes());
        let moved = |text: &str| ("opt/venv/moved.py".to_owned(), text.as_bytes().to_vec());
        let first = work(&store, "x 1", &[module("a"), module("gone"), broken("1"), moved("1")]);
        let place = first.record.clone().unwrap();
        assert_eq!(compile(&store, std::slice::from_ref(&first), "0").len(), 4);
        record(&store, first).unwrap();

        let next = |name: &str, files: &[(String, Vec<u8>)]| {
            let before = store.action(&place).unwrap();
            Work { before, ..work(&store, name, files) }
        };
        let files = [module("a"), module("new"), broken("1"), moved("2")];
        let second = next("x 2", &files);
        assert_eq!(compile(&store, std::slice::from_ref(&second), "0"), ["opt/venv/moved", "opt/venv/new"]);
        let whole = work(&store, "x 2 alone", &files);
        compile(&store, std::slice::from_ref(&whole), "0");
        assert_eq!(compiled(&store, &second), compiled(&store, &whole));
        record(&store, second).unwrap();

        // What both have, what only the first has, and nothing that is new.
        let files = [module("a"), module("gone"), moved("2")];
        let third = next("x 3", &files);
        let mut input = Vec::new();
        let cut = write_chunks(&store, std::slice::from_ref(&third), &mut input).unwrap();
        assert_eq!((input.len(), cut.chunks.len()), (0, 0));
        keep_compiled(&store, std::slice::from_ref(&third), &cut, std::io::empty()).unwrap();
        let whole = work(&store, "x 3 alone", &files);
        compile(&store, std::slice::from_ref(&whole), "0");
        assert_eq!(compiled(&store, &third), compiled(&store, &whole));

        // As many versions are remembered as are said, each once.
        for name in ["x 4", "x 5", "x 5"] {
            let more = next(name, &[moved(name)]);
            compile(&store, std::slice::from_ref(&more), "0");
            record(&store, more).unwrap();
        }
        let all: Vec<Compiled> = store.action(&place).unwrap();
        assert_eq!(all.len(), VERSIONS);
        assert_eq!(all.iter().map(|one| &one.modules).collect::<BTreeSet<_>>().len(), VERSIONS);
    }

    #[test]
    fn what_comes_back_is_refused_where_it_is_not_what_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let works = ["one", "two"].map(|name| work(&store, name, &[]));
        let cut = Cut { chunks: vec![0, 1], taken: vec![Vec::new(), Vec::new()] };
        let check = |stream: &str, says: &str| {
            let error = keep_compiled(&store, &works, &cut, stream.as_bytes()).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{stream:?}: {error:#}");
        };
        // Of Python 3.9, and nothing but None.
        let none = "a\r\r\n\0\0\0\0\0\0\0\0\0\0\0\0N";
        check("", "within a line");
        check("end", "within a line");
        check("end\n", "said \"end\"");
        check("0 0\n0 0\n", "chunk 0 twice");
        check("2 0\n", "chunk 2, which it was not asked for");
        check("0\n", "said \"0\"");
        check("0 1\n5 a.pyc\nabc", "within `a.pyc`");
        check("0 1\n5\n", "said \"5\"");
        check("0 1\n99999999999 a.pyc\n", "larger than");
        check("0 1\n1 a.pyc\nx", "no byte code as `a.pyc`");
        check(&format!("0 1\n17 ../../../etc/passwd\n{none}"), "leaves the root");
        check(&format!("0 2\n17 a.pyc\n{none}17 a.pyc\n{none}"), "there twice");
        keep_compiled(&store, &works, &cut, format!("1 0\n0 1\n17 a.pyc\n{none}").as_bytes()).unwrap();
        assert_eq!(compiled(&store, &works[0]), [("var/cache/pycache/a.pyc".to_owned(), none.as_bytes().to_vec())]);
    }
}
