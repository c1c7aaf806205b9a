//! A program that has a `wgpu` device of its own: its buffers go in and out, and a run lies between its own passes.

mod common;

use tilewright::device::wgpu::{self, BufferUsages};
use tilewright::device::{Buffer, Recorder};
use tilewright::graph::{Attrs, DeviceTensor, Dim, Fact, IoBinding, Op, host, samples};
use tilewright::tensor::nmse;
use tilewright::{
    DType, Gpu, GpuOptions, Graph, HostTensor, Model, ModelOptions, Session, block_on,
};

/// The embedder's side.
struct Program {
    device: wgpu::Device,
    queue: wgpu::Queue,
    gpu: Gpu,
}

/// The adapter that the engine would choose, opened without it; none only where the environment says that this is fine.
fn program() -> Option<Program> {
    let chosen = common::gpu(GpuOptions::new())?.info().name.clone();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let adapter = adapters.iter().find(|a| a.get_info().name.trim() == chosen);
    let adapter = adapter.unwrap();
    // Default limits and no features: what a program gets that asks for nothing.
    let (device, queue) = block_on(adapter.request_device(&Default::default())).unwrap();
    let gpu = Gpu::from_wgpu(adapter, device.clone(), queue.clone());
    Some(Program { device, queue, gpu })
}

impl Program {
    fn buffer(&self, floats: usize, usage: BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("the program's own"),
            size: 4 * floats as u64,
            usage,
            mapped_at_creation: false,
        })
    }

    fn filled(&self, values: &HostTensor) -> wgpu::Buffer {
        let all = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let buffer = self.buffer(values.len(), all);
        self.queue.write_buffer(&buffer, 0, values.bytes());
        buffer
    }

    /// The program's own pass: each of `count` elements of the buffer becomes `function` of v.
    fn pass(
        &self,
        to: &mut wgpu::CommandEncoder,
        function: &str,
        buffer: &wgpu::Buffer,
        count: u32,
    ) {
        let text = format!(
            "@group(0) @binding(0) var<storage, read_write> values: array<f32>;\n\
             @compute @workgroup_size(1) fn main(@builtin(workgroup_id) at: vec3<u32>) {{\n\
             let v = values[at.x]; values[at.x] = {function}; }}"
        );
        let module = wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(text.into()),
        };
        let module = self.device.create_shader_module(module);
        let pipeline = wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        };
        let pipeline = self.device.create_compute_pipeline(&pipeline);
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: buffer.as_entire_binding(),
            }],
        });
        let mut pass = to.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(count, 1, 1);
    }

    /// Reads a buffer as a program does that knows nothing of the engine.
    fn read(&self, buffer: &wgpu::Buffer, shape: &[usize]) -> HostTensor {
        let staging = self.buffer(
            shape.iter().product(),
            BufferUsages::COPY_DST | BufferUsages::MAP_READ,
        );
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, staging.size());
        self.queue.submit([encoder.finish()]);
        let (tell, told) = std::sync::mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            tell.send(result).unwrap()
        });
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .unwrap();
        told.recv().unwrap().unwrap();
        let bytes = staging.get_mapped_range(..).unwrap();
        HostTensor::from_bytes(DType::F32, shape, &bytes).unwrap()
    }
}

fn op(name: &str) -> Op {
    Op::from_name(name, &Attrs::new(name)).unwrap()
}

/// y = softmax(x W), for any number of rows.
fn graph() -> Graph {
    let mut g = Graph::new();
    let shape = vec![Dim::symbol("n"), Dim::from(6usize)];
    let x = g.input("x", Some(Fact::new(DType::F32, shape))).unwrap();
    let w = g.constant(samples::uniform(&[6, 5], 1));
    let y = g.add1(op("MatMul"), &[x, w]).unwrap();
    let y = g.add1(op("Softmax"), &[y]).unwrap();
    g.output("y", y);
    g
}

fn tensor(buffer: &wgpu::Buffer, shape: [usize; 2]) -> DeviceTensor {
    DeviceTensor::new(Buffer::from_wgpu(buffer.clone()), DType::F32, shape)
}

