//! Words to fields (XCU 2.6), as far as they can be known.

use super::{
    braces::{braces_in, expand_braces},
    pattern,
    tree::{Parameter, ParameterOp, Part, Word},
    value::{HOME, OUTSIDE, UNKNOWN, VALUE_MAX, WORKSPACE, bounded, is_open},
    walk::Walk,
};

/// Most fields that one word gives.
const FIELDS_MAX: usize = 256;

/// Fields under construction.
#[derive(Default)]
struct Fields {
    done: Vec<String>,
    open: String,
    /// The open field is one even if it stays empty.
    quoted: bool,
}

impl Fields {
    fn end(&mut self) {
        let field = std::mem::take(&mut self.open);
        if (self.quoted || !field.is_empty()) && self.done.len() < FIELDS_MAX {
            self.done.push(field);
        }
        self.quoted = false;
    }
}

impl Walk<'_> {
    /// The fields of `words`.
    pub(super) fn fields(&mut self, words: &[Word]) -> Vec<String> {
        let mut all = Vec::with_capacity(words.len());
        for word in words {
            match word.parts.as_slice() {
                // What most words are.
                [Part::Text { text, quoted }] if *quoted || !text.starts_with('~') && !text.contains('{') => {
                    all.push(text.clone());
                }
                _ => self.word_fields(word, &mut all),
            }
        }
        all
    }

    fn word_fields(&mut self, word: &Word, all: &mut Vec<String>) {
        if braces_in(word) {
            let (words, whole) = expand_braces(word);
            for word in words {
                self.split(&word, all);
            }
            if !whole {
                self.effort.fell_short = true;
            }
        } else {
            self.split(word, all);
        }
    }

    fn split(&mut self, word: &Word, all: &mut Vec<String>) {
        let mut fields = Fields::default();
        for (index, part) in word.parts.iter().enumerate() {
            match part {
                Part::Text { text, quoted: true } => {
                    fields.open.push_str(text);
                    fields.quoted = true;
                }
                Part::Text { text, .. } => match index {
                    0 => fields.open.push_str(&tilde(text)),
                    _ => fields.open.push_str(text),
                },
                _ => {
                    let (value, quoted) = self.part(part);
                    match quoted {
                        true => {
                            let all_arguments =
                                matches!(part, Part::Parameter(p) if p.name == "@" && p.op == ParameterOp::Plain);
                            if all_arguments && let Some(arguments) = self.scene.positional.clone() {
                                for (index, argument) in arguments.iter().enumerate() {
                                    if index > 0 {
                                        fields.end();
                                    }
                                    fields.open.push_str(argument);
                                    fields.quoted = true;
                                }
                                continue;
                            }
                            // `"${a[@]}"`: an array's elements, each a field.
                            let elements = matches!(part, Part::Parameter(p) if p.op == ParameterOp::Element
                                && p.arg.literal().is_some_and(|index| index == "@]"));
                            for (index, element) in value.split(' ').enumerate() {
                                if index > 0 && elements {
                                    fields.end();
                                } else if index > 0 {
                                    fields.open.push(' ');
                                }
                                fields.open.push_str(element);
                                fields.quoted = true;
                            }
                        }
                        false => self.split_value(&value, &mut fields),
                    }
                }
            }
        }
        fields.end();
        all.append(&mut fields.done);
    }

    /// Field splitting of what an unquoted expansion gave.
    fn split_value(&mut self, value: &str, fields: &mut Fields) {
        let separators = match self.scene.is_set("IFS") {
            true => self.first_value("IFS").unwrap_or_default(),
            false => " \t\n".to_owned(),
        };
        for c in value.chars() {
            match separators.contains(c) {
                true => fields.end(),
                false => fields.open.push(c),
            }
        }
    }

    /// `word` as one text: an assignment's value, a redirection's target.
    pub(super) fn text(&mut self, word: &Word) -> String {
        let mut whole = String::new();
        for (index, part) in word.parts.iter().enumerate() {
            match part {
                Part::Text { text, quoted: false } if index == 0 => whole.push_str(&tilde(text)),
                Part::Text { text, .. } => whole.push_str(text),
                _ => whole.push_str(&self.part(part).0),
            }
            if whole.len() > VALUE_MAX && !matches!(part, Part::Text { .. }) {
                return UNKNOWN.to_string();
            }
        }
        whole
    }

    /// An expansion's value, and whether it stood in double quotes.
    fn part(&mut self, part: &Part) -> (String, bool) {
        match part {
            Part::Text { text, quoted } => (text.clone(), *quoted),
            Part::Parameter(parameter) => (self.parameter(parameter), parameter.quoted),
            Part::Command { script, quoted } => {
                let output = self.substituted(script);
                (output.trim_end_matches('\n').to_owned(), *quoted)
            }
            Part::Process { script, reads } => {
                let output = match reads {
                    true => self.substituted(script),
                    false => {
                        self.substituted(script);
                        String::new()
                    }
                };
                (self.pipe_file(output), true)
            }
            Part::Arith(word) => {
                let text = self.text(word);
                let number = text.trim();
                let value = match number.parse::<u32>() {
                    Ok(number) => number.to_string(),
                    Err(_) => UNKNOWN.to_string(),
                };
                (value, true)
            }
        }
    }

    /// The value in the world under inspection.
    pub(super) fn first_value(&mut self, name: &str) -> Option<String> {
        let values = self.scene.values(name);
        self.worlds = self.worlds.max(values.len());
        let last = values.len().checked_sub(1)?;
        values.get(self.world.min(last)).cloned()
    }

    fn parameter(&mut self, parameter: &Parameter) -> String {
        let unknown = || UNKNOWN.to_string();
        let value = self.named(&parameter.name);
        match parameter.op {
            ParameterOp::Plain => value.unwrap_or_else(unknown),
            ParameterOp::Default | ParameterOp::AssignDefault => match value {
                Some(value) if !value.is_empty() => value,
                _ => {
                    let default = self.text(&parameter.arg);
                    if parameter.op == ParameterOp::AssignDefault {
                        self.scene.set(&parameter.name, vec![default.clone()]);
                    }
                    default
                }
            },
            ParameterOp::Alternative => {
                let alternative = self.text(&parameter.arg);
                match value {
                    Some(value) if value.is_empty() => String::new(),
                    Some(_) => alternative,
                    // Either nothing or this; this is the worse of the two.
                    None => alternative,
                }
            }
            ParameterOp::Demand => {
                self.text(&parameter.arg);
                value.unwrap_or_else(unknown)
            }
            ParameterOp::Element => {
                let index = self.text(&parameter.arg);
                let whole = value.unwrap_or_else(unknown);
                let inner = index.split(']').next().unwrap_or_default();
                match inner {
                    "@" | "*" => whole,
                    _ if is_open(&whole) => whole,
                    number => match number.parse::<usize>() {
                        Ok(number) => whole.split(' ').nth(number).unwrap_or_default().to_owned(),
                        Err(_) => unknown(),
                    },
                }
            }
            ParameterOp::Indirect => {
                self.text(&parameter.arg);
                let name = value.unwrap_or_default();
                self.named(&name).unwrap_or_else(unknown)
            }
            op => {
                let arg = self.text(&parameter.arg);
                match value {
                    // Above the workspace there is something, and it is not ours.
                    Some(value) if value == format!("/{WORKSPACE}") && matches!(op, ParameterOp::CutEnd { .. }) => {
                        format!("/{OUTSIDE}")
                    }
                    Some(value) => {
                        let value = value.replace(&format!("/{HOME}"), "/home/user");
                        bounded(apply(op, &value, &arg))
                    }
                    None => unknown(),
                }
            }
        }
    }

    /// The value of a variable or a special parameter.
    fn named(&mut self, name: &str) -> Option<String> {
        match name {
            "@" | "*" => self.scene.positional.as_ref().map(|all| all.join(" ")),
            "#" => self.scene.positional.as_ref().map(|all| all.len().to_string()),
            "0" => self.scene.zero.as_ref().map(|zero| zero.to_string()),
            _ if name.starts_with(|c: char| c.is_ascii_digit()) => {
                let index: usize = name.parse().ok()?;
                let positional = self.scene.positional.as_ref()?;
                Some(positional.get(index.checked_sub(1)?).cloned().unwrap_or_default())
            }
            _ => self.first_value(name),
        }
    }
}

