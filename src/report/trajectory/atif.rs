//! ATIF 1.7: the steps of user, agent and system, numbered from 1.

use std::cell::RefCell;

use serde_json::{Map, Value, json};

use super::{arguments, moment, result};
use crate::report::reading::{Call, Folder, Message, Part, Role, RunView, Session, VerificationView, sessions};

const VERSION: &str = "ATIF-v1.7";

/// The run as one trajectory; `None` where no agent took part.
pub fn atif(folder: &Folder, run: &RunView) -> Option<Value> {
    let steps = RefCell::new(Steps(Vec::new()));
    sessions(
        folder,
        run,
        |session| steps.borrow_mut().turn(&session, run),
        |iteration, verification| steps.borrow_mut().verification(iteration, verification),
    );
    let steps = steps.into_inner().0;
    if run.totals.turns == 0 || steps.is_empty() {
        return None;
    }
    let mut agent = Map::new();
    agent.insert("name".to_owned(), json!("opencode"));
    agent.insert(
        "version".to_owned(),
        json!(run.opencode_version.as_deref().unwrap_or("unknown")),
    );
    if !run.model.is_empty() {
        agent.insert("model_name".to_owned(), json!(run.model));
    }
    Some(json!({
        "schema_version": VERSION,
        "session_id": run.id,
        "trajectory_id": run.id,
        "agent": agent,
        "final_metrics": {
            "total_prompt_tokens": run.totals.input_tokens,
            "total_completion_tokens": run.totals.output_tokens,
            "total_steps": steps.len(),
            "extra": {
                "reason": run.outcome.reason,
                "exit_code": run.outcome.exit_code,
                "blame": run.outcome.blame,
                "verified": run.outcome.verified,
                "metrics": run.last_metrics,
                "cost_as_reported": run.totals.cost,
                "tokens_estimated": run.totals.estimated,
            },
        },
        "extra": {
            "tool": "opencode-fsm",
            "tool_version": run.tool_version,
            "target": run.target,
            "policy": run.policy_digest,
            "guard": run.guard,
        },
        "steps": steps,
    }))
}

struct Steps(Vec<Value>);

impl Steps {
    fn push(&mut self, source: &str, message: &str, more: Value) {
        let mut step = Map::new();
        step.insert("step_id".to_owned(), json!(self.0.len() + 1));
        step.insert("source".to_owned(), json!(source));
        step.insert("message".to_owned(), json!(message));
        if let Value::Object(more) = more {
            step.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
        }
        self.0.push(Value::Object(step));
    }

    fn turn(&mut self, session: &Session<'_>, run: &RunView) {
        let turn = session.turn;
        let about = json!({"iteration": session.iteration, "turn": turn.number, "label": turn.label});
        self.push("user", &session.prompt, json!({"extra": about}));
        for message in session
            .talk
            .messages
            .iter()
            .filter(|message| message.role == Role::Assistant)
        {
            self.agent(message);
        }
        if !turn.ok {
            let why = turn.reason.as_deref().unwrap_or("it has no end");
            let blame = json!({"blame": turn.blame, "end": turn.end});
            self.push("system", &format!("the turn failed: {why}"), json!({"extra": blame}));
        }
        if let Some(guard) = turn.guard.and_then(|at| run.guard.get(at)) {
            let paths: Vec<&str> = guard.refused.iter().map(|one| one.path.as_str()).collect();
            let message = format!("the guard took back {}", paths.join(", "));
            self.push("system", &message, json!({"extra": {"guard": guard}}));
        }
    }

    fn agent(&mut self, message: &Message) {
        let (mut text, mut reasoning, mut calls) = (String::new(), String::new(), Vec::new());
        for part in &message.parts {
            match part {
                Part::Text(said) => join(&mut text, said),
                Part::Reasoning(thought) => join(&mut reasoning, thought),
                Part::Tool(call) => calls.push(&**call),
            }
        }
        if message.parts.is_empty() && message.error.is_none() {
            return;
        }
        let metrics = message.tokens.map(|tokens| {
            json!({
                "prompt_tokens": tokens.input + tokens.cached,
                "completion_tokens": tokens.output + tokens.reasoning,
                "cached_tokens": tokens.cached,
                "extra": {"reasoning_tokens": tokens.reasoning, "cost_as_reported": message.cost},
            })
        });
        let some = |empty: bool, value: Value| if empty { Value::Null } else { value };
        self.push(
            "agent",
            &text,
            json!({
                "timestamp": message.created.and_then(moment),
                "reasoning_content": some(reasoning.is_empty(), json!(reasoning)),
                "tool_calls": some(calls.is_empty(), calls.iter().map(|call| tool_call(call)).collect()),
                "observation": some(
                    calls.is_empty(),
                    json!({"results": calls.iter().map(|call| observed(call)).collect::<Vec<_>>()})
                ),
                "metrics": metrics,
                "extra": some(message.error.is_none() && message.finish.is_none(), json!({"error": message.error, "finish": message.finish})),
            }),
        );
    }

    fn verification(&mut self, iteration: u64, one: &VerificationView) {
        let message = match (&one.failed_stage, &one.reason) {
            _ if one.ok => "the contract holds".to_owned(),
            (Some(stage), Some(reason)) => format!("the contract does not hold: {stage}: {reason}"),
            _ => "the contract does not hold".to_owned(),
        };
        let stages: Vec<Value> = one
            .stages
            .iter()
            .map(|stage| json!({"stage": stage.name, "ok": stage.ok, "rc": stage.rc, "wall_ms": stage.ms}))
            .collect();
        let about = json!({
            "iteration": iteration, "verification": one.directory, "ok": one.ok, "blame": one.blame, "stages": stages,
        });
        self.push("system", &message, json!({"extra": about}));
    }
}

fn tool_call(call: &Call) -> Value {
    json!({"tool_call_id": call.id, "function_name": call.tool, "arguments": arguments(call)})
}

fn observed(call: &Call) -> Value {
    json!({
        "source_call_id": call.id,
        "content": result(call),
        "extra": {"status": call.status, "exit": call.exit, "ms": call.ms()},
    })
}

fn join(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(more);
}
