//! Byte code: modules go to the interpreter of an image, what it makes of them comes back.
//!
//! `images/python/compile.py` says how both streams are written. What one process compiles is a
//! chunk, cut here by the modules alone, so that neither cores nor other packages are felt.

use super::Builder;
use super::make::{each_file, keep, step_environment};
use crate::engine::{Output, Step};
use crate::model::Digest;
use crate::oci::{Node, Tree};
use crate::plan::Recipe;
use crate::python;
use crate::store::Store;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};

/// Bytes of modules after which a chunk ends: a fork costs little beside compiling them, and large packages are several.
const CHUNK: usize = 512 << 10;
/// The last that comes back.
const END: &str = "end\n";
/// The largest byte code of one module.
const LARGEST: u64 = 64 << 20;
/// The longest line between contents.
const LONGEST_LINE: u64 = 1 << 16;

impl Builder {
    pub(super) async fn compile(&self, recipes: &BTreeMap<Digest, Recipe>, on: &Digest, keys: &[Digest]) -> Result<()> {
        let (image, interpreter) = self.step_base(recipes, on).await?;
        let mut fragments = Vec::new();
        for key in keys {
            let Recipe::ByteCode { of, .. } = &recipes[key] else { bail!("not byte code") };
            fragments.push(self.fragment(of).context("the modules to compile are missing")?.content);
        }
        let store = self.store.clone();
        let (input, chunks) = tokio::task::spawn_blocking(move || {
            let mut file = tempfile::NamedTempFile::new_in(store.temporary())?;
            let chunks = write_chunks(&store, &fragments, &mut std::io::BufWriter::with_capacity(1 << 18, &mut file))?;
            anyhow::Ok((file, chunks))
        })
        .await??;
        let step = Step {
            name: "compile".into(),
            image,
            // Without site's modules, which it does not use.
            command: [&interpreter.program(), "-S", "-c", python::COMPILE].map(String::from).to_vec(),
            environment: step_environment(&[]),
            stdin: Some(input.path().to_owned()),
            output: Output::Stream { end: END.into() },
            ..Step::default()
        };
        let compiled = self.run_step(step).await?;
        let (store, keys) = (self.store.clone(), keys.to_vec());
        let stream = std::io::BufReader::with_capacity(1 << 18, compiled.reopen()?);
        tokio::task::spawn_blocking(move || keep_compiled(&store, &keys, &chunks, stream)).await?
    }
}

/// Writes the modules of these fragments, one fragment in memory at a time; gives each chunk's fragment by its place.
fn write_chunks(store: &Store, fragments: &[Digest], out: &mut impl Write) -> Result<Vec<usize>> {
    let mut chunks = Vec::new();
    for (place, fragment) in fragments.iter().enumerate() {
        let mut modules = BTreeMap::new();
        each_file(
            store.reader(fragment)?,
            |path| path.ends_with(".py"),
            |path, content| {
                ensure!(!path.contains('\n'), "the name of the module {path:?} has a line break");
                modules.insert(path.to_owned(), content);
                Ok(())
            },
        )?;
        for chunk in cut(modules) {
            writeln!(out, "{} {}", chunks.len(), chunk.len())?;
            for (path, content) in chunk {
                writeln!(out, "{} {path}", content.len())?;
                out.write_all(&content)?;
            }
            chunks.push(place);
        }
    }
    out.flush()?;
    Ok(chunks)
}

