//! NumPy's `.npy` files, versions 1 to 3 of the format described in `numpy.lib.format`.
//!
//! Plain arrays of the element types that NumPy has; no structured arrays, objects, or strings. `bf16` and the sub-byte
//! integers have no NumPy type and are refused in writing: cast them first.

use crate::{DType, Error, HostTensor, Result, Shape};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads one array. Big-endian and Fortran-ordered files are converted.
///
/// # Errors
/// [`Error::File`] for anything that is no such file, including data of another length than the header promises; nothing is
/// allocated before that is known.
pub fn read(file: &[u8]) -> Result<HostTensor> {
    let (header, data) = split(file)?;
    let header = Parser::new(header).header()?;
    let (dtype, swap) = header.dtype()?;
    let shape = Shape::new(header.shape);
    let expected = shape.elements()?.checked_mul(dtype.size_bytes());
    if expected != Some(data.len()) {
        let got = data.len();
        return fail(format!("{dtype}{shape} does not fit {got} bytes of data"));
    }
    let swapped: Option<Vec<u8>> = swap.then(|| {
        let elements = data.chunks_exact(dtype.size_bytes());
        elements.flat_map(|e| e.iter().rev().copied()).collect()
    });
    let data = swapped.as_deref().unwrap_or(data);
    if !header.fortran_order {
        return HostTensor::from_bytes(dtype, shape, data);
    }
    let reversed: Shape = shape.iter().rev().copied().collect();
    let mut strides = reversed.strides();
    strides.reverse();
    let walk = shape.offsets([&strides]).flatten();
    HostTensor::from_bytes(dtype, reversed, data)?.select(&shape, walk)
}

/// Writes one array as a version 1 file (version 2 where the header is longer than that allows).
///
/// # Errors
/// [`Error::Unsupported`] for element types that NumPy does not have.
pub fn write(tensor: &HostTensor) -> Result<Vec<u8>> {
    let descr = descr(tensor.dtype())?;
    let extents: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
    let comma = if extents.len() == 1 { "," } else { "" };
    let shape = extents.join(", ");
    let dict =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}{comma}), }}");
    // Spaces and a newline bring the data to a multiple of 64 bytes.
    let short = dict.len() + 1 + 64 <= usize::from(u16::MAX);
    let start = MAGIC.len() + 2 + if short { 2 } else { 4 };
    let padded = (start + dict.len() + 1).next_multiple_of(64) - start;
    let mut file = Vec::with_capacity(start + padded + tensor.bytes().len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(if short { &[1, 0] } else { &[2, 0] });
    file.extend_from_slice(&(padded as u32).to_le_bytes()[..if short { 2 } else { 4 }]);
    file.extend_from_slice(dict.as_bytes());
    file.resize(start + padded - 1, b' ');
    file.push(b'\n');
    file.extend_from_slice(tensor.bytes());
    Ok(file)
}

fn fail<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::File {
        format: "npy",
        what: what.into(),
    })
}

fn descr(dtype: DType) -> Result<&'static str> {
    Ok(match dtype {
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::F16 => "<f2",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U8 => "|u1",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::Bool => "|b1",
        DType::BF16 | DType::I4 | DType::U4 | DType::I2 | DType::U2 => {
            let what = "writing npy files";
            return Err(Error::Unsupported { what, dtype });
        }
    })
}

/// Header text and data.
fn split(file: &[u8]) -> Result<(&[u8], &[u8])> {
    let Some(rest) = file.strip_prefix(MAGIC) else {
        return fail("the magic bytes are missing");
    };
    let (length, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        [version, ..] if *version > 3 => return fail(format!("unknown version {version}")),
        _ => return fail("the file ends in its header"),
    };
    match rest.split_at_checked(length) {
        Some(parts) => Ok(parts),
        None => fail("the file ends in its header"),
    }
}

struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// The element type and whether the bytes are the other way round.
    fn dtype(&self) -> Result<(DType, bool)> {
        let known = DType::ALL.into_iter().find(|&dtype| {
            // The first character is the byte order.
            descr(dtype).is_ok_and(|own| self.descr.get(1..) == own.get(1..))
        });
        let swap = self.descr.starts_with('>');
        match (known, swap || self.descr.starts_with(['<', '|'])) {
            (Some(dtype), true) => Ok((dtype, swap && dtype.size_bytes() > 1)),
            _ => fail(format!("no tensor has elements {:?}", self.descr)),
        }
    }
}

