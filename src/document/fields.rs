//! Typed reading of one mapping: every key is taken by name, and what nobody
//! took is an error that names the nearest key.

use std::time::Duration;

use super::{
    error::{Fault, Position, shown},
    yaml::{Key, Node, Value},
};
use crate::names::RelPath;

/// Longest time that a contract may ask for, in seconds: thirty days, far from any clock's overflow.
const MAX_SECONDS: u64 = 30 * 24 * 3600;

/// A mapping whose keys are taken one after the other; [`Fields::finish`] refuses the rest.
pub struct Fields {
    /// Dotted place of the mapping in the document, ending in `.`; empty at the root.
    prefix: String,
    /// Where the mapping was declared.
    pub at: Position,
    /// Pairs that nobody took yet, in file order.
    left: Vec<(Key, Node)>,
    /// Names that were asked for: what is allowed here.
    known: Vec<&'static str>,
}

impl Fields {
    /// The mapping at the root of a document.
    pub fn root(node: Node) -> Result<Self, Fault> {
        let found = node.kind();
        match node.value {
            Value::Mapping(left) => Ok(Self {
                prefix: String::new(),
                at: node.at,
                left,
                known: Vec::new(),
            }),
            _ => Err(node
                .at
                .fault(format!("the file must be a mapping of sections, found {found}"))),
        }
    }

    /// The mapping under `name`, if the key is there.
    pub fn section(&mut self, name: &'static str) -> Result<Option<Self>, Fault> {
        let Some((key, node)) = self.take(name) else {
            return Ok(None);
        };
        let place = self.place(name);
        if node.is_null() {
            return Err(key.at.fault(format!("`{place}` is empty; fill it in or remove it")));
        }
        let found = node.kind();
        match node.value {
            Value::Mapping(left) => Ok(Some(Self {
                prefix: format!("{place}."),
                at: key.at,
                left,
                known: Vec::new(),
            })),
            _ => Err(node.at.fault(format!("`{place}` must be a mapping, found {found}"))),
        }
    }

    /// The mapping under `name`, where `true` stands for an empty one and `false` for none.
    pub fn switched(&mut self, name: &'static str) -> Result<Option<Self>, Fault> {
        let plain = |node: &Node| matches!(&node.value, Value::Scalar { plain: true, .. });
        let said = self
            .left
            .iter()
            .any(|(key, node)| key.text == name && plain(node) && !node.is_null());
        if !said {
            return self.section(name);
        }
        let (place, at) = (self.place(name), self.place_of(name).unwrap_or(self.at));
        let on = self.boolean(name)?.unwrap_or_default();
        Ok(on.then(|| Self {
            prefix: format!("{place}."),
            at,
            left: Vec::new(),
            known: Vec::new(),
        }))
    }

