//! What can go wrong on a device.

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong on a device. Cloneable, because a lost device answers every later call with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter fits the choice.
    #[error("no adapter for {wanted}; found: {found}")]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// The keys of the adapters that are there, or "none".
        found: String,
    },
    /// The adapter is there, but gives no device.
    #[error("adapter {adapter} gives no device: {message}")]
    NoDevice {
        /// The adapter's key.
        adapter: String,
        /// What the driver says.
        message: String,
    },
    /// A shader text is wrong: a directive, or what the compiler says.
    #[error("{place}: {message}")]
    Shader {
        /// `shaders/gemm_tile.wgsl:41`, or the variant where no line is known.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// A dispatch and its program do not fit.
    #[error("{program}: {name}: {message}")]
    Binding {
        /// The variant.
        program: String,
        /// The binding or parameter.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The API refused a call.
    #[error("{place}: refused by the GPU API: {message}")]
    Validation {
        /// What was being done.
        place: String,
        /// The API's message.
        message: String,
    },
    /// The device has no memory left.
    #[error("out of GPU memory for {what} ({bytes} bytes)")]
    OutOfMemory {
        /// What the memory was for.
        what: String,
        /// Bytes asked for; 0 where it is not known.
        bytes: u64,
    },
    /// A size is over a limit of the device.
    #[error("{what}: {bytes} is over the device's limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// What was asked for: bytes, or groups where `what` says so.
        bytes: u64,
        /// The limit, in the same unit.
        limit: u64,
    },
    /// A range does not lie in its buffer, or is not aligned.
    #[error("{what}: bytes {offset}..{offset}+{bytes} of a buffer of {size}: {message}")]
    Range {
        /// What was being done.
        what: &'static str,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        bytes: u64,
        /// Bytes of the buffer.
        size: u64,
        /// What is wrong.
        message: &'static str,
    },
    /// The device is gone. Every later call says so; make a new `Gpu`.
    #[error("the GPU device is lost: {reason}")]
    DeviceLost {
        /// Why, as far as the driver says.
        reason: String,
    },
    /// A cancel token was cancelled before everything was submitted.
    #[error("cancelled")]
    Cancelled,
    /// The deadline passed before everything was submitted.
    #[error("the deadline passed before everything was submitted")]
    Deadline,
    /// The device cannot do that.
    #[error("not supported by this device: {what}")]
    Unsupported {
        /// What is missing.
        what: &'static str,
    },
}
