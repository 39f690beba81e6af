//! Every attempt, and how it is made and judged.

use std::{collections::BTreeMap, time::Instant};

use super::{
    Field, Tried,
    attempt::{Attempt, Lack, Method, Outcome, Verdict},
    control, copies, field, files, kernel, lifecycle, network, resources, secrets,
};
use crate::{
    probe::Answer,
    report::escape,
    sandbox::{Attribution, SandboxError, owner},
};

/// Characters of a detail.
const DETAIL: usize = 300;

/// Every attempt, in the order of the sections.
pub fn attempts() -> Vec<Attempt> {
    [
        files::attempts(),
        kernel::attempts(),
        lifecycle::attempts(),
        resources::attempts(),
        network::attempts(),
        secrets::attempts(),
        copies::attempts(),
        control::attempts(),
    ]
    .concat()
}

/// What controls did, by attempt: they do not depend on a sandbox's walls.
#[derive(Default)]
pub struct Controls(BTreeMap<&'static str, Result<Answer, String>>);

impl Controls {
    /// Tries the control of an attempt, once.
    async fn of(&mut self, field: &Field, attempt: &Attempt) -> Result<Answer, String> {
        if let Some(known) = self.0.get(attempt.name) {
            return known.clone();
        }
        let tried = match attempt.method {
            Method::Act {
                act, ground, amount, ..
            } => field
                .outside(act, ground, field.bait_marks(amount))
                .await
                .map_err(|why| why.to_string()),
            Method::Host { control, .. } => control(field).await.map_err(|why| why.to_string()),
        };
        self.0.insert(attempt.name, tried.clone());
        tried
    }
}

/// Makes one attempt on a field.
///
/// # Errors
/// When the host cannot look after its own things any more.
pub async fn make(field: &Field, controls: &mut Controls, attempt: &Attempt) -> Result<Verdict, SandboxError> {
    let control = controls.of(field, attempt).await;
    let before = field.canaries()?;
    let began = Instant::now();
    let tried = inside(field, attempt).await;
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let changed = field.canaries()?.changed_since(&before);
    let shown = |text: &str| escape(text.as_bytes(), DETAIL);
    let mut verdict = Verdict {
        attempt: attempt.name,
        number: attempt.number,
        section: attempt.section,
        sandbox: field.tried,
        outcome: Outcome::Blocked,
        layer: None,
        errno: None,
        detail: String::new(),
        control: match &control {
            Ok(Answer::Done(how)) => shown(how),
            Ok(Answer::Refused { errno, .. }) => format!("refused ({})", named(*errno)),
            Err(why) => shown(why),
        },
        micros,
    };
    match tried {
        Ok(Answer::Done(_)) if attempt.lacks.contains(&Lack::OwnId) && owner().is_none() => {
            verdict.outcome = Outcome::Unsupported;
            "what is inside has this user's own id, who may".clone_into(&mut verdict.detail);
        }
        Ok(Answer::Done(how)) => (verdict.outcome, verdict.detail) = (Outcome::Escaped, shown(&how)),
        _ if !changed.is_empty() => {
            (verdict.outcome, verdict.detail) = (Outcome::Escaped, shown(&changed.join("; ")));
        }
        Ok(Answer::Refused { errno, by }) => {
            verdict.layer = Some(Attribution::from(by));
            verdict.errno = (errno != 0).then_some(errno);
            verdict.detail = named(errno);
            if !matches!(control, Ok(Answer::Done(_))) {
                let lack = lacking(attempt, &control);
                verdict.outcome = lack.map_or(Outcome::ControlFailed, |_| Outcome::Unsupported);
                verdict.detail = lack.unwrap_or("its control did not do it either").to_owned();
            }
        }
        Err(why) => (verdict.outcome, verdict.detail) = (Outcome::ControlFailed, shown(&why.to_string())),
    }
    Ok(verdict)
}

async fn inside(field: &Field, attempt: &Attempt) -> Result<Answer, SandboxError> {
    match attempt.method {
        Method::Act { act, place, amount, .. } => {
            let outcome = field.inside(place, act, field.marks(place, amount)).await?;
            field::outcome_of(&outcome).map_err(SandboxError::Gone)
        }
        Method::Host { inside, .. } => inside(field).await,
    }
}

/// What this host lacks for the control, if it is that.
fn lacking(attempt: &Attempt, control: &Result<Answer, String>) -> Option<&'static str> {
    attempt.lacks.iter().find_map(|lack| match (lack, control) {
        (Lack::Root, _) if !nix::unistd::geteuid().is_root() => Some("only root can show what its control does"),
        (Lack::Errno(lacked, why), Ok(Answer::Refused { errno, .. })) if lacked == errno => Some(*why),
        _ => None,
    })
}

/// An errno by its name.
fn named(errno: i32) -> String {
    match errno {
        0 => "it came to nothing".to_owned(),
        errno => format!("{:?}", nix::errno::Errno::from_raw(errno)),
    }
}

/// What is known to be let through, which the report on the walls says as well, and why.
pub fn known_gap(tried: Tried, attempt: &str) -> Option<&'static str> {
    let gaps: &[(&str, &str)] = match tried {
        Tried::Landlock => super::gaps::LANDLOCK,
        Tried::Jail if owner().is_none() => super::gaps::UNPRIVILEGED_JAIL,
        Tried::Jail | Tried::Docker => &[],
    };
    gaps.iter().find(|(name, _)| *name == attempt).map(|(_, why)| *why)
}
