//! `tilewright bench gemm`: C[M, N] = A[M, K] B[K, N].

use super::data::{self, points};
use super::driver::{Options, Plan};
use super::exact::exact;
use super::subject::Rival;
use super::work::{Gemm, Work};
use crate::Failure;
use std::collections::HashSet;
use tilewright::device::Slot;
use tilewright::kernels::{
    self, Layout, Loop, Operand, Store, View, candidates, gemm_with, pack_b, panel_width,
};
use tilewright::{AdapterKind, DType, Gpu, block_on};
use tilewright_benches::{Candidate, Tensors};

/// Arguments of `bench gemm`.
#[derive(clap::Args)]
#[command(
    after_help = "Example: tilewright bench gemm --size 512,1024x256x64 --json > gemm.json\n\n\
    B is a constant weight, packed once as in a model, unless --batch makes it one of many. Without --size: --preset ladder."
)]
pub(super) struct Args {
    /// Sizes: MxNxK, or one number for all three.
    #[arg(long, value_name = "SIZE,..", value_delimiter = ',')]
    size: Vec<String>,
    /// So many products of each size at once, each with a B of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// The type of A, B and C; sums are f32.
    #[arg(long, default_value = "f32", value_parser = dtype)]
    dtype: DType,
    /// `ladder`: squares from 64 to 2048, on GPUs to 8192. `sweep`: 60 sizes, squares, skinny in m, n or k, odd, in batches.
    #[arg(long, conflicts_with = "size")]
    preset: Option<Preset>,
    /// Time every loop that could compute the product, and tell how far the default is from the fastest.
    #[arg(long)]
    candidates: bool,
    #[command(flatten)]
    options: Options,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Preset {
    Ladder,
    Sweep,
}

/// `f32` or `f16`.
pub(super) fn dtype(text: &str) -> Result<DType, String> {
    match text {
        "f32" => Ok(DType::F32),
        "f16" => Ok(DType::F16),
        _ => Err("write f32 or f16".into()),
    }
}

/// The products, one case each.
pub(super) fn main(args: &Args) -> Result<(), Failure> {
    let (batch, gpu) = (usize::try_from(args.batch)?, args.options.gpu()?);
    let sizes = match (&args.size[..], args.preset) {
        (&[], Some(Preset::Sweep)) => sweep(),
        (&[], _) => {
            // Presets follow the adapter: minutes on software, milliseconds on a GPU.
            let software = gpu.caps().kind == AdapterKind::Software;
            ladder(software).into_iter().map(|n| [1, n, n, n]).collect()
        }
        (sizes, _) => sizes.iter().map(|s| size(s)).collect::<Result<_, _>>()?,
    };
    let dtype = args.dtype;
    let work = |[own, m, n, k]: [usize; 4]| {
        Work::Gemm(Gemm {
            m,
            n,
            k,
            batch: own * batch,
            dtype,
        })
    };
    let mut seen = HashSet::new();
    let works = sizes.into_iter().filter(|s| seen.insert(*s)).map(work);
    let plan = Plan {
        works: works.collect(),
        ..Plan::default()
    };
    let plan = if args.candidates {
        Plan {
            rivals: Some(rivals),
            ..plan
        }
    } else {
        plan
    };
    plan.run("gemm", &gpu, &args.options)
}

/// Batch of 1, and m, n and k.
fn size(text: &str) -> Result<[usize; 4], Failure> {
    let wrong =
        || format!("--size {text}: write MxNxK, or one number for all three; sizes begin at 1");
    let numbers: Result<Vec<usize>, _> = text.split('x').map(|part| part.trim().parse()).collect();
    match numbers.map_err(|_| wrong())?[..] {
        [n] if n > 0 => Ok([1, n, n, n]),
        [m, n, k] if m * n * k > 0 => Ok([1, m, n, k]),
        _ => Err(wrong().into()),
    }
}

fn ladder(software: bool) -> Vec<usize> {
    (6..=if software { 11 } else { 13 })
        .map(|n| 1 << n)
        .collect()
}

/// Batch, m, n, k: 12 squares, 36 with one extent (or two) far from the others, 6 odd ones, 6 batches.
fn sweep() -> Vec<[usize; 4]> {
    let squares = [32, 64, 96, 128, 192, 256, 384, 512, 640, 768, 896, 1024];
    let mut sizes: Vec<[usize; 4]> = squares.map(|n| [1, n, n, n]).to_vec();
    for thin in [1, 2, 4, 8, 16, 32] {
        for wide in [256, 1024] {
            sizes.extend([
                [1, thin, wide, wide],
                [1, wide, thin, wide],
                [1, wide, wide, thin],
            ]);
        }
    }
    for [m, n, k] in [
        [37, 41, 43],
        [67, 131, 129],
        [127, 255, 511],
        [333, 77, 1001],
        [513, 513, 513],
        [1023, 999, 37],
    ] {
        sizes.push([1, m, n, k]);
    }
    for [batch, m, n, k] in [
        [2, 512, 512, 512],
        [4, 256, 256, 256],
        [8, 128, 128, 64],
        [12, 128, 64, 128],
        [16, 64, 64, 64],
        [32, 50, 50, 50],
    ] {
        sizes.push([batch, m, n, k]);
    }
    sizes
}

/// The slots of A, B and C.
const SLOTS: [Slot; 3] = [Slot(0), Slot(1), Slot(2)];

/// All loops for the product, checked.
fn rivals<'a>(gpu: &'a Gpu, work: &Work) -> Result<Vec<Rival<'a>>, Failure> {
    let Work::Gemm(w) = work else {
        return Ok(vec![]);
    };
    let (tensors, at) = (operands(gpu, w)?, points(w.batch * w.m * w.n));
    let expected = exact(work, &at)?.ok_or("no exact result")?;
    let mut rivals = vec![];
    for of in candidates(gpu.caps(), w.m, w.n, w.k, w.batch) {
        let dispatches = dispatches(gpu, w, of)?;
        let variant = &dispatches
            .first()
            .ok_or("a product without dispatches")?
            .variant;
        let (name, kernel) = (name(variant.shader, of), variant.to_string());
        let replay = block_on(gpu.bind(&dispatches, |slot| tensors.place(slot)))?;
        let candidate = Candidate::new(gpu, replay)?;
        let got = floats(gpu, w, &tensors)?;
        let got: Vec<f64> = at.iter().map(|&i| got[i]).collect();
        let nmse = data::nmse(&got, &expected);
        if nmse > work.bound() || nmse.is_nan() {
            return Err(format!(
                "the result of {of:?} is wrong: NMSE {nmse:.1e}, at most {:.0e}",
                work.bound()
            )
            .into());
        }
        rivals.push(Rival::candidate(gpu, name, kernel, candidate));
    }
    Ok(rivals)
}

