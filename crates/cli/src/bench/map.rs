//! `tilewright bench map`: functions that memory limits, against copies of as many bytes.

use super::driver::{Options, Plan};
use super::peaks::copies;
use super::subject::Rival;
use super::work::{MapOp, MapWork, Work};
use crate::Failure;
use std::hint::black_box;
use tilewright::{AdapterKind, Gpu};

/// Arguments of `bench map`.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tilewright bench map --op gelu,softmax --size 4096x1024 --json\n\n\
    GB/s count every operand and the result once. Beside each function a copy of as many bytes is timed: the adapter's own from\n\
    buffer to buffer, and on software adapters one in host memory."
)]
pub(super) struct Args {
    /// Functions.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "NAME,..",
        default_value = "add,relu,gelu,softmax,layer_norm"
    )]
    op: Vec<MapOp>,
    /// Rows x columns; softmax and layer_norm are over columns.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "ROWSxCOLS,..",
        default_value = "4096x1024"
    )]
    size: Vec<String>,
    #[command(flatten)]
    options: Options,
}

/// Every function at every size.
pub(super) fn main(args: &Args) -> Result<(), Failure> {
    let mut works = vec![];
    for text in &args.size {
        let sizes = text
            .split_once('x')
            .and_then(|(r, c)| Some((r.parse().ok()?, c.parse().ok()?)));
        let wrong = || format!("--size {text}: write ROWSxCOLS; sizes begin at 1");
        let (rows, cols): (usize, usize) = sizes.filter(|(r, c)| r * c > 0).ok_or_else(wrong)?;
        works.extend(
            args.op
                .iter()
                .map(|&op| Work::Map(MapWork { op, rows, cols })),
        );
    }
    Plan {
        works,
        rivals: Some(rivals),
        ..Plan::default()
    }
    .run("map", &args.options.gpu()?, &args.options)
}

/// Copies that read and write together as many bytes as the function.
fn rivals<'a>(gpu: &'a Gpu, work: &Work) -> Result<Vec<Rival<'a>>, Failure> {
    let bytes = work.bytes().unwrap_or(0.0) as u64 / 2;
    let mut rivals = vec![copies(gpu, bytes)?];
    if gpu.caps().kind == AdapterKind::Software {
        let (from, mut to) = (
            vec![1u8; usize::try_from(bytes)?],
            vec![0u8; usize::try_from(bytes)?],
        );
        // The system counts the time of a running thread in steps of milliseconds.
        let repeats = ((256 << 20) / bytes.max(1)).clamp(1, 100_000) as usize;
        rivals.push(Rival::copy(gpu, "host memcpy", repeats, move || {
            for _ in 0..repeats {
                to.copy_from_slice(black_box(&from));
                black_box(&to);
            }
            Ok(())
        }));
    }
    Ok(rivals)
}
