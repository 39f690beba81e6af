//! A run's directory, read back as one value.
//!
//! | file | holds |
//! |---|---|
//! | `folder` | [`Folder`]: files below a directory, no link followed, every read bounded |
//! | `text` | [`Preview`]: a bounded piece of untrusted text that shows what it hides |
//! | `fields` | lenient access to JSON that an older or a foreign program may have written |
//! | `view` | [`RunView`] and its parts |
//! | `course` | the journal: what the machine did, and when |
//! | `talk` | a turn's events as a conversation |
//! | `turns`, `judged`, `ledgers` | the records of turns, verifications, model calls and the network |
//! | `sessions` | [`Session`]: a turn with all that was said in it |
//! | `suite` | [`SuiteView`]: many targets |
//! | `load` | all of it put together |
//!
//! Nothing here is written, nothing is believed: the directory may come from somebody
//! else. What is missing is missing in the view; what cannot be read is said in its notes.

mod course;
mod fields;
mod folder;
mod judged;
mod ledgers;
mod load;
mod sessions;
mod suite;
mod talk;
mod text;
mod turns;
mod view;

pub use folder::Folder;
pub use load::{Detail, read_run};
pub use sessions::{Session, sessions};
pub use suite::{SuiteView, TargetView, read_suite};
pub use talk::{Call, Message, Part, Role, Talk, Tokens};
pub use text::{Preview, visible};
pub use view::{
    Accepted, Act, ActKind, AuditView, ChangeView, CommandView, Destination, Ending, Episode, Evidence, GuardView,
    Iteration, Network, Outcome, Refused, RunView, Series, Share, Span, SpanKind, StageView, StepView, Totals,
    TurnView, VerificationView, WallView,
};
