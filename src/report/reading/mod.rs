//! A run's directory, read back as one value.
//!
//! | file | holds |
//! |---|---|
//! | `folder` | [`Folder`]: files below a directory, no link followed, every read bounded |
//! | `text` | [`Preview`]: a bounded piece of untrusted text that shows what it hides |
//! | `fields` | lenient access to JSON that an older or a foreign program may have written |
//! | `view`, `episode` | [`RunView`] and its parts |
//! | `course` | the journal: what the machine did, and when |
//! | `talk` | a turn's events as a conversation |
//! | `turns`, `judged`, `ledgers` | the records of turns, verifications, model calls and the network |
//! | `sessions` | [`Session`]: a turn with all that was said in it |
//! | `suite` | [`SuiteView`]: many targets |
//! | `outcome` | what it was for and what it came to |
//! | `allowance` | how much text one view may hold |
//! | `load` | all of it put together |
//!
//! Nothing here is written, nothing is believed: the directory may come from somebody
//! else. What is missing is missing in the view; what cannot be read is said in its notes.

mod allowance;
mod course;
mod episode;
mod fields;
mod folder;
mod judged;
mod ledgers;
mod load;
mod outcome;
mod sessions;
mod suite;
mod talk;
mod text;
mod turns;
mod view;

pub use episode::{
    Accepted, Act, ActKind, AuditView, ChangeView, CommandView, Evidence, GuardView, Refused, StageView, StepView,
    TurnView, VerificationView,
};
pub use folder::Folder;
pub use load::{Detail, read_run};
pub use sessions::{Session, sessions};
pub use suite::{SuiteView, TargetView, read_suite};
pub use talk::{Call, Message, Part, Role, Talk, Tokens};
pub use text::{Preview, visible};
pub use view::{
    Destination, Ending, Episode, Iteration, Network, Outcome, RunView, Series, Share, Span, SpanKind, Totals, WallView,
};
