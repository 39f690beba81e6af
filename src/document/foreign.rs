//! Going over documents of other programs.

use super::{Fault, Key, Node, Position, Value, parse_foreign, parse_json};

/// Where a text stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Its first line.
    pub line: usize,
    /// Whether its lines are the file's.
    pub spread: bool,
}

impl Spot {
    /// A line of its own.
    pub fn line(line: usize) -> Self {
        Self { line, spread: false }
    }

    /// A whole file.
    pub fn file() -> Self {
        Self { line: 1, spread: true }
    }

    /// Where the text's line number `line` is.
    pub fn of(self, line: usize) -> usize {
        match self.spread {
            true => self.line + line.saturating_sub(1),
            false => self.line,
        }
    }
}

/// A document and its text.
pub struct Foreign<'t> {
    lines: Vec<&'t str>,
    /// Its trees.
    pub roots: Vec<Node>,
}

/// The mapping that something stands in: the keys above it, and its own pairs.
type Visit<'v> = &'v mut dyn FnMut(&[&str], &[(Key, Node)]);

impl<'t> Foreign<'t> {
    /// Reads YAML.
    ///
    /// # Errors
    /// As [`parse_foreign`].
    pub fn yaml(text: &'t str) -> Result<Self, Fault> {
        Ok(Self {
            roots: parse_foreign(text.as_bytes())?,
            lines: text.lines().collect(),
        })
    }

    /// Reads JSON, with comments or without.
    ///
    /// # Errors
    /// As [`parse_json`].
    pub fn json(text: &'t str) -> Result<Self, Fault> {
        Ok(Self {
            roots: vec![parse_json(text.as_bytes())?],
            lines: text.lines().collect(),
        })
    }

    /// Where the text of a scalar stands: a block begins on the line after its mark.
    pub fn spot(&self, at: Position) -> Spot {
        let line = self.lines.get(at.line - 1).copied().unwrap_or_default();
        let mark = line.chars().nth(at.column - 1);
        match mark {
            Some('|') => Spot {
                line: at.line + 1,
                spread: true,
            },
            Some('>') => Spot::line(at.line + 1),
            _ if self.begins_a_block(at) => Spot {
                line: at.line,
                spread: true,
            },
            _ => Spot::line(at.line),
        }
    }

    /// Whether the line above ends with a block's mark.
    fn begins_a_block(&self, at: Position) -> bool {
        let above = at.line.checked_sub(2).and_then(|line| self.lines.get(line));
        let last = above.and_then(|line| line.split_whitespace().next_back());
        last.is_some_and(|word| word.starts_with('|') && word.len() < 4)
    }

    /// Visits every mapping.
    pub fn mappings(&self, visit: Visit<'_>) {
        for root in &self.roots {
            mappings(root, &mut Vec::new(), visit);
        }
    }
}

fn mappings<'n>(node: &'n Node, path: &mut Vec<&'n str>, visit: Visit<'_>) {
    match &node.value {
        Value::Scalar { .. } => {}
        Value::Sequence(items) => items.iter().for_each(|item| mappings(item, path, visit)),
        Value::Mapping(pairs) => {
            visit(path, pairs);
            for (key, value) in pairs {
                path.push(&key.text);
                mappings(value, path, visit);
                path.pop();
            }
        }
    }
}

/// The value of a key.
pub fn get<'n>(pairs: &'n [(Key, Node)], name: &str) -> Option<&'n Node> {
    pairs.iter().find(|(key, _)| key.text == name).map(|(_, value)| value)
}

/// A scalar's text.
pub fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

/// Every scalar in a node, itself included, however deep.
pub fn scalars(node: &Node) -> Vec<(&str, Position)> {
    let mut all = Vec::new();
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        match &node.value {
            Value::Scalar { text, .. } => all.push((text.as_str(), node.at)),
            Value::Sequence(items) => open.extend(items.iter().rev()),
            Value::Mapping(pairs) => open.extend(pairs.iter().rev().map(|(_, value)| value)),
        }
    }
    all
}
