//! What a turn is worth.

use crate::report::reading::{Session, SpanKind};

/// A turn's reward, and why it has none.
pub(super) enum Reward {
    /// Measured.
    Known(f64),
    /// Nothing measured it, or what failed was not the agent: to be left out, never counted as 0.
    Masked(String),
}

impl Reward {
    /// Of a turn: what the contract said of its work. A turn whose phase the guard took back,
    /// or that the agent failed, is worth nothing.
    pub fn of(session: &Session<'_>, violated: bool) -> Self {
        let turn = session.turn;
        if violated {
            return Self::Known(0.0);
        }
        match turn.blame.as_deref() {
            Some("agent") => return Self::Known(0.0),
            Some(other) => return Self::Masked(format!("the turn failed for the {other}")),
            None if !turn.ok => return Self::Masked("the turn has no end".to_owned()),
            None => {}
        }
        if session.kind == SpanKind::Plan {
            return Self::Masked("nothing measures a plan".to_owned());
        }
        match session.judged {
            None => Self::Masked("no verification followed in the same iteration".to_owned()),
            Some(judged) if judged.ok => Self::Known(1.0),
            Some(judged) => match judged.blame.as_deref() {
                None | Some("verifier" | "agent") => Self::Known(0.0),
                Some(other) => Self::Masked(format!("the verification failed for the {other}")),
            },
        }
    }

    /// The number, where there is one.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Masked(_) => None,
        }
    }

    /// Why there is none.
    pub fn masked(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Masked(why) => Some(why),
        }
    }
}
