//! The page of a suite. It has one script, which sorts its table; the page's policy allows
//! that one, by its hash.

use minijinja::{Value, context, value::Serde};

use super::{PageError, STYLE, environment, hash};
use crate::report::reading::SuiteView;

const TEMPLATE: &str = include_str!("suite.html");
const SCRIPT: &str = include_str!("sort.js");

/// The page of a suite.
///
/// # Errors
/// [`PageError`].
pub fn suite_html(suite: &SuiteView) -> Result<String, PageError> {
    let mut environment = environment();
    environment.add_template("suite", TEMPLATE)?;
    let csp = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    let safe = |text: &str| Value::from_safe_string(text.to_owned());
    let page = context! {
        suite => Serde(suite),
        strip => Serde(strip(suite)),
        style => safe(STYLE),
        script => safe(SCRIPT),
        csp,
    };
    Ok(environment.get_template("suite")?.render(page)?)
}

/// The outcomes side by side, of a thousand.
fn strip(suite: &SuiteView) -> Vec<(&'static str, u64, u64)> {
    let all = (suite.passed + suite.failed + suite.infra).max(1);
    let mut from = 0;
    [
        ("passed", suite.passed),
        ("failed", suite.failed),
        ("infra", suite.infra),
    ]
    .into_iter()
    .map(|(name, count)| {
        let begin = from * 1_000 / all;
        from += count;
        (name, begin, from * 1_000 / all - begin)
    })
    .collect()
}
