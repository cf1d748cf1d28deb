//! The values of byte code, in the order of the stream.

use super::{FLAG_REF, MarshalError};

/// Stands for the type of what has none, the number of a code object's first line.
pub(super) const LINE: u8 = 0;

/// How a code object is written: numbers, values, the number of the first line, values.
pub(super) struct Layout {
    numbers: usize,
    values: usize,
    tables: usize,
}

/// Magic numbers as `Lib/importlib/_bootstrap_external.py` tells them: from 3.11 on each minor version has fifty.
pub(super) fn layout(magic: u16) -> Option<Layout> {
    match magic {
        // 3.8 to 3.10
        3410..=3449 => Some(Layout { numbers: 6, values: 8, tables: 1 }),
        // 3.11 to 3.14
        3460..=3649 => Some(Layout { numbers: 5, values: 8, tables: 2 }),
        _ => None,
    }
}

/// A value as the stream has it; those that are in it follow.
pub(super) struct Value {
    /// As it is to be, without `FLAG_REF`.
    pub(super) kind: u8,
    /// What is written of it after its type and before the values in it.
    pub(super) begin: u32,
    pub(super) end: u32,
    /// The one after it and all that is in it. None has 0 but those that are still read.
    pub(super) next: u32,
    /// The value that a reference is to; its own place for all others.
    pub(super) is: u32,
}

impl Value {
    pub(super) fn is_set(&self) -> bool {
        matches!(self.kind, b'<' | b'>')
    }

    /// Whether it is written but once, and then referred to.
    pub(super) fn is_shared(&self) -> bool {
        !matches!(self.kind, LINE | b'0' | b'N' | b'F' | b'T' | b'S' | b'.') && !self.is_set()
    }
}

/// What is still to be read of a value.
enum Left {
    /// So many in it.
    Values(usize),
    /// Keys and values, up to the end.
    Dictionary,
    /// So many in a code object, then the number of its first line and its tables.
    Code(usize),
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    layout: Layout,
    values: Vec<Value>,
    /// Marked values, in the order that references count them by.
    marked: Vec<u32>,
    sets: Vec<u32>,
}

#[expect(clippy::cast_possible_truncation, reason = "there are no more values than bytes, whose number was looked at")]
impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize, layout: Layout) -> Self {
        Self { bytes, at, layout, values: Vec::new(), marked: Vec::new(), sets: Vec::new() }
    }

    /// Reads the value that is all there is: with those in it, and the sets of them in the order of their ends.
    pub(super) fn whole(mut self) -> Result<(Vec<Value>, Vec<u32>), MarshalError> {
        // What is open, the innermost last: values may nest as deep as there are bytes.
        let mut open = vec![self.value()?];
        while let Some((value, left)) = open.last_mut() {
            match left {
                Left::Values(0) => {
                    self.close(*value);
                    open.pop();
                    continue;
                }
                Left::Code(0) => {
                    *left = Left::Values(self.layout.tables);
                    let begin = self.at;
                    self.skip(4)?;
                    let line = self.push(LINE, begin);
                    self.close(line);
                    continue;
                }
                Left::Values(count) | Left::Code(count) => *count -= 1,
                Left::Dictionary => {
                    if self.bytes.get(self.at) == Some(&b'0') {
                        *left = Left::Values(0);
                    }
                }
            }
            open.push(self.value()?);
        }
        if self.at != self.bytes.len() {
            return Err(MarshalError::Long { at: self.at });
        }
        Ok((self.values, self.sets))
    }

    /// Reads what is written of a value before those in it.
    fn value(&mut self) -> Result<(u32, Left), MarshalError> {
        let at = self.at;
        let kind = self.byte()?;
        if kind & FLAG_REF != 0 {
            self.marked.push(self.values.len() as u32);
        }
        let mut kind = kind & !FLAG_REF;
        let mut left = Left::Values(0);
        let mut is = None;
        match kind {
            b'0' | b'N' | b'F' | b'T' | b'S' | b'.' => {}
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
            b'a' | b'A' | b'u' | b't' => {
                let size = self.number()?;
                kind = self.string(kind, size as usize)?;
            }
            b'z' | b'Z' => {
                let size = self.byte()?;
                kind = self.string(kind, size.into())?;
            }
            b')' => left = Left::Values(self.byte()?.into()),
            b'(' | b'[' | b'<' | b'>' => left = Left::Values(self.number()? as usize),
            b'{' => left = Left::Dictionary,
            b':' => left = Left::Values(3),
            b'c' => {
                self.skip(self.layout.numbers * 4)?;
                left = Left::Code(self.layout.values);
            }
            b'r' => is = Some(self.referred(at)?),
            kind => return Err(MarshalError::Kind { kind, at }),
        }
        let value = self.push(kind, at + 1);
        if let Some(is) = is {
            self.values[value as usize].is = is;
        }
        Ok((value, left))
    }

    /// A value of which all from here to now was read but what is in it.
    fn push(&mut self, kind: u8, begin: usize) -> u32 {
        let value = self.values.len() as u32;
        self.values.push(Value { kind, begin: begin as u32, end: self.at as u32, next: 0, is: value });
        value
    }

    fn close(&mut self, value: u32) {
        let next = self.values.len() as u32;
        let value = &mut self.values[value as usize];
        value.next = next;
        if value.is_set() {
            self.sets.push(value.is);
        }
    }

    /// The value that is referred to: the compiler makes none that are within themselves.
    fn referred(&mut self, at: usize) -> Result<u32, MarshalError> {
        let to = self.number()? as usize;
        let value = self.marked.get(to).and_then(|value| self.values.get(*value as usize));
        value.filter(|value| value.next > 0).map(|value| value.is).ok_or(MarshalError::Reference { to, at })
    }

    /// Skips a string, and tells of what type it is to be.
    fn string(&mut self, kind: u8, size: usize) -> Result<u8, MarshalError> {
        let begin = self.at;
        self.skip(size)?;
        let (plain, interned) = match kind {
            b'a' | b'A' => (b'a', b'A'),
            b'z' | b'Z' => (b'z', b'Z'),
            _ => (b'u', b't'),
        };
        Ok(match &self.bytes[begin..self.at] {
            [one] if one.is_ascii_alphanumeric() || *one == b'_' => interned,
            [_] | [0xc2 | 0xc3, _] => plain,
            _ => kind,
        })
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
