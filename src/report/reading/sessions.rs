//! Turns with all that was said in them, one at a time: what trajectories are made of.

use super::{
    episode::{TurnView, VerificationView},
    folder::Folder,
    talk::Talk,
    view::{Episode, RunView, SpanKind},
};

/// Largest prompt that is read.
const PROMPT: u64 = 8 << 20;

/// A turn, with all that was said in it.
pub struct Session<'a> {
    /// What it was for.
    pub kind: SpanKind,
    /// In which iteration.
    pub iteration: u64,
    /// Its record.
    pub turn: &'a TurnView,
    /// What was asked, whole; bytes that are no UTF-8 are replaced.
    pub prompt: String,
    /// What was said and done.
    pub talk: Talk,
    /// The verification that judged what it did: the next one of the same iteration.
    pub judged: Option<&'a VerificationView>,
}

/// Hands out every turn in order, and every verification where it came.
pub fn sessions<'a>(
    folder: &Folder,
    run: &'a RunView,
    mut turn: impl FnMut(Session<'a>),
    mut verified: impl FnMut(u64, &'a VerificationView),
) {
    for one in &run.iterations {
        let episodes = run.episodes(one);
        for (at, episode) in episodes.iter().enumerate() {
            match *episode {
                Episode::Turn(kind, view) => {
                    let judged = episodes[at..].iter().find_map(|later| match later {
                        Episode::Verification(verification) => Some(*verification),
                        Episode::Turn(..) => None,
                    });
                    let prompt = folder.bytes(&format!("turns/{}.prompt.md", view.base), PROMPT);
                    turn(Session {
                        kind,
                        iteration: one.number,
                        turn: view,
                        prompt: String::from_utf8_lossy(&prompt.unwrap_or_default()).into_owned(),
                        talk: Talk::read(folder, &format!("turns/{}.events.jsonl", view.base)),
                        judged,
                    });
                }
                Episode::Verification(verification) => verified(one.number, verification),
            }
        }
    }
}
