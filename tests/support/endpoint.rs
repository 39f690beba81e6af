//! A scripted OpenAI-compatible endpoint on the loopback, for what a cassette cannot show.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::json;

/// What the endpoint answers to a call, by its number from 0 and the request's body.
pub type Script = dyn Fn(usize, &str) -> Answer + Send + Sync;

pub enum Answer {
    /// A chat completion that says a text and calls at most one tool.
    Say(&'static str, Option<(&'static str, serde_json::Value)>),
    /// Any status and body.
    Raw(u16, &'static str, &'static str),
}

/// A listening endpoint and what it was sent: heads and bodies.
pub struct Endpoint {
    pub base_url: String,
    pub requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Endpoint {
    /// Listens until the process ends.
    pub fn start(script: Box<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let base_url = format!("http://{}/v1", listener.local_addr().expect("address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up is its own affair.
                let _ = answer(stream, script.as_ref(), &seen);
            }
        });
        Self { base_url, requests }
    }
}

fn answer(stream: TcpStream, script: &Script, seen: &Mutex<Vec<(String, String)>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let number = {
        let mut seen = seen.lock().expect("lock");
        seen.push((head, body.clone()));
        seen.len() - 1
    };
    let (status, kind, text) = match script(number, &body) {
        Answer::Raw(status, kind, text) => (status, kind, text.to_owned()),
        Answer::Say(text, tool) => (200, "text/event-stream", events(text, tool)),
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )
}

/// A chat completion as server-sent events.
fn events(text: &str, tool: Option<(&'static str, serde_json::Value)>) -> String {
    let chunk = |delta: serde_json::Value, end: Option<&str>| {
        let usage = end.map(|_| json!({"prompt_tokens": 70, "completion_tokens": 7, "total_tokens": 77}));
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "usage": usage,
            "choices": [{"index": 0, "delta": delta, "finish_reason": end}]});
        format!("data: {chunk}\n\n")
    };
    let mut out = chunk(json!({"role": "assistant", "content": text}), None);
    let end = match tool {
        None => "stop",
        Some((name, arguments)) => {
            let call = json!({"index": 0, "id": "call_1", "type": "function",
                "function": {"name": name, "arguments": arguments.to_string()}});
            out += &chunk(json!({"tool_calls": [call]}), None);
            "tool_calls"
        }
    };
    out + &chunk(json!({}), Some(end)) + "data: [DONE]\n\n"
}
