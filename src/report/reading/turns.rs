//! `turns/NNNN-LABEL.*`: what the agent was asked, did and answered.

use std::collections::HashMap;

use nix::dir::Type;
use serde_json::Value;

use super::{
    allowance::Allowance,
    course::Course,
    episode::{Accepted, Act, ActKind, TurnView},
    fields::Fields,
    folder::Folder,
    ledgers::Calls,
    talk::{Call, Part, Role, Talk},
    text::{Preview, line},
};
use crate::tree::Steps;

/// Acts of one turn that are shown.
const ACTS: usize = 60;
/// Bytes of the files of one difference that are compared.
const DIFFERENCE: u64 = 16 << 20;
/// Failed calls of one turn.
const FAILED: usize = 50;

/// Every turn of a run, with the iteration that it belongs to.
pub(super) fn read(folder: &Folder, course: &Course, calls: &mut Calls) -> Vec<(u64, TurnView)> {
    let spans: HashMap<u64, _> = course
        .spans
        .iter()
        .filter_map(|span| Some((span.turn?, span)))
        .collect();
    let findings: HashMap<u64, &Vec<String>> = course.findings.iter().map(|(turn, told)| (*turn, told)).collect();
    let accepted: HashMap<u64, (u64, u64)> = course
        .accepted
        .iter()
        .map(|(number, turn, changes)| (*turn, (*number, *changes)))
        .collect();
    let mut occurrences: HashMap<String, u32> = HashMap::new();
    let mut turns = Vec::new();
    for name in folder.names("turns", Type::File) {
        let Some((number, label)) = parts_of(&name) else {
            continue;
        };
        let record = folder.json(&format!("turns/{name}"));
        let span = spans.get(&number);
        let occurrence = occurrences.entry(label.to_owned()).or_default();
        *occurrence += 1;
        let counted = calls.of(label, *occurrence);
        let end = record.line("end", 40);
        turns.push((
            span.map_or(0, |span| span.iteration),
            TurnView {
                number,
                base: name.trim_end_matches(".json").to_owned(),
                label: line(label, 80),
                at: span.map(|span| span.at),
                ms: record.count("wall_ms").or(span.and_then(|span| span.ms)),
                ok: end.as_deref() == Some("completed") && record.at("blame").is_null(),
                end,
                blame: record.line("blame", 40),
                reason: record.line("reason", 1_000).or_else(|| record.line("why", 1_000)),
                findings: findings.get(&number).map(|told| (*told).clone()).unwrap_or_default(),
                text: record.line("text", 2_000).unwrap_or_default(),
                tool_calls: record.count("tool_calls").unwrap_or(0),
                failed_calls: lines_of(&record, "failed_calls"),
                refused_asks: lines_of(&record, "refused_asks"),
                calls: counted.map_or(0, |counted| counted.calls),
                input_tokens: counted.map_or_else(|| record.count("input_tokens").unwrap_or(0), |c| c.input),
                output_tokens: counted.map_or_else(|| record.count("output_tokens").unwrap_or(0), |c| c.output),
                accepted: accepted.get(&number).map(|(checkpoint, changes)| Accepted {
                    checkpoint: *checkpoint,
                    changes: *changes,
                    patch: None,
                }),
                cost: record.at("cost").as_f64().filter(|cost| *cost > 0.0),
                ..TurnView::default()
            },
        ));
    }
    turns
}

