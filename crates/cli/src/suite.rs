//! `tilewright suite`: test folders in the layout of the ONNX backend tests, run by worker processes.
//!
//! A test gets 30 seconds; a worker that is over time or dies is replaced, and its test is an error. Every result is on
//! disk before the next test starts.

use crate::Failure;
use crate::device::{DeviceArgs, model, read_graph};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use tilewright::onnx::{ReadOptions, load_tensor, save_tensor};
use tilewright::{Gpu, ModelOptions, Session, block_on};

/// Arguments of `suite`.
#[derive(clap::Args)]
#[command(after_help = "Example: tilewright suite list.txt out --device gpu")]
pub(crate) struct Args {
    /// A file with one test folder a line.
    list: PathBuf,
    /// Where outputs (KIND/NAME/test_data_set_K/output_I.pb) and errors.txt go.
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
    /// Seconds that one test may take.
    #[arg(long, default_value_t = 30)]
    limit: u64,
}

/// Arguments of a worker.
#[derive(clap::Args)]
pub(crate) struct WorkerArgs {
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs the list.
pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let list =
        std::fs::read_to_string(&args.list).map_err(|e| format!("{}: {e}", args.list.display()))?;
    let tests: Vec<&str> = list
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    std::fs::create_dir_all(&args.out).map_err(|e| format!("{}: {e}", args.out.display()))?;
    let path = args.out.join("errors.txt");
    let mut errors =
        std::fs::File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let bar = ProgressBar::new(tests.len() as u64).with_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} {wide_msg} {eta}",
    )?);
    let (mut worker, mut failed, mut on_device) = (None, 0, 0);
    for test in &tests {
        bar.set_message(id(Path::new(test)));
        match one(test, args, &mut worker) {
            Ok(wholly) => on_device += usize::from(wholly),
            Err(what) => {
                failed += 1;
                writeln!(
                    errors,
                    "{}\t{}",
                    id(Path::new(test)),
                    what.replace(['\n', '\t'], " ")
                )?;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!(
        "{} of {} tests ran (their outputs are not judged here), {on_device} wholly on the device; {failed} errors in {}",
        tests.len() - failed,
        tests.len(),
        path.display()
    );
    match failed {
        0 => Ok(()),
        n => Err(format!("{n} of {} tests could not run", tests.len()).into()),
    }
}

/// `KIND/NAME` of a test folder.
fn id(folder: &Path) -> String {
    let mut parts: Vec<_> = folder
        .components()
        .rev()
        .take(2)
        .map(|c| c.as_os_str().to_string_lossy())
        .collect();
    parts.reverse();
    parts.join("/")
}

struct Worker {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
}

impl Worker {
    fn start(args: &Args) -> Result<Worker, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("suite-worker")
            .arg(&args.out)
            .arg("--device")
            .arg(&args.device.device);
        if args.device.default_limits {
            command.arg("--default-limits");
        }
        if args.device.no_limits {
            command.arg("--no-limits");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err("no pipe to the worker".into());
        };
        let (send, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Worker {
            child,
            stdin,
            answers,
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to stop.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a worker answers where no step of a test was the host's.
const ON_DEVICE: &str = "ok on the device";

/// Gives one test to the worker and waits for its answer: whether all of it ran on the device.
fn one(test: &str, args: &Args, worker: &mut Option<Worker>) -> Result<bool, String> {
    let text = |e: Failure| e.to_string();
    let w = match worker {
        Some(w) => w,
        None => worker.insert(Worker::start(args).map_err(text)?),
    };
    let sent = writeln!(w.stdin, "{test}").and_then(|()| w.stdin.flush());
    let answer = match sent {
        Ok(()) => w.answers.recv_timeout(Duration::from_secs(args.limit)),
        Err(_) => Err(RecvTimeoutError::Disconnected),
    };
    match answer {
        Ok(line) => match line.strip_prefix("error ") {
            Some(what) => Err(what.to_owned()),
            None => Ok(line == ON_DEVICE),
        },
        Err(RecvTimeoutError::Timeout) => {
            *worker = None;
            Err(format!("took longer than {} s", args.limit))
        }
        Err(RecvTimeoutError::Disconnected) => {
            let status = w
                .child
                .wait()
                .map_or_else(|e| e.to_string(), |s| s.to_string());
            *worker = None;
            Err(format!("the worker died ({status})"))
        }
    }
}

/// Runs the folders that standard input names, one answer line each.
pub(crate) fn worker(args: &WorkerArgs) -> Result<(), Failure> {
    let gpu = args.device.gpu();
    for line in std::io::stdin().lines() {
        let folder = PathBuf::from(line?);
        let options = args.device.options();
        let result = match &gpu {
            Ok(gpu) => run_folder(&folder, &args.out.join(id(&folder)), gpu.as_ref(), options)
                .map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        match result {
            Ok(true) => println!("{ON_DEVICE}"),
            Ok(false) => println!("ok"),
            Err(what) => println!("error {}", what.replace('\n', " ")),
        }
    }
    Ok(())
}

/// Runs every set of a folder; says whether an adapter ran all of it.
fn run_folder(
    folder: &Path,
    out: &Path,
    gpu: Option<&Gpu>,
    options: ModelOptions,
) -> Result<bool, Failure> {
    let graph = read_graph(&folder.join("model.onnx"), &ReadOptions::new())?;
    let mut session = Session::new(&model(graph, gpu, options))?;
    let mut sets = vec![];
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("test_data_set_") {
            sets.push(name);
        }
    }
    if sets.is_empty() {
        return Err(format!("{}: no test_data_set_* folder", folder.display()).into());
    }
    sets.sort();
    for set in sets {
        let names: Vec<String> = session
            .model()
            .graph()
            .inputs()
            .iter()
            .map(|(n, _)| n.to_string())
            .collect();
        let mut inputs = vec![];
        for (i, name) in names.iter().enumerate() {
            let path = folder.join(&set).join(format!("input_{i}.pb"));
            let file = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            inputs.push((name.as_str(), load_tensor(&file)?));
        }
        let outputs = block_on(session.run(&inputs))?;
        std::fs::create_dir_all(out.join(&set))?;
        for (i, (name, tensor)) in outputs.iter().enumerate() {
            std::fs::write(
                out.join(&set).join(format!("output_{i}.pb")),
                save_tensor(name, tensor),
            )?;
        }
    }
    Ok(gpu.is_some() && session.host_steps().is_empty())
}
