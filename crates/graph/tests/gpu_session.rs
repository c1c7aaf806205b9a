//! What a session promises besides answers: plans before the first run, futures for any executor, errors for what is denied.

mod common;

use common::{any_gpu as gpu, op};
use tilewright_device::GpuOptions;
use tilewright_graph::{
    Dim, Error, Fact, Fallback, Graph, Model, ModelOptions, Session, host, samples,
};
use tilewright_tensor::{DType, HostTensor};

fn product() -> Graph {
    let mut g = Graph::new();
    let shape = [Dim::symbol("batch"), Dim::from(8usize)];
    let x = g.input("x", Some(Fact::new(DType::F32, shape))).unwrap();
    let w = g.constant(samples::uniform(&[8, 8], 1));
    let y = g.add1(op("MatMul"), &[x, w]).unwrap();
    let y = g.add1(op("Softmax"), &[y]).unwrap();
    g.output("y", y);
    g
}

#[test]
fn prepared_plans_are_used() {
    let Some(gpu) = common::gpu(GpuOptions::new()) else {
        return;
    };
    let model = Model::new(product(), &gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    let mut held = vec![];
    for (plans, n) in [(1, 3), (2, 2)] {
        pollster::block_on(session.prepare(&[("x", &[n, 8])])).unwrap();
        assert_eq!(session.plans().len(), plans);
        held.push(gpu.memory_stats().bytes);
        let x = samples::uniform(&[n, 8], 2);
        pollster::block_on(session.run(&[("x", x)])).unwrap();
        assert_eq!(session.plans().len(), plans);
        held.push(gpu.memory_stats().bytes);
    }
    // The first run of all keeps a buffer for reading back; the second has nothing to make.
    assert_eq!(held[2], held[3], "{held:?}");
    let wrong: [(&[(&str, &[usize])], &str); 3] = [
        (&[], "is missing"),
        (&[("x", &[3, 9])], "must be"),
        (&[("z", &[3, 8])], "no such input"),
    ];
    for (shapes, what) in wrong {
        let error = pollster::block_on(session.prepare(shapes))
            .unwrap_err()
            .to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn preparing_tells_of_every_program() {
    let Some(gpu) = common::gpu(GpuOptions::new()) else {
        return;
    };
    let model = Model::new(product(), &gpu, ModelOptions::default());
    let mut session = Session::new(&model).unwrap();
    let before = gpu.program_count();
    let mut told = vec![];
    let progress = |made, of| told.push((made, of));
    pollster::block_on(session.prepare_with(&[("x", &[3, 8])], progress)).unwrap();
    let made = gpu.program_count() - before;
    assert!(made >= 2, "{made} programs for a product and a softmax");
    assert_eq!(told.last(), Some(&(made, made)), "{told:?}");
    assert!(told.is_sorted(), "{told:?}");
    let again = |made, of| panic!("{made} of {of} programs were made again");
    pollster::block_on(session.prepare_with(&[("x", &[3, 8])], again)).unwrap();
    let mut other = Session::new(&model).unwrap();
    pollster::block_on(other.prepare_with(&[("x", &[3, 8])], again)).unwrap();
}

/// Executors with several threads move futures between them.
#[test]
fn runs_can_move_between_threads() {
    fn moves<T: Send>(value: T) -> T {
        value
    }
    fn shared<T: Send + Sync>() {}
    shared::<Model>();
    shared::<Session>();
    let Some(gpu) = common::gpu(GpuOptions::new()) else {
        return;
    };
    let model = Model::new(product(), &gpu, ModelOptions::default());
    let run = async move {
        let mut session = Session::new(&model)?;
        let mut told = 0;
        session
            .prepare_with(&[("x", &[2, 8])], |_, _| told += 1)
            .await?;
        session.run(&[("x", samples::uniform(&[2, 8], 1))]).await
    };
    let run = moves(run);
    let outputs = std::thread::spawn(|| pollster::block_on(run))
        .join()
        .unwrap()
        .unwrap();
    assert_eq!(outputs[0].1.shape()[..], [2, 8]);
}

#[test]
fn denied_host_steps_are_named() {
    let Some(gpu) = common::gpu(GpuOptions::new()) else {
        return;
    };
    let mut options = ModelOptions::default();
    options.fallback = Fallback::Deny;
    let run = |name: &str, dtype| {
        let mut g = Graph::new();
        let x = g.input("x", Some(Fact::sized(dtype, &[2, 2]))).unwrap();
        let y = g.add_node(op(name), &[Some(x)], "the node", 1).unwrap();
        g.output("y", y[0]);
        Session::new(&Model::new(g, &gpu, options)).map(|_| ())
    };
    run("Relu", DType::F32).unwrap();
    // Without a kernel, and with an output whose shape only the data tells.
    for (name, dtype) in [
        ("Det", DType::F32),
        ("NonZero", DType::F32),
        ("Relu", DType::F64),
    ] {
        match run(name, dtype) {
            Err(Error::HostDenied { node, op, reason }) => {
                assert_eq!((&*node, &*op), ("the node", name));
                assert!(!reason.is_empty());
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn the_type_of_an_input_without_a_rank_counts() {
    let Some(gpu) = gpu() else { return };
    let graph = |dtype: Option<DType>| {
        let mut g = Graph::new();
        let x = match dtype {
            Some(dtype) => g.input_of("x", dtype).unwrap(),
            None => g.input("x", None).unwrap(),
        };
        let y = g.add1(op("Add"), &[x, x]).unwrap();
        g.output("y", y);
        g
    };
    let float = samples::uniform(&[3], 1);
    let whole = samples::integers(DType::I32, &[3], 2, -9, 9);
    for on_device in [true, false] {
        let session = |graph: Graph| {
            let model = match on_device {
                true => Model::new(graph, &gpu, ModelOptions::default()),
                false => Model::host(graph, ModelOptions::default()),
            };
            Session::new(&model).unwrap()
        };
        let run = |session: &mut Session, x: &HostTensor| {
            let outputs = pollster::block_on(session.run(&[("x", x.clone())]))?;
            let want = host::run(&graph(None), std::slice::from_ref(x))?;
            assert_eq!(outputs[0].1, want[0]);
            Ok::<_, Error>(())
        };
        let mut declared = session(graph(Some(DType::F32)));
        let error = run(&mut declared, &whole).unwrap_err().to_string();
        assert!(
            error.contains("`x`") && error.contains("must be f32, got i32"),
            "{error}"
        );
        run(&mut declared, &float).unwrap();
        let mut open = session(graph(None));
        for x in [&whole, &float, &whole] {
            run(&mut open, x).unwrap();
        }
    }
}
