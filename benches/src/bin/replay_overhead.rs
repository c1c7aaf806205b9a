//! CPU cost of a replayed dispatch against a bare wgpu loop with the same pipelines and bind groups.
//!
//! Both record N tiny dispatches into one pass and submit it; every dispatch changes pipeline, operands
//! and parameters, so neither can skip a call. Medians of rounds that alternate; the waiting between them
//! is not timed. `replay_overhead [--noop] [--json FILE]`: with wgpu's backend that does nothing, only wgpu's own cost is left;
//! on an adapter, a ratio above the stated one is an error.

use std::num::NonZero;
use std::time::{Duration, Instant};

use tilewright_benches::{judge, machine};
use tilewright_device::wgpu;
use tilewright_device::{
    Budget, Buffer, BufferUse, Dispatch, Error, Gpu, GpuOptions, Recorder, Replay, Slot, Span,
    SubmitOptions, Variant, assemble,
};

const DISPATCHES: u32 = 2000;
const ROUNDS: usize = 31;
const WARM_UP: Duration = Duration::from_millis(500);
/// What the project states of a replayed dispatch over one of the bare loop.
const MOST_RATIO: f64 = 1.25;
/// Distance of operands and of parameters: the alignment that every device takes.
const STEP: u64 = 256;
/// Different operands; they repeat after that.
const OPERANDS: u32 = 500;
/// Threads of the two programs.
const PROGRAMS: [u32; 2] = [32, 64];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let noop = std::env::args().any(|arg| arg == "--noop");
    let json = std::env::args().skip_while(|arg| arg != "--json").nth(1);
    let options = if noop {
        GpuOptions::new().noop()
    } else {
        GpuOptions::new()
    };
    let gpu = pollster::block_on(Gpu::new(options))?;
    println!(
        "{}; {DISPATCHES} dispatches, one pass, one submission",
        gpu.info().key
    );
    let arena = gpu.buffer(u64::from(OPERANDS) * STEP, BufferUse::Storage)?;
    replay(&gpu, &arena)?;
    let start = Instant::now();
    let replay = replay(&gpu, &arena)?;
    let bind = start.elapsed().as_secs_f64() * 1e6 / f64::from(DISPATCHES);
    println!("bind      {bind:7.3} us a dispatch, once, with its programs already made");
    let bare = Bare::new(&gpu, &arena)?;

    let samples = alternate(&gpu, &replay, &bare)?;
    let [replayed, bare] = samples.clone().map(median);
    println!("replay    {replayed:7.3} us a dispatch");
    println!("bare wgpu {bare:7.3} us a dispatch");
    let ratio = replayed / bare;
    println!("ratio     {ratio:7.3}   (at most {MOST_RATIO}, and at most 1.5 us)");
    if let Some(path) = json {
        let [ours, theirs] = samples;
        let report = serde_json::json!({
            "format": "tilewright-bench-replay",
            "version": 1,
            "machine": machine(&gpu),
            "dispatches": DISPATCHES,
            "bind_us": bind,
            "replay_median_us": replayed,
            "bare_median_us": bare,
            "ratio": ratio,
            "replay_us": ours,
            "bare_us": theirs,
        });
        std::fs::write(&path, format!("{report:#}\n"))?;
        println!("wrote {path}");
    }
    let missed = (!noop && ratio > MOST_RATIO)
        .then(|| format!("replay over bare wgpu {ratio:.2} (at most {MOST_RATIO})"));
    Ok(judge(missed.as_slice())?)
}

/// Microseconds a dispatch of the replay and of the bare loop, in turns.
fn alternate(gpu: &Gpu, replay: &Replay, bare: &Bare) -> Result<[Vec<f64>; 2], Error> {
    let ours = || {
        let options = SubmitOptions::new().budget(Budget::Unlimited);
        Recorder::new(gpu).run(replay).submit(options)
    };
    let theirs = || {
        bare.run(gpu);
        Ok(())
    };
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        time(gpu, ours)?;
        time(gpu, theirs)?;
    }
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..2 * ROUNDS {
        let sample = if round % 2 == 0 {
            time(gpu, ours)?
        } else {
            time(gpu, theirs)?
        };
        samples[round % 2].push(sample);
    }
    Ok(samples)
}