    /// The mappings in the list under `name`; `None` when absent or null.
    pub fn sections(&mut self, name: &'static str, most: usize) -> Result<Option<Vec<Self>>, Fault> {
        let Some(node) = self.value(name) else { return Ok(None) };
        let place = self.place(name);
        let found = node.kind();
        let Value::Sequence(items) = node.value else {
            return Err(node
                .at
                .fault(format!("`{place}` must be a list of mappings, found {found}")));
        };
        if let Some(extra) = items.get(most) {
            return Err(extra.at.fault(format!("`{place}` must list at most {most}")));
        }
        let named = |(index, node): (usize, Node)| {
            let found = node.kind();
            match node.value {
                Value::Mapping(left) => Ok(Self {
                    prefix: format!("{place}[{index}]."),
                    at: node.at,
                    left,
                    known: Vec::new(),
                }),
                _ => Err(node
                    .at
                    .fault(format!("`{place}[{index}]` must be a mapping, found {found}"))),
            }
        };
        items
            .into_iter()
            .enumerate()
            .map(named)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Lets `old` stand for `name`; where it stood, if it was there.
    pub fn renamed(&mut self, old: &str, name: &'static str) -> Result<Option<Position>, Fault> {
        let Some(index) = self.left.iter().position(|(key, _)| key.text == old) else {
            return Ok(None);
        };
        let at = self.left[index].0.at;
        if let Some((other, _)) = self.left.iter().find(|(key, _)| key.text == name) {
            let (place, line) = (self.place(old), other.at.line);
            return Err(at.fault(format!(
                "`{place}` is another name of `{name}`, which line {line} gives; remove one"
            )));
        }
        name.clone_into(&mut self.left[index].0.text);
        Ok(Some(at))
    }

    /// Whether one of `names` is there, null included, and not taken yet.
    pub fn has(&self, names: &[&str]) -> bool {
        self.left.iter().any(|(key, _)| names.contains(&key.text.as_str()))
    }

    /// Where the value under `name` stands, if it is there and not taken yet.
    pub fn place_of(&self, name: &str) -> Option<Position> {
        let (_, node) = self.left.iter().find(|(key, _)| key.text == name)?;
        Some(node.at)
    }

    /// A boolean, in one of YAML 1.1's spellings but unquoted (the quoted "false" is a string).
    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, Fault> {
        let Some(node) = self.value(name) else { return Ok(None) };
        let place = self.place(name);
        let word = match &node.value {
            Value::Scalar { text, plain: true } => text.to_ascii_lowercase(),
            _ => String::new(),
        };
        match word.as_str() {
            "true" | "yes" | "on" => Ok(Some(true)),
            "false" | "no" | "off" => Ok(Some(false)),
            _ => {
                let found = node.kind();
                Err(node.at.fault(format!("`{place}` must be true or false, found {found}")))
            }
        }
    }

    /// One of a few words, whatever their case.
    pub fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Result<Option<T>, Fault> {
        let place = self.place(name);
        let Some((text, at)) = self.string(name)? else {
            return Ok(None);
        };
        let chosen = choices.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
        chosen.map(|(_, choice)| Some(*choice)).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
            at.fault(format!(
                "`{place}` must be one of {}, found `{}`",
                words.join(", "),
                shown(&text)
            ))
        })
    }

    /// The value under `name` as it stands, null included; `None` when absent.
    pub fn present(&mut self, name: &'static str) -> Option<Node> {
        self.take(name).map(|(_, node)| node)
    }

    /// The value under `name` as it stands; `None` when absent or null.
    pub fn value(&mut self, name: &'static str) -> Option<Node> {
        self.take(name).map(|(_, node)| node).filter(|node| !node.is_null())
    }

    /// A string that is not blank, trimmed.
    pub fn string(&mut self, name: &'static str) -> Result<Option<(String, Position)>, Fault> {
        let place = self.place(name);
        self.value(name).map(|node| string(&place, node)).transpose()
    }

    /// A single value as spelled, trimmed; neither blank nor with a NUL.
    pub fn scalar(&mut self, name: &'static str) -> Result<Option<(String, Position)>, Fault> {
        let Some((key, node)) = self.take(name) else {
            return Ok(None);
        };
        let place = self.place(name);
        let found = node.kind();
        match node.value {
            _ if found == "nothing" => Err(key.at.fault(format!("`{place}` is empty; fill it in or remove it"))),
            Value::Scalar { text, .. } if text.contains('\0') => {
                Err(node.at.fault(format!("`{place}` holds a NUL character")))
            }
            Value::Scalar { text, .. } if text.trim().is_empty() => Err(node.at.fault(format!("`{place}` is empty"))),
            Value::Scalar { text, .. } => Ok(Some((text.trim().to_owned(), node.at))),
            _ => Err(node
                .at
                .fault(format!("`{place}` must be a single value, found {found}"))),
        }
    }

    /// A list of strings that are not blank, each trimmed.
    pub fn strings(&mut self, name: &'static str) -> Result<Option<Vec<(String, Position)>>, Fault> {
        let Some(node) = self.value(name) else { return Ok(None) };
        let place = self.place(name);
        let found = node.kind();
        let Value::Sequence(items) = node.value else {
            return Err(node
                .at
                .fault(format!("`{place}` must be a list of strings, found {found}")));
        };
        let named = |(index, node)| string(&format!("{place}[{index}]"), node);
        items
            .into_iter()
            .enumerate()
            .map(named)
            .collect::<Result<Vec<_>, _>>()
            .map(Some)
    }

    /// A whole number of 0 or more, written in plain decimal digits.
    pub fn whole_number(&mut self, name: &'static str, most: u64) -> Result<Option<(u64, Position)>, Fault> {
        let Some(node) = self.value(name) else { return Ok(None) };
        let place = self.place(name);
        let digits = match &node.value {
            Value::Scalar { text, plain: true } if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => text,
            Value::Scalar { text, .. } => {
                return Err(node.at.fault(format!(
                    "`{place}` must be a whole number of 0 or more, found `{}`",
                    shown(text)
                )));
            }
            _ => {
                return Err(node.at.fault(format!(
                    "`{place}` must be a whole number of 0 or more, found {}",
                    node.kind()
                )));
            }
        };
        // `010` is eight to YAML 1.1 and ten to YAML 1.2.
        if digits.len() > 1 && digits.starts_with('0') {
            return Err(node
                .at
                .fault(format!("`{place}` must be written without leading zeros")));
        }
        match digits.parse() {
            Ok(number) if number <= most => Ok(Some((number, node.at))),
            _ => Err(node.at.fault(format!("`{place}` must be at most {most}"))),
        }
    }

    /// A time in whole seconds; 0 stands for no limit.
    pub fn seconds(&mut self, name: &'static str) -> Result<Option<Duration>, Fault> {
        let number = self.whole_number(name, MAX_SECONDS)?;
        Ok(number
            .map(|(seconds, _)| seconds)
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs))
    }

    /// A path below the repository root.
    pub fn path(&mut self, name: &'static str) -> Result<Option<RelPath>, Fault> {
        let place = self.place(name);
        let Some((text, at)) = self.string(name)? else {
            return Ok(None);
        };
        RelPath::new(&text)
            .map(Some)
            .map_err(|error| at.fault(format!("`{place}`: {error}")))
    }

    /// A directory below the repository root; `.` stands for the root itself, [`None`].
    pub fn directory(&mut self, name: &'static str) -> Result<Option<RelPath>, Fault> {
        if let Some((_, node)) = self.left.iter().find(|(key, _)| key.text == name)
            && let Value::Scalar { text, .. } = &node.value
            && matches!(text.trim(), "." | "./")
        {
            self.take(name);
            return Ok(None);
        }
        self.path(name)
    }

    /// The pairs under `name`, spelled as in the file; null reads as the empty string.
    pub fn pairs(&mut self, name: &'static str) -> Result<Vec<(Key, String, Position)>, Fault> {
        let Some(node) = self.value(name) else {
            return Ok(Vec::new());
        };
        let place = self.place(name);
        let found = node.kind();
        let Value::Mapping(pairs) = node.value else {
            return Err(node.at.fault(format!("`{place}` must be a mapping, found {found}")));
        };
        pairs
            .into_iter()
            .map(|(key, node)| match node.value {
                _ if node.is_null() => Ok((key, String::new(), node.at)),
                Value::Scalar { text, .. } => Ok((key, text, node.at)),
                _ => Err(node
                    .at
                    .fault(format!("`{place}.{}` must be a single value", shown(&key.text)))),
            })
            .collect()
    }

    /// Refuses every key that nobody asked for.
    pub fn finish(self) -> Result<(), Fault> {
        let Some((key, _)) = self.left.first() else {
            return Ok(());
        };
        let place = format!("{}{}", self.prefix, shown(&key.text));
        let remedy = match nearest(&key.text, &self.known) {
            Some(name) => format!(", did you mean `{name}`?"),
            None => format!("; known here: {}", self.known.join(", ")),
        };
        Err(key.at.fault(format!("unknown key `{place}`{remedy}")))
    }

    /// The dotted place of `name` in the document.
    pub fn place(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn take(&mut self, name: &'static str) -> Option<(Key, Node)> {
        self.known.push(name);
        let index = self.left.iter().position(|(key, _)| key.text == name)?;
        Some(self.left.remove(index))
    }
}

