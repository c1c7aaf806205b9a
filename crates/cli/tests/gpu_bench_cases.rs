//! `tilewright bench` of cases: products, convolutions, attention, maps and models, beside peers, and compared with before.

#[path = "common/adapter.rs"]
mod adapter;
mod common;
#[expect(dead_code, reason = "its images are for tests of results")]
#[path = "common/data.rs"]
mod data;

use adapter::adapter;
use common::{place, text, tilewright};
use data::{file, folder};
use serde_json::Value;
use std::process::Output;

/// A bench of little more than its warm-up.
fn bench(device: &str, args: &[&str]) -> Output {
    let quick = ["--seconds", "0.01", "--device", device];
    tilewright(&[&["bench"], args, &quick].concat())
}

/// The report of a bench, which must be there and complete.
fn report(device: &str, args: &[&str]) -> Value {
    let out = bench(device, &[args, &["--json"]].concat());
    assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&report["format"], &report["version"]),
        (&"tilewright-bench".into(), &1.into())
    );
    assert_eq!(report["machine"]["adapter"], device);
    assert_eq!(report["kind"], args[0]);
    assert!(
        number(&report["peaks"]["flops"]) > 1e6
            && number(&report["peaks"]["bytes_per_second"]) > 1e6
    );
    for case in report["cases"].as_array().unwrap() {
        let nmse = number(&case["nmse"]);
        assert!(nmse <= number(&case["nmse_bound"]), "{case}");
        assert!(number(&case["first_seconds"]) > 0.0, "{case}");
        let samples = case["times"]["wall_seconds"].as_array().unwrap();
        assert!(samples.len() >= 10, "{case}");
        let time = number(&case["times"]["median_seconds"]);
        if let Some(flops) = case["flops"].as_f64() {
            assert!(
                (number(&case["gflops"]) * 1e9 * time / flops - 1.0).abs() < 1e-9,
                "{case}"
            );
        }
    }
    report
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or_else(|| panic!("{v} is no number"))
}

fn names(report: &Value) -> Vec<&str> {
    let cases = report["cases"].as_array().unwrap();
    cases.iter().map(|c| c["name"].as_str().unwrap()).collect()
}

#[test]
fn products_are_right_in_every_form() {
    let Some(device) = adapter() else { return };
    let sizes = "40,17x33x21,1x64x50";
    let out = report(&device, &["gemm", "--size", sizes, "--candidates"]);
    assert_eq!(names(&out), ["40x40x40", "17x33x21", "1x64x50"]);
    for case in out["cases"].as_array().unwrap() {
        let loops = case["rivals"].as_array().unwrap();
        assert!(
            !loops.is_empty() && loops.iter().all(|l| l["role"] == "candidate"),
            "{case}"
        );
        let defaults = loops.iter().filter(|l| l["default"] == true);
        assert_eq!(defaults.count(), 1, "{case}");
        assert!(number(&case["default_over_best"]) >= 1.0, "{case}");
    }
    assert!(
        number(&out["default_over_best"]["worst"]) >= number(&out["default_over_best"]["median"])
    );
    let out = report(
        &device,
        &[
            "gemm",
            "--size",
            "20x24x28",
            "--batch",
            "3",
            "--dtype",
            "f16",
            "--candidates",
        ],
    );
    assert_eq!(names(&out), ["3*20x24x28 f16"]);
    assert_eq!(out["cases"][0]["flops"], 2.0 * 3.0 * 20.0 * 24.0 * 28.0);
}

#[test]
fn convolutions_are_right_channels_last() {
    let Some(device) = adapter() else { return };
    for more in [
        &[
            "--kernel",
            "3x2",
            "--stride",
            "2x1",
            "--pad",
            "1,0,2,1",
            "--groups",
            "2",
            "--dilation",
            "1x2",
        ][..],
        &["--kernel", "1"],
        &["--groups", "8", "--dtype", "f16"],
    ] {
        let args = [&["conv", "--input", "2,8,11,9", "--filters", "8"][..], more].concat();
        let out = report(&device, &args);
        assert_eq!(out["cases"][0]["work"]["c"], 8, "{out}");
    }
}

