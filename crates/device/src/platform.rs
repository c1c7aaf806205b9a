//! What differs between a native process and a browser; no other module asks which it is.

pub(crate) use here::*;
pub use here::{BoxFuture, ThreadSafe};

#[cfg(not(target_arch = "wasm32"))]
mod here {
    use std::collections::VecDeque;
    use std::num::NonZero;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar, Mutex};
    use std::task::{Context, Poll, Waker};
    use std::thread::{self, JoinHandle};

    use crate::health::{Health, Signal, lock};

    /// The APIs to look for adapters on.
    pub(crate) const BACKENDS: wgpu::Backends = wgpu::Backends::VULKAN
        .union(wgpu::Backends::METAL)
        .union(wgpu::Backends::DX12);

    /// Whether popping an error scope answers at once, so that synchronous calls can use one.
    pub(crate) const ERRORS_ARE_IMMEDIATE: bool = true;

    /// Stack of a thread that compiles: naga recurses over expressions.
    const COMPILE_STACK: usize = 8 << 20;

    /// A future behind a pointer: `Send` natively, so that every executor can take it; in a browser nothing is.
    pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

    /// `Send` and `Sync` natively; nothing in a browser, where objects stay on the thread that made them.
    pub trait ThreadSafe: Send + Sync {}
    impl<T: Send + Sync + ?Sized> ThreadSafe for T {}

    /// Completes the futures of a device: a thread that sleeps until something is pending.
    pub(crate) struct Poller {
        shared: Arc<Shared>,
        thread: Option<JoinHandle<()>>,
    }

    #[derive(Default)]
    struct Shared {
        state: Mutex<State>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct State {
        waits: VecDeque<Wait>,
        stop: bool,
    }

    /// One thing to wait for.
    struct Wait {
        /// The last submission there is, where `None`.
        submission: Option<wgpu::SubmissionIndex>,
        /// Set afterwards, when all callbacks that were due have been called.
        done: Option<Arc<Signal>>,
    }

    impl Poller {
        pub(crate) fn new(device: &wgpu::Device, health: &Arc<Health>) -> Self {
            let shared = Arc::new(Shared::default());
            let own = health.clone();
            let (device, health, theirs) = (device.clone(), health.clone(), shared.clone());
            let thread = thread::Builder::new().name("tilewright-poll".into());
            let thread = thread.spawn(move || {
                while let Some(wait) = theirs.next() {
                    poll(&device, &health, wait.submission);
                    if let Some(done) = wait.done {
                        done.set(Ok(()));
                    }
                }
            });
            if let Err(error) = &thread {
                // Its futures could never end.
                own.lose(&format!("no thread to poll the GPU on: {error}"));
            }
            Self {
                shared,
                thread: thread.ok(),
            }
        }

        /// Calls the callbacks of a submission when it is done; say it after they are registered.
        pub(crate) fn wake(&self, submission: Option<wgpu::SubmissionIndex>) {
            self.push(Wait {
                submission,
                done: None,
            });
        }

        /// Sets a signal when everything submitted before is done and all that it had to tell is told.
        pub(crate) fn barrier(&self, _queue: &wgpu::Queue, done: Arc<Signal>) {
            self.push(Wait {
                submission: None,
                done: Some(done),
            });
        }

        fn push(&self, wait: Wait) {
            lock(&self.shared.state).waits.push_back(wait);
            self.shared.changed.notify_one();
        }
    }

    /// Waits for a submission, or the last one, and calls the callbacks that are due.
    fn poll(device: &wgpu::Device, health: &Health, submission: Option<wgpu::SubmissionIndex>) {
        let poll = |submission_index| {
            let wait = wgpu::PollType::Wait {
                submission_index,
                timeout: None,
            };
            // wgpu panics here where a driver loses the device.
            catch_unwind(AssertUnwindSafe(|| device.poll(wait)))
        };
        match poll(submission) {
            Ok(Ok(_)) => {}
            // The submission was refused, so nothing will end it: wait for those before.
            Ok(Err(_)) => {
                if poll(None).is_err() {
                    health.lose("the driver gave the device up");
                }
            }
            Err(_) => health.lose("the driver gave the device up"),
        }
    }

    impl Shared {
        /// Sleeps until there is something to wait for; `None` to stop.
        fn next(&self) -> Option<Wait> {
            let mut state = lock(&self.state);
            loop {
                if state.stop {
                    return None;
                }
                if let Some(wait) = state.waits.pop_front() {
                    return Some(wait);
                }
                state = match self.changed.wait(state) {
                    Ok(state) => state,
                    Err(poisoned) => poisoned.into_inner(),
                };
            }
        }
    }

    impl Drop for Poller {
        /// Waits for the thread: were it to drop the last handle to the device, that could happen
        /// while the process exits and the driver unloads, which drivers do not survive.
        fn drop(&mut self) {
            lock(&self.shared.state).stop = true;
            self.shared.changed.notify_one();
            if let Some(thread) = self.thread.take()
                && thread.thread().id() != thread::current().id()
            {
                let _ = thread.join();
            }
        }
    }

    /// Calls `f` for every item, on as many threads as there are processors; results in order.
    pub(crate) fn map_all<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let threads = workers().min(items.len());
        if threads < 2 {
            return items.iter().map(f).collect();
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some((at, item)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                items.get(at).map(|item| (at, item))
            } {
                done.push((at, f(item)));
            }
            done
        };
        let mut results = thread::scope(|scope| {
            let spawn = |_| {
                let builder = thread::Builder::new().stack_size(COMPILE_STACK);
                builder.spawn_scoped(scope, work).ok()
            };
            let threads: Vec<_> = (1..threads).filter_map(spawn).collect();
            let mut results = work();
            for thread in threads {
                match thread.join() {
                    Ok(more) => results.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            results
        });
        results.sort_by_key(|result| result.0);
        results.into_iter().map(|result| result.1).collect()
    }

    /// Threads that [`map_all`] uses.
    pub(crate) fn workers() -> usize {
        thread::available_parallelism().map_or(1, NonZero::get)
    }

    /// What a future gives that needs no waiting; `later` is for where it does.
    pub(crate) fn at_once<T>(
        future: impl Future<Output = Option<T>>,
        _later: impl FnOnce(T),
    ) -> Option<T> {
        let cx = &mut Context::from_waker(Waker::noop());
        match std::pin::pin!(future).poll(cx) {
            Poll::Ready(given) => given,
            Poll::Pending => None,
        }
    }

    /// Shares a value between handles.
    pub(crate) fn shared<T: Send + Sync>(value: T) -> Arc<T> {
        Arc::new(value)
    }

    impl crate::Gpu {
        /// Waits for a future on this thread. Native only: in a browser there is no other thread to
        /// complete it.
        pub fn block_on<F: Future>(&self, future: F) -> F::Output {
            pollster::block_on(future)
        }
    }

    const _: () = {
        const fn shared_between_threads<T: Send + Sync>() {}
        shared_between_threads::<crate::Gpu>();
        shared_between_threads::<crate::Buffer>();
        shared_between_threads::<crate::Program>();
        shared_between_threads::<crate::Replay>();
        shared_between_threads::<crate::Profiler>();
    };

    #[cfg(test)]
    mod tests {
        use std::time::{Duration, Instant};

        use super::*;

        #[test]
        fn items_are_mapped_in_order_and_on_several_threads() {
            let items: Vec<usize> = (0..8).collect();
            let begun = AtomicUsize::new(0);
            let patience = Instant::now() + Duration::from_secs(60);
            let mapped = map_all(&items, |item| {
                // Ends only when a second item has begun, which one thread would never come to.
                begun.fetch_add(1, Ordering::Relaxed);
                while begun.load(Ordering::Relaxed) < workers().min(2) {
                    assert!(Instant::now() < patience, "nobody else takes an item");
                    thread::yield_now();
                }
                item + 1
            });
            assert_eq!(mapped, [1, 2, 3, 4, 5, 6, 7, 8]);
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod here {
    use std::sync::Arc;

    use crate::health::{Health, Signal};

    /// A future behind a pointer: `Send` natively, so that every executor can take it; in a browser nothing is.
    pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + 'a>>;

    pub(crate) const BACKENDS: wgpu::Backends = wgpu::Backends::BROWSER_WEBGPU;

    /// `Send` and `Sync` natively; nothing in a browser, where objects stay on the thread that made them.
    pub trait ThreadSafe {}
    impl<T: ?Sized> ThreadSafe for T {}

    /// A browser answers with a promise.
    pub(crate) const ERRORS_ARE_IMMEDIATE: bool = false;

    /// The browser completes promises by itself.
    pub(crate) struct Poller;

    impl Poller {
        pub(crate) fn new(_device: &wgpu::Device, _health: &Arc<Health>) -> Self {
            Self
        }

        pub(crate) fn wake(&self, _submission: Option<wgpu::SubmissionIndex>) {}

        pub(crate) fn barrier(&self, queue: &wgpu::Queue, done: Arc<Signal>) {
            queue.on_submitted_work_done(move || done.set(Ok(())));
        }
    }

    pub(crate) fn map_all<T, R>(items: &[T], f: impl Fn(&T) -> R) -> Vec<R> {
        items.iter().map(f).collect()
    }

    /// Nothing yet: a browser answers with a promise, and what it gives goes to `later`.
    pub(crate) fn at_once<T: 'static>(
        future: impl Future<Output = Option<T>> + 'static,
        later: impl FnOnce(T) + 'static,
    ) -> Option<T> {
        wasm_bindgen_futures::spawn_local(async move {
            if let Some(given) = future.await {
                later(given);
            }
        });
        None
    }

    /// Shares a value between handles on one thread; the same type as natively keeps one API.
    #[expect(
        clippy::arc_with_non_send_sync,
        reason = "what a browser gives stays on its thread"
    )]
    pub(crate) fn shared<T>(value: T) -> Arc<T> {
        Arc::new(value)
    }

    /// The browser compiles in its own process; this only sizes batches between two awaits.
    pub(crate) fn workers() -> usize {
        4
    }
}
