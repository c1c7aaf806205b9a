//! `tilewright bench` on an adapter.

#[path = "common/adapter.rs"]
mod adapter;
mod common;

use adapter::adapter;
use common::{text, tilewright};
use serde_json::Value;
use std::process::Output;

/// `bench sparse` of 96 x 128 x 192, which is a second's work.
fn sparse(device: &str, more: &[&str]) -> Output {
    let small = [
        "bench",
        "sparse",
        "--size",
        "96,128,192",
        "--seconds",
        "0.1",
        "--device",
        device,
    ];
    tilewright(&[&small[..], more].concat())
}

#[test]
fn sparse_reports_every_density_and_what_follows_from_the_times() {
    let Some(device) = adapter() else { return };
    let out = sparse(
        &device,
        &["--block", "32,64x32", "--sparsity", "0.9,0.5", "--json"],
    );
    assert!(out.status.success(), "{}", text(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["format"], "tilewright-bench-sparse");
    assert_eq!(report["machine"]["adapter"], device.as_str());
    let number = |v: &Value| v.as_f64().unwrap_or_else(|| panic!("{v} is no number"));
    let dense = number(&report["dense"]["times"]["median_seconds"]);
    let rows = report["sparse"].as_array().unwrap();
    // W is 128 x 192: 24 blocks of 32 x 32, of which 12 and 22 are zero; 12 of 64 x 32, of which 6 and 11 are.
    let stored: Vec<_> = rows
        .iter()
        .map(|r| (r["block"].to_string(), number(&r["stored_blocks"])))
        .collect();
    let expected = [
        ("[32,32]", 12.0),
        ("[32,32]", 2.0),
        ("[64,32]", 6.0),
        ("[64,32]", 1.0),
    ];
    assert_eq!(
        stored,
        expected.map(|(block, stored)| (block.to_owned(), stored))
    );
    for row in rows {
        let time = number(&row["times"]["median_seconds"]);
        assert!(time > 0.0 && number(&row["nmse"]) < 1e-9, "{row}");
        assert!((number(&row["ratio"]) - dense / time).abs() < 1e-9, "{row}");
        let work = 2.0 * 96.0 * 128.0 * 192.0 * 1e-9;
        assert!(
            (number(&row["gflops"]) / (work / time) - 1.0).abs() < 1e-9,
            "{row}"
        );
        assert!(
            row["times"]["wall_seconds"].as_array().unwrap().len() >= 10,
            "{row}"
        );
    }
    assert_eq!(report["crossover"].as_array().unwrap().len(), 2);
}

#[test]
fn sparse_prints_a_table() {
    let Some(device) = adapter() else { return };
    let out = sparse(&device, &["--sparsity", "0,0.5,1"]);
    let (table, error) = (text(&out.stdout), text(&out.stderr));
    assert!(out.status.success(), "{error}");
    for part in [
        "dense",
        "GFLOP/s",
        "32x32      0.0%",
        "32x32     50.0%",
        "32x32    100.0%",
        "32x32: ",
    ] {
        assert!(table.contains(part), "no `{part}` in\n{table}");
    }
}

#[test]
fn sparse_refuses_what_it_cannot_measure() {
    let Some(device) = adapter() else { return };
    for (wrong, says) in [
        (["--block", "0"], "--block 0"),
        (["--block", "wide"], "--block wide"),
        (["--sparsity", "1.5"], "between 0 and 1"),
    ] {
        let out = sparse(&device, &wrong);
        let error = text(&out.stderr);
        assert!(
            !out.status.success() && error.contains(says),
            "{wrong:?}: {error}"
        );
    }
    for (size, says) in [
        ("64,64", "write M,N,K"),
        ("0,64,64", "begin at 1"),
        ("64,64,30", "multiple"),
        ("9999999,9999999,64", "limit"),
    ] {
        let out = tilewright(&["bench", "sparse", "--size", size, "--device", &device]);
        let error = text(&out.stderr);
        assert!(
            !out.status.success() && error.contains(says),
            "{size}: {error}"
        );
    }
    let out = tilewright(&["bench", "sparse", "--seconds", "inf"]);
    assert!(text(&out.stderr).contains("--seconds inf"));
    let out = tilewright(&["bench", "sparse", "--device", "host"]);
    assert!(text(&out.stderr).contains("needs an adapter"));
}
