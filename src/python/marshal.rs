//! Byte code as `marshal` writes it, with the same marks whatever its process did before.
//!
//! A value that the stream refers to again bears `FLAG_REF`, and so does each that something else in the compiling
//! process held, too: an interned name, say, that another module has. Those marks say nothing, and here they go, as in
//! Fedora's marshalparser. Of strings it also says which are interned. A process has each string of one character up to
//! U+00FF but once, and where anything interned one, all modules have it so: here they are, if they can be names,
//! as the compiler has it. What stays is a function of the source alone.
//! The format is that of `Python/marshal.c`, the header that of PEP 552.

/// Magic number, flags, and eight bytes by the flags.
const HEADER: usize = 16;
const FLAG_REF: u8 = 0x80;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarshalError {
    #[error("the byte code ends within a value")]
    Short,
    #[error("the byte code goes on after its value, at byte {at}")]
    Long { at: usize },
    #[error("the byte code has a value of the unknown type {kind:#04x} at byte {at}")]
    Kind { kind: u8, at: usize },
    #[error("the byte code refers to value {to}, which is none of those before, at byte {at}")]
    Reference { to: usize, at: usize },
    #[error("byte code with the magic number {magic} is of no Python that is known")]
    Magic { magic: u16 },
}

/// How a code object is written: numbers, values, the number of the first line, values.
struct Layout {
    numbers: usize,
    values: usize,
    tables: usize,
}

/// Magic numbers as `Lib/importlib/_bootstrap_external.py` tells them: from 3.11 on each minor version has fifty.
fn layout(magic: u16) -> Option<Layout> {
    match magic {
        // 3.8 to 3.10
        3410..=3449 => Some(Layout { numbers: 6, values: 8, tables: 1 }),
        // 3.11 to 3.14
        3460..=3649 => Some(Layout { numbers: 5, values: 8, tables: 2 }),
        _ => None,
    }
}

/// Takes from this byte code what its process alone accounts for.
pub fn unmark(pyc: &mut [u8]) -> Result<(), MarshalError> {
    let magic = pyc.first_chunk::<2>().map(|bytes| u16::from_le_bytes(*bytes)).ok_or(MarshalError::Short)?;
    let layout = layout(magic).ok_or(MarshalError::Magic { magic })?;
    if pyc.len() < HEADER {
        return Err(MarshalError::Short);
    }
    let mut reader =
        Reader { bytes: pyc, at: HEADER, layout, marked: Vec::new(), references: Vec::new(), characters: Vec::new() };
    reader.whole()?;
    if reader.at != reader.bytes.len() {
        return Err(MarshalError::Long { at: reader.at });
    }
    let Reader { marked, references, characters, .. } = reader;
    for (at, kind) in characters {
        pyc[at] = pyc[at] & FLAG_REF | kind;
    }
    let mut wanted = vec![false; marked.len()];
    for (_, to) in &references {
        wanted[*to] = true;
    }
    let mut places = Vec::with_capacity(marked.len());
    let mut next: u32 = 0;
    for (at, wanted) in marked.iter().zip(wanted) {
        places.push(next);
        if wanted {
            next += 1;
        } else {
            pyc[*at] &= !FLAG_REF;
        }
    }
    for (at, to) in references {
        pyc[at..at + 4].copy_from_slice(&places[to].to_le_bytes());
    }
    Ok(())
}

/// What is read of a value that others are in.
enum Open {
    /// So many more.
    Values(usize),
    /// Keys and values, up to the end.
    Dictionary,
    /// The number of a code object's first line.
    Line,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    layout: Layout,
    /// Where marked values begin, in the order that references count them by.
    marked: Vec<usize>,
    /// Where the number of a reference is, and what it says.
    references: Vec<(usize, usize)>,
    /// Where strings of one character begin, and of what type they are to be.
    characters: Vec<(usize, u8)>,
}

