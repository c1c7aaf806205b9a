//! The program on the host: tables, reports, files, and errors that say what is wrong.

mod common;
#[path = "common/data.rs"]
mod data;
#[path = "common/digits.rs"]
mod digits;

use common::{text, tilewright};
use data::{file, folder, images};
use digits::{check, check_nodes, check_trace, run, table, write};
use image::{GrayImage, Luma};
use tilewright::HostTensor;
use tilewright::onnx::{load_tensor, save_tensor};
use tilewright::tensor::npy;

#[test]
fn run_reports_for_scripts() {
    let folder = folder("run_reports");
    let (x, expected) = images(3);
    let input = format!("image={}", write(&folder, "x.npy", &x));
    let output = folder.join("out");
    let more = [
        "--input",
        &input,
        "--output",
        output.to_str().unwrap(),
        "--repeat",
        "3",
    ];
    let report = run("host", &more);
    check(&report, 3, &expected);
    assert_eq!(report["adapter"], "host");
    assert_eq!(report["runs_ms"].as_array().unwrap().len(), 3);
    assert!(report["median_ms"].as_f64() > Some(0.0));
    assert_eq!(report["nodes"], serde_json::json!([]));
    let written = output.join("probability.npy");
    assert_eq!(report["outputs"][0]["file"], written.to_str().unwrap());
    // The host computes the same anywhere.
    assert_eq!(
        npy::read(&std::fs::read(written).unwrap()).unwrap(),
        expected
    );
}

#[test]
fn run_prints_a_table() {
    let folder = folder("run_prints");
    let (x, _) = images(2);
    let input = format!("image={}", write(&folder, "x.npy", &x));
    let names = folder.join("names.txt");
    std::fs::write(&names, "nought\none\ntwo\nthree").unwrap();
    let more = [
        "--input",
        &input,
        "--labels",
        names.to_str().unwrap(),
        "--top",
        "2",
        "--profile",
    ];
    let table = table("host", &more);
    // The set begins with a nought and a one, and the model is sure of both.
    let parts = [
        "adapter: host",
        "probability: f32[2, 10]",
        "row 0\n    nought ",
        "row 1\n    one ",
        "####",
    ];
    let times = [
        "Conv                 host             conv0",
        "host Conv (2)",
        "100.0%  all",
    ];
    for part in parts.iter().chain(&times) {
        assert!(table.contains(part), "no `{part}` in\n{table}");
    }
    let trace = folder.join("trace.json");
    let report = run("host", &["--profile", "--trace", trace.to_str().unwrap()]);
    check_nodes(&report);
    check_trace(&trace, &report, "host steps");
}

#[test]
fn pictures_are_inputs() {
    let folder = folder("pictures");
    let (x, _) = images(1);
    let ink: Vec<u8> = x
        .to_f64()
        .iter()
        .map(|v| (v * 255.0).round() as u8)
        .collect();
    let picture = folder.join("digit.png");
    let pixel = |x, y| Luma([ink[(8 * y + x) as usize]]);
    GrayImage::from_fn(8, 8, pixel).save(&picture).unwrap();
    let same = ink.iter().map(|v| f32::from(*v) / 255.0).collect();
    let same = HostTensor::from_vec([1, 1, 8, 8], same).unwrap();
    let of = |source: &str, to: &str| {
        let (input, to) = (format!("image={source}"), folder.join(to));
        run(
            "host",
            &["--input", &input, "--output", to.to_str().unwrap()],
        );
        std::fs::read(to.join("probability.npy")).unwrap()
    };
    let drawn = of(picture.to_str().unwrap(), "drawn");
    assert_eq!(drawn, of(&write(&folder, "same.npy", &same), "given"));
}

#[test]
fn random_inputs_follow_their_seed_and_size() {
    let random = |seed: &str| {
        let report = run("host", &["--size", "batch=2", "--seed", seed]);
        assert_eq!(report["outputs"][0]["shape"], serde_json::json!([2, 10]));
        report["outputs"][0]["top"].clone()
    };
    assert_eq!(random("1"), random("1"));
    assert_ne!(random("1"), random("2"));
}

