//! Brace expansion: `a{b,c}{1..3}`.

use super::tree::{Part, Word};

/// Most fields that the braces of one word give.
const BRACES_MAX: usize = 256;

pub(super) fn braces_in(word: &Word) -> bool {
    word.parts
        .iter()
        .any(|part| matches!(part, Part::Text { text, quoted: false } if text.contains('{')))
}

/// A character of a word, or a part that is no text.
#[derive(Clone)]
enum Atom {
    Char(char, bool),
    Part(Part),
    /// An empty quoted text.
    Empty,
}

/// `a{b,c}{1..3}` to its words, and whether that is all of them.
pub(super) fn expand_braces(word: &Word) -> (Vec<Word>, bool) {
    let mut atoms = Vec::new();
    for part in &word.parts {
        match part {
            Part::Text { text, quoted } if text.is_empty() && *quoted => atoms.push(Atom::Empty),
            Part::Text { text, quoted } => atoms.extend(text.chars().map(|c| Atom::Char(c, *quoted))),
            other => atoms.push(Atom::Part(other.clone())),
        }
    }
    if atoms.len() > 400 {
        return (vec![word.clone()], false);
    }
    let mut whole = true;
    let mut done = Vec::new();
    let mut waiting = vec![(atoms, 0)];
    // Each round takes one group of braces apart; what has none any more is done.
    while let Some((atoms, from)) = waiting.pop() {
        let found = (from..atoms.len()).find_map(|at| group(&atoms, at).map(|(end, choices)| (at, end, choices)));
        match found {
            Some((at, end, choices)) if done.len() + waiting.len() + choices.len() <= BRACES_MAX => {
                for choice in choices.into_iter().rev() {
                    let chosen = [&atoms[..at], &choice, &atoms[end + 1..]].concat();
                    waiting.push((chosen, at));
                }
            }
            found => {
                whole &= found.is_none();
                done.push(rebuilt(atoms));
            }
        }
    }
    (done, whole)
}

/// The group that opens at `at`: where it closes, and what it chooses from.
fn group(atoms: &[Atom], at: usize) -> Option<(usize, Vec<Vec<Atom>>)> {
    let is = |index: usize, wanted: char| matches!(atoms.get(index), Some(Atom::Char(c, false)) if *c == wanted);
    if !is(at, '{') {
        return None;
    }
    let mut depth = 0;
    let mut begin = at + 1;
    let mut choices = Vec::new();
    for index in at + 1..atoms.len() {
        if is(index, '{') {
            depth += 1;
        } else if is(index, '}') && depth > 0 {
            depth -= 1;
        } else if is(index, ',') && depth == 0 {
            choices.push(atoms[begin..index].to_vec());
            begin = index + 1;
        } else if is(index, '}') {
            if choices.is_empty() {
                return range(&atoms[begin..index]).map(|choices| (index, choices));
            }
            choices.push(atoms[begin..index].to_vec());
            return Some((index, choices));
        }
    }
    None
}

/// `1..3`, `a..c`
fn range(atoms: &[Atom]) -> Option<Vec<Vec<Atom>>> {
    let text: Option<String> = atoms
        .iter()
        .map(|atom| match atom {
            Atom::Char(c, false) => Some(*c),
            _ => None,
        })
        .collect();
    let text = text?;
    let (from, to) = text.split_once("..")?;
    let plain = |text: String| text.chars().map(|c| Atom::Char(c, false)).collect::<Vec<_>>();
    if let (Ok(from), Ok(to)) = (from.parse::<i32>(), to.parse::<i32>()) {
        let (low, high) = (from.min(to), from.max(to));
        let most = high.min(low.saturating_add(BRACES_MAX as i32 - 1));
        return Some((low..=most).map(|number| plain(number.to_string())).collect());
    }
    let single = |text: &str| {
        let mut chars = text.chars();
        chars
            .next()
            .filter(|c| c.is_ascii_alphabetic() && chars.next().is_none())
    };
    let (from, to) = (single(from)?, single(to)?);
    Some((from.min(to)..=from.max(to)).map(|c| plain(c.to_string())).collect())
}

fn rebuilt(atoms: Vec<Atom>) -> Word {
    let mut parts: Vec<Part> = Vec::new();
    for atom in atoms {
        match atom {
            Atom::Part(part) => parts.push(part),
            Atom::Empty => parts.push(Part::Text {
                text: String::new(),
                quoted: true,
            }),
            Atom::Char(c, is_quoted) => match parts.last_mut() {
                Some(Part::Text { text, quoted }) if *quoted == is_quoted => text.push(c),
                _ => parts.push(Part::Text {
                    text: c.to_string(),
                    quoted: is_quoted,
                }),
            },
        }
    }
    Word { parts, span: 0..0 }
}
