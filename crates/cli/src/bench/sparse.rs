//! `tilewright bench sparse`: y = x W^T with a dense and with a block-sparse W of the same values.

mod weights;

use super::{Common, bar};
use crate::Failure;
use serde_json::{Value, json};
use std::fmt::Write;
use tilewright::Gpu;
use tilewright_benches::{Candidate, Pace, Samples, alternate, machine};
use weights::{Layer, Sparse};

/// Arguments of `bench sparse`.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tilewright bench sparse --size 1024,1024,1024 --block 32 --sparsity 0.5,0.9,0.95\n\n\
    y[M, N] = x[M, K] W[N, K]^T in f32, with random data. Each sparse result is compared with the dense one of the same\n\
    weights before anything is timed. GFLOP/s are those of the dense product over the time; `own` counts stored blocks alone."
)]
pub(super) struct Args {
    /// Rows of x, outputs and inputs of the layer.
    #[arg(
        long,
        value_name = "M,N,K",
        value_delimiter = ',',
        default_value = "1024,1024,1024"
    )]
    size: Vec<usize>,
    /// Block sizes: 32, or rows x columns as 64x32.
    #[arg(
        long,
        value_name = "SIZE,..",
        value_delimiter = ',',
        default_value = "32"
    )]
    block: Vec<String>,
    /// Parts of the blocks that are zero.
    #[arg(
        long,
        value_name = "PART,..",
        value_delimiter = ',',
        default_value = "0.5,0.7,0.8,0.9,0.95,0.98"
    )]
    sparsity: Vec<f64>,
    #[command(flatten)]
    common: Common,
}

/// Checks, measures, reports.
pub(super) fn main(args: &Args) -> Result<(), Failure> {
    let &[m, n, k] = &args.size[..] else {
        return Err(format!("--size {:?}: write M,N,K", args.size).into());
    };
    if m == 0 || n == 0 || k == 0 {
        return Err(format!("--size {m},{n},{k}: sizes begin at 1").into());
    }
    let blocks = args
        .block
        .iter()
        .map(|b| block(b))
        .collect::<Result<Vec<_>, _>>()?;
    let mut sparsities = args.sparsity.clone();
    sparsities.sort_by(f64::total_cmp);
    if let Some(wrong) = sparsities.iter().find(|s| !(0.0..=1.0).contains(*s)) {
        return Err(format!("--sparsity {wrong}: a part is between 0 and 1").into());
    }
    let pace = args.common.pace()?;
    let gpu = args.common.gpu()?;
    let mut layer = Layer::new(&gpu, [m, n, k], args.common.seed)?;
    let cases = blocks
        .iter()
        .flat_map(|&block| sparsities.iter().map(move |&s| (block, s)));
    let sparse = cases
        .map(|(block, s)| layer.sparse(&gpu, block, s))
        .collect::<Result<Vec<_>, _>>()?;
    let report = measure(&gpu, &layer, &sparse, pace)?;
    if args.common.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&report.json(&gpu, args.common.seed))?
        );
    } else {
        print!("{}", report.table(&gpu)?);
    }
    Ok(())
}

/// `32` or `64x32`.
fn block(text: &str) -> Result<[usize; 2], Failure> {
    let (rows, columns) = text.split_once('x').unwrap_or((text, text));
    let number = |part: &str| {
        part.trim()
            .parse()
            .map_err(|e| format!("--block {text}: {e}"))
    };
    Ok([number(rows)?, number(columns)?])
}

fn measure<'a>(
    gpu: &Gpu,
    layer: &'a Layer,
    sparse: &'a [Sparse],
    pace: Pace,
) -> Result<Report<'a>, Failure> {
    let bar = bar("measuring")?;
    let mut candidates: Vec<&Candidate> = vec![&layer.dense];
    candidates.extend(sparse.iter().map(|s| &s.candidate));
    let mut samples = alternate(gpu, &candidates, pace, |part| {
        bar.set_position((100.0 * part) as u64)
    })?
    .into_iter();
    bar.finish_and_clear();
    let dense = samples.next().ok_or("nothing was measured")?;
    let rows = sparse.iter().zip(samples).collect();
    Ok(Report {
        size: layer.size,
        layer,
        dense,
        rows,
    })
}

/// What was measured.
struct Report<'a> {
    size: [usize; 3],
    layer: &'a Layer,
    dense: Samples,
    rows: Vec<(&'a Sparse, Samples)>,
}

/// From which sparsity on the sparse product is faster than the dense one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Crossover {
    /// Between two measured sparsities: the time between them taken as linear.
    At(f64),
    /// Already at the lowest that was measured.
    Below(f64),
    /// Not even at the highest that was measured.
    Above(f64),
}

/// The crossover of points (sparsity, how many times faster than dense), by sparsity.
fn crossover(points: &[(f64, f64)]) -> Option<Crossover> {
    let (first, last) = (points.first()?, points.last()?);
    if first.1 >= 1.0 {
        return Some(Crossover::Below(first.0));
    }
    for pair in points.windows(2) {
        let [(s0, r0), (s1, r1)] = [pair[0], pair[1]];
        if r0 < 1.0 && r1 >= 1.0 {
            let (t0, t1) = (1.0 / r0, 1.0 / r1);
            return Some(Crossover::At(s0 + (s1 - s0) * (t0 - 1.0) / (t0 - t1)));
        }
    }
    Some(Crossover::Above(last.0))
}

