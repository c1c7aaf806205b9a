//! `tilewright adapters`.

use crate::Failure;
use serde_json::{Value, json};
use std::fmt::Write;
use tilewright::device::{CoopState, Error};
use tilewright::kernels::coop_probe;
use tilewright::{AdapterChoice, AdapterInfo, Caps, Gpu, GpuOptions, block_on};

/// Arguments of `adapters`.
#[derive(clap::Args)]
#[command(after_help = "Example: tilewright adapters --json")]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Lists adapters, the one that is chosen by itself first.
pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let adapters = block_on(Gpu::adapters());
    // Each is opened, so that what is shown is what a model would get.
    let opened: Vec<_> = (adapters.into_iter())
        .map(|info| {
            let options = GpuOptions::new().adapter(AdapterChoice::Key(info.key.clone()));
            (info, block_on(open(options)).map_err(|e| e.to_string()))
        })
        .collect();
    if args.json {
        let list: Vec<_> = opened.iter().map(|(info, caps)| json(info, caps)).collect();
        return crate::say(&serde_json::to_string_pretty(&list)?);
    }
    if opened.is_empty() {
        return crate::say(&format!("No adapter. {}.", crate::device::NO_ADAPTER));
    }
    let texts: Vec<String> = opened.iter().map(|(info, caps)| text(info, caps)).collect();
    crate::say(texts.join("\n").trim_end())
}

/// What a device of the options can do, its cooperative matrices proven.
async fn open(options: GpuOptions) -> Result<(Caps, CoopState), Error> {
    let gpu = Gpu::new(options).await?;
    coop_probe(&gpu).await?;
    Ok((gpu.caps().clone(), gpu.coop_state()))
}

fn json(info: &AdapterInfo, opened: &Result<(Caps, CoopState), String>) -> Value {
    let mut json = json!({
        "key": info.key, "name": info.name, "kind": format!("{:?}", info.kind),
        "backend": format!("{:?}", info.backend), "driver": info.driver,
    });
    match opened {
        Ok((c, coop)) => {
            let l = &c.limits;
            json["caps"] = json!({
                "f16": c.f16, "int64": c.int64, "subgroups": c.subgroups, "int8_dot": c.int8_dot,
                "coop_matrix": coop.to_string(), "timestamps": c.timestamps,
                "binding_bytes": l.binding_bytes, "buffer_bytes": l.buffer_bytes,
                "storage_buffers": l.storage_buffers, "workgroup_bytes": l.workgroup_bytes,
                "invocations": l.invocations,
            });
        }
        Err(e) => json["error"] = json!(e),
    }
    json
}

fn text(info: &AdapterInfo, opened: &Result<(Caps, CoopState), String>) -> String {
    let mut text = format!("{}\n  driver      {}\n", info.key, info.driver);
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<10}  {value}");
    };
    match opened {
        Ok((c, coop)) => {
            let yes = |b: bool| if b { "yes" } else { "no" };
            let subgroups = match c.subgroups {
                Some((least, most)) if least == most => format!("of {least}"),
                Some((least, most)) => format!("of {least} to {most}"),
                None => "no".to_owned(),
            };
            let (f16, int64, dot) = (yes(c.f16), yes(c.int64), yes(c.int8_dot));
            let stamps = yes(c.timestamps);
            line(
                "features",
                format!(
                    "f16 {f16}, int64 {int64}, subgroups {subgroups}, int8 dot {dot}, cooperative matrices {coop}, timestamps {stamps}"
                ),
            );
            let l = &c.limits;
            let (binding, buffer) = (l.binding_bytes >> 20, l.buffer_bytes >> 20);
            let (shared, threads) = (l.workgroup_bytes >> 10, l.invocations);
            line(
                "limits",
                format!(
                    "{binding} MiB a binding, {buffer} MiB a buffer, {} storage buffers, workgroups of {threads} threads and {shared} KiB",
                    l.storage_buffers
                ),
            );
        }
        Err(e) => line("error", e.clone()),
    }
    text
}
