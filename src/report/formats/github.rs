//! Workflow commands of GitHub Actions: annotations at files.

use std::fmt::Write as _;

use super::findings::{Level, findings};
use crate::report::reading::RunView;

/// Annotations of one kind: a job shows no more.
const EACH: usize = 10;

/// One line an annotation. `below` is where the target lies in the checked-out repository.
pub fn annotations(run: &RunView, below: &str) -> String {
    let (found, _) = findings(run);
    let mut out = String::new();
    for level in [Level::Error, Level::Warning, Level::Note] {
        let command = match level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "notice",
        };
        for finding in found.iter().filter(|finding| finding.rule.level == level).take(EACH) {
            let _ = write!(out, "::{command} ");
            if let Some(file) = &finding.file {
                let path = if below.is_empty() {
                    file.clone()
                } else {
                    format!("{below}/{file}")
                };
                let _ = write!(out, "file={},", property(&path));
            }
            let _ = writeln!(
                out,
                "title={}::{}",
                property(finding.rule.id),
                message(&finding.message)
            );
        }
    }
    out
}

/// A message: nothing in it ends the line or is taken for an escape.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property: nothing in it ends it, either.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::reading::{Evidence, GuardView};

    #[test]
    fn no_text_becomes_a_command() {
        let mut run = RunView::default();
        run.outcome.ending = crate::report::reading::Ending::Passed;
        run.guard.push(GuardView {
            phase: "execute-step".to_owned(),
            refused: vec![Evidence {
                path: "a,b:c\n::set-output name=x::y%0A".to_owned(),
                kind: "added".to_owned(),
                ruling: "violation".to_owned(),
                because: "no\r\n::error::x".to_owned(),
            }],
            ..GuardView::default()
        });
        assert_eq!(
            annotations(&run, "sub"),
            "::error file=sub/a%2Cb%3Ac%0A%3A%3Aset-output name=x%3A%3Ay%250A,title=guard-violation::added in execute-step: no%0D%0A::error::x\n"
        );
    }
}
