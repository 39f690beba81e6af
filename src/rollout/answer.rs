//! Whether a completion gives the answer that a data set has.
//!
//! What counts is where the completion says its answer, by the first of these that it has:
//! the last line that begins with `FINAL:` (or `Final answer:`), the last `\boxed{}`, what
//! follows the last `####`, what follows the last `answer is` or `Answer:`; else the whole
//! text. What is compared there depends on what is expected: a choice, a number, or a text.

use serde::Serialize;

use super::{
    number::{self, Number},
    plain::{closing, normalised, plain},
};

/// Longest piece of a completion that is taken for its answer, in bytes.
const PIECE_MAX: usize = 4_000;
/// Letters of choices.
const LETTERS: &str = "ABCDEFGHIJ";

/// One of the answers that a question offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its letter or number.
    pub label: String,
    /// What it says.
    pub text: String,
}

/// What a data set says is right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reference {
    /// The answers, any of which is right, as the data set has them.
    pub accepted: Vec<String>,
    /// What the question offers, where it does.
    pub choices: Vec<Choice>,
}

/// Where a completion said its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// On the last line that begins with `FINAL:` or `Final answer:`.
    Final,
    /// In the last `\boxed{}`.
    Boxed,
    /// After the last `####`.
    Hashes,
    /// After the last `answer is` or `Answer:`.
    AnswerIs,
    /// Nowhere in particular: the whole text is looked at.
    Whole,
}

/// How it was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compared {
    /// As the letter of a choice, or its text.
    Choice,
    /// As a number.
    Number,
    /// As a text whose case, spaces and outer punctuation do not matter.
    Text,
}

/// What became of a completion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// It gives the answer.
    pub correct: bool,
    /// Where it said one.
    pub said: Said,
    /// How that was compared.
    pub compared: Compared,
    /// What was found there, at most 200 characters.
    pub found: String,
    /// What was expected, at most 200 characters.
    pub expected: String,
}

/// Judges a completion.
pub fn judge(completion: &str, reference: &Reference) -> Judged {
    let (said, piece) = said(completion);
    let expected: Vec<String> = reference.accepted.iter().map(|text| expected(text)).collect();
    let letters = labels(reference, &expected);
    let numbers: Vec<Option<Number>> = expected.iter().map(|text| number::whole(&plain(text))).collect();
    let numeric = !numbers.is_empty() && numbers.iter().all(Option::is_some);
    let is_text = || {
        expected
            .iter()
            .any(|text| !text.is_empty() && normalised(text) == normalised(piece))
    };
    let (compared, correct) = if let Some(right) = &letters {
        let chosen = choice(piece, &reference.choices, said == Said::Whole);
        (Compared::Choice, chosen.is_some_and(|chosen| right.contains(&chosen)))
    } else if numeric {
        let found = number_in(piece, said == Said::Whole);
        let equal = |right: &Number| found.is_some_and(|found| found.equals(*right));
        (Compared::Number, numbers.iter().flatten().any(equal) || is_text())
    } else {
        (Compared::Text, is_text())
    };
    let short = |text: &str| text.trim().chars().take(200).collect::<String>();
    Judged {
        correct,
        said,
        compared,
        found: short(if said == Said::Whole { last_line(piece) } else { piece }),
        expected: short(&expected.join(" | ")),
    }
}

/// The answer in a data set's own words: behind `####`, in its `\boxed{}`, or all of them.
fn expected(text: &str) -> String {
    let text = text.trim();
    if let Some((_, after)) = text.rsplit_once("####") {
        return after.trim().to_owned();
    }
    boxed(text).unwrap_or(text).trim().to_owned()
}

fn last_line(text: &str) -> &str {
    text.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or_default()
}

/// Where a completion says its answer, and what it says there.
fn said(completion: &str) -> (Said, &str) {
    // What a model thinks aloud is not what it says.
    let text = completion
        .rsplit_once("</think>")
        .map_or(completion, |(_, after)| after);
    let found = final_line(text)
        .map(|piece| (Said::Final, boxed(piece).unwrap_or(piece)))
        .or_else(|| boxed(text).map(|piece| (Said::Boxed, piece)))
        .or_else(|| {
            let (_, after) = text.rsplit_once("####")?;
            Some((Said::Hashes, after.trim().lines().next().unwrap_or_default()))
        })
        .or_else(|| answer_is(text).map(|piece| (Said::AnswerIs, piece)));
    match found {
        Some((said, piece)) if piece.len() <= PIECE_MAX => (said, piece.trim()),
        Some((said, _)) => (said, ""),
        None => (Said::Whole, text.trim()),
    }
}

fn is_mark(c: char) -> bool {
    c.is_whitespace() || matches!(c, '*' | '_' | '#' | '>' | '`' | '-')
}

/// What the last line says that begins with `FINAL:` or `Final answer:`; where nothing stands
/// there, the line after it.
fn final_line(text: &str) -> Option<&str> {
    let mut found = None;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).peekable();
    while let Some(line) = lines.next() {
        let line = line.trim_start_matches(is_mark);
        let Some(rest) = stripped(line, "final") else { continue };
        let rest = rest.trim_start_matches(is_mark);
        let rest = stripped(rest, "answer").unwrap_or(rest).trim_start_matches(is_mark);
        let Some(said) = rest.strip_prefix(':') else { continue };
        let said = said.trim().trim_matches('*').trim();
        found = Some(match said.is_empty() {
            true => lines.peek().copied().unwrap_or_default().trim(),
            false => said,
        });
    }
    found
}

