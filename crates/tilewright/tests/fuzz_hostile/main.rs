//! Hostile models: typed errors, and neither panics nor hangs nor memory for the asking.
//!
//! `TILEWRIGHT_FUZZ_CASES` and `TILEWRIGHT_FUZZ_SEED` say how many mutations to try and the seed of the first; each
//! takes the next seed, so that a failure is had again by its own seed and one case. `TILEWRIGHT_FUZZ_TRACE=1` prints
//! each seed before it is tried, for what ends the process. `TILEWRIGHT_SUITE` names the unpacked conformance suite,
//! whose models are mutated too where it is there.

mod alloc;
mod attempt;
mod bases;
mod build;
mod flow;
mod mutate;
mod nets;
mod reading;
mod running;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use tilewright::onnx::proto::NodeProto;

use attempt::{Reached, attempt};
use bases::{Base, Bases};

#[global_allocator]
static COUNTING: alloc::Counting = alloc::Counting;

/// No case may take longer.
const MOST_TIME: Duration = Duration::from_secs(5);

/// Mutations where nothing is said, and the time that they may take together.
const CASES: u64 = 10_000;
const MOST_TIME_OF_ALL: Duration = Duration::from_secs(90);

/// After this a case is given up together with the process.
const HANGS: Duration = Duration::from_secs(60);

/// Each case allocates at most twice the file and the tensors it is given, and this.
const MOST_MEMORY: u64 = 64 << 20;

thread_local! {
    /// What a panic in the case under watch says.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// What a case came to.
struct Outcome {
    reached: Reached,
    time: Duration,
    peak: u64,
    failure: Option<String>,
}

/// A case under watch.
fn watched(file: &[u8], given: &[(String, tilewright::HostTensor)], seed: u64) -> Outcome {
    quiet();
    let begin = Instant::now();
    WATCHED.set(true);
    let (result, peak) =
        alloc::peak_of(|| catch_unwind(AssertUnwindSafe(|| attempt(file, given, seed))));
    WATCHED.set(false);
    let time = begin.elapsed();
    let reached = *result.as_ref().unwrap_or(&Reached::default());
    let given: u64 = given.iter().map(|(_, t)| t.bytes().len() as u64).sum();
    let most = 2 * (file.len() as u64 + given.max(reached.inputs)) + MOST_MEMORY;
    let failure = if result.is_err() {
        let told = PANIC.take();
        Some(told.unwrap_or_else(|| "panicked".to_owned()))
    } else if time > MOST_TIME {
        Some(format!("took {time:.1?}"))
    } else if peak > most {
        Some(format!(
            "{} KiB in use, {} KiB are allowed",
            peak >> 10,
            most >> 10
        ))
    } else {
        None
    };
    Outcome {
        reached,
        time,
        peak,
        failure,
    }
}

/// Panics of cases are collected instead of printed.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if WATCHED.get() {
                let at = std::backtrace::Backtrace::force_capture().to_string();
                let ours = at.lines().filter(|l| l.trim().starts_with("at ./"));
                let ours: String = ours.skip(1).take(4).collect();
                PANIC.set(Some(format!("{info} {ours}").replace('\n', " ")));
            } else {
                loud(info);
            }
        }));
    });
}

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).unwrap_or_default();
    text.parse().unwrap_or(default)
}

/// Sums over all cases.
#[derive(Default)]
struct Tally {
    cases: u64,
    read: u64,
    planned: u64,
    ran: u64,
    slowest: (Duration, u64),
    hungriest: (u64, u64),
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, seed: u64, base: &Base, outcome: Outcome) {
        self.cases += 1;
        self.read += u64::from(outcome.reached.read);
        self.planned += u64::from(outcome.reached.planned);
        self.ran += u64::from(outcome.reached.ran);
        self.slowest = self.slowest.max((outcome.time, seed));
        self.hungriest = self.hungriest.max((outcome.peak, seed));
        if let Some(failure) = outcome.failure {
            self.failures
                .push(format!("seed {seed}, {}: {failure}", base.name));
        }
    }
}

/// The mutation of one seed, tried.
fn case<'a>(bases: &'a Bases, donors: &[NodeProto], seed: u64) -> (&'a Base, Outcome) {
    let mut rng = StdRng::seed_from_u64(seed);
    let base = bases.pick(rng.random_range(0..1000), rng.random_range(0..1_000_000));
    let file = mutate::mutate(&base.file, donors, &mut rng);
    (base, watched(&file, &base.inputs, seed))
}

#[test]
fn mutations_are_errors_or_models() {
    let (cases, first) = (
        number("TILEWRIGHT_FUZZ_CASES", CASES),
        number("TILEWRIGHT_FUZZ_SEED", 1),
    );
    let trace = number("TILEWRIGHT_FUZZ_TRACE", 0) != 0;
    let bases = Bases::load();
    let donors = bases.donors();
    let begin = Instant::now();
    let tally = Mutex::new(Tally::default());
    let next = AtomicU64::new(0);
    // What each thread tries, and since when in milliseconds; u64::MAX when it is done.
    let doing: [(AtomicU64, AtomicU64); 2] = Default::default();
    thread::scope(|scope| {
        for (now, since) in &doing {
            let (tally, next, bases, donors) = (&tally, &next, &bases, &donors);
            scope.spawn(move || {
                loop {
                    let seed = first + next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + cases {
                        break;
                    }
                    now.store(seed, Ordering::Relaxed);
                    since.store(begin.elapsed().as_millis() as u64, Ordering::Relaxed);
                    if trace {
                        eprintln!("seed {seed}");
                    }
                    let (base, outcome) = case(bases, donors, seed);
                    tally.lock().unwrap().add(seed, base, outcome);
                }
                since.store(u64::MAX, Ordering::Relaxed);
            });
        }
        while doing
            .iter()
            .any(|(_, since)| since.load(Ordering::Relaxed) != u64::MAX)
        {
            thread::sleep(Duration::from_millis(20));
            for (seed, since) in &doing {
                let since = Duration::from_millis(since.load(Ordering::Relaxed));
                if begin.elapsed().saturating_sub(since) > HANGS {
                    eprintln!("seed {} hangs", seed.load(Ordering::Relaxed));
                    std::process::abort();
                }
            }
        }
    });
    let time = begin.elapsed();
    report(&tally.into_inner().unwrap(), first, bases.len(), time);
    assert!(cases > CASES || time < MOST_TIME_OF_ALL, "took {time:.1?}");
}

fn report(tally: &Tally, first: u64, bases: usize, time: Duration) {
    println!(
        "{} mutations of {bases} models, seeds from {first}, in {time:.1?}: {} were read, {} planned, {} ran",
        tally.cases, tally.read, tally.planned, tally.ran
    );
    let ((slowest, slow), (hungriest, hungry)) = (tally.slowest, tally.hungriest);
    println!(
        "slowest {slowest:.1?} (seed {slow}), most memory {} KiB (seed {hungry})",
        hungriest >> 10
    );
    let failures = &tally.failures;
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// The bases themselves are sound: what is mutated runs before.
#[test]
fn the_nets_run_unharmed() {
    let bases = Bases::load();
    let small = bases.all().filter(|b| b.name.starts_with("net "));
    for base in small {
        let outcome = watched(&base.file, &base.inputs, 0);
        assert!(
            outcome.failure.is_none() && outcome.reached.ran,
            "{}: {:?}",
            base.name,
            outcome.reached
        );
    }
}
