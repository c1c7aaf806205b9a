//! How long the loops of a shader may be (docs/shaders.md, "Loops").

use tilewright_device::Caps;

use crate::{Error, Result};

/// Rounds that are left to short loops which nobody counts: trees, remainders, epilogues.
const UNCOUNTED: usize = 5_535;

/// Rounds that an invocation's loops may take together. A loop costs one more each time than it has rounds.
pub(crate) fn most_rounds(caps: &Caps) -> usize {
    caps.loop_rounds
        .map_or(usize::MAX, |most| (most as usize).saturating_sub(UNCOUNTED))
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
    use tilewright_device::AdapterKind;

    #[test]
    fn long_loops_are_refused_where_drivers_cut_them() {
        let mut caps = Caps::webgpu_default();
        assert_eq!(check_rounds("kernel", &caps, usize::MAX), Ok(()));
        caps.loop_rounds = Caps::loop_rounds_of(AdapterKind::Software);
        assert_eq!(check_rounds("kernel", &caps, 60_000), Ok(()));
        let refused = check_rounds("kernel", &caps, 65_535);
        assert!(matches!(
            refused,
            Err(Error::TooLarge { count: 65_535, .. })
        ));
    }
}
