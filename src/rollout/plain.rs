//! Texts without what LaTeX, Markdown and typography put around them.

/// A text with its LaTeX and typography taken back to plain characters: `\frac{1}{2}` is `1/2`,
/// `1{,}234` is `1,234`, a Unicode minus is `-`, emphasis is gone.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((piece, after)) = command(rest) {
            out.push_str(&piece);
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '\u{2212}' | '\u{2010}' | '\u{2011}' | '\u{FE63}' | '\u{FF0D}' => out.push('-'),
            '\u{00A0}' | '\u{202F}' | '\u{2009}' | '\u{2007}' => {
                // Between digits it separates thousands.
                let between = ends_with_digit(&out) && rest.starts_with(|c: char| c.is_ascii_digit());
                out.push(if between { ',' } else { ' ' });
            }
            '\u{2018}' | '\u{2019}' => out.push('\''),
            '\u{201C}' | '\u{201D}' => out.push('"'),
            '*' | '`' => {}
            other => out.push(other),
        }
    }
    out
}

fn ends_with_digit(text: &str) -> bool {
    text.ends_with(|c: char| c.is_ascii_digit())
}

/// A piece of LaTeX at the beginning of `text`: what it stands for, and what comes after it.
fn command(text: &str) -> Option<(String, &str)> {
    if let Some(rest) = text.strip_prefix("{,}") {
        return Some((",".to_owned(), rest));
    }
    for (degree, rest) in ["^{\\circ}", "^\\circ"]
        .iter()
        .map(|degree| ("°", text.strip_prefix(degree)))
    {
        if let Some(rest) = rest {
            return Some((degree.to_owned(), rest));
        }
    }
    let after = text.strip_prefix('\\')?;
    for (spaces, becomes) in [([",", "!"], ""), ([";", ":"], " "), ([" ", "\n"], " ")] {
        if let Some(rest) = spaces.iter().find_map(|space| after.strip_prefix(space)) {
            return Some((becomes.to_owned(), rest));
        }
    }
    for symbol in ["%", "$", "#", "&", "_"] {
        if let Some(rest) = after.strip_prefix(symbol) {
            return Some((symbol.to_owned(), rest));
        }
    }
    if let Some(rest) = ["(", ")", "[", "]"]
        .iter()
        .find_map(|bracket| after.strip_prefix(bracket))
    {
        return Some((String::new(), rest));
    }
    let length = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
    let (name, rest) = after.split_at(length);
    match name {
        "left" | "right" | "displaystyle" => Some((String::new(), rest)),
        "frac" | "dfrac" | "tfrac" | "cfrac" => {
            let (over, rest) = argument(rest)?;
            let (under, rest) = argument(rest)?;
            let simple = |part: &str| part.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ',' | '-'));
            match simple(over) && simple(under) {
                // A mixed number has a space between its parts.
                true => Some((format!(" {over}/{under}"), rest)),
                false => Some((format!("({})/({})", plain(over), plain(under)), rest)),
            }
        }
        "text" | "textbf" | "textit" | "mathrm" | "mathbf" | "mbox" | "operatorname" => {
            let (inner, rest) = argument(rest)?;
            Some((plain(inner), rest))
        }
        "circ" => Some(("°".to_owned(), rest)),
        "cdot" | "times" => Some(("*".to_owned(), rest)),
        _ => None,
    }
}

/// The argument of a command, in braces or one character, and what comes after it.
fn argument(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    match text.strip_prefix('{') {
        Some(_) => {
            let end = closing(text)?;
            Some((&text[1..end], &text[end + 1..]))
        }
        None => {
            let c = text.chars().next()?;
            Some(text.split_at(c.len_utf8()))
        }
    }
}

/// Where the brace that `text` begins with is closed.
pub(super) fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut escaped) = (0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at),
            '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// A text as it is compared: plain, lower case, single spaces, without quotes and punctuation
/// around it.
pub fn normalised(text: &str) -> String {
    let plain = plain(text).to_lowercase();
    let words: Vec<&str> = plain.split_whitespace().collect();
    let around = |c: char| c.is_whitespace() || matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '"' | '\'' | '$' | '_');
    words.join(" ").trim_matches(around).to_owned()
}

/// The same of a prompt that is looked for in another: whitespace and case are all that is
/// evened out.
pub fn folded(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn latex_and_typography_come_back_to_plain_characters() {
        for (text, expected) in [
            (r"1{,}234", "1,234"),
            (r"1\,234", "1234"),
            (r"\frac{1}{2}", " 1/2"),
            (r"2\dfrac{1}{2}", "2 1/2"),
            (r"\frac12", " 1/2"),
            (r"\frac{x+1}{2}", "(x+1)/(2)"),
            (r"18\text{ cm}", "18 cm"),
            (r"50\%", "50%"),
            (r"\$18", "$18"),
            (r"90^\circ", "90°"),
            (r"\left(3\right)", "(3)"),
            ("\u{2212}5", "-5"),
            ("1\u{202F}234", "1,234"),
            ("18\u{00A0}km", "18 km"),
            ("**18**", "18"),
            (r"\sqrt{2}", r"\sqrt{2}"),
            (r"\frac{1", r"\frac{1"),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
        assert_eq!(normalised("  The  *Cat*. "), "the cat");
        assert_eq!(folded("A\n\tB  c"), "a b c");
        assert_eq!(closing("{a{b}c}d"), Some(6));
        assert_eq!(closing("{a"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\\\{}a-z0-9^,%$ frac]{0,60}") {
            let _ = plain(&text);
            let once = normalised(&text);
            prop_assert!(!once.starts_with(' '));
        }
    }
}
