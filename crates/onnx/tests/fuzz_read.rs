//! Damaged models: reading one and preparing it to run ends in a value or an error, never in a panic, and soon.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::path::Path;
use tilewright_graph::{Model, ModelOptions, Session};
use tilewright_onnx::{NoExternalData, read_model};

/// One change to a file. Places are any number and mean something for every file: see [`place`].
#[derive(Clone, Debug)]
enum Damage {
    Set(usize, u8),
    Flip(usize, u8),
    Cut(usize, usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
    End(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<usize>;
    // Most damage leaves lengths as they are, or nothing behind it is read. Field tags and lengths are what a reader trusts first; they are small or all ones.
    let byte = || prop_oneof![any::<u8>(), Just(0), Just(0x7F), Just(0x80), Just(0xFF)];
    prop_oneof![
        8 => (at(), byte()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        8 => (at(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => (at(), 1..64usize).prop_map(|(at, count)| Damage::Cut(at, count)),
        1 => (at(), vec(byte(), 1..16)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (at(), 1..64usize).prop_map(|(at, count)| Damage::Repeat(at, count)),
        1 => at().prop_map(Damage::End),
    ]
}

/// An index into a file of `length` bytes. Four of five fall on its first 400 and last 100, where a small model has its
/// structure; the rest anywhere, mostly on weights, where damage is only another number.
fn place(at: usize, length: usize) -> usize {
    let (anywhere, near) = (at / 5 % length, at / 5 % 500);
    match at % 5 {
        0 => anywhere,
        _ if near < 400 => near.min(length - 1),
        _ => length.saturating_sub(near - 399),
    }
}

fn apply(file: &mut Vec<u8>, damage: &Damage) {
    let length = file.len();
    if length == 0 {
        return;
    }
    match damage {
        Damage::Set(at, byte) => file[place(*at, length)] = *byte,
        Damage::Flip(at, bit) => file[place(*at, length)] ^= 1 << bit,
        Damage::Cut(at, count) => {
            let at = place(*at, length);
            file.drain(at..(at + count).min(length));
        }
        Damage::Insert(at, bytes) => {
            let at = place(*at, length);
            file.splice(at..at, bytes.iter().copied());
        }
        Damage::Repeat(at, count) => {
            let at = place(*at, length);
            let copy = file[at..(at + count).min(length)].to_vec();
            file.splice(at..at, copy);
        }
        Damage::End(at) => file.truncate(place(*at, length)),
    }
}

/// Reads and prepares; whether it got that far.
fn prepare(file: &[u8]) -> bool {
    read_model(file, &NoExternalData)
        .is_ok_and(|graph| Session::new(&Model::host(graph, ModelOptions::default())).is_ok())
}

fn whole() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits/digits_mlp.onnx");
    std::fs::read(path).unwrap()
}

#[test]
fn the_whole_model_is_fine() {
    assert!(prepare(&whole()));
}

/// Cases that failed are run first ever after.
fn config() -> ProptestConfig {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz_read.regressions");
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_damaged_model_is_an_error_or_a_model(damages in vec(damage(), 1..4)) {
        let mut file = whole();
        for damage in &damages {
            apply(&mut file, damage);
        }
        prepare(&file);
    }

    #[test]
    fn noise_is_an_error_or_a_model(file in vec(any::<u8>(), 0..200)) {
        prepare(&file);
    }
}