#[test]
fn attention_tells_its_memory() {
    let Some(device) = adapter() else { return };
    for causal in [&["--causal"][..], &[]] {
        let args = [
            &[
                "attention",
                "--heads",
                "2",
                "--queries",
                "33",
                "--keys",
                "40",
                "--head",
                "20",
            ],
            causal,
        ]
        .concat();
        let out = report(&device, &args);
        // Q, K, V and the result.
        let operands = 4.0 * 2.0 * 20.0 * (2.0 * 33.0 + 2.0 * 40.0);
        let memory = &out["cases"][0]["memory"];
        let [arena, scratch] = ["arena_bytes", "scratch_bytes"].map(|key| number(&memory[key]));
        assert_eq!(arena - scratch, operands, "{memory}");
    }
}

#[test]
fn maps_stand_beside_copies() {
    let Some(device) = adapter() else { return };
    let out = report(&device, &["map", "--size", "37x50"]);
    assert_eq!(
        names(&out),
        ["add", "relu", "gelu", "softmax", "layer_norm"].map(|n| format!("{n} 37x50"))
    );
    for case in out["cases"].as_array().unwrap() {
        assert_eq!(case["rivals"][0]["name"], "buffer copy");
        assert!(
            number(&case["rivals"][0]["ratio"]) > 0.0 && number(&case["gbytes_per_second"]) > 0.0,
            "{case}"
        );
    }
}

#[test]
fn a_model_is_timed_whole() {
    let Some(device) = adapter() else { return };
    let model = file("digits.onnx");
    let timed = tilewright(&["adapters", "--json"]);
    let slowest = ["--slowest", "2"];
    let more = if text(&timed.stdout).contains("timestamp") {
        &slowest[..]
    } else {
        &[]
    };
    let out = report(
        &device,
        &[&["model", &model, "--input", "image=2,1,8,8"], more].concat(),
    );
    assert_eq!(names(&out), ["digits.onnx image=2,1,8,8"]);
    if !more.is_empty() {
        assert_eq!(
            out["cases"][0]["nodes"].as_array().unwrap().len(),
            2,
            "{out}"
        );
    }
    let error = |args: &[&str]| text(&bench(&device, &[&["model", &model], args].concat()).stderr);
    assert!(error(&["--input", "x=1"]).contains("no input `x`; it has image"));
    assert!(error(&["--input", "image"]).contains("write NAME=1,3,224,224"));
}

/// The product of the first elements of A and B by the hash of the protocol, computed in Python.
const PRODUCT: &str = "0.007223827";

/// A peer that answers with that.
fn peer(mode: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common");
    let script = place(folder, "crates/cli/tests/common").join("fake_peer.sh");
    format!("sh '{}' {mode} {PRODUCT}", script.display())
}

/// What peers of these modes make of products of 1 and 2 cubed.
fn beside(device: &str, modes: &[&str]) -> Value {
    let peers: Vec<String> = modes.iter().map(|mode| peer(mode)).collect();
    let mut args = vec!["gemm", "--size", "1,2", "--peer-timeout", "1"];
    peers.iter().for_each(|peer| args.extend(["--peer", peer]));
    report(device, &args)
}

