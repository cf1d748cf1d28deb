//! Byte code as `marshal` writes it, in one form whatever its process did before.
//!
//! A value that the stream refers to again bears `FLAG_REF`, and so does each that something else in the compiling
//! process held, too: an interned name, say, that another module has. Those marks say nothing, and here they go, as in
//! Fedora's marshalparser. Of strings it also says which are interned. A process has each string of one character up to
//! U+00FF but once, and where anything interned one, all modules have it so: here they are, if they can be names,
//! as the compiler has it. The elements of a set come in the order of what is written for each of them, marks and all,
//! and before Python 3.11 in that of their hashes, which can be addresses: here they are sorted by what is written now.
//! Equal sets of two functions are one, unless another module had interned a string of theirs: here each is written.
//! What stays is a function of the source alone.
//! The format is that of `Python/marshal.c`, the header that of PEP 552.

mod read;

use read::{LINE, Reader, Value, layout};
use std::ops::Range;

/// Magic number, flags, and eight bytes by the flags.
const HEADER: usize = 16;
const FLAG_REF: u8 = 0x80;
/// The largest byte code of one module, in bytes.
pub const LARGEST: usize = 32 << 20;

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
    #[error("the byte code has more than {LARGEST} bytes")]
    Large,
}

/// This byte code without what its process alone accounts for.
pub fn canonical(pyc: &[u8]) -> Result<Vec<u8>, MarshalError> {
    let magic = pyc.first_chunk::<2>().map(|bytes| u16::from_le_bytes(*bytes)).ok_or(MarshalError::Short)?;
    let layout = layout(magic).ok_or(MarshalError::Magic { magic })?;
    let header = pyc.get(..HEADER).ok_or(MarshalError::Short)?;
    if pyc.len() > LARGEST {
        return Err(MarshalError::Large);
    }
    let (values, sets) = Reader::new(pyc, HEADER, layout).whole()?;
    let mut graph = Graph::new(pyc, values);
    for set in sets {
        graph.sort(set)?;
    }
    let mut out = Vec::with_capacity(pyc.len());
    out.extend_from_slice(header);
    graph.write(0..graph.values.len(), &mut out)?;
    Ok(out)
}

/// Values, in the order that they are to be written in.
struct Graph<'a> {
    bytes: &'a [u8],
    values: Vec<Value>,
    /// Whether it is written once and comes again.
    again: Vec<bool>,
    /// Which value is at each place. What is in a value is always right after it.
    order: Vec<u32>,
    /// Where each value is.
    place: Vec<u32>,
    /// What each value has been written as, for references to it.
    number: Vec<Option<u32>>,
    /// Those that have a number.
    numbered: Vec<u32>,
}

#[expect(clippy::cast_possible_truncation, reason = "there are no more values than bytes, whose number was looked at")]
impl<'a> Graph<'a> {
    fn new(bytes: &'a [u8], values: Vec<Value>) -> Self {
        let order: Vec<u32> = (0..values.len() as u32).collect();
        let mut again = vec![false; values.len()];
        let mut referred: Vec<u32> = values.iter().filter(|value| value.kind == b'r').map(|value| value.is).collect();
        referred.sort_unstable();
        referred.dedup();
        for whole in referred.into_iter().map(|value| value as usize) {
            // With a set, all in it comes again.
            let last = if values[whole].is_set() { values[whole].next as usize } else { whole + 1 };
            for value in &values[whole..last] {
                again[value.is as usize] |= values[value.is as usize].is_shared();
            }
        }
        let number = vec![None; values.len()];
        Self { bytes, values, again, place: order.clone(), order, number, numbered: Vec::new() }
    }

    /// The places of a value and all that is in it.
    fn places(&self, value: u32) -> Range<usize> {
        let begin = self.place[value as usize] as usize;
        begin..begin + (self.values[value as usize].next - value) as usize
    }

    /// Sorts the elements of a set, when those of the sets in it and before it are.
    fn sort(&mut self, set: u32) -> Result<(), MarshalError> {
        let Range { start, end } = self.places(set);
        let mut elements = Vec::new();
        let mut at = start + 1;
        while at < end {
            let places = self.places(self.order[at]);
            at = places.end;
            let mut written = Vec::new();
            self.write(places.clone(), &mut written)?;
            elements.push((written, places));
        }
        elements.sort_by(|(one, _), (other, _)| one.cmp(other));
        let sorted: Vec<u32> = elements.into_iter().flat_map(|(_, places)| self.order[places].to_vec()).collect();
        for (at, value) in (start + 1..).zip(sorted) {
            self.order[at] = value;
            self.place[value as usize] = at as u32;
        }
        Ok(())
    }