/// Microseconds a dispatch that a submission costs this thread; then waits for it.
fn time(gpu: &Gpu, submit: impl Fn() -> Result<(), Error>) -> Result<f64, Error> {
    let start = Instant::now();
    submit()?;
    let time = start.elapsed();
    pollster::block_on(gpu.done())?;
    Ok(time.as_secs_f64() * 1e6 / f64::from(DISPATCHES))
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn variant(i: u32) -> Variant {
    Variant::new("fill")
        .set("THREADS", PROGRAMS[i as usize % PROGRAMS.len()])
        .alias("Unit", "u32")
        .alias("Known", "u32")
}

fn replay(gpu: &Gpu, arena: &Buffer) -> Result<Replay, Error> {
    let dispatch = |i: u32| {
        let offset = u64::from(i % OPERANDS) * STEP;
        Dispatch::new(variant(i))
            .bind(
                "Y",
                Span {
                    offset,
                    ..Span::whole(Slot(0), STEP)
                },
            )
            .param("count", 1u32)
            .param("word", i)
    };
    let dispatches: Vec<_> = (0..DISPATCHES).map(dispatch).collect();
    pollster::block_on(gpu.bind(&dispatches, |_| Some((arena.clone(), 0))))
}

/// What somebody would write by hand.
struct Bare {
    pipelines: Vec<wgpu::ComputePipeline>,
    operands: Vec<wgpu::BindGroup>,
    params: wgpu::BindGroup,
}

impl Bare {
    fn new(gpu: &Gpu, arena: &Buffer) -> Result<Self, Error> {
        let device = gpu.device();
        let entry = |ty, has_dynamic_offset, size| wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset,
                min_binding_size: NonZero::new(size),
            },
            count: None,
        };
        let layout = |entry| {
            let entries = &[entry];
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: None,
                entries,
            })
        };
        let storage = wgpu::BufferBindingType::Storage { read_only: false };
        let storage = layout(entry(storage, false, 0));
        let uniform = layout(entry(wgpu::BufferBindingType::Uniform, true, STEP));
        let group = |layout, buffer, offset| {
            let size = NonZero::new(STEP);
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset,
                size,
            });
            let entries = &[wgpu::BindGroupEntry {
                binding: 0,
                resource,
            }];
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout,
                entries,
            })
        };
        let params = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: u64::from(DISPATCHES) * STEP,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let both = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&storage), Some(&uniform)],
            immediate_size: 0,
        });
        let pipelines = pipelines(gpu, &both)?;
        let operand = |i: u32| group(&storage, arena.raw(), u64::from(i) * STEP);
        let operands = (0..OPERANDS).map(operand).collect();
        Ok(Self {
            pipelines,
            operands,
            params: group(&uniform, &params, 0),
        })
    }

    fn run(&self, gpu: &Gpu) {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for i in 0..DISPATCHES as usize {
                pass.set_pipeline(&self.pipelines[i % PROGRAMS.len()]);
                pass.set_bind_group(0, &self.operands[i % OPERANDS as usize], &[]);
                pass.set_bind_group(1, &self.params, &[(i as u64 * STEP) as u32]);
                pass.dispatch_workgroups(1, 1, 1);
            }
        }
        gpu.queue().submit([encoder.finish()]);
    }
}

fn pipelines(
    gpu: &Gpu,
    layout: &wgpu::PipelineLayout,
) -> Result<Vec<wgpu::ComputePipeline>, Error> {
    let device = gpu.device();
    let pipeline = |i| {
        let source = wgpu::ShaderSource::Wgsl(assemble(&variant(i))?.to_string().into());
        let module = wgpu::ShaderModuleDescriptor {
            label: None,
            source,
        };
        Ok(
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: Some(layout),
                module: &device.create_shader_module(module),
                entry_point: Some("main"),
                compilation_options: Default::default(),
                cache: None,
            }),
        )
    };
    (0..PROGRAMS.len() as u32).map(pipeline).collect()
}
