//! The same shader with its uniform sizes as constants, to see what uniforms cost.

use std::sync::Arc;

use tilewright_device::{Dispatch, Param, Variant};

/// Turns every u32 parameter of a dispatch into a constant of its texts.
pub(crate) fn constant_sizes(dispatch: &Dispatch) -> Dispatch {
    let mut names: Vec<String> = dispatch
        .variant
        .parts
        .iter()
        .map(|part| (*part).to_string())
        .collect();
    let main = dispatch.variant.shader;
    let mut variant: Variant = dispatch.variant.clone();
    names.push(main.into());
    let mut at = 0;
    while let Some(name) = names.get(at).cloned() {
        at += 1;
        let Some(text) = text(&name, name == main) else {
            continue;
        };
        for used in text.lines().filter_map(|line| line.strip_prefix("//#use ")) {
            if !names.contains(&used.to_string()) {
                names.push(used.into());
            }
        }
        variant = variant.text(name, replaced(text, &dispatch.params));
    }
    let params = dispatch
        .params
        .iter()
        .filter(|param| !matches!(param.1, Param::U32(_)));
    Dispatch {
        variant,
        params: params.copied().collect(),
        ..dispatch.clone()
    }
}

fn text(name: &str, main: bool) -> Option<&'static str> {
    if main {
        tilewright_shaders::get(name)
    } else {
        tilewright_shaders::get(&format!("part/{name}"))
    }
}

fn replaced(text: &str, params: &[(&str, Param)]) -> Arc<str> {
    let mut text: String = text
        .lines()
        .filter(|line| !line.starts_with("//#param"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut longest_first: Vec<_> = params.iter().collect();
    longest_first.sort_by_key(|param| std::cmp::Reverse(param.0.len()));
    for (name, value) in longest_first {
        if let Param::U32(value) = value {
            text = text.replace(&format!("p.{name}"), &format!("{value}u"));
        }
    }
    text.into()
}
