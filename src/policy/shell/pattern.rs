//! Shell patterns (XCU 2.13): `*`, `?`, `[…]`.

/// Whether `pattern` fits the whole of `text`. The work is bounded by the product of their lengths.
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut within) = (0, 0);
    // Where the last `*` stands, and how much of the text it has taken.
    let mut star = None;
    while within < text.len() {
        let step = match pattern.get(at) {
            Some('*') => {
                star = Some((at, within));
                at += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => class(&pattern[at..], text[within]),
            Some('\\') if at + 1 < pattern.len() => (pattern[at + 1] == text[within]).then_some(2),
            Some(c) => (*c == text[within]).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(step), _) => {
                at += step;
                within += 1;
            }
            (None, Some((begun, taken))) => {
                star = Some((begun, taken + 1));
                at = begun + 1;
                within = taken + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// The length of the class that `pattern` begins with, where it holds `c`.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let mut at = 1;
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    at += usize::from(negated);
    let first = at;
    let mut found = false;
    loop {
        match pattern.get(at)? {
            ']' if at > first => break,
            low if pattern.get(at + 1) == Some(&'-') && pattern.get(at + 2).is_some_and(|high| *high != ']') => {
                found |= (*low..=pattern[at + 2]).contains(&c);
                at += 3;
            }
            one => {
                found |= *one == c;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at + 1)
}

/// The shortest or the longest beginning (or end) of `text` that `pattern` fits, cut off.
pub fn cut<'t>(text: &'t str, pattern: &str, from_start: bool, longest: bool) -> &'t str {
    let mut places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    // Beginnings are tried shortest first, ends longest first.
    if longest == from_start {
        places.reverse();
    }
    let found = places.into_iter().find(|at| {
        let piece = if from_start { &text[..*at] } else { &text[*at..] };
        matches(pattern, piece)
    });
    match (found, from_start) {
        (None, _) => text,
        (Some(at), true) => &text[at..],
        (Some(at), false) => &text[..at],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_texts() {
        for (pattern, text, fits) in [
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*", "", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[a", "[a", false),
            ("a\\*", "a*", true),
            ("s*w", "shadow", true),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn ends_are_cut() {
        assert_eq!(cut("a/b/c", "*/", true, false), "b/c");
        assert_eq!(cut("a/b/c", "*/", true, true), "c");
        assert_eq!(cut("a/b/c", "/*", false, false), "a/b");
        assert_eq!(cut("a/b/c", "/*", false, true), "a");
        assert_eq!(cut("a.sh", ".sh", false, false), "a");
        assert_eq!(cut("abc", "x", true, true), "abc");
    }
}
