//! What is read, and what is refused with its place.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::document::{Located, Position};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    number: Option<Located<u32>>,
    #[serde(default)]
    list: Vec<Item>,
    switch: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    name: Located<String>,
    kind: Option<Kind>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Kind {
    OneThing,
    Sized { bytes: u64 },
}

fn message(text: &str) -> String {
    let fault = read::<Whole>(text.as_bytes()).expect_err(text);
    format!("{}:{}: {}", fault.at.line, fault.at.column, fault.message)
}

#[test]
fn values_know_their_places() {
    let text = b"list:\n  - {name: a b, kind: one-thing}\n  - name: 'c'\n    kind:\n      sized: {bytes: 3}\nnumber: 7\nswitch: on\n";
    let whole: Whole = read(text).expect("reads");
    let number = whole.number.expect("there");
    assert_eq!((number.value, number.at), (7, Position { line: 6, column: 9 }));
    assert_eq!(whole.list[0].name.at, Position { line: 2, column: 12 });
    assert_eq!((&*whole.list[1].name.value, whole.switch), ("c", Some(true)));
    assert_eq!(whole.list[0].kind, Some(Kind::OneThing));
    assert_eq!(whole.list[1].kind, Some(Kind::Sized { bytes: 3 }));
}

#[test]
fn what_does_not_fit_is_named_with_its_place() {
    for (text, expected) in [
        ("nunber: 3\n", "1:1: unknown key `nunber`, did you mean `number`?"),
        ("list:\n  - nam: x\n", "2:5: unknown key `nam`, did you mean `name`?"),
        ("list:\n  - kind: one-thing\n", "2:5: `list[0]` lacks `name`"),
        (
            "number: x\n",
            "1:9: `number` must be a whole number of 0 or more, found `x`",
        ),
        (
            "number: '3'\n",
            "1:9: `number` must be a whole number of 0 or more, found `3`",
        ),
        ("number: 010\n", "1:9: `number` must be written without leading zeros"),
        (
            "number: 4294967296\n",
            "1:9: `number` must be u32, found integer `4294967296`",
        ),
        ("number:\n", "1:1: `number` is empty; fill it in or remove it"),
        ("list: {a: b}\n", "1:7: `list` must be a list, found a mapping"),
        ("list:\n  - x\n", "2:5: `list[0]` must be a mapping, found `x`"),
        (
            "list: [{name: 3}]\n",
            "1:15: `list[0].name` must be a string, found a number; write \"3\" in quotes",
        ),
        (
            "list: [{name: x, kind: other}]\n",
            "1:24: `list[0].kind` must be one of `one-thing`, `sized`, found `other`",
        ),
        (
            "list: [{name: x, kind: {sized: {bites: 1}}}]\n",
            "1:33: unknown key `bites`, did you mean `bytes`?",
        ),
        ("switch: 'yes'\n", "1:9: `switch` must be true or false, found `yes`"),
        ("- a\n", "1:1: the file must be a mapping of sections, found a list"),
    ] {
        assert_eq!(message(text), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(text in "(list|number|switch|name|kind|[:\\-\\[\\]{}, \n'x0-9]){0,20}") {
        if let Err(fault) = read::<Whole>(text.as_bytes()) {
            prop_assert!(!fault.message.contains('\n'));
        }
    }
}
