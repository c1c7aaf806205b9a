//! Replays, submissions and their times. Without an adapter these tests fail, unless
//! `TILEWRIGHT_SKIP_GPU=1` says that none is expected.
#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

mod common;

use std::time::{Duration, Instant};

use common::*;
use tilewright_device::*;

#[test]
fn a_folded_grid_covers_everything() {
    let count = 65_535 * THREADS + 100;
    let Some((gpu, buffer, replay)) = filled(GpuOptions::new(), count, 7) else {
        return;
    };
    run(&gpu, &replay);
    let got = words(&gpu, &buffer, u64::from(count));
    assert!(got.iter().all(|word| *word == 7));
}

#[test]
fn operands_that_may_not_lie_beside_each_other_are_refused() {
    let Some(gpu) = open(GpuOptions::new()) else {
        return;
    };
    let text = "//#param n: u32\n\
        @group(0) @binding(A) var<storage, read> a: array<u32>;\n\
        @group(0) @binding(Y) var<storage, read_write> y: array<u32>;\n\
        @compute @workgroup_size(1) fn main(@builtin(workgroup_id) g: vec3<u32>) { if g.x < p.n { y[g.x] = a[g.x] + 1u; } }";
    let variant = Variant::new("increment").text("increment", text);
    let span = |offset| Span {
        offset,
        ..Span::whole(Slot(0), 16)
    };
    let dispatch = |a, y| {
        let d = Dispatch::new(variant.clone())
            .bind("Y", span(y))
            .bind("A", span(a));
        d.param("n", 4u32).groups([4, 1, 1])
    };
    let buffer = gpu.buffer(1024, BufferUse::Storage).unwrap();
    gpu.write(&buffer, 0, bytemuck::bytes_of(&[1u32, 2, 3, 4]))
        .unwrap();
    // One buffer for both: `bind` makes A read_write, and disjoint ranges are fine.
    let replay = bind(&gpu, &[dispatch(0, 256)], std::slice::from_ref(&buffer)).unwrap();
    assert_eq!(replay.program(0).unwrap().key().shared, 0b01);
    run(&gpu, &replay);
    assert_eq!(words(&gpu, &buffer, 68)[64..], [2, 3, 4, 5]);
    let error = bind(&gpu, &[dispatch(256, 256)], std::slice::from_ref(&buffer)).unwrap_err();
    assert!(error.to_string().contains("overlaps"), "{error}");
    let error = bind(&gpu, &[dispatch(0, 8)], std::slice::from_ref(&buffer)).unwrap_err();
    assert!(matches!(error, Error::Range { .. }), "{error}");
    let program = gpu.block_on(gpu.prepare(&[ProgramKey {
        variant: variant.clone(),
        shared: 0,
    }]));
    let program = program.unwrap().remove(0);
    let bound = BoundDispatch::new(program.clone(), &dispatch(0, 256), |_| {
        Some((buffer.clone(), 0))
    });
    let error = gpu.replay(vec![bound.unwrap()]).unwrap_err();
    assert!(error.to_string().contains("must be read_write"), "{error}");
    let error = BoundDispatch::new(program, &dispatch(0, 256), |_| None).unwrap_err();
    assert!(error.to_string().contains("%0 has no place"), "{error}");
}

