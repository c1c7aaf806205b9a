//! What the tests on a device share.

use tilewright::device::Error;
use tilewright::{Gpu, GpuOptions, block_on};

/// The adapter; none only where `TILEWRIGHT_SKIP_GPU=1` says that none is expected.
pub(crate) fn gpu(options: GpuOptions) -> Option<Gpu> {
    let skip = std::env::var_os("TILEWRIGHT_SKIP_GPU").is_some_and(|value| value == "1");
    match block_on(Gpu::new(options)) {
        Ok(gpu) => Some(gpu),
        Err(Error::NoAdapter { .. }) if skip => None,
        Err(e) => panic!("{e}; set TILEWRIGHT_SKIP_GPU=1 where no adapter is expected"),
    }
}