impl Reader<'_> {
    /// Reads a value and all in it.
    fn whole(&mut self) -> Result<(), MarshalError> {
        // What is open, the innermost last: values may nest as deep as there are bytes.
        let mut open = vec![Open::Values(1)];
        while let Some(innermost) = open.last_mut() {
            match innermost {
                Open::Values(0) => {
                    open.pop();
                    continue;
                }
                Open::Values(left) => *left -= 1,
                Open::Dictionary => {}
                Open::Line => {
                    open.pop();
                    self.skip(4)?;
                    continue;
                }
            }
            let at = self.at;
            let kind = self.byte()?;
            if kind & FLAG_REF != 0 {
                self.marked.push(at);
            }
            match kind & !FLAG_REF {
                b'0' => {
                    if matches!(open.last(), Some(Open::Dictionary)) {
                        open.pop();
                    }
                }
                b'N' | b'F' | b'T' | b'S' | b'.' => {}
                b'i' => self.skip(4)?,
                b'g' => self.skip(8)?,
                b'y' => self.skip(16)?,
                b'l' => {
                    let digits = self.number()?.cast_signed().unsigned_abs();
                    self.skip(digits as usize * 2)?;
                }
                b's' => {
                    let size = self.number()?;
                    self.skip(size as usize)?;
                }
                kind @ (b'a' | b'A' | b'u' | b't') => {
                    let size = self.number()?;
                    self.string(at, kind, size as usize)?;
                }
                kind @ (b'z' | b'Z') => {
                    let size = self.byte()?;
                    self.string(at, kind, size.into())?;
                }
                b')' => {
                    let count = self.byte()?;
                    open.push(Open::Values(count.into()));
                }
                b'(' | b'[' | b'<' | b'>' => {
                    let count = self.number()?;
                    open.push(Open::Values(count as usize));
                }
                b'{' => open.push(Open::Dictionary),
                b':' => open.push(Open::Values(3)),
                b'c' => {
                    let Layout { numbers, values, tables } = self.layout;
                    self.skip(numbers * 4)?;
                    open.extend([Open::Values(tables), Open::Line, Open::Values(values)]);
                }
                b'r' => {
                    let to = self.number()? as usize;
                    if to >= self.marked.len() {
                        return Err(MarshalError::Reference { to, at });
                    }
                    self.references.push((self.at - 4, to));
                }
                kind => return Err(MarshalError::Kind { kind, at }),
            }
        }
        Ok(())
    }

    /// Skips a string that begins at this place.
    fn string(&mut self, at: usize, kind: u8, size: usize) -> Result<(), MarshalError> {
        let begin = self.at;
        self.skip(size)?;
        let (plain, interned) = match kind {
            b'a' | b'A' => (b'a', b'A'),
            b'z' | b'Z' => (b'z', b'Z'),
            _ => (b'u', b't'),
        };
        match &self.bytes[begin..self.at] {
            [one] if one.is_ascii_alphanumeric() || *one == b'_' => self.characters.push((at, interned)),
            [_] | [0xc2 | 0xc3, _] => self.characters.push((at, plain)),
            _ => {}
        }
        Ok(())
    }

    fn skip(&mut self, count: usize) -> Result<(), MarshalError> {
        if count > self.bytes.len() - self.at {
            return Err(MarshalError::Short);
        }
        self.at += count;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, MarshalError> {
        let byte = *self.bytes.get(self.at).ok_or(MarshalError::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u32, MarshalError> {
        let bytes = self.bytes[self.at..].first_chunk().ok_or(MarshalError::Short)?;
        self.at += 4;
        Ok(u32::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// Byte code of some modules as this process first gives it, and once it holds every name of them.
    const TWICE: &str = r"
import importlib.util, marshal, os, pathlib, re, sys
header = importlib.util.MAGIC_NUMBER + bytes(12)
held = []
for name in 'turtle', 'pdb', 'statistics', 'tarfile', 'asyncio/tasks', 'typing':
    source = (pathlib.Path(os.__file__).parent / f'{name}.py').read_text()
    once = marshal.dumps(compile(source, '/m.py', 'exec', dont_inherit=True))
    held += [sys.intern(word) for word in re.findall(r'\w+', source)]
    held += [sys.intern(chr(number)) for number in range(256)]
    held += [compile(source, '/m.py', 'exec', dont_inherit=True)]
    again = marshal.dumps(compile(source, '/m.py', 'exec', dont_inherit=True))
    for code in once, again:
        sys.stdout.buffer.write(len(header + code).to_bytes(4, 'little') + header + code)
";
    /// Whether what comes in pairs are the same code objects, with their order of constants.
    const SAME: &str = r"
import marshal, sys
stream = sys.stdin.buffer
def flat(code):
    return [flat(one) if hasattr(one, 'co_code') else repr(one) for one in code.co_consts] + [
        getattr(code, name) for name in dir(code) if name.startswith('co_') and name not in ('co_consts', 'co_lines', 'co_positions', 'co_branches')]
def one():
    return marshal.loads(stream.read(int.from_bytes(stream.read(4), 'little'))[16:])
while stream.peek(1):
    left, right = one(), one()
    assert left == right and flat(left) == flat(right), left
";

    fn python(program: &str, input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("python3")
            .args(["-X", "utf8", "-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success());
        ended.stdout
    }

    fn parts(mut stream: &[u8]) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        while let Some((size, rest)) = stream.split_first_chunk() {
            let (part, rest) = rest.split_at(u32::from_le_bytes(*size) as usize);
            parts.push(part.to_vec());
            stream = rest;
        }
        parts
    }

    #[test]
    fn byte_code_is_the_same_whatever_names_its_process_held_and_means_what_it_meant() {
        let written = parts(&python(TWICE, b""));
        // Up to Python 3.10 most pairs differ, later ones few or none.
        assert_eq!(written.len(), 12);
        let mut pairs = Vec::new();
        for pair in written.chunks(2) {
            let settled: Vec<Vec<u8>> = pair
                .iter()
                .map(|pyc| {
                    let mut pyc = pyc.clone();
                    unmark(&mut pyc).unwrap();
                    pyc
                })
                .collect();
            assert_eq!(settled[0], settled[1]);
            let mut again = settled[0].clone();
            unmark(&mut again).unwrap();
            assert_eq!(again, settled[0]);
            for part in [&pair[1], &settled[0]] {
                pairs.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
                pairs.extend(part);
            }
        }
        python(SAME, &pairs);
    }

    fn pyc(magic: u16, value: &[u8]) -> Vec<u8> {
        [&magic.to_le_bytes()[..], &[0; 14], value].concat()
    }

    fn check(value: &[u8], wanted: &[u8]) {
        let mut pyc = pyc(3425, value);
        unmark(&mut pyc).unwrap();
        assert_eq!(&pyc[HEADER..], wanted);
    }

    #[test]
    fn references_follow_when_marks_before_them_go() {
        check(b"N", b"N");
        check(b"\xda\x01a", b"Z\x01a");
        check(b"\xa9\x04\xda\x01a\xda\x01br\x02\0\0\0\xe9\x05\0\0\0", b")\x04Z\x01a\xda\x01br\0\0\0\0i\x05\0\0\0");
        // To itself, as only sets and lists could.
        check(b"\xdb\x01\0\0\0r\0\0\0\0", b"\xdb\x01\0\0\0r\0\0\0\0");
        check(b"{\xda\x01aN0", b"{Z\x01aN0");
    }

    #[test]
    fn of_single_characters_those_that_can_be_names_are_interned() {
        check(b")\x04Z\x01{z\x01{Z\x01_z\x01_", b")\x04z\x01{z\x01{Z\x01_Z\x01_");
        check(b")\x02A\x01\0\0\0-a\x01\0\0\0x", b")\x02a\x01\0\0\0-A\x01\0\0\0x");
        check(b")\x02t\x02\0\0\0\xc3\xa9u\x02\0\0\0ab", b")\x02u\x02\0\0\0\xc3\xa9u\x02\0\0\0ab");
        // With its mark, where something refers to it; longer ones as they are.
        check(b")\x03\xda\x01{r\0\0\0\0Z\x02{}", b")\x03\xfa\x01{r\0\0\0\0Z\x02{}");
    }

    #[test]
    fn what_is_no_byte_code_is_refused() {
        let check = |pyc: &[u8], wanted: MarshalError| assert_eq!(unmark(&mut pyc.to_vec()), Err(wanted));
        check(b"", MarshalError::Short);
        check(&3425_u16.to_le_bytes(), MarshalError::Short);
        check(&pyc(3394, b"N"), MarshalError::Magic { magic: 3394 });
        check(&pyc(3425, b""), MarshalError::Short);
        check(&pyc(3425, b"NN"), MarshalError::Long { at: 17 });
        check(&pyc(3425, b"?"), MarshalError::Kind { kind: b'?', at: 16 });
        check(&pyc(3425, b"s\xff\xff\xff\xff"), MarshalError::Short);
        check(&pyc(3425, b"l\0\0\0\x80"), MarshalError::Short);
        check(&pyc(3425, b"(\xff\xff\xff\x7fN"), MarshalError::Short);
        check(&pyc(3425, b"r\0\0\0\0"), MarshalError::Reference { to: 0, at: 16 });
        check(&pyc(3425, &b")\x01".repeat(100_000)), MarshalError::Short);
    }
}
