//! Errors that arrive beside the calls that cause them, and futures that end when the device does.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::{Error, Result};

/// Locks; a panic of another thread while it held the lock leaves plain data that is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sticky error of a device.
#[derive(Default)]
pub(crate) struct Health {
    /// Whether `state` holds an error: the check before every call is one load.
    bad: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Stays.
    lost: Option<Error>,
    /// Told once.
    error: Option<Error>,
    waiting: Vec<Weak<Signal>>,
}

impl Health {
    /// The device's error: a loss every time, another once.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.bad.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut state = lock(&self.state);
        if let Some(lost) = &state.lost {
            return Err(lost.clone());
        }
        self.bad.store(false, Ordering::Release);
        state.error.take().map_or(Ok(()), Err)
    }

    /// Keeps the first error for the next call.
    pub(crate) fn report(&self, error: Error) {
        tracing::error!("uncaptured GPU error: {error}");
        lock(&self.state).error.get_or_insert(error);
        self.bad.store(true, Ordering::Release);
    }

    /// Marks the device as lost and ends what waits for it.
    pub(crate) fn lose(&self, reason: &str) {
        let reason = if reason.is_empty() {
            "destroyed"
        } else {
            reason
        };
        let waiting = {
            let mut state = lock(&self.state);
            state.lost.get_or_insert(Error::DeviceLost {
                reason: reason.into(),
            });
            self.bad.store(true, Ordering::Release);
            std::mem::take(&mut state.waiting)
        };
        for signal in waiting.iter().filter_map(Weak::upgrade) {
            signal.set(Err(Error::DeviceLost {
                reason: reason.into(),
            }));
        }
    }

    /// A signal that also ends when the device is lost.
    pub(crate) fn signal(&self) -> Arc<Signal> {
        let signal = Arc::new(Signal::default());
        let mut state = lock(&self.state);
        match &state.lost {
            Some(lost) => signal.set(Err(lost.clone())),
            None => {
                state.waiting.retain(|other| other.strong_count() > 0);
                state.waiting.push(Arc::downgrade(&signal));
            }
        }
        signal
    }
}

/// One result that a callback sets and a future awaits.
#[derive(Default)]
pub(crate) struct Signal(Mutex<(Option<Result<()>>, Option<Waker>)>);

impl Signal {
    /// Sets the result; the first one counts.
    pub(crate) fn set(&self, result: Result<()>) {
        let waker = {
            let mut inner = lock(&self.0);
            inner.0.get_or_insert(result);
            inner.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Awaits a signal.
pub(crate) struct Signalled(pub(crate) Arc<Signal>);

impl Future for Signalled {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut inner = lock(&self.0.0);
        match &inner.0 {
            Some(result) => Poll::Ready(result.clone()),
            None => {
                inner.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// One error scope of each kind. Not `Send`: pop it before the next await.
pub(crate) struct Scopes {
    internal: wgpu::ErrorScopeGuard,
    memory: wgpu::ErrorScopeGuard,
    validation: wgpu::ErrorScopeGuard,
}

impl Scopes {
    pub(crate) fn push(device: &wgpu::Device) -> Self {
        Self {
            internal: device.push_error_scope(wgpu::ErrorFilter::Internal),
            memory: device.push_error_scope(wgpu::ErrorFilter::OutOfMemory),
            validation: device.push_error_scope(wgpu::ErrorFilter::Validation),
        }
    }

    /// Pops the scopes now; the future gives the error, memory first: the others follow from it.
    pub(crate) fn pop(self) -> impl Future<Output = Option<wgpu::Error>> {
        // In reverse order of pushing.
        let validation = self.validation.pop();
        let memory = self.memory.pop();
        let internal = self.internal.pop();
        async move {
            let (memory, validation) = (memory.await, validation.await);
            let internal = internal.await;
            memory.or(validation).or(internal)
        }
    }
}

/// Names an API error.
pub(crate) fn typed(error: wgpu::Error, place: &str, bytes: u64) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory {
            what: place.into(),
            bytes,
        },
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            Error::Validation {
                place: place.into(),
                message: tidy(&description),
            }
        }
    }
}

/// A message of several indented lines as one.
fn tidy(message: &str) -> String {
    let lines = message.lines().map(str::trim);
    let lines = lines.filter(|line| !["", "Validation Error", "Caused by:"].contains(line));
    lines.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(signal: &Arc<Signal>) -> Poll<Result<()>> {
        let mut future = std::pin::pin!(Signalled(signal.clone()));
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_loss_stays_and_another_error_is_told_once() {
        let health = Health::default();
        assert_eq!(health.check(), Ok(()));
        health.report(Error::Cancelled);
        health.report(Error::Unsupported {
            what: "the second error is not kept",
        });
        assert_eq!(health.check(), Err(Error::Cancelled));
        assert_eq!(health.check(), Ok(()));
        health.lose("");
        health.lose("again");
        let lost = Err(Error::DeviceLost {
            reason: "destroyed".into(),
        });
        assert_eq!(health.check(), lost);
        assert_eq!(health.check(), lost);
    }

    #[test]
    fn a_loss_ends_what_waits_and_what_will() {
        let health = Health::default();
        let (before, done) = (health.signal(), health.signal());
        done.set(Ok(()));
        assert_eq!(poll(&before), Poll::Pending);
        health.lose("gone");
        let lost = Err(Error::DeviceLost {
            reason: "gone".into(),
        });
        assert_eq!(poll(&before), Poll::Ready(lost.clone()));
        assert_eq!(poll(&done), Poll::Ready(Ok(())));
        assert_eq!(poll(&health.signal()), Poll::Ready(lost));
    }

    #[test]
    fn messages_become_one_line() {
        let message = "Validation Error\n\nCaused by:\n  In create\n    Too large\n";
        assert_eq!(tidy(message), "In create: Too large");
    }
}
