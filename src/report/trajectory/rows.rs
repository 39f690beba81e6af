//! One row a turn, as JSON lines.

use serde_json::{Value, json};

use super::{arguments, result, reward::Reward};
use crate::report::reading::{Folder, Message, Part, Role, RunView, Session, sessions};

/// How a row is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `conversations`, with the roles `human`, `gpt`, `function_call` and `observation`.
    ShareGpt,
    /// `prompt` and `completion` as messages, with `reward`.
    Trl,
    /// `messages`, with `reward`.
    Verl,
}

/// Hands out every turn's row.
pub fn rows(folder: &Folder, run: &RunView, shape: Shape, mut take: impl FnMut(Value)) {
    sessions(
        folder,
        run,
        |session| {
            let violated = session
                .turn
                .guard
                .and_then(|at| run.guard.get(at))
                .is_some_and(|guard| guard.violation);
            take(row(run, &session, shape, &Reward::of(&session, violated)));
        },
        |_, _| {},
    );
}

fn row(run: &RunView, session: &Session<'_>, shape: Shape, reward: &Reward) -> Value {
    let turn = session.turn;
    let meta = json!({
        "run": run.id,
        "turn": turn.number,
        "label": turn.label,
        "iteration": session.iteration,
        "model": run.model,
        "ok": turn.ok,
        "blame": turn.blame,
        "input_tokens": turn.input_tokens,
        "output_tokens": turn.output_tokens,
        "masked": reward.masked(),
        "truncated": session.talk.cut,
    });
    let said = || {
        session
            .talk
            .messages
            .iter()
            .filter(|message| message.role == Role::Assistant)
    };
    match shape {
        Shape::ShareGpt => {
            let mut conversations = vec![json!({"from": "human", "value": session.prompt})];
            said().for_each(|message| spoken(&mut conversations, message));
            json!({
                "id": format!("{}/{}", run.id, turn.number),
                "conversations": conversations,
                "reward": reward.value(),
                "meta": meta,
            })
        }
        Shape::Trl | Shape::Verl => {
            let prompt = json!({"role": "user", "content": session.prompt});
            let mut completion = Vec::new();
            said().for_each(|message| messages(&mut completion, message));
            if shape == Shape::Trl {
                json!({"prompt": [prompt], "completion": completion, "reward": reward.value(), "meta": meta})
            } else {
                completion.insert(0, prompt);
                json!({"messages": completion, "reward": reward.value(), "meta": meta})
            }
        }
    }
}

fn spoken(all: &mut Vec<Value>, message: &Message) {
    for part in &message.parts {
        match part {
            Part::Text(text) => all.push(json!({"from": "gpt", "value": text})),
            // What was thought aloud is no part of the format.
            Part::Reasoning(_) => {}
            Part::Tool(call) => {
                let asked = json!({"name": call.tool, "arguments": arguments(call)}).to_string();
                all.push(json!({"from": "function_call", "value": asked}));
                all.push(json!({"from": "observation", "value": result(call)}));
            }
        }
    }
}

/// As chat templates take them.
fn messages(all: &mut Vec<Value>, message: &Message) {
    let (mut text, mut calls, mut results) = (String::new(), Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Text(said) => text.push_str(said),
            Part::Reasoning(_) => {}
            Part::Tool(call) => {
                let function = json!({"name": call.tool, "arguments": arguments(call)});
                calls.push(json!({"id": call.id, "type": "function", "function": function}));
                results.push(json!({
                    "role": "tool", "tool_call_id": call.id, "name": call.tool, "content": result(call),
                }));
            }
        }
    }
    if text.is_empty() && calls.is_empty() {
        return;
    }
    let mut one = json!({"role": "assistant", "content": text});
    if !calls.is_empty() {
        one["tool_calls"] = json!(calls);
    }
    all.push(one);
    all.append(&mut results);
}