#[test]
fn peers_take_turns() {
    let Some(device) = adapter() else { return };
    let out = beside(&device, &["right", "right"]);
    for (at, name) in ["right", "right-2"].into_iter().enumerate() {
        let right = &out["cases"][0]["peers"][at];
        assert_eq!(right["name"], name);
        assert!(
            right["ok"] == true && right["first_seconds"] == 0.5,
            "{right}"
        );
        // More threads than there are processors count as so many.
        assert_eq!(out["peers"][at]["threads"], out["machine"]["processors"]);
        // A tenth of a second a run, whatever the repeats; without processor time the wall counts.
        let samples = right["times"]["wall_seconds"].as_array().unwrap();
        let tenth = samples.iter().all(|s| (number(s) - 0.1).abs() < 1e-9);
        assert!(samples.len() >= 10 && tenth, "{right}");
        let wall = number(&out["cases"][0]["times"]["wall_median_seconds"]);
        let ratio = number(&right["ratio"]) * wall / 0.1;
        assert!((ratio - 1.0).abs() < 1e-6, "{right}");
        // The product of 2 x 2 has four elements, and this peer knows one.
        let wrong = &out["cases"][1]["peers"][at]["why"];
        assert!(wrong.as_str().unwrap().contains("wrong result"), "{out}");
        assert_eq!(out["geomeans"][at]["cases"], 1);
    }
}

#[test]
fn no_peer_is_dropped_silently() {
    let Some(device) = adapter() else { return };
    let expected = [
        ("wrong", "wrong result: NMSE"),
        ("refusing", "no such operator"),
        ("dying", "ended (exit status: 3)"),
        (
            "babbling",
            "answered \"Segmentation fault\", which is no JSON",
        ),
        ("hanging", "no answer within 1 s"),
        ("silent", "no answer within 1 s"),
        ("old", "speaks protocol 0, not 1"),
    ];
    let out = beside(&device, &expected.map(|(mode, _)| mode));
    for (at, (mode, why)) in expected.into_iter().enumerate() {
        let failed = &out["cases"][0]["peers"][at];
        let told = failed["why"].as_str().unwrap().contains(why);
        assert!(failed["ok"] == false && told, "{mode}: {failed}");
        assert_eq!(out["geomeans"][at]["cases"], 0);
        // The dead stay dead, and are told as such.
        let dead = !["wrong", "refusing"].contains(&mode);
        assert_eq!(out["peers"][at]["failed"].is_string(), dead, "{out}");
    }
    let (right, refusing) = (peer("right"), peer("refusing"));
    let peers = ["gemm", "--size", "1", "--peer", &right, "--peer", &refusing];
    let table = text(&bench(&device, &peers).stdout);
    for part in [
        "right: geometric mean",
        "over 1 of 1 cases",
        "refusing: 1x1x1: no such operator",
        "refusing: none of 1 cases",
    ] {
        assert!(table.contains(part), "no `{part}` in\n{table}");
    }
}

#[test]
fn pages_need_nothing_else() {
    let Some(device) = adapter() else { return };
    let page = folder("bench_pages").join("gemm.html");
    let path = page.to_str().unwrap();
    let out = bench(
        &device,
        &[
            "gemm",
            "--size",
            "8,16",
            "--peer",
            &peer("refusing"),
            "--html",
            path,
        ],
    );
    assert!(out.status.success(), "{}", text(&out.stderr));
    let page = std::fs::read_to_string(page).unwrap();
    for address in ["http:", "https:", "src=", "href=", "url("] {
        assert!(!page.contains(address), "{address} in\n{page}");
    }
    for part in [
        "16x16x16",
        "Roofline",
        "Measured peak",
        "no such operator",
        "</html>",
    ] {
        assert!(page.contains(part), "no {part} in\n{page}");
    }
    let out = bench(
        &device,
        &["gemm", "--size", "8", "--html", "/no/such/folder/x.html"],
    );
    assert!(text(&out.stderr).contains("--html /no/such/folder/x.html"));
}

