//! JUnit XML: test cases are counted, whatever the suites say of them.
//!
//! The reader knows elements, comments, character data and processing instructions. It expands
//! nothing: a document type, by which entities would come, is refused.

use super::Counts;

/// Deepest nesting.
const DEPTH_MAX: usize = 32;
/// Most elements.
const ELEMENTS_MAX: usize = 2_000_000;

/// What became of the case that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Passed,
    Failed,
    Error,
    Skipped,
}

pub(super) fn read(bytes: &[u8]) -> Result<Counts, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "no UTF-8".to_owned())?;
    let mut counts = Counts::default();
    let mut open: Vec<&str> = Vec::new();
    let mut case: Option<Case> = None;
    let (mut rest, mut elements) = (text, 0);
    while let Some((_, after)) = rest.split_once('<') {
        let skipped = [("!--", "-->"), ("![CDATA[", "]]>"), ("?", "?>")];
        if let Some((begin, end)) = skipped.iter().find(|(begin, _)| after.starts_with(begin)) {
            rest = after[begin.len()..].split_once(end).ok_or("it ends in the middle")?.1;
            continue;
        }
        if after.starts_with('!') {
            return Err("a document type is not read".to_owned());
        }
        elements += 1;
        if elements > ELEMENTS_MAX {
            return Err(format!("more than {ELEMENTS_MAX} elements"));
        }
        let end = end_of_tag(after).ok_or("it ends in the middle of a tag")?;
        let tag = &after[..end];
        rest = &after[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let name = name.trim_end();
            if open.pop() != Some(name) {
                return Err(format!(
                    "`</{}>` closes nothing",
                    name.chars().take(40).collect::<String>()
                ));
            }
            if name == "testcase" {
                note(&mut counts, case.take());
            }
            continue;
        }
        let empty = tag.ends_with('/');
        let name = tag
            .trim_end_matches('/')
            .split_ascii_whitespace()
            .next()
            .unwrap_or_default();
        let within = open.last() == Some(&"testcase");
        match name {
            "testcase" if empty => note(&mut counts, Some(Case::Passed)),
            "testcase" => case = Some(Case::Passed),
            "failure" if within => case = Some(Case::Failed),
            "error" if within && case != Some(Case::Failed) => case = Some(Case::Error),
            "skipped" if within && case == Some(Case::Passed) => case = Some(Case::Skipped),
            _ => {}
        }
        if !empty {
            if open.len() == DEPTH_MAX {
                return Err(format!("nested deeper than {DEPTH_MAX} elements"));
            }
            open.push(name);
        }
    }
    match (open.is_empty(), elements) {
        (true, 1..) => Ok(counts),
        _ => Err("it is no whole XML document".to_owned()),
    }
}

/// Where the `>` of a tag is, one in a value left out.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    text.bytes().position(|byte| {
        match (byte, quote) {
            (b'"' | b'\'', None) => quote = Some(byte),
            (byte, Some(open)) if byte == open => quote = None,
            _ => {}
        }
        byte == b'>' && quote.is_none()
    })
}

fn note(counts: &mut Counts, case: Option<Case>) {
    match case {
        Some(Case::Passed) => counts.passed += 1,
        Some(Case::Failed) => counts.failed += 1,
        Some(Case::Error) => counts.errors += 1,
        Some(Case::Skipped) => counts.skipped += 1,
        None => {}
    }
}
