//! Requests to an OpenAI-compatible model, and what of its answers counts.

use serde_json::{Value, json};

/// Longest completion that is kept, in bytes.
const COMPLETION_MAX: usize = 1 << 20;
/// Longest word of an error that is shown, in characters.
const SHOWN: usize = 300;

/// A completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What it says.
    pub text: String,
    /// Why it ended, as the model's server says.
    pub finish: Option<String>,
    /// Tokens sent and received, as the server counts them.
    pub tokens: Option<(u64, u64)>,
}

/// A call that came to no completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Why, in one line.
    pub why: String,
    /// Another try may go otherwise.
    pub again: bool,
    /// The budget of calls or tokens is used up.
    pub spent: bool,
}

impl Failed {
    /// A call that may go otherwise the next time.
    pub fn passing(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            again: true,
            spent: false,
        }
    }
}

/// The body of a request for one completion.
pub fn request(model: &str, prompt: &str, temperature: f64, max_tokens: u64, seed: Option<u64>) -> Value {
    let mut body = json!({
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": temperature,
        "max_tokens": max_tokens,
    });
    if let Some(seed) = seed {
        body["seed"] = json!(seed);
    }
    body
}

/// What an answer of `status` comes to: a completion in one piece, or as an event stream.
///
/// # Errors
/// [`Failed`] where it is none.
pub fn read_reply(status: u16, body: &[u8]) -> Result<Reply, Failed> {
    if !(200..300).contains(&status) {
        let said: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = said.pointer("/error/message").and_then(Value::as_str);
        let message = message.map_or_else(
            || crate::report::escape(body, SHOWN),
            |text| crate::report::escape(text.as_bytes(), SHOWN),
        );
        let code = said.pointer("/error/code").and_then(Value::as_str).unwrap_or_default();
        return Err(Failed {
            why: format!("status {status}: {message}"),
            again: status == 408 || status == 409 || status == 429 || status >= 500,
            spent: code == "budget_exhausted",
        });
    }
    if body.trim_ascii_start().starts_with(b"data:") {
        return streamed(body);
    }
    let answer: Value =
        serde_json::from_slice(body).map_err(|why| Failed::passing(format!("its answer is no JSON: {why}")))?;
    let choice = answer
        .pointer("/choices/0")
        .ok_or_else(|| Failed::passing("its answer has no `choices`"))?;
    let text = match choice.pointer("/message/content").or_else(|| choice.get("text")) {
        Some(Value::String(text)) => text.clone(),
        // Nothing but a call of a tool, or nothing at all: it was asked, and said nothing.
        Some(Value::Null) => String::new(),
        _ => return Err(Failed::passing("its answer has no `message.content`")),
    };
    bounded(Reply {
        text,
        finish: word(choice.get("finish_reason")),
        tokens: tokens(&answer),
    })
}

fn streamed(body: &[u8]) -> Result<Reply, Failed> {
    let mut reply = Reply {
        text: String::new(),
        finish: None,
        tokens: None,
    };
    let events = body
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_prefix(b"data:"));
    for event in events
        .map(<[u8]>::trim_ascii)
        .filter(|event| !event.is_empty() && *event != b"[DONE]")
    {
        let event: Value =
            serde_json::from_slice(event).map_err(|why| Failed::passing(format!("an event is no JSON: {why}")))?;
        if let Some(piece) = event.pointer("/choices/0/delta/content").and_then(Value::as_str) {
            reply.text.push_str(piece);
        }
        reply.finish = word(event.pointer("/choices/0/finish_reason")).or(reply.finish);
        reply.tokens = tokens(&event).or(reply.tokens);
    }
    match reply.finish {
        Some(_) => bounded(reply),
        None => Err(Failed::passing("its stream broke off")),
    }
}

fn bounded(reply: Reply) -> Result<Reply, Failed> {
    match reply.text.len() <= COMPLETION_MAX {
        true => Ok(reply),
        false => Err(Failed::passing(format!(
            "its completion has more than {COMPLETION_MAX} bytes"
        ))),
    }
}

fn word(value: Option<&Value>) -> Option<String> {
    let word: String = value?.as_str()?.chars().filter(|c| !c.is_control()).take(40).collect();
    Some(word)
}

fn tokens(answer: &Value) -> Option<(u64, u64)> {
    let count = |name: &str| answer.pointer(&format!("/usage/{name}"))?.as_u64();
    count("prompt_tokens").zip(count("completion_tokens"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_completion_is_read_in_one_piece_or_as_a_stream() {
        let whole = br#"{"choices": [{"message": {"content": "four"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}"#;
        let expected = Reply {
            text: "four".to_owned(),
            finish: Some("stop".to_owned()),
            tokens: Some((5, 2)),
        };
        assert_eq!(read_reply(200, whole), Ok(expected.clone()));
        let events = b"data: {\"choices\":[{\"delta\":{\"content\":\"fo\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"ur\"},\"finish_reason\":\"stop\"}]}\n\n\
            data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
        assert_eq!(read_reply(200, events), Ok(expected));
        let silent = br#"{"choices": [{"message": {"content": null}}]}"#;
        assert_eq!(read_reply(200, silent).expect("asked").text, "");
    }

    #[test]
    fn what_is_none_says_whether_to_ask_again() {
        for (status, body, again, spent) in [
            (200, "{", true, false),
            (200, "{}", true, false),
            (200, r#"{"choices": [{"message": {"content": 5}}]}"#, true, false),
            (200, "<html>", true, false),
            (
                200,
                "data: {\"choices\":[{\"delta\":{\"content\":\"fo\"}}]}\n",
                true,
                false,
            ),
            (429, "{}", true, false),
            (503, "busy", true, false),
            (401, r#"{"error": {"message": "no\nkey"}}"#, false, false),
            (
                400,
                r#"{"error": {"code": "budget_exhausted", "message": "x"}}"#,
                false,
                true,
            ),
        ] {
            let failed = read_reply(status, body.as_bytes()).expect_err(body);
            assert_eq!((failed.again, failed.spent), (again, spent), "{status} {body}");
            assert!(!failed.why.contains('\n'), "{}", failed.why);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(status in 100_u16..600, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_reply(status, &bytes);
            let _ = read_reply(200, &[b"data:", bytes.as_slice()].concat());
        }
    }
}