/// Reads the one Python dict literal that a header is; nesting does not go past the tuple of extents.
struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn new(header: &'a [u8]) -> Self {
        Parser { rest: header }
    }

    fn header(mut self) -> Result<Header> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.eat(b'}') {
            let key = self.string()?;
            self.expect(b':')?;
            match key {
                "descr" if descr.is_none() => descr = Some(self.string()?.to_owned()),
                "fortran_order" if fortran_order.is_none() => fortran_order = Some(self.truth()?),
                "shape" if shape.is_none() => shape = Some(self.tuple()?),
                _ => return fail(format!("unexpected header key {key:?}")),
            }
            if !self.eat(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        self.skip_space();
        match (descr, fortran_order, shape, self.rest) {
            (Some(descr), Some(fortran_order), Some(shape), []) => Ok(Header {
                descr,
                fortran_order,
                shape,
            }),
            (.., []) => fail("a header key is missing"),
            _ => fail("text after the header"),
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.rest.first() == Some(&byte);
        self.rest = &self.rest[usize::from(found)..];
        found
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.eat(byte) {
            return Ok(());
        }
        fail(format!("expected {:?} in the header", byte as char))
    }

    /// The text up to the first byte that ends it, which stays.
    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> Result<&'a str> {
        let end = self.rest.iter().position(|&b| !keep(b));
        let (text, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        std::str::from_utf8(text).or_else(|_| fail("the header is no text"))
    }

    fn string(&mut self) -> Result<&'a str> {
        let quote = if self.eat(b'"') { b'"' } else { b'\'' };
        if quote == b'\'' {
            self.expect(quote)?;
        }
        let text = self.take_while(|b| b != quote && b != b'\\')?;
        self.expect(quote)?;
        Ok(text)
    }

    fn truth(&mut self) -> Result<bool> {
        self.skip_space();
        match self.take_while(|b| b.is_ascii_alphabetic())? {
            "True" => Ok(true),
            "False" => Ok(false),
            word => fail(format!("fortran_order is {word:?}")),
        }
    }

    fn tuple(&mut self) -> Result<Vec<usize>> {
        let mut extents = Vec::new();
        self.expect(b'(')?;
        while !self.eat(b')') {
            self.skip_space();
            let digits = self.take_while(|b| b.is_ascii_digit())?;
            match digits.parse() {
                Ok(extent) => extents.push(extent),
                Err(_) => return fail(format!("invalid extent {digits:?}")),
            }
            // Python 2 wrote long integers with a suffix.
            self.eat(b'L');
            if !self.eat(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(extents)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(dict: &str, data: &[u8]) -> Vec<u8> {
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend_from_slice(&(dict.len() as u16).to_le_bytes());
        file.extend_from_slice(dict.as_bytes());
        file.extend_from_slice(data);
        file
    }

    #[test]
    fn writes_what_numpy_writes() {
        // numpy.save of numpy.array([[1, 2, 3]], dtype=numpy.int16), NumPy 2.4.
        let tensor = HostTensor::from_vec([1, 3], vec![1i16, 2, 3]).unwrap();
        let mut expected = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        let dict = "{'descr': '<i2', 'fortran_order': False, 'shape': (1, 3), }";
        expected.extend_from_slice(format!("{dict:117}\n").as_bytes());
        expected.extend_from_slice(&[1, 0, 2, 0, 3, 0]);
        assert_eq!(write(&tensor).unwrap(), expected);
    }

    #[test]
    fn round_trips_every_type() {
        for dtype in DType::ALL {
            for shape in [
                Shape::scalar(),
                Shape::from([0, 2]),
                Shape::from([5]),
                Shape::from([2, 3]),
            ] {
                let count = shape.elements().unwrap() as i64;
                let tensor = HostTensor::from_i64(dtype, shape, (0..count).collect()).unwrap();
                match write(&tensor) {
                    Ok(file) => {
                        assert_eq!(file.len() % 64, tensor.bytes().len() % 64);
                        assert_eq!(read(&file).unwrap(), tensor);
                    }
                    Err(_) => {
                        assert!(dtype == DType::BF16 || dtype.bits() < 8 && dtype != DType::Bool)
                    }
                }
            }
        }
        let long = HostTensor::zeros(DType::U8, vec![1; 30_000]).unwrap();
        assert_eq!(read(&write(&long).unwrap()).unwrap(), long);
    }

    #[test]
    fn converts_byte_order_and_axis_order() {
        let dict = "{'shape': (2L, 3), 'descr': \">u2\", 'fortran_order': True}\n";
        let tensor = read(&file(dict, &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 1, 6])).unwrap();
        let expected = HostTensor::from_vec([2, 3], vec![1u16, 2, 3, 4, 5, 262]).unwrap();
        assert_eq!(tensor, expected);
    }

    #[test]
    fn refuses_hostile_headers() {
        let dict = |descr: &str, shape: &str| {
            let text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}");
            read(&file(&text, &[0; 8]))
        };
        assert!(dict("'<f4'", "(2,)").is_ok());
        for (descr, shape) in [
            ("'<f4'", "(3,)"),
            ("'<f4'", "(4611686018427387904, 4)"),
            ("'<f4'", "(99999999999999999999999,)"),
            ("'<f4'", "(-1,)"),
            ("'<f4'", "(2"),
            ("'<f4'", "2"),
            ("'f4'", "(2,)"),
            ("'\u{e9}f4'", "(2,)"),
            ("''", "(2,)"),
            ("'|O'", "(1,)"),
            ("[('a', '<f4')]", "(2,)"),
        ] {
            let error = dict(descr, shape).unwrap_err();
            let typed = matches!(error, Error::File { .. } | Error::TooManyElements { .. });
            assert!(typed, "{descr} {shape}: {error}");
        }
        for text in [
            "",
            "{",
            "{}",
            "{'shape': (), 'shape': ()}",
            "{'x': 1}",
            "{'descr': '<f4'} x",
        ] {
            assert!(read(&file(text, &[])).is_err(), "{text}");
        }
        let bool_of_two = file(
            "{'descr': '|b1', 'fortran_order': False, 'shape': ()}",
            &[2],
        );
        assert!(matches!(read(&bool_of_two), Err(Error::Range { .. })));
    }

    proptest! {
        #[test]
        fn damaged_files_do_not_panic(at in 0usize..140, byte: u8, keep in 0usize..140) {
            let tensor = HostTensor::from_vec([2, 3], vec![1u16, 2, 3, 4, 5, 6]).unwrap();
            let mut file = write(&tensor).unwrap();
            prop_assert!(read(&file[..keep.min(file.len() - 1)]).is_err());
            let at = at.min(file.len() - 1);
            file[at] = byte;
            if let Ok(read) = read(&file) {
                prop_assert_eq!(read.bytes().len(), tensor.bytes().len());
            }
        }
    }
}
