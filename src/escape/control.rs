//! VIII: logs, records, the way to the host.

use std::{io::IoSlice, os::fd::AsFd};

use futures_util::FutureExt;

use super::{
    Field,
    attempt::{Attempt, Lack, Place, Section::Control},
    field,
};
use crate::{
    names::RunId,
    probe::{Answer, Ground, Layer, Marks},
    record::RunDir,
    report::escape,
    sandbox::SandboxError,
    wire::{self, FrameError, MAX_FRAME, Progress, Reply, Termination},
};

/// A title, the clipboard, a question that the terminal answers, a colour, a cursor that goes back.
const OBEYED: &str =
    "\u{1b}]0;owned\u{7}\u{1b}]52;c;b3duZWQ=\u{7}\u{1b}P$q\"p\u{1b}\\\u{1b}[31mred\u{1b}[1A\rover\u{9b}1A";
/// Words that are shown in another order, and some that are not shown.
const BIDI: &str = "safe\u{202e}gnp.exe\u{2066}\u{200b}\u{feff}";

/// The code of a forged end.
const FORGED: i32 = 99;

pub(super) fn attempts() -> Vec<Attempt> {
    macro_rules! host {
        ($number:literal, $name:literal, $control:expr, $inside:expr) => {
            Attempt::host(
                $number,
                Control,
                $name,
                |f| $control(f).boxed(),
                |f| $inside(f).boxed(),
            )
        };
    }
    vec![
        host!(131, "terminal-sequences", |f| shown(f, OBEYED, false), |f| shown(
            f, OBEYED, true
        )),
        host!(132, "forge-the-end", forged_outside, forged_inside),
        host!(133, "bidirectional-text", |f| shown(f, BIDI, false), |f| shown(
            f, BIDI, true
        )),
        Attempt::act(134, Control, "type-into-terminal")
            .lacking(&[Lack::Errno(libc::EIO, "this host has typing switched off"), Lack::Root]),
        host!(135, "oversized-frame", |f| frame(f, 100), |f| frame(f, MAX_FRAME + 1)),
        host!(137, "leave-something-for-the-judge", |f| left(f, Place::Usual), |f| {
            left(f, Place::Small)
        }),
        host!(139, "tamper-with-record", |f| tampered(f, false), |f| tampered(f, true)),
    ]
}

/// What is printed inside, as a person is shown it.
async fn shown(field: &Field, text: &str, escaped: bool) -> Result<Answer, SandboxError> {
    let mut marks = field.marks(Place::Usual, 0);
    marks.token = text.to_owned();
    let outcome = field.inside(Place::Usual, "print", marks).await?;
    let raw = String::from_utf8_lossy(&outcome.stdout.tail).into_owned();
    if !raw.contains(text) {
        return Err(SandboxError::Gone("the record is not what was printed".to_owned()));
    }
    let shown = if escaped {
        escape(&outcome.stdout.tail, 10_000)
    } else {
        raw
    };
    let obeyed = |c: char| c.is_control() || ('\u{200b}'..='\u{206f}').contains(&c) || c == '\u{feff}';
    Ok(match shown.chars().find(|c| obeyed(*c)) {
        Some(c) => Answer::Done(format!("{:?} reaches the terminal", c)),
        None => Answer::Refused {
            errno: 0,
            by: Some(Layer::Record),
        },
    })
}

/// What a supervisor says of the end of a command, with a code that none has here.
fn end() -> Progress {
    Progress::Ended {
        end: Termination::Code(FORGED),
        timed_out: false,
        cap_hit: None,
        usage: wire::ResourceUse::default(),
        leaked: Vec::new(),
        leaked_total: 0,
    }
}

/// It would be believed where a supervisor says it.
async fn forged_outside(_: &Field) -> Result<Answer, SandboxError> {
    let text = serde_json::to_vec(&end()).unwrap_or_default();
    Ok(match serde_json::from_slice::<Progress>(&text) {
        Ok(Progress::Ended { .. }) => Answer::Done("it is what a supervisor says".to_owned()),
        _ => Answer::Refused { errno: 0, by: None },
    })
}

