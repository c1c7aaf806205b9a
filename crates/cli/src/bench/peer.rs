//! Other programs that do the same work: each a process, spoken to in lines of JSON (benches/peers/README.md).

use super::data;
use super::work::Work;
use crate::Failure;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use tilewright_benches::{Sample, processors, repeats};

/// A peer, alive until it fails to answer.
pub(super) struct Peer {
    pub(super) command: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) device: String,
    /// Processors that it uses at the most: what its processor time is divided by.
    threads: usize,
    /// Why it is no longer asked.
    pub(super) dead: Option<String>,
    timeout: Duration,
    process: Option<Process>,
    repeats: usize,
}

struct Process {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A case that a peer has done right, ready to be timed.
pub(super) struct Prepared {
    pub(super) first: Option<f64>,
    pub(super) nmse: f64,
}

impl Peer {
    /// Starts a command line (words, no shell) and waits for its greeting. One that cannot be started is an error: it is a typing
    /// mistake more often than not; one that starts and fails is a dead peer.
    pub(super) fn start(command: &str, timeout: Duration) -> Result<Self, Failure> {
        let words = words(command).map_err(|e| format!("--peer {command}: {e}"))?;
        let (program, args) = words.split_first().ok_or("--peer: write a command")?;
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("--peer {command}: cannot start {program}: {e}"))?;
        let (requests, out) = (child.stdin.take(), child.stdout.take());
        let (requests, out) = requests.zip(out).ok_or("a peer without pipes")?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            // A peer that writes without an end of line would fill the memory.
            let mut out = BufReader::new(out);
            let mut line = String::new();
            while (&mut out)
                .take(LONGEST)
                .read_line(&mut line)
                .is_ok_and(|n| n > 0)
            {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
            }
        });
        let mut peer = Self {
            command: command.into(),
            name: name_of(&words),
            version: String::new(),
            device: String::new(),
            threads: processors(),
            dead: None,
            timeout,
            process: Some(Process {
                child,
                requests,
                answers,
            }),
            repeats: 1,
        };
        if let Some(hello) = peer.answer() {
            peer.greet(&hello);
        }
        Ok(peer)
    }

    fn greet(&mut self, hello: &Value) {
        let text = |key: &str| hello[key].as_str().unwrap_or_default().to_owned();
        if hello["protocol"] != 1 {
            self.die(format!("speaks protocol {}, not 1", hello["protocol"]));
            return;
        }
        let name = text("peer");
        if !name.is_empty() {
            self.name = name;
        }
        (self.version, self.device) = (text("version"), text("device"));
        let threads = hello["threads"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok());
        self.threads = threads.unwrap_or(self.threads).clamp(1, processors());
    }

    fn die(&mut self, why: String) {
        self.process = None;
        self.dead = Some(why);
    }

    /// The next answer; a peer that gives none is dead.
    fn answer(&mut self) -> Option<Value> {
        let process = self.process.as_mut()?;
        let why = match process.answers.recv_timeout(self.timeout) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(value) => return Some(value),
                Err(_) => format!(
                    "answered {:?}, which is no JSON",
                    line.trim_end().chars().take(80).collect::<String>()
                ),
            },
            Err(RecvTimeoutError::Timeout) => {
                format!("no answer within {} s", self.timeout.as_secs_f64())
            }
            Err(RecvTimeoutError::Disconnected) => match process.child.wait() {
                Ok(status) => format!("ended ({status})"),
                Err(e) => format!("ended ({e})"),
            },
        };
        self.die(why);
        None
    }

    /// The answer to a request; the reason where the peer refuses, or is dead.
    fn ask(&mut self, request: &Value) -> Result<Value, String> {
        if let Some(process) = &mut self.process {
            let sent =
                writeln!(process.requests, "{request}").and_then(|()| process.requests.flush());
            // Why it does not listen, its end will tell.
            drop(sent);
        }
        let answer = self.answer();
        match answer {
            Some(answer) if answer["ok"] == false => Err(answer["why"]
                .as_str()
                .unwrap_or("refused without a reason")
                .to_owned()),
            Some(answer) => Ok(answer),
            None => Err(self.dead.clone().unwrap_or_default()),
        }
    }

    /// Prepares the work, and compares elements `at` of its result with what they must be.
    pub(super) fn prepare(
        &mut self,
        work: &Work,
        at: &[usize],
        expected: &[f64],
    ) -> Result<Prepared, String> {
        let prepared = self.ask(&json!({"do": "prepare", "work": work.json()}))?;
        if prepared["ok"] != true {
            return Err(format!("answered {prepared} to prepare"));
        }
        let result = self.ask(&json!({"do": "result", "at": at}))?;
        let values = result["values"]
            .as_array()
            .ok_or_else(|| format!("answered {result} to result"))?;
        let values: Vec<f64> = values
            .iter()
            .map(|v| v.as_f64().unwrap_or(f64::NAN))
            .collect();
        let nmse = data::nmse(&values, expected);
        if nmse > work.peer_bound() {
            return Err(format!(
                "wrong result: NMSE {nmse:.1e}, at most {:.0e}",
                work.peer_bound()
            ));
        }
        self.repeats = repeats(|repeats| {
            self.repeats = repeats;
            Ok::<_, String>(self.time()?.wall)
        })?;
        Ok(Prepared {
            first: prepared["first_seconds"].as_f64(),
            nmse,
        })
    }

    /// One sample.
    pub(super) fn time(&mut self) -> Result<Sample, String> {
        let answer = self.ask(&json!({"do": "time", "repeats": self.repeats}))?;
        let each = |v: &Value| {
            v.as_f64()
                .filter(|s| s.is_finite() && *s >= 0.0)
                .map(|s| s / self.repeats as f64)
        };
        let wall = each(&answer["wall"]).ok_or_else(|| format!("answered {answer} to time"))?;
        let cpu = each(&answer["cpu"]).map(|s| s / self.threads as f64);
        Ok(Sample { wall, cpu })
    }

    /// What a report says of it.
    pub(super) fn json(&self) -> Value {
        json!({
            "name": self.name, "command": self.command, "version": self.version, "device": self.device,
            "threads": self.threads, "failed": self.dead,
        })
    }

    /// Lets it end by itself.
    pub(super) fn quit(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(writeln!(process.requests, "{}", json!({"do": "quit"})));
            let Process { child, .. } = &mut process;
            for _ in 0..20 {
                if !matches!(child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// The longest line that is read in one piece, in bytes.
const LONGEST: u64 = 16 << 20;

/// Words of a command line: separated by spaces, in quotes where they hold some.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word, mut quote) = (vec![], None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match quote {
        None => Ok(words),
        Some(_) => Err("a quote is not closed"),
    }
}

/// A name for a peer that does not tell its own: the last word of its command without its folder.
fn name_of(words: &[String]) -> String {
    let last = words.last().map_or("", |w| w.as_str());
    last.rsplit('/').next().unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_may_hold_spaces_in_quotes() {
        assert_eq!(
            words("python3 'a b.py'  numpy \"\"").unwrap(),
            ["python3", "a b.py", "numpy", ""]
        );
        assert!(words("python3 'a").is_err());
        assert!(words("  ").unwrap().is_empty());
        assert_eq!(name_of(&words("/bin/peers numpy").unwrap()), "numpy");
    }
}
