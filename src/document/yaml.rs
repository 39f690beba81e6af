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

/// Parses one document.
///
/// # Errors
/// A [`Fault`] for text over [`MAX_DOCUMENT`], not UTF-8 or not YAML, for an
/// empty or a second document, too many or too deep nodes, a duplicate key, an
/// alias, a tag, or a key that is no scalar.
pub fn parse(bytes: &[u8]) -> Result<Node, Fault> {
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
    let mut root = None;
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
            refuse_tag(&event, &span)?;
        }
        let node = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err(at.fault("a second document begins here; only one is read, remove the rest"));
                }
                continue;
            }
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
            Some(parent) => place(parent, node)?,
            None => root = Some(node),
        }
    }
    match root {
        Some(node) if !node.is_null() => Ok(node),
        _ => Err(Position::START.fault("the file is empty")),
    }
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
fn place(parent: &mut Open, node: Node) -> Result<(), Fault> {
    match parent {
        Open::Sequence { items, .. } => items.push(node),
        Open::Mapping { pairs, seen, key, .. } => match (key.take(), node.value) {
            (Some(key), value) => pairs.push((key, Node { at: node.at, value })),
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(text: impl AsRef<[u8]>) -> String {
        let fault = parse(text.as_ref()).expect_err("must be refused");
        format!("{}:{}: {}", fault.at.line, fault.at.column, fault.message)
    }

    #[test]
    fn keys_and_values_keep_their_places_and_spelling() {
        let root = parse(b"# c\na:\n  b: yes\n  c: ['1', 2]\n").unwrap();
        let Value::Mapping(pairs) = &root.value else {
            panic!("{root:?}")
        };
        assert_eq!(pairs[0].0.at, Position { line: 2, column: 1 });
        let Value::Mapping(inner) = &pairs[0].1.value else {
            panic!("{root:?}")
        };
        assert_eq!(inner[0].1.at, Position { line: 3, column: 6 });
        assert_eq!(
            inner[0].1.value,
            Value::Scalar {
                text: "yes".into(),
                plain: true
            }
        );
        let Value::Sequence(items) = &inner[1].1.value else {
            panic!("{root:?}")
        };
        assert_eq!((items[0].kind(), items[1].kind()), ("a string", "a number"));
    }

    #[test]
    fn plain_scalars_have_the_core_schemas_types() {
        for (text, kind) in [
            ("", "nothing"),
            ("~", "nothing"),
            ("true", "a boolean"),
            ("yes", "a string"),
            ("12", "a number"),
            ("-1.5e3", "a number"),
            (".5", "a number"),
            ("0x1f", "a number"),
            (".nan", "a number"),
            ("nan", "a string"),
            ("infinity", "a string"),
            ("1.2.3", "a string"),
            ("make test", "a string"),
        ] {
            assert_eq!(plain_kind(text), kind, "{text}");
        }
    }

    #[test]
    fn what_is_not_one_plain_document_is_refused_with_its_place() {
        assert_eq!(
            message("a: 1\nb: 2\na: 3\n"),
            "3:1: duplicate key `a`, first given in line 1"
        );
        assert_eq!(
            message("a: &x 1\nb: *x\n"),
            "2:4: aliases (`*name`) are not supported; write the value out"
        );
        assert_eq!(
            message("a: {b: 1}\nc:\n  <<: {d: 1}\n"),
            "3:3: merge keys (`<<`) are not supported; write the keys out"
        );
        assert_eq!(
            message("a: !!python/object:os.system x\n"),
            "1:4: the tag `!!python/object:os.system` is not supported; remove it"
        );
        assert!(message("a: 1\n---\nb: 2\n").contains("second document"));
        assert!(message("? [a]\n: 1\n").contains("a key must be a plain word"));
        assert_eq!(message(""), "1:1: the file is empty");
        assert_eq!(message("# only a comment\n"), "1:1: the file is empty");
        assert_eq!(message(b"a: 1\nb: \xff\n"), "2:4: the file is not UTF-8 from here on");
        assert!(message("a: [1, 2\n").contains("not valid YAML"));
        assert!(message("a: 'x\n").starts_with("1:"));
        assert_eq!(
            message("a: {b: 1}\n\tc: 2\n"),
            "2:2: not valid YAML: YAML is indented with blanks, and a tab stands here"
        );
    }

    #[test]
    fn hostile_sizes_are_stopped_quickly() {
        let started = std::time::Instant::now();
        assert!(message("x".repeat(MAX_DOCUMENT + 1)).contains("at most 1048576 are read"));
        for hostile in [
            "[".repeat(MAX_DOCUMENT),
            "{a: ".repeat(MAX_DOCUMENT / 4),
            "- ".repeat(MAX_DOCUMENT / 2),
            "? ".repeat(MAX_DOCUMENT / 2),
            "- a\n".repeat(MAX_DOCUMENT / 4),
            (0..MAX_DOCUMENT / 16).map(|n| format!("k{n}: 1\n")).collect(),
            (0..10_000)
                .map(|n| format!("a{}: &a{} [*a{n}, *a{n}]\n", n + 1, n + 1))
                .collect(),
        ] {
            let shown = message(&hostile);
            assert!(shown.len() < 300, "{shown}");
        }
        assert!(
            started.elapsed() < std::time::Duration::from_secs(10),
            "{:?}",
            started.elapsed()
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_refusal_is_one_line(text in "[a-c:\\-\\[\\]{}&*!?|>'\"#%\n \t,~0-9]{0,60}") {
            if let Err(fault) = parse(text.as_bytes()) {
                prop_assert!(!fault.message.contains('\n'));
                prop_assert!(fault.at.line >= 1 && fault.at.column >= 1);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
