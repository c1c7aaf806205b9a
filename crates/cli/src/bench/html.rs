//! A report as one page that needs nothing else: no script, no font, no address.

mod plots;

use plots::{ratios, roofline};
use serde_json::Value as Json;
use std::fmt::{Display, Write};

const STYLE: &str = include_str!("html/style.css");

/// The page of a report in its JSON form.
pub(super) fn page(report: &Json) -> String {
    let title = format!("Tilewright bench {}", text(&report["kind"]));
    let machine = &report["machine"];
    let mut body = format!(
        "<h1>{}: {}</h1>\n",
        escaped(&title),
        escaped(text(&machine["adapter"]))
    );
    body += &card(report);
    body += "<h2>Cases</h2>\n";
    body += &table(report);
    body += &means(report);
    body += &failures(report);
    for (name, of) in rivals(report) {
        body += &format!("<h2>Time of {} over ours</h2>\n", escaped(&name));
        body += "<p class=\"note\">To the right of 1 ours is faster, to the left the other.</p>\n";
        body += &ratios(&of);
    }
    if let Some(plot) = roofline(report) {
        body += "<h2>Roofline</h2>\n";
        body += &plot;
    }
    body += &nodes(report);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escaped(&title)
    )
}

/// Text that stands in a page as it is.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not allowed in a page at all.
            c if c.is_control() && c != '\n' && c != '\t' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn text(of: &Json) -> &str {
    of.as_str().unwrap_or_default()
}

fn list(of: &Json) -> &[Json] {
    of.as_array().map_or(&[], Vec::as_slice)
}

/// A number with so many digits, scaled; a dash where there is none.
fn number(of: &Json, scale: f64, digits: usize) -> String {
    of.as_f64()
        .map_or_else(|| "\u{2013}".into(), |n| format!("{:.digits$}", n * scale))
}

fn card(report: &Json) -> String {
    let machine = &report["machine"];
    let mut out = String::from("<dl>\n");
    let mut add = |name: &str, value: &dyn Display| {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "<div><dt>{}</dt><dd>{}</dd></div>",
            escaped(name),
            escaped(&value.to_string())
        );
    };
    for (name, key) in [
        ("Adapter", "adapter"),
        ("Driver", "driver"),
        ("Backend", "backend"),
        ("Kind", "kind"),
        ("Processor", "processor"),
        ("Processors", "processors"),
        ("Load average at the start", "load_average"),
        ("Tilewright", "tilewright"),
        ("Commit", "commit"),
    ] {
        match &machine[key] {
            Json::Null => {}
            Json::String(text) => add(name, text),
            other => add(name, other),
        }
    }
    let peaks = &report["peaks"];
    if peaks.is_object() {
        let flops = number(&peaks["flops"], 1e-9, 1);
        add(
            "Measured peak",
            &format!("{flops} GFLOP/s, {}", text(&peaks["flops_by"])),
        );
        let bytes = number(&peaks["bytes_per_second"], 1e-9, 1);
        add(
            "Measured bandwidth",
            &format!("{bytes} GB/s, {}", text(&peaks["bytes_by"])),
        );
    }
    for peer in list(&report["peers"]) {
        let of = ["version", "device"].map(|key| text(&peer[key])).join(", ");
        add(
            &format!("Peer {}", text(&peer["name"])),
            &of.trim_matches([',', ' ']),
        );
    }
    add(
        "Times",
        &match text(&report["time"]) {
            "cpu" => "processor time over processors",
            _ => "wall time",
        },
    );
    out + "</dl>\n"
}

