//! Tests of the data of constants.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A weight of 2048 floats, and how often it was loaded.
fn counted() -> (Weight, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let weight = Weight::from_fn(DType::F32, [32, 64], move || {
        let call = count.fetch_add(1, Ordering::Relaxed);
        Ok(HostTensor::from_vec([2048], vec![call as f32; 2048])?)
    });
    (weight.unwrap(), calls)
}

#[test]
fn data_lives_as_long_as_somebody_has_it() {
    let (weight, calls) = counted();
    assert_eq!((calls.load(Ordering::Relaxed), weight.host_bytes()), (0, 0));
    let first = weight.load().unwrap();
    assert_eq!(&first.shape()[..], [32, 64]);
    let other = weight.reshape([64, 32]).unwrap();
    let second = other.load().unwrap();
    assert_eq!(second.storage_ref(), first.storage_ref());
    assert_eq!(weight.host_bytes(), 8192);
    drop((first, second));
    assert_eq!(weight.host_bytes(), 0);
    assert_eq!(weight.load().unwrap().as_slice::<f32>().unwrap()[0], 1.0);
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert!(weight.reshape([2047]).is_err());
}

#[test]
fn identity_is_not_that_of_the_loaded_data() {
    let (weight, _) = counted();
    let id = weight.id();
    let loaded = Weight::from(weight.load().unwrap());
    assert_eq!(weight.reshape([2048]).unwrap().id(), id);
    assert_ne!(loaded.id(), id);
    assert_ne!(counted().0.id(), id);
    assert_ne!(weight, loaded);
    drop(weight);
    assert!(!id.is_alive());
}

#[test]
fn what_is_small_or_an_index_is_loaded_at_once() {
    let ints = Weight::from_fn(DType::I64, [1024], || {
        Ok(HostTensor::zeros(DType::I64, [1024])?)
    });
    assert!(ints.unwrap().held().is_some());
    let small = Weight::from_fn(DType::F32, [1024], || {
        Ok(HostTensor::zeros(DType::F32, [1024])?)
    });
    assert!(small.unwrap().held().is_some());
}

#[test]
fn a_source_that_gives_something_else_is_a_typed_error() {
    let weight = Weight::from_fn(DType::F32, [2048], || {
        Ok(HostTensor::zeros(DType::F16, [2048])?)
    });
    let error = weight.unwrap().load().unwrap_err();
    assert!(matches!(error, Error::Weight { .. }), "{error}");
}

#[test]
fn what_is_made_is_kept_until_it_was_used_and_made_again() {
    let (weight, calls) = counted();
    let double = |from: &[Option<&HostTensor>]| {
        let values = from[0]
            .unwrap()
            .to_f64()
            .into_iter()
            .map(|v| v + 0.5)
            .collect();
        Ok(HostTensor::from_f64(DType::F32, [2048], values)?)
    };
    let made = |from: &Weight| {
        let tensor = double(&[Some(&from.load().unwrap())]).unwrap();
        Weight::made(vec![Some(from.clone())], tensor, double)
    };
    let first = made(&weight);
    assert_eq!(first.host_bytes(), 8192);
    first.forget();
    assert_eq!(first.host_bytes(), 0);
    assert_eq!(first.load().unwrap().as_slice::<f32>().unwrap()[0], 1.5);
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    let second = made(&first);
    assert_eq!((first.host_bytes(), second.host_bytes()), (0, 8192));
    // Not without end, and not from what stays anyhow.
    let last = made(&made(&second));
    assert!(last.held().is_none() && made(&last).held().is_some());
    let held = Weight::from(HostTensor::zeros(DType::F32, [2048]).unwrap());
    assert!(made(&held).held().is_some());
}

#[test]
fn what_is_for_the_device_only_is_dropped_once() {
    let tensor = HostTensor::zeros(DType::F32, [2048]).unwrap();
    let weight = Weight::until_uploaded(tensor);
    assert_eq!(weight.load().unwrap().len(), 2048);
    assert_eq!(weight.host_bytes(), 8192);
    weight.forget();
    assert_eq!(weight.host_bytes(), 0);
    assert!(weight.load().is_err());
}