/// How the elements of A, B and C lie.
fn store(gpu: &Gpu, w: &Gemm) -> (Store, DType) {
    match w.dtype {
        DType::F16 if gpu.caps().f16 => (Store::F16, DType::F16),
        _ => (Store::F32, DType::F32),
    }
}

fn operands(gpu: &Gpu, w: &Gemm) -> Result<Tensors, Failure> {
    let (_, dtype) = store(gpu, w);
    let a = data::tensor(w.dtype, 0, &[w.batch, w.m, w.k], |i| i)?.cast(dtype)?;
    let mut b = data::tensor(w.dtype, 1, &[w.batch, w.k, w.n], |i| i)?.cast(dtype)?;
    if w.batch == 1 {
        b = pack_b(&b.reshape([w.k, w.n])?, false, panel_width(gpu.caps()))?;
    }
    let mut tensors = Tensors::default();
    let c = vec![0xff; w.batch * w.m * w.n * dtype.size_bytes()];
    for (slot, bytes) in [a.bytes(), b.bytes(), &c].into_iter().enumerate() {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        tensors.put(gpu, slot as u32, &bytes)?;
    }
    Ok(tensors)
}

fn dispatches(gpu: &Gpu, w: &Gemm, of: Loop) -> Result<Vec<tilewright::device::Dispatch>, Failure> {
    let (store, _) = store(gpu, w);
    let width = panel_width(gpu.caps());
    let b_shape = match w.batch {
        1 => vec![w.n.div_ceil(width), w.k.next_multiple_of(4), width],
        batch => vec![batch, w.k, w.n],
    };
    let views = [vec![w.batch, w.m, w.k], b_shape, vec![w.batch, w.m, w.n]];
    let [a, b, c] = [0, 1, 2].map(|i| View::new(SLOTS[i], store, views[i].clone()));
    let many = w.batch > 1;
    let operand = |view, layout, ld, matrix| Operand {
        view,
        layout,
        ld,
        batch: if many { vec![matrix] } else { vec![] },
    };
    let b = match many {
        true => operand(&b, Layout::Rows, w.n, w.k * w.n),
        false => operand(&b, Layout::Panels { width }, w.k.next_multiple_of(4), 0),
    };
    let product = kernels::Gemm {
        m: w.m,
        n: w.n,
        k: w.k,
        batch: if many { vec![w.batch] } else { vec![] },
        a: operand(&a, Layout::Rows, w.k, w.m * w.k),
        b,
        c: operand(&c, Layout::Rows, w.n, w.m * w.n),
        epilogue: None,
    };
    Ok(gemm_with(gpu.caps(), &product, of)?)
}

fn floats(gpu: &Gpu, w: &Gemm, tensors: &Tensors) -> Result<Vec<f64>, Failure> {
    let (_, dtype) = store(gpu, w);
    let count = w.batch * w.m * w.n;
    let bytes = tensors.bytes(
        gpu,
        SLOTS[2].0,
        (count * dtype.size_bytes()).next_multiple_of(4),
    )?;
    Ok(
        tilewright::HostTensor::from_bytes(dtype, [count], &bytes[..count * dtype.size_bytes()])?
            .to_f64(),
    )
}

/// The shader with rows and columns of a workgroup, and what else tells its forms apart.
fn name(shader: &str, of: Loop) -> String {
    let [m, n] = of.extent();
    let more = match of {
        Loop::Tile {
            tm4, tn4, sides, ..
        } => format!(", {}x{} a thread, {sides} buffers", 4 * tm4, 4 * tn4),
        Loop::Gemv { tk, .. } => format!(", k over {tk}"),
        _ => String::new(),
    };
    format!("{shader} {m}x{n}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_three_numbers_or_one() {
        assert_eq!(size("512").unwrap(), [1, 512, 512, 512]);
        assert_eq!(size("1024x256x64").unwrap(), [1, 1024, 256, 64]);
        for wrong in ["", "0", "1x2", "1x2x3x4", "1x2x0", "wide"] {
            let error = size(wrong).unwrap_err().to_string();
            assert!(error.contains("write MxNxK"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_sweep_is_sixty_different_sizes() {
        let sizes = sweep();
        let different: HashSet<_> = sizes.iter().collect();
        assert_eq!((sizes.len(), different.len()), (60, 60));
        assert_eq!(ladder(true), [64, 128, 256, 512, 1024, 2048]);
    }
}