fn close(got: &HostTensor, want: &HostTensor) {
    let error = nmse(got, want).unwrap();
    assert!(error < 1e-10, "{error:e}: {got}, expected {want}");
}

fn expected(x: &HostTensor) -> HostTensor {
    host::run(&graph(), std::slice::from_ref(x))
        .unwrap()
        .remove(0)
}

#[test]
fn its_buffers_go_in_and_out() {
    let Some(program) = program() else { return };
    let model = Model::new(graph(), &program.gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    for n in [3, 17, 3] {
        let x = samples::uniform(&[n, 6], 2);
        let from = program.filled(&x);
        let usage = BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let to = program.buffer(5 * n, usage);
        let io = IoBinding::new()
            .input("x", tensor(&from, [n, 6]))
            .output("y", tensor(&to, [n, 5]));
        assert!(block_on(session.run_with(io)).unwrap().is_empty());
        close(&program.read(&to, &[n, 5]), &expected(&x));
    }
}

#[test]
fn a_run_lies_between_its_passes() {
    let Some(program) = program() else { return };
    let model = Model::new(graph(), &program.gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    let x = samples::uniform(&[4, 6], 3);
    let from = program.filled(&x);
    let to = program.filled(&HostTensor::zeros(DType::F32, [4, 5]).unwrap());
    let mut encoder = program.device.create_command_encoder(&Default::default());
    program.pass(&mut encoder, "2.0 * v - 1.0", &from, 24);
    let io = IoBinding::new()
        .input("x", tensor(&from, [4, 6]))
        .output("y", tensor(&to, [4, 5]));
    let recorder = Recorder::over(&program.gpu, &mut encoder);
    block_on(session.record(io, recorder)).unwrap();
    program.pass(&mut encoder, "10.0 + v", &to, 20);
    let commands = encoder.finish();
    // Nothing was submitted yet.
    close(&program.read(&from, &[4, 6]), &x);
    assert_eq!(program.read(&to, &[4, 5]).to_f64(), [0.0; 20]);
    program.queue.submit([commands]);
    let before = x
        .to_vec::<f32>()
        .unwrap()
        .iter()
        .map(|v| 2.0 * v - 1.0)
        .collect();
    let y = expected(&HostTensor::from_vec([4, 6], before).unwrap());
    let after = y
        .to_vec::<f32>()
        .unwrap()
        .iter()
        .map(|v| 10.0 + v)
        .collect();
    let want = HostTensor::from_vec([4, 5], after).unwrap();
    close(&program.read(&to, &[4, 5]), &want);
}

#[test]
fn buffers_without_the_usage_are_refused() {
    let Some(program) = program() else { return };
    let model = Model::new(graph(), &program.gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    let x = samples::uniform(&[2, 6], 4);
    let good = (program.filled(&x), program.filled(&expected(&x)));
    let no_source = program.buffer(12, BufferUsages::STORAGE | BufferUsages::COPY_DST);
    let no_target = program.buffer(10, BufferUsages::STORAGE | BufferUsages::COPY_SRC);
    let cases = [
        (&no_source, &good.1, "COPY_SRC"),
        (&good.0, &no_target, "COPY_DST"),
    ];
    for (from, to, usage) in cases {
        let io = || {
            let io = IoBinding::new().input("x", tensor(from, [2, 6]));
            io.output("y", tensor(to, [2, 5]))
        };
        let error = block_on(session.run_with(io())).unwrap_err();
        let mut encoder = program.device.create_command_encoder(&Default::default());
        let recorder = Recorder::over(&program.gpu, &mut encoder);
        let recorded = block_on(session.record(io(), recorder)).unwrap_err();
        for error in [error, recorded] {
            let text = error.to_string();
            assert!(text.contains(usage), "{text}");
            assert!(
                matches!(error, tilewright::graph::Error::Device(_)),
                "{error:?}"
            );
        }
    }
    // Neither the device nor the session minds.
    program.gpu.check().unwrap();
    let io = IoBinding::new().input("x", tensor(&good.0, [2, 6]));
    let outputs = block_on(session.run_with(io)).unwrap();
    close(&outputs[0].1, &expected(&x));
}
