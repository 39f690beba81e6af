//! Questions and their answers in the rows of a data set.

use serde_json::{Map, Value};

use super::answer::{Choice, Reference};

/// Columns that hold what is asked, the first one that a row has.
pub const ASKED: [&str; 7] = ["question", "problem", "prompt", "query", "instruction", "ctx", "input"];
/// Columns that hold what is right, likewise.
const RIGHT: [&str; 11] = [
    "answer",
    "answerKey",
    "final_answer",
    "answers",
    "target",
    "label",
    "output",
    "response",
    "completion",
    "solution",
    "gold",
];
/// Columns that hold what can be chosen from.
const OFFERED: [&str; 3] = ["choices", "options", "endings"];
/// Most choices of a question.
const CHOICES_MAX: usize = 26;

/// Every column that is looked at; `context` is what a question is about.
pub fn columns() -> Vec<&'static str> {
    let known = [&ASKED[..], &RIGHT, &OFFERED, &["context"]];
    known.concat()
}

/// What a model is asked, and what is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The question in the data set's own words.
    pub text: String,
    /// What it is about, where a row has that apart.
    pub context: Option<String>,
    /// What is right.
    pub reference: Reference,
}

impl Question {
    /// What a model is asked: the question, its choices, and how to give the answer.
    pub fn prompt(&self) -> String {
        let mut prompt = String::new();
        if let Some(context) = &self.context {
            prompt.push_str(context.trim());
            prompt.push_str("\n\n");
        }
        prompt.push_str(self.text.trim());
        for Choice { label, text } in &self.reference.choices {
            prompt.push_str(&format!("\n{label}. {text}"));
        }
        let what = if self.reference.choices.is_empty() {
            "the answer"
        } else {
            "the letter of the answer"
        };
        prompt.push_str(&format!(
            "\n\nWork it out step by step. Then give {what}, and nothing else, on a last line that begins with `FINAL:`."
        ));
        prompt
    }
}

fn text_of<'r>(row: &'r Map<String, Value>, name: &str) -> Option<&'r str> {
    row.get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.trim().is_empty())
}

/// What a row asks in the data set's own words; nothing where it asks nothing.
pub fn asked(row: &Map<String, Value>) -> Option<String> {
    ASKED.iter().find_map(|name| text_of(row, name)).map(str::to_owned)
}

/// The question of a row; nothing where it has none, or no answer to it.
pub fn question(row: &Map<String, Value>) -> Option<Question> {
    let text = asked(row)?;
    let context = text_of(row, "context").map(str::to_owned);
    // An instruction may be about an input.
    let input = row
        .get("instruction")
        .and_then(|_| text_of(row, "input"))
        .filter(|input| *input != text);
    let choices = OFFERED
        .iter()
        .find_map(|name| offered(row.get(*name)?))
        .unwrap_or_default();
    let accepted = RIGHT.iter().find_map(|name| right(row.get(*name)?, &choices))?;
    Some(Question {
        text: input.map_or(text.clone(), |input| format!("{text}\n\n{input}")),
        context,
        reference: Reference { accepted, choices },
    })
}

/// The choices of a cell: texts, or texts with their labels.
fn offered(cell: &Value) -> Option<Vec<Choice>> {
    let texts = |cell: &Value| -> Option<Vec<String>> {
        let items = cell.as_array()?.iter().map(scalar);
        items
            .collect::<Option<Vec<_>>>()
            .filter(|texts| (2..=CHOICES_MAX).contains(&texts.len()))
    };
    let labelled = |labels: Vec<String>, texts: Vec<String>| -> Option<Vec<Choice>> {
        let same = labels.len() == texts.len();
        let pairs = labels.into_iter().zip(texts);
        same.then(|| pairs.map(|(label, text)| Choice { label, text }).collect())
    };
    match cell {
        Value::Array(_) => {
            let texts = texts(cell)?;
            let labels = (b'A'..=b'Z')
                .take(texts.len())
                .map(|letter| char::from(letter).to_string())
                .collect();
            labelled(labels, texts)
        }
        Value::Object(object) => match (object.get("text").and_then(texts), object.get("label").and_then(texts)) {
            (Some(texts), Some(labels)) => labelled(labels, texts),
            (None, None) if (2..=CHOICES_MAX).contains(&object.len()) => {
                let texts: Option<Vec<String>> = object.values().map(scalar).collect();
                labelled(object.keys().cloned().collect(), texts?)
            }
            _ => None,
        },
        _ => None,
    }
}

