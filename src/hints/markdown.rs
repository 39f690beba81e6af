//! Code blocks of Markdown files (CommonMark 0.31, by pulldown-cmark): fences of either kind
//! and indented ones.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::{
    Found, Ground, Hint, Origin,
    block::{self, Block, Language},
};
use crate::names::RelPath;

/// Most blocks of one file.
const BLOCKS_MAX: usize = 400;

/// `README*.md` in the root.
pub(super) fn is_readme(path: &RelPath) -> bool {
    let name = path.as_bytes();
    !name.contains(&b'/') && name.to_ascii_lowercase().starts_with(b"readme") && is_markdown(path)
}

/// `docs/**/*.md`.
pub(super) fn is_documentation(path: &RelPath) -> bool {
    let below = [&b"docs/"[..], b"doc/"]
        .iter()
        .any(|dir| path.as_bytes().starts_with(dir));
    below && is_markdown(path)
}

fn is_markdown(path: &RelPath) -> bool {
    let name = path.file_name().to_ascii_lowercase();
    name.ends_with(b".md") || name.ends_with(b".markdown")
}

/// The language that a fence names.
fn language(info: &str) -> Language {
    let word: String = info
        .trim_start_matches(['{', '.'])
        .chars()
        .take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '+' | '#'))
        .collect();
    match word.to_ascii_lowercase().as_str() {
        "bash" | "sh" | "shell" | "zsh" | "ksh" | "dash" | "console" | "terminal" | "shell-session"
        | "shellsession" | "sh-session" | "bash-session" | "shellscript" | "shell-script" | "commandline" | "cli"
        | "term" => Language::Shell,
        "" | "text" | "txt" | "plain" | "plaintext" | "none" | "code" | "output" => Language::Unknown,
        _ => Language::Other,
    }
}

pub(super) fn read(path: &RelPath, text: &str, ground: &Ground, found: &mut Found) {
    let mut open: Option<(Language, String, usize)> = None;
    let mut lines = Lines { text, at: 0, line: 1 };
    let mut blocks = 0;
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let language = match &kind {
                    CodeBlockKind::Fenced(info) => language(info),
                    CodeBlockKind::Indented => Language::Unknown,
                };
                open = Some((language, String::new(), 0));
            }
            Event::Text(more) => {
                if let Some((_, text, line)) = &mut open {
                    if text.is_empty() {
                        *line = lines.of(range.start);
                    }
                    text.push_str(&more);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                let Some((language, text, line)) = open.take() else {
                    continue;
                };
                blocks += 1;
                if blocks > BLOCKS_MAX {
                    return;
                }
                let block = Block {
                    text: &text,
                    line,
                    language,
                    dir: "",
                    env: &[],
                };
                for command in block::commands(&block, ground) {
                    found.add(Hint {
                        command: command.text,
                        file: path.clone(),
                        line: command.line,
                        kind: command.kind,
                        origin: Origin::Documentation,
                    });
                }
            }
            _ => {}
        }
    }
}

/// Lines of offsets that mostly grow.
struct Lines<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn of(&mut self, offset: usize) -> usize {
        if offset < self.at {
            (self.at, self.line) = (0, 1);
        }
        let between = self.text.as_bytes().get(self.at..offset).unwrap_or_default();
        self.line += between.iter().filter(|byte| **byte == b'\n').count();
        self.at = offset;
        self.line
    }
}
