//! One self-contained page about a run.
//!
//! | file | holds |
//! |---|---|
//! | `report.html`, `report.css` | the template and its style: no script, nothing from elsewhere |
//! | `page` | the run arranged as the page shows it |
//! | `shapes` | bars, lines, differences |
//! | `suite`, `suite.html`, `sort.js` | the page of a suite, with the one script that sorts its table |
//! | `words` | numbers, times and names as people read them |
//!
//! The page's policy (Content Security Policy, level 3) allows one style, by its hash, and
//! nothing else: whatever a repository manages to put into the text is neither run nor
//! fetched. Every text is escaped by the template all the same.

mod page;
mod shapes;
mod suite;
pub(super) mod words;

use base64::Engine as _;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, value::Serde};

use super::reading::RunView;
use page::Page;

pub use suite::suite_html;

const TEMPLATE: &str = include_str!("report.html");
const STYLE: &str = include_str!("report.css");

/// A page could not be made: a bug of this program.
#[derive(Debug, thiserror::Error)]
#[error("the report's template: {0}")]
pub struct PageError(#[from] minijinja::Error);

/// Where the names of files lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Nowhere: the page stands for itself.
    None,
    /// To `files/` beside the page, and `?iterations=N` to the details of one.
    Files,
}

/// The page of a run.
///
/// # Errors
/// [`PageError`].
pub fn html(run: &RunView, links: Links) -> Result<String, PageError> {
    let mut environment = environment();
    environment.add_template("report", TEMPLATE)?;
    let policy = policy();
    let page = Page::of(run, STYLE, &policy, links == Links::Files);
    Ok(environment.get_template("report")?.render(Value::from(Serde(&page)))?)
}

/// What the templates are filled by: everything is escaped.
fn environment() -> Environment<'static> {
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
    environment.add_filter("link", |path: &str| link(path));
    environment.add_filter("diff_lines", |text: &str| Value::from(Serde(shapes::diff_lines(text))));
    environment
}

/// The page's own policy: its style and nothing else.
pub(super) fn policy() -> String {
    format!(
        "default-src 'none'; style-src '{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE)
    )
}

/// A source by its hash (Content Security Policy, level 3).
fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(digest))
}

/// A path as a part of a relative reference (RFC 3986).
fn link(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
