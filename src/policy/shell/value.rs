//! Text whose origin is known, and text that is only known to be there.
//!
//! What an expansion yields stands in a text as itself where it is known, and as one of these
//! characters where it is not. They are of Unicode's private area; a script that holds them
//! itself has them replaced first ([`clean`]).

use std::borrow::Cow;

/// A value that is not in the script: a variable of the environment, a line of input.
pub const UNKNOWN: char = '\u{f8f0}';
/// What the network gave.
pub const DOWNLOADED: char = '\u{f8f1}';
/// What was decoded, decrypted or put together in a way that is not followed here.
pub const DECODED: char = '\u{f8f2}';
/// A secret, or what may hold some.
pub const SECRET: char = '\u{f8f3}';
/// What a program prints.
pub const OUTPUT: char = '\u{f8f4}';
/// What the engine's or the host's own lists print: all containers, all images.
pub const EVERYTHING: char = '\u{f8f5}';

/// The home directory, as a path's first component.
pub const HOME: &str = "\u{f8f8}";
/// The workspace, as a path's first component.
pub const WORKSPACE: &str = "\u{f8f9}";
/// A place above or beside the workspace, as a path's first component.
pub const OUTSIDE: &str = "\u{f8fa}";

/// Longest value that is kept, in bytes; a longer one is [`UNKNOWN`].
pub const VALUE_MAX: usize = 16 << 10;

fn is_mark(c: char) -> bool {
    ('\u{f8f0}'..='\u{f8ff}').contains(&c)
}

/// Whether something in `text` is not known.
pub fn is_open(text: &str) -> bool {
    text.contains(|c| ('\u{f8f0}'..='\u{f8f7}').contains(&c))
}

/// Whether some of a text is known to be there and not what it is.
pub fn is_made(text: &str) -> bool {
    text.contains(is_mark)
}

/// `text` without the characters that mean something here, and without NUL.
pub fn clean(text: &str) -> Cow<'_, str> {
    match text.contains(|c| is_mark(c) || c == '\0') {
        false => Cow::Borrowed(text),
        true => Cow::Owned(text.replace(|c| is_mark(c) || c == '\0', "\u{fffd}")),
    }
}

/// For a person: the marks as what a shell would write.
pub fn shown(text: &str) -> String {
    if !text.contains(is_mark) {
        return text.to_owned();
    }
    let mut out = text
        .replace(&format!("/{HOME}"), "~")
        .replace(&format!("/{WORKSPACE}"), ".")
        .replace(&format!("/{OUTSIDE}"), "..");
    out = out.replace(is_mark, "$…");
    out
}

/// A value short enough to be kept.
pub fn bounded(text: String) -> String {
    match text.len() > VALUE_MAX {
        true => UNKNOWN.to_string(),
        false => text,
    }
}