impl Report<'_> {
    fn work(&self) -> f64 {
        2.0 * self.size.iter().map(|&n| n as f64).product::<f64>() * 1e-9
    }

    fn ratio(&self, of: &Samples) -> f64 {
        self.dense.median() / of.median()
    }

    /// Block sizes in order, each with its crossover.
    fn crossovers(&self) -> Vec<([usize; 2], Option<Crossover>)> {
        let mut blocks: Vec<[usize; 2]> = self.rows.iter().map(|(s, _)| s.block).collect();
        blocks.dedup();
        let points = |block| {
            let own = self.rows.iter().filter(|(s, _)| s.block == block);
            own.map(|(s, samples)| (s.sparsity, self.ratio(samples)))
                .collect::<Vec<_>>()
        };
        blocks
            .into_iter()
            .map(|block| (block, crossover(&points(block))))
            .collect()
    }

    fn table(&self, gpu: &Gpu) -> Result<String, Failure> {
        let mut out = String::new();
        let [m, n, k] = self.size;
        let dense = self.dense.median();
        writeln!(out, "{}, driver {}", gpu.info().key, gpu.info().driver)?;
        writeln!(
            out,
            "y[{m}, {n}] = x[{m}, {k}] W^T: dense {:.3} ms +-{:.0}%, {:.1} GFLOP/s",
            dense * 1e3,
            self.dense.spread() * 50.0,
            self.work() / dense
        )?;
        writeln!(
            out,
            "\n{:>8} {:>9} {:>11} {:>6} {:>13} {:>13} {:>8}",
            "block", "sparsity", "ms", "+-", "GFLOP/s", "own GFLOP/s", "ratio"
        )?;
        for (sparse, samples) in &self.rows {
            let [rows, columns] = sparse.block;
            let time = samples.median();
            writeln!(
                out,
                "{:>8} {:>8.1}% {:>11.3} {:>5.0}% {:>13.1} {:>13.1} {:>7.2}x",
                format!("{rows}x{columns}"),
                sparse.sparsity * 100.0,
                time * 1e3,
                samples.spread() * 50.0,
                self.work() / time,
                self.work() * (1.0 - sparse.sparsity) / time,
                self.ratio(samples)
            )?;
        }
        writeln!(out)?;
        for ([rows, columns], crossover) in self.crossovers() {
            let says = match crossover {
                Some(Crossover::At(s)) => {
                    format!("faster than dense from {:.0}% zeros on", s * 100.0)
                }
                Some(Crossover::Below(s)) => {
                    format!("faster than dense at {:.0}% zeros already", s * 100.0)
                }
                Some(Crossover::Above(s)) => {
                    format!("slower than dense up to {:.0}% zeros", s * 100.0)
                }
                None => continue,
            };
            writeln!(out, "{rows}x{columns}: {says}")?;
        }
        let time = if self.dense.cpu.is_empty() {
            "wall time"
        } else {
            "processor time over processors"
        };
        writeln!(
            out,
            "medians of {} samples, {time}; +- is half the distance of the quartiles",
            self.dense.wall.len()
        )?;
        Ok(out)
    }

    fn json(&self, gpu: &Gpu, seed: u64) -> Value {
        let rows = self.rows.iter().map(|(sparse, samples)| {
            json!({
                "block": sparse.block,
                "sparsity": sparse.sparsity,
                "stored_blocks": sparse.stored,
                "nmse": sparse.nmse,
                "ratio": self.ratio(samples),
                "gflops": self.work() / samples.median(),
                "own_gflops": self.work() * (1.0 - sparse.sparsity) / samples.median(),
                "first_seconds": sparse.candidate.first,
                "times": samples.json(),
            })
        });
        let crossovers = self.crossovers().into_iter().map(|(block, crossover)| {
            let (relation, sparsity) = match crossover {
                Some(Crossover::At(s)) => ("at", Some(s)),
                Some(Crossover::Below(s)) => ("at most", Some(s)),
                Some(Crossover::Above(s)) => ("above", Some(s)),
                None => ("unknown", None),
            };
            json!({"block": block, "relation": relation, "sparsity": sparsity})
        });
        json!({
            "format": "tilewright-bench-sparse",
            "version": 1,
            "machine": machine(gpu),
            "size": self.size,
            "seed": seed,
            "dense": {
                "gflops": self.work() / self.dense.median(),
                "first_seconds": self.layer.dense.first,
                "times": self.dense.json(),
            },
            "sparse": rows.collect::<Vec<_>>(),
            "crossover": crossovers.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_square_or_not() {
        assert_eq!(block("32").ok(), Some([32, 32]));
        assert_eq!(block("64x32").ok(), Some([64, 32]));
        assert!(block("64x").is_err());
        assert!(block("-1").is_err());
    }

    #[test]
    fn crossover_lies_where_times_are_equal() {
        assert_eq!(crossover(&[]), None);
        assert_eq!(
            crossover(&[(0.5, 1.5), (0.9, 4.0)]),
            Some(Crossover::Below(0.5))
        );
        assert_eq!(
            crossover(&[(0.5, 0.2), (0.9, 0.9)]),
            Some(Crossover::Above(0.9))
        );
        // Times of 2 and 0.5 of the dense: equal after two thirds of the way.
        let Some(Crossover::At(s)) = crossover(&[(0.2, 0.5), (0.5, 2.0)]) else {
            panic!("no crossover")
        };
        assert!((s - 0.4).abs() < 1e-12, "{s}");
    }
}
