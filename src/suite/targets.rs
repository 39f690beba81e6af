//! The list of targets.

/// The targets of a list: one a line; blank lines and what follows `#` at a line's beginning
/// or after blank are nothing.
pub fn parse(text: &str) -> Vec<String> {
    let without_comment = |line: &str| {
        let comment = line
            .match_indices('#')
            .map(|(at, _)| at)
            .find(|at| *at == 0 || line[..*at].ends_with(char::is_whitespace));
        line[..comment.unwrap_or(line.len())].trim().to_owned()
    };
    text.lines()
        .map(without_comment)
        .filter(|line| !line.is_empty())
        .collect()
}

/// A target's name as a directory's: its place in the list, and the last words of it.
pub fn slug(index: usize, target: &str) -> String {
    let kept = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '_'
        }
    };
    let words: Vec<&str> = target.split(['/', ':']).filter(|word| !word.is_empty()).collect();
    let last = words[words.len().saturating_sub(2)..].join("_");
    let name: String = last.chars().map(kept).take(60).collect();
    format!("{:04}-{}", index + 1, name.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_target_a_line() {
        let text = "# all\n./a\n\n  https://h/o/r#frag  # a note\r\nowner/repo\n #\n";
        assert_eq!(parse(text), ["./a", "https://h/o/r#frag", "owner/repo"]);
    }

    #[test]
    fn a_slug_is_one_name_and_no_two_are_the_same() {
        assert_eq!(slug(0, "/tmp/some where/ré po"), "0001-some_where_r__po");
        assert_eq!(slug(9, "https://github.com/o/r.git"), "0010-o_r.git");
        assert_eq!(slug(1, ".."), "0002-");
        assert_eq!(slug(2, ""), "0003-");
        assert!(!slug(3, &"x".repeat(500)).contains('/') && slug(3, &"x".repeat(500)).len() < 80);
    }
}
