//! The lines of a plan and what each of them is.

/// The headings that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Next,
    Backlog,
    Done,
    Notes,
    /// Any other part of the document, its beginning included.
    Other,
}

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A second-level heading that opens its section.
    Heading,
    /// A well-formed step.
    Step {
        id: String,
        text: String,
        ticked: bool,
        tick_at: std::ops::Range<usize>,
    },
    /// It begins like a step (`- [`) and is none.
    BadStep,
    /// A line that belongs to the step or note above: deeper indented, or in a fence that such a line opened.
    Continuation,
    /// Anything else, fenced code included.
    Text,
}

/// One line with its own line ending, so that lines join back to the document byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The line, its ending included.
    pub raw: String,
    /// The section it lies in; a heading lies in its own.
    pub section: Section,
    /// What it is.
    pub kind: Kind,
}

/// An open code fence (CommonMark 0.31, 4.5).
struct Fence {
    mark: char,
    length: usize,
    line: usize,
    continues: bool,
}

/// Splits a document into lines and says what each is. The second value is the
/// line (from 1) of a code fence that is never closed.
pub(super) fn scan(text: &str) -> (Vec<Line>, Option<usize>) {
    let mut section = Section::Other;
    let mut fence: Option<Fence> = None;
    // Indentation of the step whose continuation lines may follow.
    let mut step_indent: Option<usize> = None;
    let mut lines = Vec::new();
    for (index, raw) in text.split_inclusive('\n').enumerate() {
        let body = raw.trim_end_matches(['\n', '\r']);
        let indent = body.len() - body.trim_start().len();
        let continues = !body.trim().is_empty() && step_indent.is_some_and(|step| indent > step);
        let kind = if let Some(open) = &fence {
            let kind = if open.continues { Kind::Continuation } else { Kind::Text };
            if closes(open, body) {
                fence = None;
            }
            kind
        } else if let Some((mark, length)) = opens_fence(body) {
            fence = Some(Fence {
                mark,
                length,
                line: index + 1,
                continues,
            });
            if continues {
                Kind::Continuation
            } else {
                step_indent = None;
                Kind::Text
            }
        } else if let Some(heading) = heading(body) {
            section = heading;
            step_indent = None;
            Kind::Heading
        } else if let Some(kind) = step(body) {
            step_indent = Some(indent);
            kind
        } else if continues {
            Kind::Continuation
        } else {
            step_indent = None;
            Kind::Text
        };
        lines.push(Line {
            raw: raw.to_owned(),
            section,
            kind,
        });
    }
    (lines, fence.map(|open| open.line))
}

/// The section that a second-level heading opens; the name counts as a whole word.
fn heading(body: &str) -> Option<Section> {
    let rest = body.trim().strip_prefix("##")?;
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return None;
    }
    let rest = rest.trim_start();
    let word = rest
        .split(|c: char| c.is_whitespace() || c == '(' || c == ':')
        .next()
        .unwrap_or_default();
    Some(match word {
        "Next" => Section::Next,
        "Backlog" => Section::Backlog,
        "Done" => Section::Done,
        "Notes" => Section::Notes,
        _ => Section::Other,
    })
}

/// The mark and length of a fence that `body` opens; an info string of a backtick fence holds no backtick.
fn opens_fence(body: &str) -> Option<(char, usize)> {
    let body = body.trim_start();
    let mark = body.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = body.chars().take_while(|c| *c == mark).count();
    (length >= 3 && !(mark == '`' && body[length..].contains('`'))).then_some((mark, length))
}

fn closes(open: &Fence, body: &str) -> bool {
    let body = body.trim();
    body.chars().count() >= open.length && body.chars().all(|c| c == open.mark)
}

/// A line that begins with a dash and a bracket is a step, good or bad.
fn step(body: &str) -> Option<Kind> {
    let rest = body.trim_start().strip_prefix('-')?.trim_start().strip_prefix('[')?;
    Some(read_step(body, rest).unwrap_or(Kind::BadStep))
}

/// Reads what follows the opening bracket: `x] (STEP_ID=12) text`.
fn read_step(body: &str, rest: &str) -> Option<Kind> {
    let (tick, after) = rest.split_once(']')?;
    let ticked = match tick.trim() {
        "" if !tick.is_empty() => false,
        "x" | "X" => true,
        _ => return None,
    };
    let start = body.len() - rest.len();
    let after = after.trim_start().strip_prefix("(STEP_ID=")?;
    let (id, text) = after.split_once(')')?;
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Kind::Step {
        id: id.to_owned(),
        text: text.trim().to_owned(),
        ticked,
        tick_at: start..start + tick.len(),
    })
}
