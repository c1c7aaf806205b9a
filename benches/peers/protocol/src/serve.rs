//! The loop: one request a line in, one answer a line out.

use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use cpu_time::ProcessTime;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Why, Work};

/// How a peer names itself.
#[derive(Debug, Clone)]
pub struct Hello {
    /// Letters, digits and `-._`.
    pub peer: String,
    /// The library's version.
    pub version: String,
    /// What it runs on.
    pub device: String,
}

/// Work whose data is where the library wants it.
pub trait Prepared {
    /// Runs the work `repeats` times and waits for the last of them. Nothing is read back, except a model's outputs.
    fn run(&mut self, repeats: u32) -> Result<(), Why>;

    /// The (first) output of the last run, row-major.
    fn output(&mut self) -> Result<Vec<f32>, Why>;
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Request {
    Prepare { work: Work },
    Result { at: Vec<usize> },
    Time { repeats: u32 },
    Quit,
}

/// Writes the hello, then answers requests until `quit` or the end of the input.
///
/// A request that fails, or panics inside the library, is answered with `ok: false` and the reason.
pub fn serve(
    hello: Hello,
    mut prepare: impl FnMut(&Work) -> Result<Box<dyn Prepared>, Why>,
) -> std::io::Result<()> {
    say(&json!({
        "protocol": 1, "peer": hello.peer, "version": hello.version, "device": hello.device,
    }))?;
    let mut prepared = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let request = match serde_json::from_str(&line) {
            Ok(Request::Quit) => break,
            Ok(request) => request,
            Err(error) => {
                say(&refusal(&error.to_string()))?;
                continue;
            }
        };
        let done = catch_unwind(AssertUnwindSafe(|| {
            answer(request, &mut prepared, &mut prepare)
        }));
        say(&match done {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => refusal(&why),
            Err(panic) => {
                // What panicked may be half-way through its work.
                prepared = None;
                refusal(&format!("panicked: {}", message(panic.as_ref())))
            }
        })?;
    }
    Ok(())
}

/// The lock of stdout is held for one line only: a library's thread that prints must not wait for ever.
fn say(answer: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    out.flush()
}

fn answer(
    request: Request,
    prepared: &mut Option<Box<dyn Prepared>>,
    prepare: &mut impl FnMut(&Work) -> Result<Box<dyn Prepared>, Why>,
) -> Result<Value, Why> {
    const NONE: &str = "no work is prepared";
    match request {
        Request::Quit => Ok(Value::Null),
        Request::Prepare { work } => {
            // The old work's memory is given back before the new is made.
            *prepared = None;
            let start = Instant::now();
            let mut work = prepare(&work)?;
            work.run(1)?;
            let first_seconds = start.elapsed().as_secs_f64();
            *prepared = Some(work);
            Ok(json!({ "ok": true, "first_seconds": first_seconds }))
        }
        Request::Result { at } => {
            let output = prepared.as_mut().ok_or(NONE)?.output()?;
            let values = at
                .iter()
                .map(|&i| {
                    let found = output.get(i).copied();
                    found.ok_or_else(|| format!("no element {i}: the output has {}", output.len()))
                })
                .collect::<Result<Vec<f32>, Why>>()?;
            Ok(json!({ "values": values }))
        }
        Request::Time { repeats } => {
            let work = prepared.as_mut().ok_or(NONE)?;
            let cpu = ProcessTime::try_now().ok();
            let start = Instant::now();
            work.run(repeats)?;
            let wall = start.elapsed().as_secs_f64();
            let cpu = cpu.and_then(|cpu| cpu.try_elapsed().ok());
            Ok(json!({ "wall": wall, "cpu": cpu.map(|cpu| cpu.as_secs_f64()) }))
        }
    }
}

fn refusal(why: &str) -> Value {
    json!({ "ok": false, "why": why })
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
