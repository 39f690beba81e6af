//! Quoted texts in programs of any language.

pub(super) fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The quoted texts of a program.
pub(super) fn texts(code: &str) -> Vec<String> {
    pieces(code).into_iter().filter_map(|piece| piece.ok()).collect()
}

/// A program cut into its quoted texts (`Ok`) and what stands between them (`Err`).
fn pieces(code: &str) -> Vec<Result<String, String>> {
    let mut all = Vec::new();
    let mut between = String::new();
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        if !matches!(c, '"' | '\'') {
            // Perl's and Ruby's q(…), qq{…}, %q(…), and qx.
            let opens = matches!(c, '(' | '{' | '[' | '|')
                && (between.ends_with("qw")
                    || between.ends_with("q")
                    || between.ends_with("qq")
                    || between.ends_with("qx")
                    || between.ends_with("%x")
                    || between.ends_with("%q"));
            if !opens {
                between.push(c);
                continue;
            }
        }
        let close = match c {
            '(' => ')',
            '{' => '}',
            '[' => ']',
            c => c,
        };
        let mut text = String::new();
        while let Some(c) = chars.next() {
            match c {
                c if c == close => break,
                '\\' => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('x') => {
                        let digits: String = chars.by_ref().take(2).collect();
                        text.extend(u8::from_str_radix(&digits, 16).ok().map(char::from));
                    }
                    Some(c) => text.push(c),
                    None => {}
                },
                c => text.push(c),
            }
        }
        all.push(Err(std::mem::take(&mut between)));
        all.push(Ok(text));
    }
    all.push(Err(between));
    all
}

/// Quoted texts in a row with nothing but commas between them: words of a command.
pub(super) fn lists(code: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let mut list: Vec<String> = Vec::new();
    for piece in pieces(code) {
        match piece {
            Ok(text) => list.push(text),
            Err(between) => {
                let joins =
                    between.chars().all(|c| matches!(c, ',' | ' ' | '[' | '{' | '(' | '\n')) && between.contains(',');
                if !joins {
                    if list.len() > 1 {
                        all.push(std::mem::take(&mut list));
                    }
                    list.clear();
                }
            }
        }
    }
    all
}

/// What stands between backquotes.
pub(super) fn backquoted(code: &str) -> Vec<String> {
    code.split('`').skip(1).step_by(2).map(str::to_owned).take(10).collect()
}
