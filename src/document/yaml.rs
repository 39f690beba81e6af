//! YAML text to a tree of located nodes.
//!
//! Built straight on parser events rather than on serde, so that every key and
//! value keeps its place and its spelling (`yes` stays `yes` until a boolean is
//! asked for). Aliases are refused, which makes the tree as large as its text
//! and no larger; custom tags are refused because nothing would honour them.

use std::collections::HashMap;

use serde_yaml::granit_parser::{Event, Marker, Parser, ScalarStyle, Span, options};

use super::{
    MAX_DOCUMENT,
    error::{Fault, Position, shown},
};

/// Deepest nesting, of block and of flow collections each; contracts need four.
const MAX_DEPTH: usize = 32;
/// Most nodes in one document; bounds memory at a few megabytes.
const MAX_NODES: usize = 20_000;

/// One node and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the node begins.
    pub at: Position,
    /// What it holds.
    pub value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A scalar as spelled; `plain` when it was neither quoted, a block, nor tagged `!!str`.
    Scalar { text: String, plain: bool },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys in file order, each only once.
    Mapping(Vec<(Key, Node)>),
}

/// A key of a mapping; all keys are read as text.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// The key as spelled.
    pub text: String,
    /// Where it begins.
    pub at: Position,
}

impl Node {
    /// What the node is, for "expected a list, found …".
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar { text, plain: true } => plain_kind(text),
            Value::Scalar { .. } => "a string",
        }
    }

    /// Whether the node is YAML's null (`~`, `null` or nothing at all).
    pub fn is_null(&self) -> bool {
        self.kind() == "nothing"
    }
}

/// The type of a plain scalar by the core schema (YAML 1.2.2, 10.3.2).
fn plain_kind(text: &str) -> &'static str {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return "nothing",
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return "a boolean",
        ".inf" | ".Inf" | ".INF" | "+.inf" | "-.inf" | ".nan" | ".NaN" | ".NAN" => return "a number",
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let radix = text.strip_prefix("0x").or(text.strip_prefix("0o"));
    if radix.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit())) {
        return "a number";
    }
    // `f64::from_str` takes the core schema's decimals and, beyond them, only words that begin with a letter.
    if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.parse::<f64>().is_ok() {
        return "a number";
    }
    "a string"
}

/// A collection that is still open while its events arrive.
enum Open {
    Sequence {
        at: Position,
        items: Vec<Node>,
    },
    Mapping {
        at: Position,
        pairs: Vec<(Key, Node)>,
        seen: HashMap<String, usize>,
        key: Option<Key>,
    },
}

/// Whose documents are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// This program's own: what nothing here would honour is refused.
    Own,
    /// Other programs': aliases are nothing (what they name stands at its anchor), tags and
    /// merges are taken as text, and a key that comes twice is kept twice.
    Foreign,
}

/// Parses one document.
///
/// # Errors
/// A [`Fault`] for text over [`MAX_DOCUMENT`], not UTF-8 or not YAML, for an
/// empty or a second document, too many or too deep nodes, a duplicate key, an
/// alias, a tag, or a key that is no scalar.
pub fn parse(bytes: &[u8]) -> Result<Node, Fault> {
    match read(bytes, Dialect::Own)?.pop() {
        Some(node) if !node.is_null() => Ok(node),
        _ => Err(Position::START.fault("the file is empty")),
    }
}

/// Parses the documents of a file that is another program's, to look through it. No alias is
/// followed, so that the trees are as large as the text and no larger.
///
/// # Errors
/// A [`Fault`] for text over [`MAX_DOCUMENT`], not UTF-8 or not YAML, and for too many or too
/// deep nodes, or a key that is no scalar.
pub fn parse_foreign(bytes: &[u8]) -> Result<Vec<Node>, Fault> {
    read(bytes, Dialect::Foreign)
}