/// Modules in the order of their names, cut after each [`CHUNK`].
fn cut(modules: BTreeMap<String, Vec<u8>>) -> Vec<Vec<(String, Vec<u8>)>> {
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

/// Keeps what came back as fragments, each as soon as its chunks are there.
fn keep_compiled(store: &Store, keys: &[Digest], chunks: &[usize], mut stream: impl BufRead) -> Result<()> {
    let mut left = vec![0; keys.len()];
    for place in chunks {
        left[*place] += 1;
    }
    // A package without modules has an empty fragment.
    for (_, key) in left.iter().zip(keys).filter(|(left, _)| **left == 0) {
        keep(store, key, Tree::default())?;
    }
    let mut trees: BTreeMap<usize, Tree> = BTreeMap::new();
    let mut awaited: Vec<bool> = vec![true; chunks.len()];
    loop {
        let head = line(&mut stream)?;
        if head == END.trim_end() {
            break;
        }
        let (number, count) = numbers(&head)?;
        let asked = awaited
            .get_mut(usize::try_from(number)?)
            .with_context(|| format!("the compile step gave chunk {number}, which it was not asked for"))?;
        ensure!(std::mem::take(asked), "the compile step gave chunk {number} twice");
        let place = chunks[usize::try_from(number)?];
        let tree = trees.entry(place).or_default();
        for _ in 0..count {
            let head = line(&mut stream)?;
            let (size, path) = head.split_once(' ').with_context(|| format!("the compile step said {head:?}"))?;
            let size: u64 = size.parse()?;
            ensure!(size <= LARGEST, "the byte code `{path}` is larger than {LARGEST} bytes");
            let mut content = Vec::new();
            (&mut stream).take(size).read_to_end(&mut content)?;
            ensure!(content.len() as u64 == size, "the compile step ended within `{path}`");
            tree.insert(&format!("{}/{}", python::BYTE_CODE, Tree::normal_path(path)?), Node::file(0o644, content))?;
        }
        left[place] -= 1;
        if left[place] == 0 {
            keep(store, &keys[place], trees.remove(&place).unwrap_or_default())?;
        }
    }
    match awaited.iter().position(|awaited| *awaited) {
        Some(number) => bail!("the compile step left chunk {number} out"),
        None => Ok(()),
    }
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
    use crate::build::Fragment;
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

    fn compiled(store: &Store, key: &Digest) -> Vec<(String, Vec<u8>)> {
        let fragment: Fragment = store.action(key).unwrap();
        files_of(store.reader(&fragment.content).unwrap()).unwrap()
    }

    /// As a step runs it, with this host's interpreter.
    fn python(input: &[u8], cores: &str) -> std::io::Result<Vec<u8>> {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", cores, "python3", "-S", "-c", python::COMPILE]).env("PYTHONHASHSEED", "0");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
        let writing = std::thread::spawn(move || stdin.write_all(&input));
        let ended = child.wait_with_output()?;
        writing.join().unwrap()?;
        assert!(ended.status.success());
        Ok(ended.stdout)
    }

    #[test]
    fn chunks_end_by_the_size_of_their_modules_and_hold_one_at_least() {
        let modules = [("a", 10), ("b", CHUNK), ("c", 1), ("d", CHUNK * 3), ("e", 1)];
        let modules = modules.map(|(name, size)| (name.to_owned(), vec![b'#'; size])).into();
        let names: Vec<Vec<String>> =
            cut(modules).into_iter().map(|chunk| chunk.into_iter().map(|(name, _)| name).collect()).collect();
        assert_eq!(names, [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
        assert!(cut(BTreeMap::new()).is_empty());
    }

    #[test]
    fn modules_come_back_as_byte_code_whatever_is_compiled_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let text = |name: &str| {
            let line = format!("def {name}(x={{'shared', 'names'}}): return x, 'shared', {name}\n");
            line.repeat(CHUNK / 2 / line.len() + 1).into_bytes()
        };
        let large: Vec<(String, Vec<u8>)> =
            ["a", "b", "c", "d", "e"].map(|name| (format!("opt/venv/{name}.py"), text(name))).into();
        let small = [
            ("opt/venv/ä b.py".to_owned(), b"shared = 1".to_vec()),
            ("opt/venv/broken.py".to_owned(), b"print 'of another Python'".to_vec()),
            ("opt/venv/nul.py".to_owned(), b"\0".to_vec()),
            ("opt/venv/data.txt".to_owned(), b"no module".to_vec()),
        ];
        let parts = [fragment(&store, &small), fragment(&store, &large), fragment(&store, &[])];
        let keys = ["small", "large", "empty"].map(|name| Digest::of(name.as_bytes()));
        let mut input = Vec::new();
        let chunks = write_chunks(&store, &parts, &mut input).unwrap();
        assert_eq!(chunks, [0, 1, 1, 1]);
        keep_compiled(&store, &keys, &chunks, &*python(&input, "0").unwrap()).unwrap();
        let first: Vec<_> = keys.iter().map(|key| compiled(&store, key)).collect();
        let tag = first[0][0].0.split('.').nth(1).unwrap().to_owned();
        let places = |number: usize| first[number].iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>();
        assert_eq!(places(0), [format!("var/cache/pycache/opt/venv/ä b.{tag}.pyc")]);
        assert_eq!((places(1).len(), places(2).len()), (5, 0));

        // Alone, and on all cores.
        let (other, key) = (tempfile::tempdir().unwrap(), &keys[1..2]);
        let again = Store::open(other.path()).unwrap();
        let part = fragment(&again, &large);
        let mut input = Vec::new();
        let chunks = write_chunks(&again, &[part], &mut input).unwrap();
        let cores = format!("0-{}", std::thread::available_parallelism().unwrap().get() - 1);
        keep_compiled(&again, key, &chunks, &*python(&input, &cores).unwrap()).unwrap();
        assert_eq!(compiled(&again, &keys[1]), first[1]);
    }

    #[test]
    fn what_comes_back_is_refused_where_it_is_not_what_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let keys = ["one", "two"].map(|name| Digest::of(name.as_bytes()));
        let check = |stream: &str, says: &str| {
            let error = keep_compiled(&store, &keys, &[0, 1], stream.as_bytes()).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{stream:?}: {error:#}");
        };
        check("", "within a line");
        check("end", "within a line");
        check("end\n", "left chunk 0 out");
        check("0 0\n0 0\nend\n", "chunk 0 twice");
        check("2 0\nend\n", "chunk 2, which it was not asked for");
        check("0\n", "said \"0\"");
        check("0 1\n5 a.pyc\nabc", "within `a.pyc`");
        check("0 1\n5\n", "said \"5\"");
        check("0 1\n99999999999 a.pyc\n", "larger than");
        check("0 1\n1 ../../../etc/passwd\nx", "leaves the root");
        check("0 2\n1 a.pyc\nx1 a.pyc\nx", "there twice");
        keep_compiled(&store, &keys, &[0, 1], &b"1 0\n0 1\n1 a.pyc\nxend\n"[..]).unwrap();
        assert_eq!(compiled(&store, &keys[0]), [("var/cache/pycache/a.pyc".to_owned(), b"x".to_vec())]);
    }
}
