//! Devices, programs, buffers and errors. Without an adapter these tests fail, unless
//! `TILEWRIGHT_SKIP_GPU=1` says that none is expected.
#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

mod common;

use common::*;
use tilewright_device::*;

#[test]
fn a_kernel_runs_with_every_kind_of_device() {
    let options = [
        GpuOptions::new(),
        GpuOptions::new().default_limits_only(),
        GpuOptions::new().trusted(),
    ];
    for options in options {
        // 1001 words: the last workgroup is not full; the word after the last stays zero.
        let Some((gpu, buffer, _)) = filled(options, 1024, 1) else {
            return;
        };
        let replay = bind(
            &gpu,
            &[fill(1001, 0xABCD_1234)],
            std::slice::from_ref(&buffer),
        )
        .unwrap();
        run(&gpu, &replay);
        let got = words(&gpu, &buffer, 1024);
        assert_eq!(got[..1001], [0xABCD_1234; 1001]);
        assert_eq!(got[1001..], [0; 23]);
    }
}

#[test]
fn default_limits_mean_no_features() {
    let Some(gpu) = open(GpuOptions::new().default_limits_only()) else {
        return;
    };
    let caps = gpu.caps();
    assert!(!caps.f16 && caps.subgroups.is_none() && !caps.timestamps);
    assert_eq!(caps.limits, Limits::webgpu_default());
}

#[test]
fn an_adapter_is_opened_by_its_key() {
    let adapters = pollster::block_on(Gpu::adapters());
    let Some(first) = adapters.first() else {
        assert!(skip(), "no adapter");
        return;
    };
    let gpu = open(GpuOptions::new().adapter(AdapterChoice::Key(first.key.clone()))).unwrap();
    assert_eq!(gpu.info(), first);
    let missing = Gpu::new(GpuOptions::new().adapter(AdapterChoice::Key("none such".into())));
    let error = pollster::block_on(missing).unwrap_err();
    assert!(error.to_string().contains(&first.key), "{error}");
}

#[test]
fn shader_errors_name_file_and_line() {
    let Some(gpu) = open(GpuOptions::new()) else {
        return;
    };
    let prepare = |text: &'static str| {
        let variant = fill_variant().part("grid").text("twice", text);
        let key = ProgramKey { variant, shared: 0 };
        gpu.block_on(gpu.prepare(&[key])).map(drop)
    };
    prepare("fn twice(x: f32) -> f32 { return 2.0 * x; }").unwrap();
    let parse = prepare("//#use grid\n\nfn twice(x: f32) -> f32 { return z * x; }").unwrap_err();
    assert_eq!(
        parse.to_string(),
        "twice:3: no definition in scope for identifier: `z`; unknown identifier"
    );
    let typed = prepare("fn twice(x: f32) -> u32 {\n    return x;\n}").unwrap_err();
    assert!(typed.to_string().starts_with("twice:"), "{typed}");
    // Also where the device gets a rewritten module: an array of vec4 that is read whole.
    let held = prepare(
        "@group(0) @binding(HELD) var<storage, read> held: array<vec4<f32>>;\n\
         fn twice(x: f32) -> u32 {\n    let v = held[0];\n    return x * v.x;\n}",
    );
    let held = held.unwrap_err().to_string();
    assert!(held.starts_with("twice:"), "{held}");
    // The same in a file: a count that is no u32.
    let variant = Variant::new("fill")
        .set("THREADS", 64.5f32)
        .alias("Unit", "u32")
        .alias("Known", "u32");
    let key = ProgramKey { variant, shared: 0 };
    let file = gpu.block_on(gpu.prepare(&[key])).unwrap_err();
    assert!(file.to_string().starts_with("shaders/fill.wgsl:"), "{file}");
    // The device still works.
    gpu.block_on(gpu.done()).unwrap();
}

#[test]
fn a_pipeline_over_the_limits_is_refused() {
    let Some(gpu) = open(GpuOptions::new().default_limits_only()) else {
        return;
    };
    let key = ProgramKey {
        variant: Variant::new("fill")
            .set("THREADS", 512u32)
            .alias("Unit", "u32")
            .alias("Known", "u32"),
        shared: 0,
    };
    let error = gpu.block_on(gpu.prepare(&[key])).unwrap_err();
    assert!(
        matches!(&error, Error::Validation { place, .. } if place.starts_with("fill ") && place.contains("THREADS=512")),
        "{error}"
    );
}