#[test]
fn run_says_what_is_wrong() {
    let folder = folder("run_wrong");
    let flat = HostTensor::from_vec([64], vec![0f32; 64]).unwrap();
    let flat = format!("image={}", write(&folder, "flat.npy", &flat));
    let note = folder.join("note.png");
    std::fs::write(&note, "no picture").unwrap();
    let note = format!("image={}", note.display());
    let wrong: [(&[&str], &str); 9] = [
        (&["--input", "nope=random"], "no input `nope`; it has image"),
        (&["--input", "image"], "write NAME=SOURCE"),
        (
            &["--input", "image=random", "--input", "image=random"],
            "given twice",
        ),
        (
            &["--input", "image=missing.npy"],
            "missing.npy: No such file",
        ),
        (
            &["--input", &flat],
            "must be f32[batch, 1, 8, 8], got a shape of [64]",
        ),
        (&["--input", &note], "note.png"),
        (&["--size", "n=2"], "symbolic sizes are `batch`"),
        (&["--size", "batch=few"], "not a whole number"),
        (&["--labels", "missing.txt"], "missing.txt: No such file"),
    ];
    let model = file("digits.onnx");
    for (args, says) in wrong {
        let out = tilewright(&[&["run", &model, "--device", "host"], args].concat());
        let error = text(&out.stderr);
        assert!(
            !out.status.success() && error.contains(says),
            "{args:?}: {error}"
        );
        assert!(out.stdout.is_empty(), "{args:?}");
    }
    let out = tilewright(&["run", "missing.onnx", "--device", "host"]);
    assert!(!out.status.success());
    assert!(text(&out.stderr).contains("missing.onnx: No such file"));
    let labels = file("digits_labels.npy");
    let out = tilewright(&["run", &labels, "--device", "host"]);
    assert!(!out.status.success());
    assert!(
        text(&out.stderr).contains("digits_labels.npy: "),
        "{}",
        text(&out.stderr)
    );
}

#[test]
fn inspect_shows_the_graph_without_an_adapter() {
    let model = file("digits.onnx");
    let inspect =
        |more: &[&str]| tilewright(&[&["inspect", &model, "--device", "host"], more].concat());
    let out = inspect(&[]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains(": f32[batch, 1, 8, 8]  `image`"));
    let out = inspect(&["--stage", "plan"]);
    assert!(!out.status.success());
    assert!(text(&out.stderr).contains("those of an adapter"));
}

#[test]
fn suite_runs_folders_and_lists_errors() {
    let folder = folder("suite");
    let (x, expected) = images(2);
    for test in ["whole", "empty"] {
        std::fs::create_dir_all(folder.join(test)).unwrap();
        std::fs::copy(file("digits.onnx"), folder.join(test).join("model.onnx")).unwrap();
    }
    let set = folder.join("whole/test_data_set_0");
    std::fs::create_dir_all(&set).unwrap();
    std::fs::write(set.join("input_0.pb"), save_tensor("image", &x)).unwrap();
    let list = folder.join("list.txt");
    let tests = ["whole", "empty", "missing"].map(|test| folder.join(test).display().to_string());
    std::fs::write(&list, tests.join("\n")).unwrap();
    let to = folder.join("out");
    let [list, to_text] = [&list, &to].map(|path| path.to_str().unwrap());
    let out = tilewright(&["suite", list, to_text, "--device", "host"]);
    assert!(!out.status.success());
    assert!(text(&out.stderr).contains("2 of 3 tests could not run"));
    assert!(
        text(&out.stdout).contains(
            "1 of 3 tests ran (their outputs are not judged here), 0 wholly on the device; 2 errors"
        ),
        "{}",
        text(&out.stdout)
    );
    let errors = std::fs::read_to_string(to.join("errors.txt")).unwrap();
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 2, "{errors}");
    assert!(
        lines[0].starts_with("suite/empty\t") && lines[0].contains("no test_data_set_"),
        "{errors}"
    );
    assert!(lines[1].starts_with("suite/missing\t"), "{errors}");
    let made = std::fs::read(to.join("suite/whole/test_data_set_0/output_0.pb")).unwrap();
    assert_eq!(load_tensor(&made).unwrap(), expected);
}

#[test]
fn sizes_beyond_memory_are_errors() {
    let model = file("digits.onnx");
    let more = ["--device", "host", "--size", "batch=100000000"];
    let out = tilewright(&[&["run", &model], &more[..]].concat());
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    let said = text(&out.stderr);
    assert!(
        said.contains("over the limit of 2147483648 bytes"),
        "{said}"
    );
}
