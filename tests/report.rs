//! What a run's directory is read back as: the page, the formats, the trajectories, `view`.
//! The schemas and packages that they are held against come with `tests/report/kit`.

#[path = "support/program.rs"]
mod program;

#[path = "report/action.rs"]
mod action;
#[path = "report/browser.rs"]
mod browser;
#[path = "report/formats.rs"]
mod formats;
#[path = "report/hostile.rs"]
mod hostile;
#[path = "report/kit.rs"]
mod kit;
#[path = "report/live.rs"]
mod live;
#[path = "report/made.rs"]
mod made;
#[path = "report/page.rs"]
mod page;
#[path = "report/spans.rs"]
mod spans;
#[path = "report/suites.rs"]
mod suites;
#[path = "report/view.rs"]
mod view;
