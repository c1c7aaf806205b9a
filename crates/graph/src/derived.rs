//! What is made from constants once a model: packed weights, tables.

use crate::model::lock;
use crate::weight::WeightId;
use crate::{Result, Weight};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tilewright_tensor::{DType, HostTensor, Shape};

/// What nodes derive from constants (packed weights, tables of channels): made once a model, by key, and kept while all the
/// constants live that it was made from. What is large leaves the host when it is on the device.
#[derive(Debug, Default)]
pub struct Derived {
    made: Mutex<HashMap<Form, Arc<Mutex<Option<Weight>>>>>,
}

/// What something was made from, and the key.
type Form = (Vec<Source>, Cow<'static, str>);

/// A constant that something was made from.
type Source = (WeightId, DType, Shape);

impl Derived {
    /// The tensor made from `sources` under `key`, made now if it is new. Others that ask for it meanwhile wait for it;
    /// everything else goes on.
    pub fn get(
        &self,
        sources: &[Weight],
        key: Cow<'static, str>,
        make: impl FnOnce(&[HostTensor]) -> Result<HostTensor>,
    ) -> Result<Weight> {
        let of = |w: &Weight| (w.id(), w.dtype(), w.shape().clone());
        let form = (sources.iter().map(of).collect(), key);
        let place = lock(&self.made).entry(form).or_default().clone();
        let mut place = lock(&place);
        if let Some(made) = &*place {
            return Ok(made.clone());
        }
        let loaded = sources
            .iter()
            .map(Weight::load)
            .collect::<Result<Vec<_>>>()?;
        let made = Weight::until_uploaded(make(&loaded)?);
        sources.iter().for_each(Weight::forget);
        Ok(place.insert(made).clone())
    }

    /// Forgets what nobody can ask for again, because a constant behind it is gone.
    pub fn sweep(&self) {
        lock(&self.made).retain(|(sources, _), _| sources.iter().all(|(s, ..)| s.is_alive()));
    }

    /// What is kept, but for what is being made now.
    pub(crate) fn weights(&self) -> Vec<Weight> {
        let made = lock(&self.made);
        let free = made.values().filter_map(|place| place.try_lock().ok());
        free.filter_map(|made| made.clone()).collect()
    }
}
