//! Counts of instructions in a driver's text, above all in the loop where most of the arithmetic is.

/// Instructions of a stretch of code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All.
    pub(crate) all: u32,
    /// Multiply-adds on vectors; one that does two counts twice.
    pub(crate) math: u32,
    /// Products of matrices.
    pub(crate) matrix: u32,
    /// Products of four 8-bit integers.
    pub(crate) dot: u32,
    /// Loads from workgroup memory, and those of them with 128 bits.
    pub(crate) lds_loads: u32,
    /// See `lds_loads`.
    pub(crate) lds_wide: u32,
    /// Loads from buffers.
    pub(crate) loads: u32,
}

/// Counts over all of a text, and over its hottest loop: of those without a loop inside, the one with the most arithmetic.
pub(crate) fn count(text: &str) -> (Counts, Counts) {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let label = |name: &str| {
        let mut at = lines.iter();
        at.position(|line| line.strip_suffix(':') == Some(name))
    };
    let mut loops: Vec<(usize, usize)> = vec![];
    for (end, line) in lines.iter().enumerate() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [name, target, ..] = words[..] else {
            continue;
        };
        let branches = name.starts_with("s_cbranch") || name == "s_branch";
        if let Some(start) = label(target).filter(|&start| branches && start <= end) {
            loops.push((start, end));
        }
    }
    let inner = |&(start, end): &(usize, usize)| {
        let within = |other: &(usize, usize)| other.0 > start && other.1 < end;
        !loops.iter().any(within)
    };
    let hot = loops.iter().filter(|of| inner(of));
    let hot = hot.map(|&(start, end)| sum(&lines[start..=end]));
    let most = hot.max_by_key(|c| c.math + c.dot + 64 * c.matrix);
    (sum(&lines), most.unwrap_or_default())
}

fn sum(lines: &[&str]) -> Counts {
    let mut counts = Counts::default();
    for line in lines {
        // What follows a semicolon are the instruction's bytes; a dual instruction has two halves.
        let code = line.split(';').next().unwrap_or_default();
        let mut halves = code.split("::").map(|half| half.split_whitespace().next());
        let Some(Some(name)) = halves
            .next()
            .filter(|name| name.is_some_and(is_instruction))
        else {
            continue;
        };
        counts.all += 1;
        counts.add(name);
        if let Some(Some(second)) = halves.next() {
            counts.add(second);
        }
    }
    counts
}

fn is_instruction(name: &str) -> bool {
    let kinds = [
        "s_", "v_", "ds_", "buffer_", "global_", "scratch_", "flat_", "lds_",
    ];
    kinds.iter().any(|kind| name.starts_with(kind))
}

impl Counts {
    fn add(&mut self, name: &str) {
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        self.math += u32::from(has(&["_fma", "_mac_f", "_mad_f", "_fmac"]));
        self.matrix += u32::from(has(&["v_wmma", "v_mfma"]));
        self.dot += u32::from(has(&["v_dot4"]));
        self.lds_loads += u32::from(has(&["ds_load", "ds_read"]));
        self.lds_wide += u32::from(has(&["ds_load_b128", "ds_read_b128"]));
        self.loads += u32::from(has(&["buffer_load", "global_load"]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "BB0:
\ts_mov_b32 s0, s1            ; be800001
BB1:
\tds_load_b128 v[0:3], v9     ; d9fc0000
BB2:
\tds_load_b32 v4, v9          ; d8d80000
\tv_fma_f32 v5, v0, v4, v5    ; d6130005
\tv_dual_fmac_f32 v6, v1, v4 :: v_dual_fmac_f32 v7, v2, v4 ; c8000000
\ts_cbranch_scc1 BB2          ; bfa2fff0
\ts_cbranch_vccz BB3          ; bfa30001
\ts_branch BB1                ; bfa0ffe0
BB3:
\tv_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7] ; cc404000
\ts_endpgm                    ; bfb00000
";

    #[test]
    fn the_loop_with_the_arithmetic_is_found() {
        let (all, hot) = count(TEXT);
        let expected = Counts {
            all: 4,
            math: 3,
            lds_loads: 1,
            ..Counts::default()
        };
        assert_eq!(hot, expected);
        assert_eq!((all.all, all.matrix, all.lds_wide), (10, 1, 1));
    }

    #[test]
    fn straight_code_has_no_loop() {
        assert_eq!(count("BB0:\n\ts_endpgm\n").1, Counts::default());
    }
}
