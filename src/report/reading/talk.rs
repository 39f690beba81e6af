//! A turn's events (OpenCode's, as its server sent them) as a conversation.

use std::collections::HashMap;

use serde_json::Value;

use super::{fields::Fields, folder::Folder};

/// Bytes of one turn's events that are read; the recorder keeps fewer.
const EVENTS: u64 = 64 << 20;
/// Parts of one turn.
const PARTS: usize = 20_000;

/// What was said in one turn. Texts are as they were, whole.
#[derive(Debug, Default)]
pub struct Talk {
    /// Messages in the order in which they began.
    pub messages: Vec<Message>,
    /// Events are missing: the recorder's cap was reached, or a bound of this reader.
    pub cut: bool,
}

/// One message.
#[derive(Debug, Default)]
pub struct Message {
    /// Whose it is.
    pub role: Role,
    /// When it began, milliseconds since 1970.
    pub created: Option<i64>,
    /// What it is made of, in order.
    pub parts: Vec<Part>,
    /// Tokens, as the agent reports them.
    pub tokens: Option<Tokens>,
    /// Cost, as the agent reports it.
    pub cost: Option<f64>,
    /// Why the model stopped.
    pub finish: Option<String>,
    /// What failed.
    pub error: Option<String>,
}

/// Whose a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The runner's.
    User,
    /// The model's.
    #[default]
    Assistant,
}

/// Tokens of one message, as OpenCode counts them: cached input and reasoning are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Sent, cached ones excluded.
    pub input: u64,
    /// Received, reasoning excluded.
    pub output: u64,
    /// Reasoning.
    pub reasoning: u64,
    /// Sent and found in the provider's cache.
    pub cached: u64,
}

/// A part of a message.
#[derive(Debug)]
pub enum Part {
    /// What was said.
    Text(String),
    /// What was thought aloud.
    Reasoning(String),
    /// A tool call with its result.
    Tool(Box<Call>),
}

/// A tool call.
#[derive(Debug, Default)]
pub struct Call {
    /// Its id.
    pub id: String,
    /// The tool.
    pub tool: String,
    /// `completed`, `error`, `running`, `pending`.
    pub status: String,
    /// Its arguments.
    pub input: Value,
    /// What came back.
    pub output: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// The exit code of a shell command.
    pub exit: Option<i64>,
    /// The change, as the tool reports it.
    pub diff: Option<String>,
    /// When it began and ended, milliseconds since 1970.
    pub time: (Option<i64>, Option<i64>),
}

impl Call {
    /// How long it took, milliseconds.
    pub fn ms(&self) -> Option<u64> {
        u64::try_from(self.time.1?.checked_sub(self.time.0?)?).ok()
    }
}

impl Talk {
    /// Reads `turns/NNNN-LABEL.events.jsonl`.
    pub fn read(folder: &Folder, name: &str) -> Self {
        let mut reader = Reader::default();
        folder.lines(name, EVENTS, |event| {
            reader.take(&event);
            true
        });
        let mut talk = reader.talk;
        // What is empty was never filled.
        for message in &mut talk.messages {
            message.parts.retain(|part| match part {
                Part::Text(text) | Part::Reasoning(text) => !text.is_empty(),
                Part::Tool(_) => true,
            });
        }
        talk
    }
}

#[derive(Default)]
struct Reader {
    talk: Talk,
    messages: HashMap<String, usize>,
    /// Where each part is: the message and the place in it.
    parts: HashMap<String, (usize, usize)>,
}

impl Reader {
    fn take(&mut self, event: &Value) {
        let properties = event.at("properties");
        match event.at("type").as_str().unwrap_or_default() {
            "message.updated" => self.message(properties.at("info")),
            "message.part.updated" => self.part(properties.at("part")),
            "truncated" => self.talk.cut = true,
            _ => {}
        }
    }

    fn slot(&mut self, id: &str) -> Option<usize> {
        if let Some(at) = self.messages.get(id) {
            return Some(*at);
        }
        if self.talk.messages.len() == PARTS {
            self.talk.cut = true;
            return None;
        }
        let at = self.talk.messages.len();
        self.messages.insert(id.to_owned(), at);
        self.talk.messages.push(Message { ..Message::default() });
        Some(at)
    }

    fn message(&mut self, info: &Value) {
        let Some(id) = info.at("id").as_str() else { return };
        let Some(at) = self.slot(id) else { return };
        let message = &mut self.talk.messages[at];
        if info.at("role").as_str() == Some("user") {
            message.role = Role::User;
        }
        message.created = info.at("time").at("created").as_i64().or(message.created);
        message.cost = info.at("cost").as_f64().or(message.cost);
        message.finish = info.at("finish").as_str().map(str::to_owned).or(message.finish.take());
        let tokens = info.at("tokens");
        if tokens.is_object() {
            let count = |name: &str| tokens.count(name).unwrap_or(0);
            message.tokens = Some(Tokens {
                input: count("input"),
                output: count("output"),
                reasoning: count("reasoning"),
                cached: tokens.at("cache").count("read").unwrap_or(0),
            });
        }
        let error = info.at("error");
        if error.is_object() {
            let said = error.at("data").at("message").as_str();
            let name = error.at("name").as_str().unwrap_or("error");
            message.error = Some(format!("{name}: {}", said.unwrap_or_default()));
        }
    }

    fn part(&mut self, part: &Value) {
        let text = || part.at("text").as_str().unwrap_or_default().to_owned();
        let new = match part.at("type").as_str().unwrap_or_default() {
            "text" => Part::Text(text()),
            "reasoning" => Part::Reasoning(text()),
            "tool" => Part::Tool(Box::new(call(part))),
            _ => return,
        };
        let (Some(message), Some(id)) = (part.at("messageID").as_str(), part.at("id").as_str()) else {
            return;
        };
        if let Some((message, at)) = self.parts.get(id) {
            self.talk.messages[*message].parts[*at] = new;
            return;
        }
        let Some(slot) = self.slot(message) else { return };
        if self.parts.len() == PARTS {
            self.talk.cut = true;
            return;
        }
        let parts = &mut self.talk.messages[slot].parts;
        self.parts.insert(id.to_owned(), (slot, parts.len()));
        parts.push(new);
    }
}

fn call(part: &Value) -> Call {
    let state = part.at("state");
    let meta = state.at("metadata");
    let owned = |value: &Value| value.as_str().map(str::to_owned);
    Call {
        id: owned(part.at("callID")).unwrap_or_default(),
        tool: owned(part.at("tool")).unwrap_or_default(),
        status: owned(state.at("status")).unwrap_or_default(),
        input: state.at("input").clone(),
        output: owned(state.at("output")),
        error: owned(state.at("error")),
        exit: meta.at("exit").as_i64(),
        diff: owned(meta.at("diff")).filter(|diff| !diff.is_empty()),
        time: (
            state.at("time").at("start").as_i64(),
            state.at("time").at("end").as_i64(),
        ),
    }
}
