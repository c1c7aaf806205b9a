//! Why a kernel cannot be dispatched.

use crate::Store;

/// The result of asking for a kernel.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a kernel cannot be dispatched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The shapes or attributes do not fit together.
    #[error("{kernel}: {what}")]
    Shape {
        /// The kernel.
        kernel: &'static str,
        /// What does not fit: expected and got.
        what: String,
    },
    /// The kernel does not read or write this storage.
    #[error("{kernel}: {operand} is stored as {store}, which this kernel cannot use")]
    Storage {
        /// The kernel.
        kernel: &'static str,
        /// The operand.
        operand: &'static str,
        /// Its storage.
        store: Store,
    },
    /// Every loop that can compute it was found wrong on this device: see [`Choices`](crate::Choices).
    #[error("{kernel}: every variant was found wrong on this device")]
    Quarantined {
        /// The kernel.
        kernel: &'static str,
    },
    /// A file of tuned choices cannot be read or written, or is for something else.
    #[error("tuning: {what}")]
    Tuning {
        /// What is wrong with it.
        what: String,
    },
    /// A count passes what shader indices or the adapter can hold.
    #[error("{kernel}: {what} is {count}, over the limit of {limit}")]
    TooLarge {
        /// The kernel.
        kernel: &'static str,
        /// What is counted.
        what: &'static str,
        /// The count.
        count: u64,
        /// The limit.
        limit: u64,
    },
}

impl Error {
    /// Shapes or attributes that do not fit.
    pub(crate) fn shape(kernel: &'static str, what: impl Into<String>) -> Self {
        Self::Shape {
            kernel,
            what: what.into(),
        }
    }
}

/// A count as the `u32` of shader indices.
pub(crate) fn index(kernel: &'static str, what: &'static str, count: usize) -> Result<u32> {
    u32::try_from(count).map_err(|_| Error::TooLarge {
        kernel,
        what,
        count: count as u64,
        limit: u64::from(u32::MAX),
    })
}
