//! What other programs read of a run, and of a repository that was looked through.
//!
//! | file | holds |
//! |---|---|
//! | `audit` | what `policy audit` found, as SARIF |
//! | `cases` | the run as test cases: what JUnit and CTRF tell |
//! | `findings` | the run as findings: what SARIF and annotations tell |
//! | `junit`, `ctrf`, `sarif`, `github`, `markdown` | one format each |

mod audit;
mod cases;
mod ctrf;
mod findings;
mod github;
mod junit;
mod markdown;
mod sarif;

pub use audit::audit_sarif;
pub use ctrf::ctrf;
pub use github::annotations;
pub use junit::{junit, suite_junit};
pub use markdown::markdown;
pub use sarif::sarif;
