//! What AMD's driver makes of the GPU kernels, read without a GPU.
//!
//! `isa --driver FILE [--families A,B] [--only TEXT | --text WGSL] [--json FILE] [--markdown FILE] [--asm FOLDER]`. FILE is
//! the description of Mesa's radv as a Vulkan driver (`tools/mesa-backport.sh DIR` makes DIR/radv.json), which compiles for a
//! family of GPUs that is not there: navi31 has instructions for matrices, navi21 has none. Every kernel is assembled and made
//! SPIR-V as wgpu would, as a trusted and as a checked module. Registers that are spilled, scratch memory, and instructions
//! that are meant and missing in a trusted module are errors. The estimates are the driver's own: cycles for one wave, whose
//! loops it takes to run a fixed number of rounds, so only kernels of one shape compare. `--text` compiles an assembled text
//! (`inspect --stage shaders` prints them) instead; `--asm` leaves texts and instructions in a folder.

mod assembly;
mod cases;
mod driver;
mod spirv;

use std::process::Command;

use serde_json::{Value, json};
use tilewright_benches::{commit, judge};
use tilewright_device::assemble;

use cases::{Meant, cases};
use driver::Compiler;

type AnyError = Box<dyn std::error::Error>;

#[derive(Default)]
struct Args {
    driver: Option<String>,
    families: Option<String>,
    only: String,
    text: Option<String>,
    json: Option<String>,
    markdown: Option<String>,
    asm: Option<String>,
    /// The part of the program that compiles, for one family: the driver takes that from the environment.
    worker: bool,
}

fn main() -> Result<(), AnyError> {
    let args = Args::parse()?;
    if args.worker {
        println!("{}", compile_all(&args)?);
        return Ok(());
    }
    let Some(driver) = &args.driver else {
        return Err("no driver: `tools/mesa-backport.sh DIR` makes one (Debian), then --driver DIR/radv.json".into());
    };
    let mut families = vec![];
    for family in args
        .families
        .as_deref()
        .unwrap_or("navi31,navi21")
        .split(',')
    {
        let told = ask(&args, driver, family)?;
        print(family, &told);
        families.push(told);
    }
    if let Some(path) = &args.json {
        let report = json!({ "bench": "isa", "commit": commit(), "families": families });
        std::fs::write(path, format!("{report:#}\n"))?;
        println!("wrote {path}");
    }
    if let Some(path) = &args.markdown {
        std::fs::write(path, markdown(&families))?;
        println!("wrote {path}");
    }
    let wrong: Vec<_> = families
        .iter()
        .flat_map(|told| told["kernels"].as_array().into_iter().flatten())
        .flat_map(|row| {
            faults(row)
                .into_iter()
                .map(|fault| format!("{}: {fault}", row["kernel"]))
        })
        .collect();
    Ok(judge(&wrong)?)
}

impl Args {
    fn parse() -> Result<Self, AnyError> {
        let mut args = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--driver" => args.driver = Some(value()?),
                "--families" => args.families = Some(value()?),
                "--only" => args.only = value()?,
                "--markdown" => args.markdown = Some(value()?),
                "--json" => args.json = Some(value()?),
                "--text" => args.text = Some(value()?),
                "--asm" => args.asm = Some(value()?),
                "--worker" => args.worker = true,
                _ => return Err(format!("unknown argument {word}").into()),
            }
        }
        Ok(args)
    }
}