/// A string that is not blank and holds no NUL, trimmed.
fn string(place: &str, node: Node) -> Result<(String, Position), Fault> {
    let found = node.kind();
    let Value::Scalar { text, .. } = &node.value else {
        return Err(node.at.fault(format!("`{place}` must be a string, found {found}")));
    };
    match (found, text.trim()) {
        ("a string", "") | ("nothing", _) => Err(node.at.fault(format!("`{place}` is empty"))),
        ("a string", text) if text.contains('\0') => Err(node.at.fault(format!("`{place}` holds a NUL character"))),
        ("a string", text) => Ok((text.to_owned(), node.at)),
        (_, text) => Err(node.at.fault(format!(
            "`{place}` must be a string, found {found}; write \"{}\" in quotes",
            shown(text)
        ))),
    }
}

/// The name that `key` was probably meant to be.
pub(super) fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    // Beyond this length no known name is near; it also bounds the work on hostile keys.
    if key.chars().count() > 40 {
        return None;
    }
    let key = key.to_lowercase().replace('-', "_");
    let (best, name) = known.iter().map(|name| (edits(&key, name), *name)).min()?;
    if best <= 2.max(name.len() / 3) && best < name.len() {
        return Some(name);
    }
    known
        .iter()
        .copied()
        .find(|name| is_part(&key, name) || is_part(name, &key))
}

/// Whether `part` are the first or the last words of `whole`: `timeout` of `timeout_seconds`.
fn is_part(part: &str, whole: &str) -> bool {
    let rest = |rest: Option<&str>, beside: fn(&str) -> bool| !part.is_empty() && rest.is_some_and(beside);
    rest(whole.strip_prefix(part), |rest| rest.starts_with('_'))
        || rest(whole.strip_suffix(part), |rest| rest.ends_with('_'))
}

/// Edits between two words: insert, delete, replace or swap neighbours (optimal string alignment).
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![vec![0usize; to.len() + 1]; from.len() + 1];
    rows[0] = (0..=to.len()).collect();
    for i in 1..=from.len() {
        rows[i][0] = i;
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_find_their_key_and_far_ones_do_not() {
        let known = ["tests", "rollout", "evaluation", "security", "version"];
        assert_eq!(nearest("evalution", &known), Some("evaluation"));
        assert_eq!(nearest("test", &known), Some("tests"));
        assert_eq!(nearest("Rollout", &known), Some("rollout"));
        assert_eq!(nearest("verison", &known), Some("version"));
        assert_eq!(nearest("stages", &known), None);
        assert_eq!(nearest(&"t".repeat(100_000), &known), None);
        let known = ["run_cmds", "run_cmd", "timeout_seconds", "cmds", "out_dir"];
        for (key, name) in [
            ("timeout", Some("timeout_seconds")),
            ("directory_cmds", Some("cmds")),
            ("dir", Some("out_dir")),
            ("seconds", Some("timeout_seconds")),
            ("out", Some("out_dir")),
            ("time", None),
            ("", None),
        ] {
            assert_eq!(nearest(key, &known), name, "{key}");
        }
    }
}