    /// Writes what is at these places as if nothing were before it.
    fn write(&mut self, places: Range<usize>, out: &mut Vec<u8>) -> Result<(), MarshalError> {
        for value in self.numbered.drain(..) {
            self.number[value as usize] = None;
        }
        // A value is written where it comes first, be that its own place or not, and a set wherever it comes.
        let mut open = vec![places];
        while let Some(places) = open.last_mut() {
            let Some(at) = places.next() else {
                open.pop();
                continue;
            };
            let value = self.order[at];
            let is = self.values[value as usize].is;
            let Value { kind, begin, end, .. } = self.values[is as usize];
            let mut mark = 0;
            if self.again[is as usize] {
                if let Some(number) = self.number[is as usize] {
                    out.push(b'r');
                    out.extend_from_slice(&number.to_le_bytes());
                    if value == is {
                        places.start = self.places(is).end;
                    }
                    continue;
                }
                self.number[is as usize] = Some(self.numbered.len() as u32);
                self.numbered.push(is);
                mark = FLAG_REF;
            }
            if kind != LINE {
                out.push(kind | mark);
            }
            out.extend_from_slice(&self.bytes[begin as usize..end as usize]);
            if out.len() > LARGEST {
                return Err(MarshalError::Large);
            }
            if value != is {
                let Range { start, end } = self.places(is);
                open.push(start + 1..end);
            }
        }
        Ok(())
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
sets = '''
def names(one):
    return one in {'*', 'ed', 'eq', 'abs', ('*', 'abs', 4000), ('=', 4000), None, ..., 4000, '1+', b'-'}
more = {'-', 'b', '1-', '=', 'edit', '+', 'a b'}
def one_set(one):
    return one in {'first_pragma', 'second_pragma'}
def and_more(one):
    return 4000, one in {'first_pragma', 'second_pragma'}
'''
names = 'turtle', 'pdb', 'statistics', 'tarfile', 'asyncio/tasks', 'typing'
modules = [(pathlib.Path(os.__file__).parent / f'{name}.py').read_text() for name in names]
for source in sets, *modules:
    once = marshal.dumps(compile(source, '/m.py', 'exec', dont_inherit=True))
    held += [sys.intern(word) for word in re.findall(r'\w+', source)]
    held += [sys.intern(chr(number)) for number in range(256)]
    held += [compile(source, '/m.py', 'exec', dont_inherit=True)]
    again = marshal.dumps(compile(source, '/m.py', 'exec', dont_inherit=True))
    for code in once, again:
        sys.stdout.buffer.write(len(header + code).to_bytes(4, 'little') + header + code)
";
    /// Whether what comes in pairs are the same code objects, with their order of constants but for those in sets.
    const SAME: &str = r"
import marshal, sys
stream = sys.stdin.buffer
def value(one):
    return flat(one) if hasattr(one, 'co_code') else sorted(map(repr, one)) if isinstance(one, frozenset) else repr(one)
def flat(code):
    return [value(one) for one in code.co_consts] + [
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
        assert_eq!(written.len(), 14);
        let mut pairs = Vec::new();
        for pair in written.chunks(2) {
            let settled: Vec<Vec<u8>> = pair.iter().map(|pyc| canonical(pyc).unwrap()).collect();
            assert_eq!(settled[0], settled[1]);
            assert_eq!(canonical(&settled[0]).unwrap(), settled[0]);
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
        assert_eq!(&canonical(&pyc(3425, value)).unwrap()[HEADER..], wanted);
    }

    #[test]
    fn references_follow_when_marks_before_them_go() {
        check(b"N", b"N");
        check(b"\xda\x01a", b"Z\x01a");
        check(b"\xa9\x04\xda\x01a\xda\x01br\x02\0\0\0\xe9\x05\0\0\0", b")\x04Z\x01a\xda\x01br\0\0\0\0i\x05\0\0\0");
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
    fn elements_of_sets_are_sorted_and_what_they_refer_to_goes_along() {
        check(b"<\x03\0\0\0Z\x01*Z\x02edZ\x02ab", b"<\x03\0\0\0Z\x02abZ\x02edz\x01*");
        // What the second element refers to is in the first, which comes after it now, and a third comes after the set.
        check(
            b")\x02>\x02\0\0\0)\x02\xda\x02edN)\x01r\0\0\0\0r\0\0\0\0",
            b")\x02>\x02\0\0\0)\x01\xda\x02ed)\x02r\0\0\0\0Nr\0\0\0\0",
        );
        check(b">\x02\0\0\0N>\x02\0\0\0TF", b">\x02\0\0\0>\x02\0\0\0FTN");
    }

    #[test]
    fn each_set_is_written_whether_it_is_one_with_another_or_not() {
        let apart = b")\x02>\x02\0\0\0\xda\x02edN>\x02\0\0\0r\0\0\0\0N";
        let settled = b")\x02>\x02\0\0\0N\xda\x02ed>\x02\0\0\0Nr\0\0\0\0";
        check(apart, settled);
        check(b")\x02\xbe\x02\0\0\0Z\x02edNr\0\0\0\0", settled);
        check(settled, settled);
        // In a set, and far too often.
        check(b")\x02\xbe\x01\0\0\0T>\x01\0\0\0r\0\0\0\0", b")\x02>\x01\0\0\0T>\x01\0\0\0>\x01\0\0\0T");
        let mut doubled = b")\x28\xbe\x01\0\0\0T".to_vec();
        for number in 0..39_u8 {
            doubled.extend_from_slice(&[b"\xbe\x02\0\0\0", &b"r\0\0\0\0".repeat(2)[..]].concat());
            let end = doubled.len();
            doubled[end - 9] = number;
            doubled[end - 4] = number;
        }
        assert_eq!(canonical(&pyc(3425, &doubled)), Err(MarshalError::Large));
    }

    #[test]
    fn what_is_no_byte_code_is_refused() {
        let check = |pyc: &[u8], wanted: MarshalError| assert_eq!(canonical(pyc), Err(wanted));
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
        // To itself, as only lists could.
        check(&pyc(3425, b"\xdb\x01\0\0\0r\0\0\0\0"), MarshalError::Reference { to: 0, at: 21 });
        check(&pyc(3425, &b")\x01".repeat(100_000)), MarshalError::Short);
    }
}