/// What a cell says is right.
fn right(cell: &Value, choices: &[Choice]) -> Option<Vec<String>> {
    match cell {
        Value::Array(items) => {
            let all: Option<Vec<String>> = items.iter().map(scalar).collect();
            all.filter(|all| !all.is_empty())
        }
        Value::Object(object) => ["text", "value", "aliases"]
            .iter()
            .find_map(|name| right(object.get(*name)?, choices)),
        _ => {
            let said = scalar(cell)?;
            // A choice by its number, from 0, unless the choices are numbered themselves.
            let by_label = choices.iter().any(|choice| choice.label.eq_ignore_ascii_case(&said));
            let by_text = cell.is_string() && choices.iter().any(|choice| choice.text.trim() == said.trim());
            let index = said.parse::<usize>().ok().filter(|_| !by_label && !by_text);
            Some(vec![
                index
                    .and_then(|index| choices.get(index))
                    .map_or(said, |choice| choice.label.clone()),
            ])
        }
    }
}

/// A single value as text; an empty one is none.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rollout::judge;

    fn of(row: Value) -> Option<Question> {
        question(row.as_object().expect("an object"))
    }

    #[test]
    fn rows_of_well_known_shapes_are_questions() {
        // GSM8K, MATH, MMLU, ARC, HellaSwag, SQuAD, Alpaca.
        for (row, asked, right, wrong) in [
            (
                json!({"question": "6*3?", "answer": "6*3=18\n#### 18"}),
                "6*3?",
                "FINAL: 18",
                "FINAL: 9",
            ),
            (
                json!({"problem": "half?", "solution": "so \\boxed{\\frac{1}{2}}"}),
                "half?",
                "\\boxed{0.5}",
                "\\boxed{2}",
            ),
            (
                json!({"question": "which?", "choices": ["p", "q", "r"], "answer": 1}),
                "B. q",
                "FINAL: B",
                "FINAL: A",
            ),
            (
                json!({"question": "which?", "choices": {"text": ["p", "q"], "label": ["1", "2"]}, "answerKey": "2"}),
                "2. q",
                "FINAL: 2",
                "FINAL: 1",
            ),
            (
                json!({"ctx": "a man", "endings": ["runs", "flies"], "label": "0"}),
                "A. runs",
                "FINAL: runs",
                "FINAL: B",
            ),
            (
                json!({"question": "who?", "context": "Ada wrote it.", "answers": {"text": ["Ada", "Lovelace"], "answer_start": [0]}}),
                "Ada wrote it.\n\nwho?",
                "FINAL: lovelace",
                "FINAL: Bob",
            ),
            (
                json!({"instruction": "add", "input": "1 and 2", "output": "3"}),
                "add\n\n1 and 2",
                "FINAL: 3",
                "FINAL: 4",
            ),
            (
                json!({"prompt": "is it?", "label": true}),
                "is it?",
                "FINAL: True",
                "FINAL: false",
            ),
        ] {
            let question = of(row.clone()).unwrap_or_else(|| panic!("{row}"));
            assert!(question.prompt().contains(asked), "{}", question.prompt());
            assert!(judge(right, &question.reference).correct, "{row} {right}");
            assert!(!judge(wrong, &question.reference).correct, "{row} {wrong}");
        }
    }

    #[test]
    fn rows_without_question_or_answer_are_none() {
        for row in [
            json!({}),
            json!({"question": "x"}),
            json!({"answer": "x"}),
            json!({"question": " ", "answer": "x"}),
            json!({"question": 5, "answer": "x"}),
            json!({"question": "x", "answer": null}),
            json!({"question": "x", "answer": ""}),
            json!({"question": "x", "answers": []}),
        ] {
            assert_eq!(of(row.clone()), None, "{row}");
        }
    }
}