#[test]
fn programs_are_made_once() {
    let Some(gpu) = open(GpuOptions::new()) else {
        return;
    };
    let key = |threads: u32| ProgramKey {
        variant: Variant::new("fill")
            .set("THREADS", threads)
            .alias("Unit", "u32")
            .alias("Known", "u32"),
        shared: 0,
    };
    let keys: Vec<_> = (1..=20).chain([3, 5]).map(key).collect();
    let mut told = Vec::new();
    let first = gpu
        .block_on(gpu.prepare_with(&keys, |made, of| told.push((made, of))))
        .unwrap();
    assert_eq!(told.last(), Some(&(20, 20)));
    assert_eq!(first.len(), 22);
    let again = gpu.block_on(gpu.prepare(&keys)).unwrap();
    for ((a, b), key) in first.iter().zip(&again).zip(&keys) {
        assert!(std::sync::Arc::ptr_eq(a, b));
        assert_eq!(a.key(), key);
    }
}

#[test]
fn bytes_come_back_as_written() {
    let Some(gpu) = open(GpuOptions::new()) else {
        return;
    };
    let buffer = gpu.buffer(100, BufferUse::Storage).unwrap();
    assert_eq!(buffer.bytes(), 112);
    let data: Vec<u8> = (0..99).collect();
    gpu.write(&buffer, 4, &data).unwrap();
    let ranges =
        [(5, 1), (4, 99), (0, 112), (7, 0), (9, 6)].map(|(at, bytes)| (buffer.clone(), at, bytes));
    let read = gpu.block_on(gpu.read_all(&ranges)).unwrap();
    assert_eq!(read[0], [1]);
    assert_eq!(read[1], data);
    assert_eq!(read[2][..5], [0, 0, 0, 0, 0]);
    assert_eq!(read[2][103..], [0; 9]);
    assert!(read[3].is_empty());
    assert_eq!(read[4], [5, 6, 7, 8, 9, 10]);
    let beyond = gpu.block_on(gpu.read(&buffer, 100, 13)).unwrap_err();
    assert!(matches!(beyond, Error::Range { .. }), "{beyond}");
    let unaligned = gpu.write(&buffer, 2, &[1]).unwrap_err();
    assert!(matches!(unaligned, Error::Range { .. }), "{unaligned}");
}

#[test]
fn a_read_of_many_chunks_is_whole() {
    let Some(gpu) = open(GpuOptions::new()) else {
        return;
    };
    // Two and a half staging buffers, not aligned at either end, and a write of two chunks.
    let data: Vec<u8> = (0..40_000_003u32).map(|i| (i * 7 % 251) as u8).collect();
    let buffer = gpu.buffer(data.len() as u64, BufferUse::Storage).unwrap();
    gpu.write(&buffer, 0, &data).unwrap();
    let read = gpu.block_on(gpu.read(&buffer, 3, 40_000_000)).unwrap();
    assert!(read == data[3..]);
    let held = gpu.memory_stats();
    gpu.block_on(gpu.read(&buffer, 1, 39_000_000)).unwrap();
    assert_eq!(gpu.memory_stats(), held, "the staging buffers are kept");
}

#[test]
fn a_readback_buffer_is_mapped_itself() {
    let Some((gpu, buffer, replay)) = filled(GpuOptions::new(), 100, 9) else {
        return;
    };
    let back = gpu.buffer(400, BufferUse::Readback).unwrap();
    let held = gpu.memory_stats().buffers;
    for _ in 0..3 {
        let recorder = Recorder::new(&gpu)
            .run(&replay)
            .copy(&buffer, 0, &back, 0, 400);
        recorder.submit(SubmitOptions::new()).unwrap();
        assert_eq!(words(&gpu, &back, 100), [9; 100]);
    }
    assert_eq!(gpu.memory_stats().buffers, held, "no staging buffer");
    let first = gpu.read(&back, 0, 4);
    let mut first = Box::pin(first);
    let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
    if first.as_mut().poll(cx).is_pending() {
        let second = gpu.block_on(gpu.read(&back, 0, 4)).unwrap_err();
        assert!(matches!(second, Error::Range { .. }), "{second}");
    }
    // Dropping a read gives the buffer back.
    drop(first);
    assert_eq!(words(&gpu, &back, 1), [9]);
}

#[test]
fn sizes_over_the_limits_are_typed_errors() {
    let Some(gpu) = open(
        GpuOptions::new()
            .default_limits_only()
            .memory_limit(1 << 20),
    ) else {
        return;
    };
    let error = gpu.buffer((256 << 20) + 1, BufferUse::Storage).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                limit: 0x1000_0000,
                ..
            }
        ),
        "{error}"
    );
    let error = gpu.buffer(u64::MAX, BufferUse::Storage).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    let half = gpu.buffer(1 << 19, BufferUse::Storage).unwrap();
    let error = gpu.buffer((1 << 19) + 1, BufferUse::Storage).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    let clone = half.clone();
    drop(half);
    assert_eq!(gpu.memory_stats().bytes, 1 << 19);
    drop(clone);
    let stats = gpu.memory_stats();
    assert_eq!(
        (stats.bytes, stats.peak_bytes, stats.buffers),
        (0, 1 << 19, 0)
    );

    let buffer = gpu.buffer(64, BufferUse::Storage).unwrap();
    let wide = fill(16, 1).groups([65_536, 1, 1]);
    let error = bind(&gpu, &[wide], std::slice::from_ref(&buffer)).unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { limit: 65_535, .. }),
        "{error}"
    );
    let error = bind(&gpu, &[fill(17, 1)], &[buffer]).unwrap_err();
    assert!(matches!(error, Error::Range { size: 64, .. }), "{error}");
}