fn table(report: &Json) -> String {
    let mut out = String::from(
        "<div class=\"wide\"><table>\n<thead><tr><th>case</th><th>first s</th><th>ms</th><th>wall ms</th><th>\u{b1}</th>",
    );
    out += "<th>GFLOP/s</th><th>GB/s</th><th>NMSE</th><th>arena MB</th>";
    for peer in list(&report["peers"]) {
        let _ = write!(out, "<th>{}</th>", escaped(text(&peer["name"])));
    }
    out += "</tr></thead>\n<tbody>\n";
    for case in list(&report["cases"])
        .iter()
        .filter(|c| c["failed"].is_null())
    {
        let times = &case["times"];
        let _ = write!(out, "<tr><td>{}</td>", escaped(text(&case["name"])));
        let nmse = case["nmse"]
            .as_f64()
            .map_or_else(|| "\u{2013}".into(), |n| format!("{n:.0e}"));
        for cell in [
            number(&case["first_seconds"], 1.0, 3),
            number(&times["median_seconds"], 1e3, 3),
            number(&times["wall_median_seconds"], 1e3, 3),
            number(&times["spread"], 50.0, 0) + "%",
            number(&case["gflops"], 1.0, 1),
            number(&case["gbytes_per_second"], 1.0, 2),
            nmse,
            number(&case["memory"]["arena_bytes"], 1e-6, 2),
        ] {
            let _ = write!(out, "<td>{cell}</td>");
        }
        for peer in list(&case["peers"]) {
            let _ = write!(out, "<td>{}</td>", number(&peer["ratio"], 1.0, 2));
        }
        out += "</tr>\n";
    }
    out += "</tbody>\n</table></div>\n";
    out + "<p class=\"note\">\u{b1} is half the distance of the quartiles; columns of peers: their time over ours.</p>\n"
}

fn means(report: &Json) -> String {
    let mut out = String::new();
    for mean in list(&report["geomeans"]) {
        let (ratio, wall) = (
            number(&mean["ratio"], 1.0, 3),
            number(&mean["wall_ratio"], 1.0, 3),
        );
        let _ = writeln!(
            out,
            "<p>{}: geometric mean <b>{ratio}</b> over {} of {} cases ({wall} by wall time)</p>",
            escaped(text(&mean["peer"])),
            mean["cases"],
            mean["of"]
        );
    }
    let over = &report["default_over_best"];
    if over.is_object() {
        let (median, worst) = (
            number(&over["median"], 1.0, 3),
            number(&over["worst"], 1.0, 3),
        );
        let _ = writeln!(
            out,
            "<p>Default over the fastest candidate: median <b>{median}</b>, worst {worst} ({})</p>",
            escaped(text(&over["case"]))
        );
    }
    out
}

/// What could not be measured, and why.
fn failures(report: &Json) -> String {
    let mut lines = vec![];
    for case in list(&report["cases"]) {
        let name = text(&case["name"]);
        if let Some(why) = case["failed"].as_str() {
            lines.push(format!("{name}: {why}"));
        }
        for peer in list(&case["peers"]).iter().filter(|p| p["ok"] == false) {
            lines.push(format!(
                "{}, {name}: {}",
                text(&peer["name"]),
                text(&peer["why"])
            ));
        }
    }
    for peer in list(&report["peers"])
        .iter()
        .filter(|p| p["failed"].is_string())
    {
        lines.push(format!(
            "{} failed: {}",
            text(&peer["name"]),
            text(&peer["failed"])
        ));
    }
    if lines.is_empty() {
        return String::new();
    }
    let items: String = lines
        .iter()
        .map(|line| format!("<li>{}</li>\n", escaped(line)))
        .collect();
    format!("<h2>Not measured</h2>\n<ul>\n{items}</ul>\n")
}

/// For each peer and each other side its cases with their ratios.
fn rivals(report: &Json) -> Vec<(String, Vec<(String, f64)>)> {
    let mut all: Vec<(String, Vec<(String, f64)>)> = vec![];
    for case in list(&report["cases"]) {
        for rival in list(&case["peers"]).iter().chain(list(&case["rivals"])) {
            let (name, Some(ratio)) = (text(&rival["name"]), rival["ratio"].as_f64()) else {
                continue;
            };
            let row = (text(&case["name"]).to_owned(), ratio);
            match all.iter_mut().find(|(n, _)| n == name) {
                Some((_, rows)) => rows.push(row),
                None => all.push((name.to_owned(), vec![row])),
            }
        }
    }
    all
}