/// Prompt and acts of a turn, as far as the allowance goes.
pub(super) fn details(folder: &Folder, turn: &mut TurnView, allowance: &mut Allowance) {
    let base = turn.base.clone();
    turn.prompt = allowance.file(folder, &format!("turns/{base}.prompt.md"), 3_000, 3_000);
    if let Some(accepted) = turn.accepted.as_mut().filter(|accepted| accepted.changes > 0) {
        accepted.patch = difference(folder, accepted.checkpoint).map(|patch| allowance.bytes(&patch, 8_000, 0));
    }
    let talk = Talk::read(folder, &format!("turns/{base}.events.jsonl"));
    let parts: Vec<&Part> = talk
        .messages
        .iter()
        .filter(|message| message.role == Role::Assistant)
        .flat_map(|message| &message.parts)
        .collect();
    for part in parts.iter().take(ACTS) {
        turn.acts.push(act(part, allowance));
    }
    turn.more_acts = parts.len().saturating_sub(ACTS) as u64;
    if talk.cut {
        folder.note(format!("turns/{base}.events.jsonl does not hold all of the turn"));
    }
}

/// What an accepted state has that the one before has not, as a patch.
fn difference(folder: &Folder, checkpoint: u64) -> Option<Vec<u8>> {
    let small = folder.json(&format!("checkpoints/{checkpoint:04}.json"));
    let sides = small
        .list("changes")
        .iter()
        .flat_map(|change| [change.at("before"), change.at("after")]);
    let bytes: u64 = sides.filter_map(|side| side.count("size")).fold(0, u64::saturating_add);
    if bytes > DIFFERENCE {
        folder.note(format!(
            "checkpoints/{checkpoint:04}.json: {bytes} bytes are too many to compare here"
        ));
        return None;
    }
    let steps = Steps::read(folder.path())
        .and_then(|steps| steps.patch(checkpoint.checked_sub(1).unwrap_or(checkpoint), checkpoint));
    steps
        .map_err(|why| folder.note(format!("what changed in checkpoint {checkpoint}: {why}")))
        .ok()
}

/// The turns' records among the names of their files.
fn parts_of(name: &str) -> Option<(u64, &str)> {
    let (number, label) = name.strip_suffix(".json")?.split_once('-')?;
    Some((number.parse().ok()?, label))
}

fn lines_of(record: &Value, name: &str) -> Vec<String> {
    let texts = record.list(name).iter().filter_map(Value::as_str);
    texts.take(FAILED).map(|text| line(text, 400)).collect()
}

fn act(part: &Part, allowance: &mut Allowance) -> Act {
    let mut said = |kind, text: &str| Act {
        kind,
        tool: String::new(),
        about: String::new(),
        status: None,
        ms: None,
        exit: None,
        body: allowance.text(text, 2_000, 1_000),
        output: None,
        diff: None,
    };
    match part {
        Part::Text(text) => said(ActKind::Text, text),
        Part::Reasoning(text) => said(ActKind::Reasoning, text),
        Part::Tool(call) => Act {
            kind: ActKind::Tool,
            tool: line(&call.tool, 40),
            about: about(call),
            status: Some(line(&call.status, 20)),
            ms: call.ms(),
            exit: call.exit,
            body: arguments(call, allowance),
            output: call
                .error
                .as_ref()
                .or(call.output.as_ref())
                .map(|text| allowance.text(text, 1_500, 1_500)),
            diff: call.diff.as_ref().map(|text| allowance.text(text, 4_000, 1_000)),
        },
    }
}

/// What tells one call from another.
fn about(call: &Call) -> String {
    let names = ["description", "filePath", "path", "pattern", "url", "query"];
    let subject = names.iter().find_map(|name| call.input.at(name).as_str());
    subject.map(|subject| line(subject, 160)).unwrap_or_default()
}

/// The command of a shell call as it is, other arguments as JSON.
fn arguments(call: &Call, allowance: &mut Allowance) -> Preview {
    match call.input.at("command").as_str() {
        Some(command) => allowance.text(command, 2_000, 500),
        None if call.input.is_null() => Preview::default(),
        // The path of a file that is read, and nothing else: it is told already.
        None if call.input.as_object().is_some_and(|all| all.len() == 1) && !about(call).is_empty() => {
            Preview::default()
        }
        None => allowance.text(&call.input.to_string(), 1_500, 500),
    }
}
