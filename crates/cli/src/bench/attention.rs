//! `tilewright bench attention`: softmax(Q K^T / sqrt(head)) V.

use super::driver::{Options, Plan};
use super::work::{Attention, Work};
use crate::Failure;

/// Arguments of `bench attention`.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tilewright bench attention --heads 12 --queries 128,512 --head 64 --causal --json\n\n\
    Q, K and V are [batch, heads, places, head] in f32. GFLOP/s count all scores, also those that --causal hides. The report has\n\
    the bytes of operands, of what lies between (the matrix of scores, where the adapter's form has one) and of weights."
)]
pub(super) struct Args {
    /// Batch items.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Heads of each item.
    #[arg(long, default_value_t = 12)]
    heads: usize,
    /// Queries; a list makes a case of each.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "COUNT,..",
        default_value = "128,512"
    )]
    queries: Vec<usize>,
    /// Keys; as many as queries unless told.
    #[arg(long)]
    keys: Option<usize>,
    /// Elements of a query, a key and a value.
    #[arg(long, default_value_t = 64)]
    head: usize,
    /// A query sees the keys up to its own place.
    #[arg(long)]
    causal: bool,
    #[command(flatten)]
    options: Options,
}

/// One case for each number of queries.
pub(super) fn main(args: &Args) -> Result<(), Failure> {
    let &Args {
        batch,
        heads,
        head,
        causal,
        ..
    } = args;
    let mut works = vec![];
    for &queries in &args.queries {
        let keys = args.keys.unwrap_or(queries);
        if [batch, heads, queries, keys, head].contains(&0) {
            return Err("--batch, --heads, --queries, --keys and --head begin at 1".into());
        }
        works.push(Work::Attention(Attention {
            batch,
            heads,
            queries,
            keys,
            head,
            causal,
        }));
    }
    Plan {
        works,
        ..Plan::default()
    }
    .run("attention", &args.options.gpu()?, &args.options)
}
