//! How products of 8-bit integers read their operands: as int8 or uint8, with the sign of bytes changed where it is the
//! other one.

use tilewright_device::{AdapterKind, Caps};

use crate::product::{Arithmetic, INT8, INT8_SCALED};
use crate::{Error, Result, Store, View};

/// Elements from row to row of a result: 8-bit rows are padded to words.
pub(crate) fn columns(c: &View, n: usize) -> usize {
    match c.store {
        Store::Packed8 { .. } => n.next_multiple_of(4),
        _ => n,
    }
}

/// How the bytes of an operand are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    /// As uint8, else as int8.
    pub(crate) unsigned: bool,
    /// What changes the sign of the bytes of a word, 0 where it is right.
    pub(crate) flip: u32,
    /// How much less values are as read.
    pub(crate) less: i32,
}

impl Read {
    /// A: by its sign in the multiplication of the adapter.
    pub(crate) fn left(caps: &Caps, view: &View) -> Result<Self> {
        Self::new(view, caps.kind == AdapterKind::Software)
    }

    /// B: always int8.
    pub(crate) fn right(view: &View) -> Result<Self> {
        Self::new(view, false)
    }

    fn new(view: &View, unsigned: bool) -> Result<Self> {
        let Store::Packed8 { signed } = view.store else {
            return Err(Error::Storage {
                kernel: "gemm8",
                operand: "A or B",
                store: view.store,
            });
        };
        let (flip, less) = match (signed, unsigned) {
            (true, true) => (0x8080_8080, -128),
            (false, false) => (0x8080_8080, 128),
            _ => (0, 0),
        };
        Ok(Self {
            unsigned,
            flip,
            less,
        })
    }
}

/// The arithmetic for a result, and for how A is read.
pub(crate) fn arithmetic(read: Read, c: &View) -> Arithmetic {
    let arithmetic = if c.store == Store::I32 {
        INT8
    } else {
        INT8_SCALED
    };
    let part = if read.unsigned { "mac_u8" } else { "mac_i8" };
    Arithmetic { part, ..arithmetic }
}