fn read(bytes: &[u8], dialect: Dialect) -> Result<Vec<Node>, Fault> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(Position::START.fault(format!(
            "the file has {} bytes; at most {MAX_DOCUMENT} are read",
            bytes.len()
        )));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = valid.matches('\n').count() + 1;
        let column = valid.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Position { line, column }.fault("the file is not UTF-8 from here on")
    })?;
    let options = options! { emit_comments: false, flow_nesting_limit: MAX_DEPTH, block_nesting_limit: MAX_DEPTH };
    let mut open: Vec<Open> = Vec::new();
    let mut roots = Vec::new();
    let mut documents = 0;
    let mut nodes = 0;
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| {
            let at = place_of(error.marker());
            let why = match begins_with_tab(text, at.line) {
                true => "YAML is indented with blanks, and a tab stands here".to_owned(),
                false => shown(&error.kind().to_string()),
            };
            at.fault(format!("not valid YAML: {why}"))
        })?;
        let at = place_of(&span.start);
        if event.is_node() {
            nodes += 1;
            if nodes > MAX_NODES {
                return Err(at.fault(format!("the file has more than {MAX_NODES} values")));
            }
            if dialect == Dialect::Own {
                refuse_tag(&event, &span)?;
            }
        }
        let node = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 && dialect == Dialect::Own {
                    return Err(at.fault("a second document begins here; only one is read, remove the rest"));
                }
                continue;
            }
            Event::Alias(_) if dialect == Dialect::Foreign => Node {
                at,
                value: Value::Scalar {
                    text: String::new(),
                    plain: true,
                },
            },
            Event::Alias(_) => {
                return Err(at.fault("aliases (`*name`) are not supported; write the value out"));
            }
            Event::Scalar(text, style, _, ref tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                Node {
                    at,
                    value: Value::Scalar {
                        text: text.into_owned(),
                        plain,
                    },
                }
            }
            Event::SequenceStart(..) => {
                push(&mut open, Open::Sequence { at, items: Vec::new() }, at)?;
                continue;
            }
            Event::MappingStart(..) => {
                push(
                    &mut open,
                    Open::Mapping {
                        at,
                        pairs: Vec::new(),
                        seen: HashMap::new(),
                        key: None,
                    },
                    at,
                )?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::Sequence { at, items }) => Node {
                    at,
                    value: Value::Sequence(items),
                },
                Some(Open::Mapping { at, pairs, .. }) => Node {
                    at,
                    value: Value::Mapping(pairs),
                },
                None => continue,
            },
            _ => continue,
        };
        match open.last_mut() {
            Some(parent) => place(parent, node, dialect)?,
            None => roots.push(node),
        }
    }
    Ok(roots)
}

/// The parser's mark, whose columns count from 0, as a position.
fn place_of(mark: &Marker) -> Position {
    Position {
        line: mark.line().max(1),
        column: mark.col() + 1,
    }
}

/// Whether a tab is among the blanks at the beginning of a line.
fn begins_with_tab(text: &str, line: usize) -> bool {
    let line = text.lines().nth(line - 1).unwrap_or_default();
    line[..line.len() - line.trim_start().len()].contains('\t')
}

/// Opens a collection, which cannot be a key.
fn push(open: &mut Vec<Open>, collection: Open, at: Position) -> Result<(), Fault> {
    if let Some(Open::Mapping { key: None, .. }) = open.last() {
        return Err(at.fault("a key must be a plain word, not a list or a mapping"));
    }
    open.push(collection);
    Ok(())
}

/// Only `!!str` is known; it makes a scalar a string as quotes do.
fn refuse_tag(event: &Event<'_>, span: &Span) -> Result<(), Fault> {
    match event.tag() {
        Some(tag) if !(tag.is_yaml_core_schema_tag("str") && event.scalar().is_some()) => {
            let mark = span.tag_start().unwrap_or(span.start);
            Err(place_of(&mark).fault(format!(
                "the tag `{}` is not supported; remove it",
                shown(&tag.original())
            )))
        }
        _ => Ok(()),
    }
}

/// Puts a finished node into the collection around it.
fn place(parent: &mut Open, node: Node, dialect: Dialect) -> Result<(), Fault> {
    match parent {
        Open::Sequence { items, .. } => items.push(node),
        Open::Mapping { pairs, seen, key, .. } => match (key.take(), node.value) {
            (Some(key), value) => pairs.push((key, Node { at: node.at, value })),
            (None, Value::Scalar { text, .. }) if dialect == Dialect::Foreign => {
                *key = Some(Key { text, at: node.at });
            }
            (None, Value::Scalar { text, plain }) => {
                if plain && text == "<<" {
                    return Err(node.at.fault("merge keys (`<<`) are not supported; write the keys out"));
                }
                if let Some(line) = seen.insert(text.clone(), node.at.line) {
                    return Err(node
                        .at
                        .fault(format!("duplicate key `{}`, first given in line {line}", shown(&text))));
                }
                *key = Some(Key { text, at: node.at });
            }
            (None, _) => return Err(node.at.fault("a key must be a plain word, not a list or a mapping")),
        },
    }
    Ok(())
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
