//! VI: what is nobody's to read.

use futures_util::FutureExt;

use super::{
    Field,
    attempt::{Attempt, Lack, Place, Section::Secrets},
};
use crate::{
    names::RunId,
    probe::{Answer, Layer},
    record::{RunDir, Secret},
    sandbox::SandboxError,
};

pub(super) fn attempts() -> Vec<Attempt> {
    let act = |number, name| Attempt::act(number, Secrets, name);
    vec![
        act(106, "look-into-supervisor"),
        act(107, "inherited-environment"),
        act(108, "read-home"),
        act(112, "look-into-host-process"),
        act(65, "see-host-process").lacking(&[Lack::Errno(libc::EACCES, "this host hides processes itself")]),
        Attempt::host(
            111,
            Secrets,
            "print-a-secret",
            |field| printed(field, false).boxed(),
            |field| printed(field, true).boxed(),
        ),
    ]
}

/// What a command prints of what it was given is not in the record.
async fn printed(field: &Field, known: bool) -> Result<Answer, SandboxError> {
    let failed = |why: crate::record::RecordError| SandboxError::Gone(why.to_string());
    let secret = format!("secret-{}", field.bait.token);
    let secrets: Vec<Secret> = known.then(|| Secret::new(secret.clone())).into_iter().collect();
    let runs = field.fresh("runs");
    let run = RunDir::create(&runs, &RunId::fresh(), &secrets).map_err(failed)?;
    let mut marks = field.marks(Place::Usual, 0);
    marks.token = format!("the key is {secret}\n");
    let outcome = field.inside(Place::Usual, "print", marks).await?;
    let path = run.write("stdout.txt", &outcome.stdout.tail).map_err(failed)?;
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    Ok(match (text.contains("the key is "), text.contains(&secret)) {
        (true, true) => Answer::Done("the record has it".to_owned()),
        (true, false) => Answer::Refused {
            errno: 0,
            by: Some(Layer::Record),
        },
        _ => return Err(SandboxError::Gone("nothing was printed".to_owned())),
    })
}
