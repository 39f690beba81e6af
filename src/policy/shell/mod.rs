//! Verdicts on shell commands, by what their parse tree would do.
//!
//! A text is parsed ([`parse`]), followed in the order in which a shell would run it
//! ([`walk`]), and each simple command that is found, with what it does ([`Effect`]), is tried
//! with the rules ([`Judge`]). [`Judge::verdict`] takes any text whatever, hostile ones above
//! all: it never panics, and its work is bounded.
//!
//! | file | holds |
//! |---|---|
//! | `effect` | [`Effect`]: what a command does, in classes |
//! | `rules` | the section `commands` of a policy file, as it is written |
//! | `verdict` | [`Verdict`]: what is said of a command line |
//! | `judge` | [`Judge`]: rules over what was found |
//! | `tree`, `parse` | the parse tree, and text to it |
//! | `walk`, `flow`, `compound`, `redirect` | the tree followed |
//! | `effort` | how much of it is |
//! | `seen`, `files` | what was found, and where; what files hold and what becomes of them |
//! | `scene` | what the shell knows meanwhile: variables, functions, its directory |
//! | `value` | text of which some is not known |
//! | `expand`, `braces`, `pattern` | words to fields |
//! | `program`, `builtin` | which program a simple command is, and what that runs in turn |
//! | `wrapper`, `shapes` | programs that run the command in their arguments |
//! | `output` | what a command prints, where its text says so |
//! | `place`, `known_places` | where a path leads, and what becomes of what is there |
//! | `acts` | what programs do |
//! | `texts` | what stands in a script as text |
//! | `words` | commands and words as they are written, with their places |

mod acts;
mod braces;
mod builtin;
mod compound;
mod effect;
mod effort;
mod expand;
mod files;
mod flow;
mod judge;
mod known_places;
mod output;
mod parse;
mod pattern;
mod place;
mod program;
mod redirect;
mod rules;
mod scene;
mod seen;
mod shapes;
#[cfg(test)]
mod tests;
mod texts;
mod tree;
mod value;
mod verdict;
mod walk;
mod words;
mod wrapper;

pub use effect::Effect;
pub use judge::{Judge, Judged, Ruled, Setting, problems};
pub use parse::{ParseError, SCRIPT_MAX, check};
pub use rules::{CommandRule, CommandRules, Effects, Ruling, When, WhenUndecided, Words};
pub use seen::{Scripts, Seen};
pub use texts::{Text, texts};
pub use value::is_made;
pub use verdict::Verdict;
pub use walk::walk;
pub use words::{Listed, Written, WrittenWord, listed, quoted};