/// Said by a command it is output: the command's own end is told by its supervisor.
async fn forged_inside(field: &Field) -> Result<Answer, SandboxError> {
    let text = serde_json::to_string(&end()).unwrap_or_default();
    let mut marks = field.marks(Place::Usual, 0);
    marks.token = format!("{text}\n::set-output name=ok::true\n{{\"event\":\"ended\",\"exit\":0}}\n");
    let outcome = field.inside(Place::Usual, "print", marks).await?;
    let printed = String::from_utf8_lossy(&outcome.stdout.tail).contains(&text);
    Ok(match (printed, outcome.end) {
        (true, Termination::Code(0)) => Answer::Refused {
            errno: 0,
            by: Some(Layer::Supervisor),
        },
        other => Answer::Done(format!("{other:?}")),
    })
}

/// A frame of a length, sent as a hostile supervisor would.
async fn frame(_: &Field, length: usize) -> Result<Answer, SandboxError> {
    let io = |source| SandboxError::Io {
        what: "make a pair of sockets".to_owned(),
        source,
    };
    let (ours, theirs) = wire::pair().map_err(io)?;
    let mut bytes = serde_json::to_vec(&Reply::Done).unwrap_or_default();
    bytes.resize(bytes.len().max(length), b' ');
    use std::os::fd::AsRawFd;
    let flags = nix::sys::socket::MsgFlags::empty();
    let sent = nix::sys::socket::sendmsg::<()>(theirs.as_raw_fd(), &[IoSlice::new(&bytes)], &[], flags, None);
    if sent.is_err() {
        return Err(io(std::io::ErrorKind::WriteZero.into()));
    }
    Ok(match wire::recv::<Reply>(ours.as_fd()) {
        Ok(_) => Answer::Done(format!("a frame of {length} bytes was taken")),
        Err(FrameError::TooLarge) => Answer::Refused {
            errno: 0,
            by: Some(Layer::Reader),
        },
        Err(why) => return Err(SandboxError::Gone(why.to_string())),
    })
}

/// A program where interpreters look for some, left in one sandbox and looked for in another.
async fn left(field: &Field, judge: Place) -> Result<Answer, SandboxError> {
    let agent = field.sandbox(Place::Usual).inside().clone();
    let token = field.marks(Place::Usual, 0).token;
    for home in [&agent.home, &agent.tmp] {
        let marks = Marks {
            file: format!("{home}/sitecustomize.py"),
            own: "write".to_owned(),
            token: token.clone(),
            ..Marks::default()
        };
        field.inside(Place::Usual, "work", marks).await?;
    }
    let there = field.sandbox(judge).inside().clone();
    let mut last = Answer::Refused { errno: 0, by: None };
    for home in [&there.home, &there.tmp] {
        let marks = Marks {
            file: format!("{home}/sitecustomize.py"),
            token: token.clone(),
            ..Marks::default()
        };
        let outcome = field.inside(judge, "read-host-file", marks).await?;
        last = field::outcome_of(&outcome).map_err(SandboxError::Gone)?;
        if matches!(last, Answer::Done(_)) {
            break;
        }
    }
    Ok(last)
}

/// Changes the record of a run, where that lies.
async fn tampered(field: &Field, within: bool) -> Result<Answer, SandboxError> {
    let failed = |why: crate::record::RecordError| SandboxError::Gone(why.to_string());
    let run = RunDir::create(&field.fresh("runs"), &RunId::fresh(), &[]).map_err(failed)?;
    run.journal("canary", &serde_json::json!({})).map_err(failed)?;
    let place = |marks: &mut Marks| {
        marks.file = run.path().join("journal.jsonl").to_string_lossy().into_owned();
        marks.dir = run.path().to_string_lossy().into_owned();
    };
    if !within {
        let mut marks = field.bait_marks(0);
        place(&mut marks);
        let tried = field.outside("write-host-file", Ground::Here, marks).await;
        return tried.map_err(|source| SandboxError::Io {
            what: "write outside".to_owned(),
            source,
        });
    }
    let mut marks = field.marks(Place::Usual, 0);
    place(&mut marks);
    let outcome = field.inside(Place::Usual, "write-host-file", marks).await?;
    field::outcome_of(&outcome).map_err(SandboxError::Gone)
}