#[test]
fn reports_are_compared_with_reports() {
    let Some(device) = adapter() else { return };
    let folder = folder("bench_compare");
    let report = report(&device, &["gemm", "--size", "8,24"]);
    let write = |name: &str, report: &Value| {
        let path = folder.join(name);
        std::fs::write(&path, report.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let scaled = |by: f64| {
        let mut report = report.clone();
        for key in ["wall_seconds", "cpu_seconds"] {
            for sample in report["cases"][1]["times"][key].as_array_mut().unwrap() {
                *sample = (number(sample) * by).into();
            }
        }
        report
    };
    let same = write("same.json", &report);
    let [fast, slow] =
        [("fast.json", 1e-4), ("slow.json", 1e4)].map(|(name, by)| write(name, &scaled(by)));
    let compare = |args: &[&str]| {
        let out = tilewright(&[&["bench", "compare"], args].concat());
        (out.status.success(), text(&out.stdout), text(&out.stderr))
    };
    assert!(compare(&[&same, &same]).0);
    let (passed, table, error) = compare(&[&fast, &same]);
    assert!(
        !passed && error.contains("regressions: 24x24x24 +") && !error.contains("8x8x8"),
        "{table}\n{error}"
    );
    assert!(table.contains("SLOWER"), "{table}");
    let (passed, table, _) = compare(&[&slow, &same]);
    assert!(passed && table.contains("faster"), "{table}");
    // A new measurement beside an old one, whose times are a ten-thousandth and ten thousand times its own.
    let run = |old: &str| bench(&device, &["gemm", "--size", "24", "--compare", old]);
    let out = run(&fast);
    assert!(
        !out.status.success() && text(&out.stderr).contains("regressions: 24x24x24"),
        "{}",
        text(&out.stderr)
    );
    let out = run(&slow);
    assert!(
        out.status.success() && text(&out.stdout).contains("faster"),
        "{}",
        text(&out.stderr)
    );
}

#[test]
fn reports_of_other_machines_are_refused() {
    let Some(device) = adapter() else { return };
    let folder = folder("bench_machines");
    let mut report = report(&device, &["gemm", "--size", "8"]);
    let [same, other] = ["same.json", "other.json"].map(|name| {
        let path = folder.join(name);
        std::fs::write(&path, report.to_string()).unwrap();
        report["machine"]["adapter"] = "another".into();
        path.to_str().unwrap().to_owned()
    });
    let compare = |args: &[&str]| {
        let out = tilewright(&[&["bench", "compare"], args].concat());
        (out.status.success(), text(&out.stderr))
    };
    let (passed, error) = compare(&[&other, &same]);
    let told = error.contains("different machines") && error.contains("--force");
    assert!(!passed && told, "{error}");
    assert!(compare(&[&other, &same, "--force"]).0);
    let error = compare(&[&file("digits.onnx"), &same]).1;
    assert!(error.contains("digits.onnx"), "{error}");
}

#[test]
fn what_cannot_be_measured_is_an_error() {
    let Some(device) = adapter() else { return };
    for (args, says) in [
        ("gemm --size 1x2", "write MxNxK"),
        ("gemm --size 8 --preset sweep", "cannot be used with"),
        ("gemm --size 8 --dtype f64", "write f32 or f16"),
        (
            "gemm --size 99999999",
            "no case could be measured: an operand of",
        ),
        (
            "gemm --size 8 --peer /no/such/program",
            "cannot start /no/such/program",
        ),
        ("gemm --size 8 --peer 'open", "a quote is not closed"),
        ("gemm --size 8 --compare /no/such.json", "/no/such.json"),
        ("gemm --size 8 --rounds 0", "--rounds"),
        ("conv --input 1,2,3 --filters 4", "write N,C,H,W"),
        (
            "conv --input 1,2,3,3 --filters 4 --kernel 9 --pad 0",
            "does not fit",
        ),
        (
            "conv --input 1,2,3,3 --filters 4 --pad 1,2",
            "top,left,bottom,right",
        ),
        (
            "conv --input 1,2,3,3 --filters 4 --groups 3",
            "groups divide both",
        ),
        ("map --size 12", "write ROWSxCOLS"),
        ("attention --head 0", "begin at 1"),
        ("model /no/such.onnx", "/no/such.onnx"),
    ] {
        let words: Vec<&str> = args.split(' ').collect();
        let out = bench(&device, &words);
        let error = text(&out.stderr);
        let failed = !out.status.success();
        assert!(failed && error.contains(says), "{args}: {error}");
    }
    let error = text(&bench("host", &["gemm", "--size", "8"]).stderr);
    assert!(error.contains("needs an adapter"), "{error}");
}