/// All bind groups are made together; the error names the step whose buffer is gone all the same.
#[test]
fn the_step_whose_operands_cannot_be_bound_is_named() {
    let Some(gpu) = open(GpuOptions::new()) else {
        return;
    };
    let [good, gone] = [0, 1].map(|_| gpu.buffer(64, BufferUse::Storage).unwrap());
    let steps = [fill(16, 1), fill(16, 2), fill(16, 3)];
    let replay = bind(&gpu, &steps, std::slice::from_ref(&good)).unwrap();
    let program = replay.program(0).unwrap();
    gone.raw().destroy();
    let bound = [&good, &gone, &good].into_iter().zip(&steps);
    let bound = bound.map(|(buffer, step)| {
        BoundDispatch::new(program.clone(), step, |_| Some((buffer.clone(), 0))).unwrap()
    });
    let error = gpu.replay(bound.collect()).unwrap_err();
    assert!(matches!(error, Error::Validation { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("the operands of step 1, fill"), "{error}");
    gpu.check().unwrap();
}

#[test]
fn a_thousand_replays_make_no_new_objects() {
    let Some(gpu) = open(GpuOptions::new()) else {
        return;
    };
    let buffer = gpu.buffer(4096, BufferUse::Storage).unwrap();
    // Two programs, three sets of parameters, one operand.
    let mut dispatches = vec![fill(1024, 1), fill(512, 2), fill(1024, 1)];
    dispatches.push(Dispatch {
        variant: Variant::new("fill")
            .set("THREADS", 32u32)
            .alias("Unit", "u32")
            .alias("Known", "u32"),
        ..fill(256, 3)
    });
    let replay = bind(&gpu, &dispatches, std::slice::from_ref(&buffer)).unwrap();
    assert_eq!(replay.len(), 4);
    assert_eq!(
        replay.bind_groups(),
        4,
        "three operands, one for all parameters"
    );
    run(&gpu, &replay);
    assert_eq!(words(&gpu, &buffer, 1024)[127], 3);
    let made = |gpu: &Gpu| {
        (
            gpu.memory_stats(),
            gpu.bind_group_count(),
            gpu.program_count(),
        )
    };
    let before = made(&gpu);
    assert_eq!((before.1, before.2), (replay.bind_groups(), 2));
    for _ in 0..1000 {
        run(&gpu, &replay);
    }
    gpu.block_on(gpu.done()).unwrap();
    let got = words(&gpu, &buffer, 1024);
    assert_eq!([got[0], got[128], got[512], got[1023]], [3, 1, 1, 1]);
    assert_eq!(made(&gpu), before);
}

#[test]
fn a_budget_splits_and_a_token_cancels() {
    let Some(gpu) = open(GpuOptions::new()) else {
        return;
    };
    // Large enough that a part takes longer than submitting the next.
    let buffer = gpu.buffer(16 << 20, BufferUse::Storage).unwrap();
    let steps: Vec<_> = (0..10).map(|i| fill(4 << 20, i)).collect();
    let replay = bind(&gpu, &steps, std::slice::from_ref(&buffer)).unwrap();
    // Measured: 1 ms a step, so a budget of 3 ms makes parts of three.
    replay.set_measured(Duration::from_millis(10));
    let options = SubmitOptions::new().budget(Budget::Time(Duration::from_millis(3)));
    Recorder::new(&gpu)
        .run(&replay)
        .submit(options.clone())
        .unwrap();
    assert_eq!(words(&gpu, &buffer, 1024), [9; 1024]);
    gpu.write(&buffer, 0, &[0; 4096]).unwrap();
    gpu.block_on(
        Recorder::new(&gpu)
            .run(&replay)
            .submit_paced(options.clone()),
    )
    .unwrap();
    assert_eq!(words(&gpu, &buffer, 1024), [9; 1024]);

    // Cancelled between two parts: those before ran, those after did not. A machine that is busy
    // elsewhere may let the GPU win the race against the token, so there are many parts and several attempts.
    let steps: Vec<_> = (0..99).map(|i| fill(4 << 20, i)).collect();
    let replay = bind(&gpu, &steps, std::slice::from_ref(&buffer)).unwrap();
    replay.set_measured(Duration::from_millis(99));
    let token = CancelToken::new();
    let cancelled = (0..200).any(|_| {
        let token = CancelToken::new();
        let recorder = Recorder::new(&gpu).run(&replay);
        let mut paced = Box::pin(recorder.submit_paced(options.clone().cancel(token.clone())));
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        let pending = paced.as_mut().poll(cx).is_pending();
        token.cancel();
        pending && gpu.block_on(paced) == Err(Error::Cancelled)
    });
    assert!(cancelled);
    let last = words(&gpu, &buffer, 1)[0];
    assert!(
        last % 3 == 2 && last < 98,
        "the last step of a part, not {last}"
    );
    token.cancel();
    let options = SubmitOptions::new().cancel(token);
    assert_eq!(
        Recorder::new(&gpu).run(&replay).submit(options),
        Err(Error::Cancelled)
    );
}

#[test]
fn what_a_run_computes_is_read_with_it() {
    let Some(gpu) = open(GpuOptions::new()) else {
        return;
    };
    // Three staging buffers, so that one is filled in a submission of its own.
    let count = 10 << 20;
    let buffer = gpu.buffer(4 * count, BufferUse::Storage).unwrap();
    let ranges = [(8, 8), (2, 3), (0, 4 * count), (4, 0)];
    let ranges = ranges.map(|(at, bytes)| (buffer.clone(), at, bytes));
    for budget in [Budget::Unlimited, Budget::Time(Duration::ZERO)] {
        let steps = [fill(count as u32, 5), fill(count as u32, 0x0403_0201)];
        let replay = bind(&gpu, &steps, std::slice::from_ref(&buffer)).unwrap();
        let options = SubmitOptions::new().budget(budget);
        let run = Recorder::new(&gpu).run(&replay);
        let read = gpu.block_on(run.submit_reading(options, &ranges)).unwrap();
        assert_eq!(read[0], [1, 2, 3, 4, 1, 2, 3, 4]);
        assert_eq!((&read[1][..], read[3].len()), (&[3, 4, 1][..], 0));
        assert_eq!(read[2].len() as u64, 4 * count);
        assert!(
            read[2]
                .as_chunks()
                .0
                .iter()
                .all(|word| *word == [1, 2, 3, 4])
        );
    }
    let token = CancelToken::new();
    token.cancel();
    let run = Recorder::new(&gpu).submit_reading(SubmitOptions::new().cancel(token), &ranges);
    assert_eq!(gpu.block_on(run), Err(Error::Cancelled));
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    let over = Recorder::over(&gpu, &mut encoder);
    let read = gpu.block_on(over.submit_reading(SubmitOptions::new(), &ranges));
    assert!(matches!(read, Err(Error::Unsupported { .. })), "{read:?}");
}

#[test]
fn copies_are_checked() {
    let Some(gpu) = open(GpuOptions::new()) else {
        return;
    };
    let [a, b] = [0, 1].map(|_| gpu.buffer(64, BufferUse::Storage).unwrap());
    let copy = |from, at, to, bytes| {
        Recorder::new(&gpu)
            .copy(from, at, to, 0, bytes)
            .submit(SubmitOptions::new())
    };
    copy(&a, 0, &b, 64).unwrap();
    copy(&a, 60, &b, 0).unwrap();
    for (at, to, bytes) in [(4, &b, 64), (2, &b, 4), (0, &b, 6), (0, &a, 16)] {
        let error = copy(&a, at, to, bytes).unwrap_err();
        assert!(matches!(error, Error::Range { .. }), "{error}");
    }
}

#[test]
fn futures_end_in_any_executor() {
    let Some((gpu, buffer, replay)) = filled(GpuOptions::new(), 1024, 3) else {
        return;
    };
    run(&gpu, &replay);
    // No poll of the device by anybody but its own thread, and the future moves between threads.
    let future = async move { gpu.read(&buffer, 0, 4).await };
    let read = std::thread::spawn(move || pollster::block_on(future))
        .join()
        .unwrap()
        .unwrap();
    assert_eq!(read, [3, 0, 0, 0]);
}

#[test]
fn the_profiler_times_every_step() {
    let Some(gpu) = open(GpuOptions::new()) else {
        return;
    };
    if !gpu.caps().timestamps {
        assert!(matches!(
            Profiler::new(&gpu),
            Err(Error::Unsupported { .. })
        ));
        return;
    }
    let buffer = gpu.buffer(4 << 20, BufferUse::Storage).unwrap();
    let steps: Vec<_> = [1 << 20, 64, 1 << 20]
        .map(|count| fill(count, count))
        .into();
    let replay = bind(&gpu, &steps, std::slice::from_ref(&buffer)).unwrap();
    let profiler = Profiler::new(&gpu).unwrap();
    let start = Instant::now();
    let options = SubmitOptions::new();
    let timings = gpu.block_on(profiler.run(&replay, &options)).unwrap();
    let wall = start.elapsed().as_nanos() as u64;
    assert_eq!(
        timings
            .iter()
            .map(|t| (t.step, t.label))
            .collect::<Vec<_>>(),
        [(0, 0), (1, 1), (2, 2)]
    );
    let total: u64 = timings.iter().map(|t| t.nanoseconds).sum();
    assert!(total > 0 && total <= wall, "{total} ns of {wall} ns");
    assert_eq!(words(&gpu, &buffer, 1), [1 << 20]);
    // In parts of one step the same timestamps are taken.
    let least = SubmitOptions::new().budget(Budget::Time(Duration::ZERO));
    let timings = gpu.block_on(profiler.run(&replay, &least)).unwrap();
    assert_eq!(timings.len(), 3);
    assert!(timings.iter().any(|t| t.nanoseconds > 0));
    profiling_stops(&gpu, &profiler, &replay, &least);
    let none = open(GpuOptions::new().default_limits_only()).unwrap();
    assert!(matches!(
        Profiler::new(&none),
        Err(Error::Unsupported { .. })
    ));
}

/// A token that is cancelled before the first part, and one between two, as in `a_budget_splits_and_a_token_cancels`.
fn profiling_stops(gpu: &Gpu, profiler: &Profiler, replay: &Replay, parts: &SubmitOptions) {
    let token = CancelToken::new();
    token.cancel();
    let options = SubmitOptions::new().cancel(token);
    let stopped = gpu.block_on(profiler.run(replay, &options));
    assert_eq!(stopped, Err(Error::Cancelled));
    let cancelled = (0..200).any(|_| {
        let token = CancelToken::new();
        let options = parts.clone().cancel(token.clone());
        let mut run = Box::pin(profiler.run(replay, &options));
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        let pending = run.as_mut().poll(cx).is_pending();
        token.cancel();
        pending && gpu.block_on(run) == Err(Error::Cancelled)
    });
    assert!(cancelled);
}

#[test]
fn nothing_is_submitted_after_a_deadline() {
    let Some((gpu, buffer, replay)) = filled(GpuOptions::new(), 1024, 7) else {
        return;
    };
    let now = Instant::now();
    let later = now + Duration::from_secs(3600);
    // The earlier of two counts.
    for options in [
        SubmitOptions::new().deadline(now),
        SubmitOptions::new().deadline(now).deadline(later),
        SubmitOptions::new().deadline(later).deadline(now),
    ] {
        std::thread::sleep(Duration::from_millis(1));
        let submitted = Recorder::new(&gpu).run(&replay).submit(options.clone());
        assert_eq!(submitted, Err(Error::Deadline));
        let paced = Recorder::new(&gpu).run(&replay).submit_paced(options);
        assert_eq!(gpu.block_on(paced), Err(Error::Deadline));
    }
    assert_eq!(words(&gpu, &buffer, 1024), [0; 1024]);
    let options = SubmitOptions::new().deadline(later);
    Recorder::new(&gpu).run(&replay).submit(options).unwrap();
    assert_eq!(words(&gpu, &buffer, 1024), [7; 1024]);
}