/// `text` without `word` before it, whatever its case.
fn stripped<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let head = text.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| &text[word.len()..])
}

/// What stands in the last `\boxed{}` that is closed.
fn boxed(text: &str) -> Option<&str> {
    let mut before = text;
    while let Some(at) = before.rfind("\\boxed") {
        let rest = text[at + "\\boxed".len()..].trim_start();
        if rest.starts_with('{')
            && let Some(end) = closing(rest)
        {
            let inner = &rest[1..end];
            // One in another is the answer itself.
            return Some(boxed(inner).unwrap_or(inner));
        }
        before = &before[..at];
    }
    None
}

fn answer_is(text: &str) -> Option<&str> {
    let lower = text.to_ascii_lowercase();
    let after = ["answer is", "answer:"]
        .iter()
        .filter_map(|words| Some(lower.rfind(words)? + words.len()))
        .max()?;
    let line = text[after..].trim_start().lines().next().unwrap_or_default();
    // The rest of the sentence.
    let end = line.find(". ").unwrap_or(line.len());
    Some(line[..end].trim_start_matches(':').trim())
}

/// The number that a piece says: all of it, what stands behind its last `=`, or the only one in
/// it; in a whole text the last one.
fn number_in(piece: &str, whole_text: bool) -> Option<Number> {
    let piece = plain(piece);
    if whole_text {
        return number::whole(&piece).or_else(|| number::all(&piece).pop());
    }
    let behind = piece.rsplit_once('=').map(|(_, behind)| behind);
    number::whole(&piece).or_else(|| number::whole(behind?)).or_else(|| {
        let found = number::all(&piece);
        let first = found.first().copied()?;
        found.iter().all(|other| other.equals(first)).then_some(first)
    })
}

/// The labels of the right choices; `None` where the question is none of choices.
fn labels(reference: &Reference, expected: &[String]) -> Option<Vec<String>> {
    let one_letter = |text: &str| text.len() == 1 && LETTERS.contains(text);
    if reference.choices.is_empty() {
        let letters = !expected.is_empty() && expected.iter().all(|text| one_letter(text));
        return letters.then(|| expected.to_vec());
    }
    let label_of = |text: &String| {
        let by_label = reference
            .choices
            .iter()
            .find(|choice| choice.label.eq_ignore_ascii_case(text));
        let by_text = || {
            reference
                .choices
                .iter()
                .find(|choice| normalised(&choice.text) == normalised(text))
        };
        by_label.or_else(by_text).map(|choice| choice.label.to_uppercase())
    };
    Some(expected.iter().filter_map(label_of).collect())
}

/// The choice that a piece names: by its label, alone or before its text, or by its text.
fn choice(piece: &str, choices: &[Choice], whole_text: bool) -> Option<String> {
    let piece = plain(piece);
    let piece = piece.trim();
    let known = |label: &str| match choices.is_empty() {
        true => label.len() == 1 && LETTERS.contains(label),
        false => choices.iter().any(|choice| choice.label.to_uppercase() == label),
    };
    let by_text = || {
        let said = normalised(piece);
        let mut same = choices.iter().filter(|choice| normalised(&choice.text) == said);
        same.next()
            .filter(|_| !said.is_empty())
            .map(|choice| choice.label.to_uppercase())
    };
    if let Some(label) = label_first(piece).filter(|label| known(label)) {
        // In a whole text a first word may be a letter by chance: `A dog`.
        let alone = label_only(piece);
        if !whole_text || alone {
            return Some(label);
        }
    }
    if let Some(label) = by_text() {
        return Some(label);
    }
    if whole_text {
        let bracketed = piece.rmatch_indices('(').find_map(|(at, _)| {
            let (inner, _) = piece[at + 1..].split_once(')')?;
            Some(inner.trim().to_uppercase()).filter(|label| known(label))
        });
        return bracketed
            .or_else(|| label_first(last_line(piece)).filter(|label| known(label) && label_only(last_line(piece))));
    }
    None
}

/// The label that a text begins with, in capitals: `B`, `(b)`, `B.`, `Option B`, `B: the text`.
fn label_first(text: &str) -> Option<String> {
    let text = ["option", "choice"]
        .iter()
        .find_map(|word| stripped(text, word))
        .unwrap_or(text)
        .trim_start();
    let text = text.trim_start_matches(['(', '[', '"', '\'']);
    let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
    let label = &text[..end];
    // A longer word is none.
    (1..=2).contains(&label.len()).then(|| label.to_uppercase())
}

/// Whether nothing but a label stands there.
fn label_only(text: &str) -> bool {
    let text = ["option", "choice"]
        .iter()
        .find_map(|word| stripped(text, word))
        .unwrap_or(text);
    let inner = text.trim_matches(|c: char| !c.is_alphanumeric());
    (1..=2).contains(&inner.len())
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