fn nodes(report: &Json) -> String {
    let nodes: Vec<&Json> = list(&report["cases"])
        .iter()
        .flat_map(|c| list(&c["nodes"]))
        .collect();
    if nodes.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<h2>Slowest nodes</h2>\n<div class=\"wide\"><table>\n<thead><tr><th>node</th><th>operator</th><th>shader</th><th>us</th></tr></thead>\n<tbody>\n",
    );
    for node in nodes {
        let [name, op, shader] = ["node", "op", "shader"].map(|key| escaped(text(&node[key])));
        let _ = writeln!(
            out,
            "<tr><td>{name}</td><td>{op}</td><td>{shader}</td><td>{}</td></tr>",
            number(&node["ns"], 1e-3, 1)
        );
    }
    out + "</tbody>\n</table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Json {
        let case = |name: &str, flops: f64, ratio: f64| {
            json!({
                "name": name, "flops": flops, "bytes": 1e6, "gflops": flops / 1e6, "gbytes_per_second": 1.0, "nmse": 1e-12,
                "first_seconds": 0.1, "times": {"median_seconds": 1e-3, "wall_median_seconds": 1e-3, "spread": 0.1},
                "memory": {"arena_bytes": 1000}, "rivals": [], "nodes": [{"node": "n", "op": "Conv", "shader": "s", "ns": 1500}],
                "peers": [{"name": "slow <peer>", "ok": true, "ratio": ratio}, {"name": "b", "ok": false, "why": "no & \"never\""}],
            })
        };
        json!({
            "kind": "gemm", "time": "cpu", "machine": {"adapter": "A<1>", "driver": "d", "processors": 2, "commit": null},
            "peaks": {"flops": 5e10, "bytes_per_second": 1e10, "flops_by": "fma", "bytes_by": "copy"},
            "peers": [{"name": "slow <peer>", "version": "1", "device": ""}, {"name": "b", "failed": "ended"}],
            "cases": [case("a & b", 1e7, 0.25), case("c", 1e9, 31.0), {"name": "d", "failed": "no room"}],
            "geomeans": [{"peer": "slow <peer>", "cases": 2, "of": 3, "ratio": 2.0, "wall_ratio": 2.1}],
            "default_over_best": {"median": 1.0, "worst": 1.2, "case": "c"},
        })
    }

    /// Every tag is closed in order; an error tells where not.
    fn balanced(page: &str) -> Result<usize, String> {
        let mut open: Vec<&str> = vec![];
        let mut count = 0;
        let style = page.find("<style>").unwrap()..page.find("</style>").unwrap();
        for (at, _) in page
            .match_indices('<')
            .filter(|(at, _)| *at <= style.start || *at >= style.end)
        {
            let tag = &page[at + 1..at + page[at..].find('>').ok_or("an open <")?];
            let name = tag
                .trim_start_matches('/')
                .split([' ', '/'])
                .next()
                .unwrap();
            count += 1;
            match tag {
                _ if tag.starts_with('!') || tag.ends_with('/') => {}
                _ if tag.starts_with('/') => {
                    let last = open.pop();
                    if last != Some(name) {
                        return Err(format!("</{name}> closes {last:?}"));
                    }
                }
                _ => open.push(name),
            }
        }
        if open.is_empty() {
            Ok(count)
        } else {
            Err(format!("{open:?} stay open"))
        }
    }

    #[test]
    fn pages_are_well_formed_and_need_nothing() {
        let page = page(&report());
        assert!(balanced(&page).unwrap() > 100, "{page}");
        for address in [
            "http:", "https:", "src=", "href=", "url(", "@import", "<script",
        ] {
            assert!(!page.contains(address), "{address} in\n{page}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf\""), "{page}");
    }

    #[test]
    fn pages_tell_everything() {
        let page = page(&report());
        for part in [
            "A&lt;1&gt;",
            "<td>a &amp; b</td>",
            "Time of slow &lt;peer&gt; over ours",
            "geometric mean <b>2.000</b> over 2 of 3 cases",
            "<li>d: no room</li>",
            "<li>b, c: no &amp; &quot;never&quot;</li>",
            "<li>b failed: ended</li>",
            "50.0 GFLOP/s, fma",
            "Roofline",
            "<td>1.5</td>",
        ] {
            assert!(page.contains(part), "no {part} in\n{page}");
        }
        // One bar for each case of the peer that has ratios, on either side of 1.
        assert_eq!(page.matches("<rect class=\"faster\"").count(), 1);
        assert_eq!(page.matches("<rect class=\"slower\"").count(), 1);
    }
}
