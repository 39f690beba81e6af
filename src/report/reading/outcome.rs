//! What a run was for and what it came to.

use serde_json::Value;

use super::{
    course::{Course, since},
    fields::Fields,
    folder::Folder,
    text::line,
    view::{Ending, Outcome},
};
use crate::contract::Plan;

/// Steps that are listed.
const STEPS: usize = 500;

/// How it ended.
pub(super) fn outcome(summary: &Value, course: &Course) -> Outcome {
    let between = course.last.map(|last| since(course.began, last));
    let Some(exit_code) = summary.count("exit_code") else {
        let (reason, exit) = course
            .ended
            .clone()
            .map_or((String::new(), None), |(reason, exit)| (reason, Some(exit)));
        return Outcome {
            ending: exit.map_or(Ending::Open, Ending::of),
            detail: match exit {
                Some(_) => "its summary is missing",
                None => "it has not ended, or its record was cut off",
            }
            .to_owned(),
            reason,
            exit_code: exit,
            ms: between,
            ..Outcome::default()
        };
    };
    Outcome {
        ending: Ending::of(exit_code),
        reason: summary.line("exit_reason", 60).unwrap_or_default(),
        detail: summary.line("detail", 1_000).unwrap_or_default(),
        exit_code: Some(exit_code),
        blame: summary.line("blame", 40),
        evidence: summary.line("evidence", 300),
        verified: summary.at("verified").as_bool().unwrap_or(false),
        applied: summary.at("applied").as_bool().unwrap_or(false),
        ms: summary.count("wall_ms").or(between),
    }
}

/// Steps of the plan: those that are done, or those that are left.
pub(super) fn steps(summary: &Value, name: &str) -> Vec<String> {
    let steps = summary.at("plan").list(name).iter().filter_map(Value::as_str);
    steps.take(STEPS).map(|step| line(step, 300)).collect()
}

/// The plan's goal: the lines of its section of that name.
pub(super) fn goal(folder: &Folder, state: &Value) -> Vec<String> {
    let plan = state.at("plan_path").as_str().unwrap_or("PLAN.md");
    let Some(bytes) = folder.bytes(&format!("files/{plan}"), 1 << 20) else {
        return Vec::new();
    };
    if Plan::parse(&bytes).is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    text.lines()
        .skip_while(|line| !line.trim().eq_ignore_ascii_case("## goal"))
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .map(|text| line(text.trim().trim_start_matches("- "), 300))
        .filter(|line| !line.is_empty())
        .take(10)
        .collect()
}

/// The machine that it ran on.
pub(super) fn host(versions: &Value) -> Option<String> {
    let os = versions.at("os");
    let parts: Vec<String> = ["name", "kernel", "arch"]
        .iter()
        .filter_map(|name| os.line(name, 80))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
