//! Statements and quoted texts of a program, with their lines. Comments are not among them.

/// Most lines of one statement; a text that is never closed ends there.
const STATEMENT_LINES: usize = 400;

/// A statement: more than one line where a bracket or a text is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Statement {
    /// The line that it begins in, from 1.
    pub line: usize,
    /// Its text, without comments.
    pub code: String,
    /// Its quoted texts, each with its line.
    pub texts: Vec<(usize, String)>,
}

impl Statement {
    /// Whether it is no more than a text: what it says of itself.
    pub fn is_words(&self) -> bool {
        let code = self.code.trim().trim_start_matches(['r', 'R', 'b', 'u']);
        self.texts.len() == 1 && code.starts_with(['"', '\'']) && code.ends_with(['"', '\''])
    }
}

/// How comments and texts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// `#`, and texts in three quotes.
    Hash,
    /// `//`, `/* */`.
    Slashes,
}

/// The statements of a program.
pub(super) fn statements(code: &str, syntax: Syntax) -> Vec<Statement> {
    let mut all = Vec::new();
    let mut now = Statement {
        line: 1,
        ..Statement::default()
    };
    let (mut line, mut depth) = (1, 0_usize);
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let comment = match syntax {
            Syntax::Hash => c == '#',
            Syntax::Slashes => rest.starts_with("//"),
        };
        if comment {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        }
        if syntax == Syntax::Slashes && rest.starts_with("/*") {
            let end = rest.find("*/").map_or(rest.len(), |end| end + 2);
            line += newlines(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        if c == '"' || c == '\'' || (c == '`' && syntax == Syntax::Slashes) {
            let (whole, inside) = quoted(rest, c, syntax);
            now.texts.push((line, inside.to_owned()));
            now.code.push_str(whole);
            line += newlines(whole);
            rest = &rest[whole.len()..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '(' | '[' | '{' if syntax == Syntax::Hash => depth += 1,
            ')' | ']' | '}' if syntax == Syntax::Hash => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c != '\n' {
            now.code.push(c);
            continue;
        }
        line += 1;
        let goes_on = now.code.ends_with('\\') || depth > 0;
        if goes_on && line - now.line < STATEMENT_LINES {
            now.code.push('\n');
            continue;
        }
        depth = 0;
        let done = std::mem::replace(
            &mut now,
            Statement {
                line,
                ..Statement::default()
            },
        );
        if !done.code.trim().is_empty() {
            all.push(done);
        }
    }
    if !now.code.trim().is_empty() {
        all.push(now);
    }
    all
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// A quoted text at the beginning of `rest`: with its quotes, and without.
fn quoted(rest: &str, quote: char, syntax: Syntax) -> (&str, &str) {
    let three = match quote {
        '"' => "\"\"\"",
        _ => "'''",
    };
    if syntax == Syntax::Hash && rest.starts_with(three) {
        let inside = &rest[3..];
        let end = inside.find(three).unwrap_or(inside.len());
        return (&rest[..(end + 6).min(rest.len())], &inside[..end]);
    }
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            // A text of one line that is not closed ends with it.
            '\n' if quote != '`' => return (&rest[..at], &rest[1..at]),
            c if c == quote => return (&rest[..=at], &rest[1..at]),
            _ => {}
        }
    }
    (rest, &rest[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_have_their_lines_and_no_comments() {
        let code = "\"\"\"os.system('x')\n\"\"\"\nimport os  # 'no'\nf(\n  'a',\n  \"b\"\n)\nx = '''c\nd'''\n";
        let all = statements(code, Syntax::Hash);
        let lines: Vec<usize> = all.iter().map(|one| one.line).collect();
        assert_eq!(lines, [1, 3, 4, 8]);
        assert!(all[0].is_words() && !all[1].is_words());
        assert_eq!(all[1].code.trim(), "import os");
        assert_eq!(all[2].texts, [(5, "a".to_owned()), (6, "b".to_owned())]);
        assert_eq!(all[3].texts, [(8, "c\nd".to_owned())]);
        let all = statements("a('x'); // 'n'\n/* 'm'\n */ b(`y\nz`)\n", Syntax::Slashes);
        assert_eq!((all[0].line, all[1].line), (1, 2));
        assert_eq!(all[1].texts, [(3, "y\nz".to_owned())]);
    }

    #[test]
    fn texts_that_never_end_are_bounded_by_the_program() {
        for code in ["'", "\"\"\"", "'''a", "\"a\\", "((((", "`", "/*", "'é", "\"\"\"é"] {
            for syntax in [Syntax::Hash, Syntax::Slashes] {
                let _ = statements(code, syntax);
            }
        }
        let open = format!("({}", "x\n".repeat(5000));
        assert!(statements(&open, Syntax::Hash).len() > 10);
    }
}
