//! Plots as inline SVG.

use super::{escaped, list, text};
use serde_json::Value as Json;
use std::fmt::Write;

/// A bar for each ratio, on a logarithmic axis around 1.
pub(super) fn ratios(rows: &[(String, f64)]) -> String {
    const LEFT: f64 = 260.0;
    const RIGHT: f64 = 880.0;
    const STEP: f64 = 18.0;
    // Powers of two that hold all ratios, and at least 1/2 to 2.
    let most = rows
        .iter()
        .map(|(_, r)| r.log2().abs())
        .filter(|l| l.is_finite())
        .fold(1.0, f64::max)
        .ceil();
    let x = |ratio: f64| LEFT + (RIGHT - LEFT) * (ratio.log2() / most + 1.0) / 2.0;
    let height = STEP * rows.len() as f64 + 24.0;
    let mut out = format!("<svg viewBox=\"0 0 960 {height}\" role=\"img\">\n");
    powers(&mut out, most as i32, height, x);
    for (i, (name, ratio)) in rows.iter().enumerate() {
        if !ratio.is_finite() || *ratio <= 0.0 {
            continue;
        }
        let (y, one, end) = (STEP * i as f64, x(1.0), x(*ratio));
        let class = if *ratio >= 1.0 { "faster" } else { "slower" };
        let (from, width) = (one.min(end), (end - one).abs());
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 13.0,
            escaped(name)
        );
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"12\"/>",
            y + 3.0
        );
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\">{ratio:.2}</text>",
            RIGHT + 8.0,
            y + 13.0
        );
    }
    let one = x(1.0);
    let _ = writeln!(
        out,
        "<line class=\"axis\" x1=\"{one:.1}\" y1=\"0\" x2=\"{one:.1}\" y2=\"{:.1}\"/>",
        height - 20.0
    );
    out + "</svg>\n"
}

/// Lines and numbers at powers of two from -most to most.
fn powers(out: &mut String, most: i32, height: f64, x: impl Fn(f64) -> f64) {
    let every = (f64::from(most) / 5.0).ceil() as i32;
    for power in (-most..=most).filter(|p| p % every == 0) {
        let at = x(2f64.powi(power));
        let label = match power {
            p if p < 0 => format!("1/{}", 2f64.powi(-p)),
            p => 2f64.powi(p).to_string(),
        };
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{at:.1}\" y1=\"0\" x2=\"{at:.1}\" y2=\"{:.1}\"/>",
            height - 20.0
        );
        let _ = writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            height - 6.0
        );
    }
}

/// A case in a roofline: operations a byte, operations a second.
struct Point {
    name: String,
    intensity: f64,
    speed: f64,
}

/// The area of a plot with both axes logarithmic, and its extent in powers of ten.
struct Area {
    x: [f64; 2],
    y: [f64; 2],
}

const LEFT: f64 = 70.0;
const RIGHT: f64 = 930.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 400.0;

impl Area {
    fn x(&self, value: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (value.log10() - self.x[0]) / (self.x[1] - self.x[0])
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * (value.log10() - self.y[0]) / (self.y[1] - self.y[0])
    }

    /// Lines and numbers at powers of ten.
    fn grid(&self, out: &mut String) {
        for power in self.x[0] as i32..=self.x[1] as i32 {
            let (value, at) = (10f64.powi(power), self.x(10f64.powi(power)));
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{BOTTOM}\"/>"
            );
            let _ = writeln!(
                out,
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value}</text>",
                BOTTOM + 18.0
            );
        }
        for power in self.y[0] as i32..=self.y[1] as i32 {
            let (value, at) = (10f64.powi(power - 9), self.y(10f64.powi(power)));
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\"/>"
            );
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                LEFT - 6.0,
                at + 4.0
            );
        }
        let (middle, below) = (f64::midpoint(LEFT, RIGHT), BOTTOM + 38.0);
        let _ = writeln!(
            out,
            "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">floating-point operations a byte of operands and result</text>"
        );
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\">GFLOP/s</text>",
            LEFT + 6.0,
            TOP + 12.0
        );
    }
}

/// Where each case lies under the measured roof; none without peaks or operations.
pub(super) fn roofline(report: &Json) -> Option<String> {
    let peak = report["peaks"]["flops"].as_f64()?;
    let bandwidth = report["peaks"]["bytes_per_second"].as_f64()?;
    let point = |case: &Json| {
        let (flops, bytes) = (case["flops"].as_f64()?, case["bytes"].as_f64()?);
        let speed = case["gflops"].as_f64()? * 1e9;
        let positive = flops > 0.0 && bytes > 0.0 && speed > 0.0;
        positive.then(|| Point {
            name: text(&case["name"]).into(),
            intensity: flops / bytes,
            speed,
        })
    };
    let points: Vec<Point> = list(&report["cases"]).iter().filter_map(point).collect();
    if points.is_empty() || peak <= 0.0 || bandwidth <= 0.0 {
        return None;
    }
    let ridge = peak / bandwidth;
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        [
            low.log10().floor(),
            high.log10().ceil().max(low.log10().floor() + 1.0),
        ]
    };
    let area = Area {
        x: range(&mut points.iter().map(|p| p.intensity).chain([ridge])),
        y: range(&mut points.iter().map(|p| p.speed).chain([peak])),
    };
    let mut out = String::from("<svg viewBox=\"0 0 960 450\" role=\"img\">\n");
    area.grid(&mut out);
    roof(&mut out, &area, peak, bandwidth);
    for p in &points {
        let (x, y) = (area.x(p.intensity), area.y(p.speed));
        let label = format!(
            "{}: {:.1} GFLOP/s at {:.1} operations a byte",
            p.name,
            p.speed * 1e-9,
            p.intensity
        );
        let _ = writeln!(
            out,
            "<circle class=\"ours\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
            escaped(&label)
        );
    }
    out += "</svg>\n<p class=\"note\">The roof is what this adapter was measured at: ";
    let (by, copied) = (
        escaped(text(&report["peaks"]["flops_by"])),
        escaped(text(&report["peaks"]["bytes_by"])),
    );
    let _ = writeln!(
        out,
        "{:.1} GFLOP/s ({by}) and {:.1} GB/s ({copied}). Operands in caches may lie above it.</p>",
        peak * 1e-9,
        bandwidth * 1e-9
    );
    Some(out)
}

/// The bandwidth's slope up to the peak, then level, within the area.
fn roof(out: &mut String, area: &Area, peak: f64, bandwidth: f64) {
    let [least, most] = area.x.map(|x| 10f64.powf(x));
    let ridge = peak / bandwidth;
    // The slope enters through the left or through the bottom.
    let from = least.max(10f64.powf(area.y[0]) / bandwidth);
    let place = |x: f64| format!("{:.1},{:.1}", area.x(x), area.y(peak.min(x * bandwidth)));
    let corners = [place(from.min(ridge)), place(ridge), place(most.max(ridge))].join(" ");
    let _ = writeln!(out, "<polyline class=\"roof\" points=\"{corners}\"/>");
}
