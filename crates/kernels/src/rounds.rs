//! How long the loops of a shader may be (docs/shaders.md, "Loops").

use tilewright_device::{AdapterKind, Caps};

use crate::{Error, Result};

/// Rounds that all loops of an invocation may take together on a software adapter: lavapipe of Mesa 22 leaves every loop after
/// 65,535 of them. What lies between is for short loops that nobody counts: trees, remainders, epilogues.
const SOFTWARE_ROUNDS: usize = 60_000;

/// Rounds that an invocation's loops may take together. A loop costs one more each time than it has rounds.
pub(crate) fn most_rounds(caps: &Caps) -> usize {
    match caps.kind {
        AdapterKind::Software => SOFTWARE_ROUNDS,
        _ => usize::MAX,
    }
}

/// An error where an invocation's loops would take more `rounds` than the adapter makes.
pub(crate) fn check_rounds(kernel: &'static str, caps: &Caps, rounds: usize) -> Result<()> {
    let limit = most_rounds(caps);
    if rounds <= limit {
        return Ok(());
    }
    Err(Error::TooLarge {
        kernel,
        what: "the length of a thread's loops",
        count: rounds as u64,
        limit: limit as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_software_adapters_refuse_long_loops() {
        let mut caps = Caps::webgpu_default();
        assert_eq!(check_rounds("kernel", &caps, usize::MAX), Ok(()));
        caps.kind = AdapterKind::Software;
        assert_eq!(check_rounds("kernel", &caps, SOFTWARE_ROUNDS), Ok(()));
        let refused = check_rounds("kernel", &caps, 65_535);
        assert!(matches!(
            refused,
            Err(Error::TooLarge { count: 65_535, .. })
        ));
    }
}