fn tilde(text: &str) -> std::borrow::Cow<'_, str> {
    let Some(rest) = text.strip_prefix('~') else {
        return text.into();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (user, path) = rest.split_at(end);
    match user {
        "" => format!("/{HOME}{path}").into(),
        "+" => format!(".{path}").into(),
        "-" => format!("{UNKNOWN}{path}").into(),
        "root" => format!("/root{path}").into(),
        user if user.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) => {
            format!("/home/{user}{path}").into()
        }
        _ => text.into(),
    }
}

fn apply(op: ParameterOp, value: &str, arg: &str) -> String {
    match op {
        ParameterOp::CutStart { longest } => pattern::cut(value, arg, true, longest).to_owned(),
        ParameterOp::CutEnd { longest } => pattern::cut(value, arg, false, longest).to_owned(),
        ParameterOp::Upper => value.to_uppercase(),
        ParameterOp::Lower => value.to_lowercase(),
        ParameterOp::Length if is_open(value) => UNKNOWN.to_string(),
        ParameterOp::Length => value.chars().count().to_string(),
        ParameterOp::Replace { all } => {
            let (from, to) = arg.split_once('/').unwrap_or((arg, ""));
            match from.contains(['*', '?', '[']) || is_open(from) {
                true if all && from == "?" => to.repeat(value.chars().count().min(100)),
                true => UNKNOWN.to_string(),
                false if from.is_empty() => value.to_owned(),
                false if all => value.replace(from, to),
                false => value.replacen(from, to, 1),
            }
        }
        ParameterOp::Slice => slice(value, arg),
        _ => UNKNOWN.to_string(),
    }
}

/// `:OFFSET:LENGTH`, both plain numbers.
fn slice(value: &str, arg: &str) -> String {
    let mut numbers = arg.split(':').map(|number| number.trim().parse::<i64>());
    let (Some(Ok(offset)), length) = (numbers.next(), numbers.next()) else {
        return UNKNOWN.to_string();
    };
    let chars: Vec<char> = value.chars().collect();
    let size = chars.len() as i64;
    let begin = if offset < 0 {
        (size + offset).max(0)
    } else {
        offset.min(size)
    };
    let end = match length {
        None => size,
        Some(Ok(length)) if length < 0 => size + length,
        Some(Ok(length)) => begin.saturating_add(length).min(size),
        Some(Err(_)) => return UNKNOWN.to_string(),
    };
    match begin < end {
        true => chars[begin as usize..end as usize].iter().collect(),
        false => String::new(),
    }
}
