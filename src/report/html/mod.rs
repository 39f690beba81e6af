//! One self-contained page about a run.
//!
//! | file | holds |
//! |---|---|
//! | `report.html`, `report.css` | the template and its style: no script, nothing from elsewhere |
//! | `page` | the run arranged as the page shows it |
//! | `shapes` | bars, lines, differences |
//! | `words` | numbers, times and names as people read them |
//!
//! The page's policy (Content Security Policy, level 3) allows one style, by its hash, and
//! nothing else: whatever a repository manages to put into the text is neither run nor
//! fetched. Every text is escaped by the template all the same.

mod page;
mod shapes;
pub(super) mod words;

use base64::Engine as _;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, value::Serde};

use super::reading::{Preview, RunView};
use page::Page;

const TEMPLATE: &str = include_str!("report.html");
const STYLE: &str = include_str!("report.css");

/// A page could not be made: a bug of this program.
#[derive(Debug, thiserror::Error)]
#[error("the report's template: {0}")]
pub struct PageError(#[from] minijinja::Error);

/// The page of a run.
///
/// # Errors
/// [`PageError`].
pub fn html(run: &RunView) -> Result<String, PageError> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_filter("dur", words::dur);
    environment.add_filter("size", words::size);
    environment.add_filter("count", words::count);
    environment.add_filter("short", words::short);
    environment.add_filter("number", words::number);
    environment.add_filter("moment", |text: &str| words::moment(text));
    environment.add_filter("work", |kind: &str| words::work(kind).to_owned());
    environment.add_filter("diff_lines", |text: &str| Value::from(Serde(shapes::diff_lines(text))));
    environment.add_template("report", TEMPLATE)?;
    let policy = policy();
    let page = Page::of(run, STYLE, &policy);
    Ok(environment.get_template("report")?.render(Value::from(Serde(&page)))?)
}

/// The page's own policy: its style and nothing else.
fn policy() -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
    let hash = base64::engine::general_purpose::STANDARD.encode(digest);
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}

/// Whether a preview has something to show.
fn shown(preview: &Preview) -> bool {
    !preview.is_empty()
}
