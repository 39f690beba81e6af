//! A log of Inspect (its version 2), in the JSON form: one task, one sample, one epoch.

use std::cell::RefCell;

use serde_json::{Map, Value, json};

use super::{arguments, moment, result};
use crate::report::reading::{Ending, Folder, Message, Part, Role, RunView, sessions};

/// The run as an evaluation log.
pub fn inspect(folder: &Folder, run: &RunView) -> Value {
    let messages = RefCell::new(Vec::new());
    sessions(
        folder,
        run,
        |session| {
            let mut messages = messages.borrow_mut();
            let about =
                json!({"iteration": session.iteration, "turn": session.turn.number, "label": session.turn.label});
            messages.push(json!({"role": "user", "content": session.prompt, "source": "input", "metadata": about}));
            for message in session.talk.messages.iter().filter(|one| one.role == Role::Assistant) {
                said(&mut messages, message, &run.model);
            }
        },
        |_, _| {},
    );
    let messages = messages.into_inner();
    let began = run.began.clone().unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned());
    let took = run.outcome.ms.unwrap_or(0);
    let ended = run
        .began_ms
        .and_then(|began| moment(began.saturating_add(i64::try_from(took).ok()?)));
    let model = if run.model.is_empty() { "none" } else { &run.model };
    let usage = json!({(model): {
        "input_tokens": run.totals.input_tokens,
        "output_tokens": run.totals.output_tokens,
        "total_tokens": run.totals.input_tokens + run.totals.output_tokens,
    }});
    let (status, error) = match run.outcome.ending {
        Ending::Passed | Ending::Failed => ("success", Value::Null),
        Ending::Open => ("started", Value::Null),
        Ending::Broken if run.outcome.reason == "INTERRUPTED" => ("cancelled", Value::Null),
        Ending::Broken => {
            let message = format!("{}: {}", run.outcome.reason, run.outcome.detail);
            (
                "error",
                json!({"message": message, "traceback": "", "traceback_ansi": ""}),
            )
        }
    };
    // What is no fault of the agent's is no score.
    let scored = matches!(run.outcome.ending, Ending::Passed | Ending::Failed);
    let passed = run.outcome.ending == Ending::Passed;
    let scores = scored.then(|| {
        json!({"contract": {
            "value": if passed { "C" } else { "I" },
            "explanation": format!("{}: {}", run.outcome.reason, run.outcome.detail),
            "metadata": {"metrics": run.last_metrics, "blame": run.outcome.blame},
        }})
    });
    let results = scored.then(|| {
        json!({
            "total_samples": 1,
            "completed_samples": 1,
            "scores": [{
                "name": "contract",
                "scorer": "contract",
                "scored_samples": 1,
                "unscored_samples": 0,
                "metrics": {"accuracy": {"name": "accuracy", "value": u8::from(passed)}},
            }],
        })
    });
    let mut sample = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            sample.insert(name.to_owned(), value);
        }
    };
    put("id", json!(run.id));
    put("epoch", json!(1));
    put("input", json!(run.goal.join("\n")));
    put("target", json!(""));
    put("messages", json!(messages));
    put("output", output(&messages, model));
    put("scores", json!(scores));
    put(
        "metadata",
        json!({"done": run.done, "open": run.next.len() + run.backlog.len(), "guard": run.guard}),
    );
    put("model_usage", usage.clone());
    put("started_at", json!(run.began));
    put("completed_at", json!(ended));
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run are far below 2^52")]
    put("total_time", json!(took as f64 / 1_000.0));
    put("error", error.clone());
    let mut log = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            log.insert(name.to_owned(), value);
        }
    };
    put("version", json!(2));
    put("status", json!(status));
    put(
        "eval",
        json!({
            "eval_id": run.id,
            "run_id": run.id,
            "created": began,
            "task": "opencode-fsm",
            "task_id": run.id,
            "dataset": {"name": run.target, "location": run.target, "samples": 1, "sample_ids": [run.id]},
            "model": model,
            "config": {"epochs": 1},
            "packages": {"opencode-fsm": run.tool_version.as_deref().unwrap_or("unknown")},
            "metadata": {"policy": run.policy_digest, "tier": run.tier, "opencode": run.opencode_version},
            "scorers": [{"name": "contract"}],
        }),
    );
    put(
        "plan",
        json!({"name": "plan", "steps": [{"solver": "opencode-fsm", "params": {}}]}),
    );
    put("results", json!(results));
    put(
        "stats",
        json!({"started_at": began, "completed_at": ended.unwrap_or_default(), "model_usage": usage}),
    );
    put("error", error);
    put("samples", json!([sample]));
    Value::Object(log)
}

fn said(messages: &mut Vec<Value>, message: &Message, model: &str) {
    let (mut text, mut calls, mut results) = (Vec::new(), Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Text(said) => text.push(json!({"type": "text", "text": said})),
            Part::Reasoning(thought) => text.push(json!({"type": "reasoning", "reasoning": thought})),
            Part::Tool(call) => {
                calls.push(json!({
                    "id": call.id, "function": call.tool, "arguments": arguments(call), "type": "function",
                }));
                let mut answer = json!({
                    "role": "tool", "content": result(call), "tool_call_id": call.id, "function": call.tool,
                });
                if let Some(error) = &call.error {
                    answer["error"] = json!({"type": "unknown", "message": error});
                }
                results.push(answer);
            }
        }
    }
    if message.parts.is_empty() {
        return;
    }
    let mut one = json!({"role": "assistant", "content": text, "source": "generate"});
    if !model.is_empty() {
        one["model"] = json!(model);
    }
    if !calls.is_empty() {
        one["tool_calls"] = json!(calls);
    }
    messages.push(one);
    messages.append(&mut results);
}

/// The last word.
fn output(messages: &[Value], model: &str) -> Value {
    let last = messages.iter().rev().find(|message| message["role"] == "assistant");
    let choices: Vec<Value> = last
        .map(|message| json!({"message": message, "stop_reason": "stop"}))
        .into_iter()
        .collect();
    json!({"model": model, "choices": choices})
}