#[test]
fn an_embedder_s_device_encoder_and_buffer_work() {
    let Some(own) = open(GpuOptions::new()) else {
        return;
    };
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let name = &own.info().name;
    let adapter = adapters
        .iter()
        .find(|a| a.get_info().name.trim() == name)
        .unwrap();
    let (device, queue) = pollster::block_on(adapter.request_device(&Default::default())).unwrap();
    let gpu = Gpu::from_wgpu(adapter, device.clone(), queue.clone());
    assert!(!gpu.caps().f16, "the embedder asked for no features");
    let theirs = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 256,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });
    let buffer = Buffer::from_wgpu(theirs);
    let replay = bind(&gpu, &[fill(64, 5)], std::slice::from_ref(&buffer)).unwrap();
    let mut encoder = device.create_command_encoder(&Default::default());
    let copy = gpu.buffer(256, BufferUse::Storage).unwrap();
    let recorder = Recorder::over(&gpu, &mut encoder)
        .run(&replay)
        .copy(&buffer, 0, &copy, 0, 256);
    recorder.submit(SubmitOptions::new()).unwrap();
    queue.submit([encoder.finish()]);
    assert_eq!(words(&gpu, &copy, 64), [5; 64]);
    // Refused by the API: told as an error, not through the embedder's handler, which would panic.
    let usage = wgpu::BufferUsages::STORAGE;
    let unreadable = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 16,
        usage,
        mapped_at_creation: false,
    });
    let error = gpu
        .block_on(gpu.read(&Buffer::from_wgpu(unreadable), 0, 16))
        .unwrap_err();
    assert!(matches!(error, Error::Validation { .. }), "{error}");
    let alien = own.buffer(256, BufferUse::Storage).unwrap();
    let error = bind(&gpu, &[fill(64, 5)], &[alien]).unwrap_err();
    assert!(error.to_string().contains("of another device"), "{error}");
    device.destroy();
    let error = gpu.block_on(gpu.done()).unwrap_err();
    assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
}

#[test]
fn a_lost_device_says_so_from_then_on() {
    let Some((gpu, buffer, replay)) = filled(GpuOptions::new(), 64, 1) else {
        return;
    };
    run(&gpu, &replay);
    gpu.device().destroy();
    let error = gpu.block_on(gpu.read(&buffer, 0, 4)).unwrap_err();
    assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    let lost = Err(error);
    assert_eq!(gpu.check(), lost);
    assert_eq!(gpu.buffer(16, BufferUse::Storage).map(drop), lost);
    assert_eq!(gpu.write(&buffer, 0, &[0; 4]), lost);
    assert_eq!(gpu.block_on(gpu.done()), lost);
    assert_eq!(
        Recorder::new(&gpu)
            .run(&replay)
            .submit(SubmitOptions::new()),
        lost
    );
    assert_eq!(gpu.replay(vec![]).map(drop), lost);
    assert_eq!(gpu.block_on(gpu.prepare(&[])).map(drop), lost);
}

#[test]
fn an_uncaptured_error_is_told_by_the_next_call() {
    let Some(gpu) = open(GpuOptions::new()) else {
        return;
    };
    let _ = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 16,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE,
        mapped_at_creation: false,
    });
    let error = gpu.buffer(16, BufferUse::Storage).unwrap_err();
    assert!(matches!(error, Error::Validation { .. }), "{error}");
    gpu.buffer(16, BufferUse::Storage).unwrap();
}

#[test]
fn the_noop_backend_takes_everything() {
    let (gpu, buffer, replay) = filled(GpuOptions::new().noop(), 1024, 1).unwrap();
    run(&gpu, &replay);
    assert_eq!(gpu.block_on(gpu.read(&buffer, 0, 16)).unwrap().len(), 16);
    assert_eq!(gpu.info().backend, Backend::Noop);
    let bad = Dispatch::new(fill_variant())
        .bind("Y", Span::whole(Slot(0), 4))
        .param("n", Param::U32(1));
    let error = bind(&gpu, &[bad], &[buffer]).unwrap_err();
    assert!(matches!(error, Error::Binding { .. }), "{error}");
}
