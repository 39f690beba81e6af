//! `${NAME}`, `$NAME` and `$$` in values. Nothing else is special, and a value that
//! was put in is not looked at again.

/// `text` with variables replaced: `${NAME}` and `$NAME` by what `lookup` knows, by
/// nothing where it does not, and `$$` by a dollar. A dollar before anything else
/// stays. `None` when the result would be longer than `most` bytes.
pub(super) fn expand<'v>(text: &str, most: usize, lookup: impl Fn(&str) -> Option<&'v str>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = braced(tail).or_else(|| bare(tail)) {
            let value = lookup(name).unwrap_or_default();
            if out.len() + value.len() > most {
                return None;
            }
            out.push_str(value);
            rest = after;
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    (out.len() <= most).then_some(out)
}

fn braced(tail: &str) -> Option<(&str, &str)> {
    let (name, after) = bare(tail.strip_prefix('{')?)?;
    Some((name, after.strip_prefix('}')?))
}

/// The longest name at the beginning (POSIX.1-2017, XBD 3.235), and what follows it.
fn bare(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    super::stage::is_variable_name(name).then_some((name, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 1 << 16;

    fn known(name: &str) -> Option<&'static str> {
        match name {
            "A" => Some("one"),
            "B_2" => Some("$A ${A} $$"),
            "_c" => Some(""),
            _ => None,
        }
    }

    /// A piece of a value and what must come of it. Each ends where no name can go on.
    fn piece() -> impl Strategy<Value = (String, String)> {
        let name = prop_oneof![
            Just("A".to_owned()),
            Just("B_2".to_owned()),
            Just("_c".to_owned()),
            "[A-Za-z_][A-Za-z0-9_]{0,5}"
        ];
        let value = |name: &str| known(name).unwrap_or_default().to_owned();
        prop_oneof![
            "[^$]{0,8}".prop_map(|text| (text.clone(), text)),
            Just(("$$".to_owned(), "$".to_owned())),
            name.clone()
                .prop_map(move |name| (format!("${{{name}}}"), value(&name))),
            name.prop_map(move |name| (format!("${name}/"), value(&name) + "/")),
            prop::sample::select(vec![
                "$(id)", "${.", "${}", "${A-x}", "${1}", "$1", "$ ", "${A b}", "`id`", "$é"
            ])
            .prop_map(|text| (text.to_owned(), text.to_owned())),
        ]
    }

    proptest! {
        #[test]
        fn every_piece_becomes_what_it_says_and_nothing_is_scanned_again(pieces in prop::collection::vec(piece(), 0..8)) {
            let (text, expected): (String, String) = pieces.into_iter().unzip();
            prop_assert_eq!(expand(&text, MOST, known), Some(expected));
        }

        #[test]
        fn any_text_expands_within_its_bound(text in ".{0,80}", most in 0usize..60) {
            match expand(&text, most, known) {
                Some(out) => prop_assert!(out.len() <= most),
                None => prop_assert!(expand(&text, MOST, known).expect("short").len() > most),
            }
        }

        #[test]
        fn what_holds_no_dollar_stays(text in "[^$]{0,80}") {
            prop_assert_eq!(expand(&text, MOST, known), Some(text));
        }
    }
}