/// Runs the worker for a family.
fn ask(args: &Args, driver: &str, family: &str) -> Result<Value, AnyError> {
    std::fs::metadata(driver).map_err(|e| format!("the driver {driver}: {e}"))?;
    let mut worker = Command::new(std::env::current_exe()?);
    worker
        .env("VK_DRIVER_FILES", driver)
        .env("VK_LOADER_LAYERS_DISABLE", "~all~")
        .env("RADV_FORCE_FAMILY", family)
        .env("MESA_SHADER_CACHE_DISABLE", "true")
        .args(["--worker", "--families", family, "--only", &args.only]);
    if let Some(text) = &args.text {
        worker.args(["--text", text]);
    }
    if let Some(folder) = &args.asm {
        std::fs::create_dir_all(folder)?;
        worker.args(["--asm", folder]);
    }
    let output = worker.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("compiling for {family} failed").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Compiles every kernel.
fn compile_all(args: &Args) -> Result<Value, AnyError> {
    let compiler = Compiler::new()?;
    let family = args.families.as_deref().unwrap_or_default();
    let mut kernels = vec![];
    for case in cases()? {
        let possible = compiler.matrices || case.meant != Meant::Matrix;
        if possible && case.name.contains(&args.only) && args.text.is_none() {
            let source = assemble(&case.dispatch.variant)?;
            // As a plan binds them: activations lie in one arena and are read_write, B is a weight in its own buffer.
            let bindings = source.bindings().iter().enumerate();
            let shared = bindings.fold(0, |mask, (i, b)| mask | u32::from(b.name != "B") << i);
            let text = source.text(shared);
            let mut told = compile(&compiler, &case.name, &text, args, family)?;
            told["variant"] = case.dispatch.variant.to_string().into();
            told["meant"] = case.meant.name().into();
            kernels.push(told);
        }
    }
    if let Some(path) = &args.text {
        kernels.push(compile(
            &compiler,
            path,
            &std::fs::read_to_string(path)?,
            args,
            family,
        )?);
    }
    Ok(json!({
        "family": family,
        "adapter": compiler.name,
        "driver": compiler.driver,
        "matrices": compiler.matrices,
        "kernels": kernels,
    }))
}

/// One assembled text, trusted and checked.
fn compile(
    compiler: &Compiler,
    name: &str,
    text: &str,
    args: &Args,
    family: &str,
) -> Result<Value, AnyError> {
    let mut told = json!({ "kernel": name });
    let (storage, params) = (
        text.matches("var<storage").count(),
        text.contains("var<uniform>"),
    );
    for (kind, trusted) in [("trusted", true), ("checked", false)] {
        let words = spirv::spirv(text, trusted).map_err(|e| format!("{name}: {e}"))?;
        let made = compiler.compile(&words, storage as u32, params)?;
        if let Some(folder) = &args.asm {
            let file: String = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            let text = format!("{text}\n{}", made.assembly);
            std::fs::write(format!("{folder}/{family}-{kind}-{file}.txt"), text)?;
        }
        told[kind] = describe(&made);
    }
    Ok(told)
}

fn describe(made: &driver::Compiled) -> Value {
    let (all, hot) = assembly::count(&made.assembly);
    let counts = |c: assembly::Counts| {
        json!({
            "instructions": c.all, "multiply_adds": c.math, "matrix": c.matrix, "dot": c.dot,
            "workgroup_loads": c.lds_loads, "workgroup_loads_128": c.lds_wide, "loads": c.loads,
        })
    };
    json!({ "wave": made.wave, "driver": made.statistics, "all": counts(all), "loop": counts(hot) })
}

/// What is wrong with a trusted module.
fn faults(row: &Value) -> Vec<String> {
    let of = &row["trusted"];
    let number = |name: &str| of["driver"][name].as_u64();
    let mut wrong = vec![];
    for name in ["Spilled VGPRs", "Spilled SGPRs", "Scratch size"] {
        match number(name) {
            Some(0) => {}
            Some(n) => wrong.push(format!("{name} {n}")),
            None => wrong.push(format!("the driver does not tell its {name}")),
        }
    }
    if let Some(meant) = row["meant"].as_str()
        && of["all"][meant].as_u64().unwrap_or(0) == 0
    {
        wrong.push(format!("no {meant} instruction"));
    }
    wrong
}

/// Instructions of a loop for each that does work.
fn per_work(hot: &Value) -> f64 {
    let number = |name: &str| hot[name].as_f64().unwrap_or(0.0);
    number("instructions") / (number("multiply_adds") + number("dot") + number("matrix")).max(1.0)
}

/// A row for each kernel. `loop`: multiply-adds of all instructions in the hottest loop; `LDS ld`: loads of 128 bits of all loads
/// from workgroup memory there; `chk`: how many more instructions a multiply-add takes in a checked module.
fn print(family: &str, told: &Value) {
    println!("{family}: {}, {}", told["adapter"], told["driver"]);
    println!(
        "{:44} {:>5} {:>5} {:>5} {:>6} {:>6} {:>8} {:>8} {:>9} {:>7} {:>5}",
        "kernel",
        "wave",
        "VGPRs",
        "waves",
        "LDS",
        "instr.",
        "latency",
        "inv.thr.",
        "loop",
        "LDS ld",
        "chk"
    );
    for row in told["kernels"].as_array().into_iter().flatten() {
        let (of, checked) = (&row["trusted"], &row["checked"]);
        let number = |name: &str| of["driver"][name].as_u64().unwrap_or(0);
        let hot = |name: &str| of["loop"][name].as_u64().unwrap_or(0);
        let work = hot("multiply_adds") + hot("dot") + hot("matrix");
        let slower = per_work(&checked["loop"]) / per_work(&of["loop"]);
        println!(
            "{:44} {:>5} {:>5} {:>5} {:>6} {:>6} {:>8} {:>8} {:>4}/{:<4} {:>3}/{:<3} {:>5.2}",
            row["kernel"].as_str().unwrap_or_default(),
            of["wave"],
            number("VGPRs"),
            number("Subgroups per SIMD"),
            number("LDS size"),
            number("Instructions"),
            number("Latency"),
            number("Inverse Throughput"),
            work,
            hot("instructions"),
            hot("workgroup_loads_128"),
            hot("workgroup_loads"),
            slower
        );
        for fault in faults(row) {
            println!("    {fault}");
        }
    }
}

/// The table of docs/kernels.md: a row for each kernel, cells with a number for each family.
fn markdown(families: &[Value]) -> String {
    let mut rows: Vec<(String, Vec<&Value>)> = vec![];
    for row in families
        .iter()
        .flat_map(|told| told["kernels"].as_array().into_iter().flatten())
    {
        let name = row["kernel"].as_str().unwrap_or_default();
        match rows.iter_mut().find(|(other, _)| other == name) {
            Some((_, all)) => all.push(row),
            None => rows.push((name.into(), vec![row])),
        }
    }
    let mut text = String::from(
        "| kernel | VGPRs | waves | LDS | instructions | loop | inverse throughput | loop, checked |\n|---|---|---|---|---|---|---|---|\n",
    );
    for (name, all) in rows {
        let cell = |of: &dyn Fn(&Value) -> String| {
            let mut cells: Vec<_> = all.iter().map(|row| of(row)).collect();
            cells.dedup();
            cells.join(", ")
        };
        let told = |name: &'static str| cell(&|row| row["trusted"]["driver"][name].to_string());
        let hot = |kind: &'static str| {
            cell(&|row| {
                let of = &row[kind]["loop"];
                let number = |name: &str| of[name].as_u64().unwrap_or(0);
                let work = number("multiply_adds") + number("dot") + number("matrix");
                format!("{work}/{}", number("instructions"))
            })
        };
        let cells = [
            name,
            told("VGPRs"),
            told("Subgroups per SIMD"),
            told("LDS size"),
            told("Instructions"),
            hot("trusted"),
            told("Inverse Throughput"),
            hot("checked"),
        ];
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spills_and_missing_instructions_are_faults() {
        let row = |spilled: u64, matrix: u64| {
            json!({ "meant": "matrix", "trusted": {
                "driver": { "Spilled VGPRs": spilled, "Spilled SGPRs": 0, "Scratch size": 0 },
                "all": { "matrix": matrix },
            } })
        };
        assert!(faults(&row(0, 4)).is_empty());
        assert_eq!(faults(&row(3, 4)), ["Spilled VGPRs 3"]);
        assert_eq!(faults(&row(0, 0)), ["no matrix instruction"]);
        assert_eq!(faults(&json!({ "trusted": {} })).len(), 3);
    }

    #[test]
    fn families_share_a_row() {
        let family = |vgprs: u64| {
            let counts = json!({ "multiply_adds": 4, "instructions": 5 });
            let told = json!({ "driver": { "VGPRs": vgprs, "LDS size": 64 }, "loop": counts });
            json!({ "kernels": [{ "kernel": "gemm", "trusted": told, "checked": told }] })
        };
        let table = markdown(&[family(10), family(12)]);
        let row = table.lines().last().unwrap();
        assert!(
            row.starts_with("| gemm | 10, 12 | null | 64 | null | 4/5 |"),
            "{row}"
        );
        assert_eq!(table.lines().count(), 3);
    }
}
