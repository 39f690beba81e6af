//! JUnit XML, as Jenkins' schema (`junit-10.xsd` of its xUnit plug-in) has it.

use std::fmt::Write as _;

use super::cases::{Case, Suite, Verdict, suites, targets, whole_text};
use crate::report::reading::{RunView, SuiteView};

/// The run as JUnit XML.
pub fn junit(run: &RunView) -> String {
    let about = [
        ("run", &*run.id),
        ("target", &run.target),
        ("reason", &run.outcome.reason),
    ];
    document(&suites(run), run.outcome.ms.unwrap_or(0), run.began.as_deref(), &about)
}

/// A suite as JUnit XML, a case for each target.
pub fn suite_junit(suite: &SuiteView) -> String {
    let targets = targets(suite);
    let ms = targets.ms;
    document(&[targets], ms, None, &[("suite", &suite.id), ("model", &suite.model)])
}

fn document(suites: &[Suite], ms: u64, began: Option<&str>, about: &[(&str, &str)]) -> String {
    let sum = |of: &dyn Fn(&Suite) -> usize| suites.iter().map(of).sum::<usize>();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"opencode-fsm\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{}\">",
        sum(&|suite| suite.cases.len()),
        sum(&|suite| suite.count(Verdict::Failed)),
        sum(&|suite| suite.count(Verdict::Broken)),
        seconds(ms),
    );
    for suite in suites {
        write_suite(&mut out, suite, began, about);
    }
    out.push_str("</testsuites>\n");
    out
}

fn write_suite(out: &mut String, suite: &Suite, began: Option<&str>, about: &[(&str, &str)]) {
    let _ = write!(
        out,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"0\" time=\"{}\"",
        escaped(&suite.name),
        suite.cases.len(),
        suite.count(Verdict::Failed),
        suite.count(Verdict::Broken),
        seconds(suite.ms),
    );
    // To the second, without a zone, as the format has it.
    if let Some(began) = began.and_then(|began| began.get(..19)) {
        let _ = write!(out, " timestamp=\"{}\"", escaped(began));
    }
    out.push_str(">\n    <properties>\n");
    for (name, value) in about {
        let _ = writeln!(out, "      <property name=\"{name}\" value=\"{}\"/>", escaped(value));
    }
    out.push_str("    </properties>\n");
    for case in &suite.cases {
        write_case(out, suite, case);
    }
    out.push_str("  </testsuite>\n");
}

fn write_case(out: &mut String, suite: &Suite, case: &Case) {
    let _ = write!(
        out,
        "    <testcase name=\"{}\" classname=\"opencode-fsm.{}\" time=\"{}\">",
        escaped(&case.name),
        escaped(&suite.name),
        seconds(case.ms)
    );
    let element = match case.verdict {
        Verdict::Passed => None,
        Verdict::Failed => Some("failure"),
        Verdict::Broken => Some("error"),
    };
    if let Some(element) = element {
        let kind = if case.blame.is_empty() { "failed" } else { &case.blame };
        let message = escaped(&case.message);
        let _ = write!(
            out,
            "\n      <{element} type=\"{}\" message=\"{message}\">{message}</{element}>",
            escaped(kind)
        );
    }
    for (name, text) in [("system-out", &case.stdout), ("system-err", &case.stderr)] {
        if let Some(text) = text {
            let _ = write!(out, "\n      <{name}>{}</{name}>", escaped(&whole_text(text)));
        }
    }
    out.push_str("\n    </testcase>\n");
}

/// A text for XML. None of those of a view holds a character that XML forbids.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}
