//! The policies that come with this program.

/// Their names; `default` lies under every other layer.
pub const NAMES: [&str; 5] = ["default", "strict", "ci", "benchmark", "system"];
/// The one under all.
pub const DEFAULT: &str = "default";

/// A shipped policy's text.
pub fn text(name: &str) -> Option<&'static str> {
    Some(match name {
        "default" => include_str!("../../../policies/default.yml"),
        "strict" => include_str!("../../../policies/strict.yml"),
        "ci" => include_str!("../../../policies/ci.yml"),
        "benchmark" => include_str!("../../../policies/benchmark.yml"),
        "system" => include_str!("../../../policies/system.yml"),
        _ => return None,
    })
}

/// How a shipped policy's file is shown: where it lies in this program's sources.
pub fn file(name: &str) -> String {
    format!("policies/{name}.yml")
}
