//! IV: more than one's share.

use std::{fs, io::Read, path::Path, process::Stdio};

use futures_util::FutureExt;

use super::{
    Field,
    attempt::{Attempt, Lack, Place, Section::Resources},
    field::small,
};
use crate::{
    probe::{Answer, Layer},
    sandbox::{OutputSink, SandboxError},
    tree::{ArchiveLimits, TreeError, tar_reader},
};

/// Bytes of a flood, and of it what is kept.
const FLOOD: u64 = 8 << 20;
const KEPT: u64 = 256 << 10;

pub(super) fn attempts() -> Vec<Attempt> {
    let small = |number, name, amount| Attempt::act(number, Resources, name).of(Place::Small, amount);
    macro_rules! host {
        ($number:literal, $name:literal, $control:expr, $inside:expr) => {
            Attempt::host(
                $number,
                Resources,
                $name,
                |f| $control(f).boxed(),
                |f| $inside(f).boxed(),
            )
        };
    }
    vec![
        small(71, "take-memory", 2 * small::MEMORY),
        small(71, "fill-temporary-files", 6 * small::SCRATCH),
        small(72, "fill-workspace", 3 * small::DISK),
        small(73, "take-inodes", 4 * small::INODES),
        small(74, "sparse-file", 1 << 40),
        small(75, "open-too-many-files", small::OPEN_FILES),
        small(75, "raise-limits", 0).lacking(&[Lack::Root, Lack::Errno(libc::EPERM, "this root may not raise limits")]),
        // In percent of a processor, of which it has five.
        Attempt::act(76, Resources, "spin").of(Place::Slow, 12),
        host!(77, "flood-output", flood_outside, |f| flood_inside(f, "flood-output")),
        host!(78, "endless-line", flood_outside, |f| flood_inside(f, "endless-line")),
        host!(80, "archive-bomb", bomb_outside, bomb_inside),
        small(81, "dump-core", 0).lacking(&[Lack::Errno(0, "this host itself writes no cores")]),
    ]
}

fn io(source: std::io::Error) -> SandboxError {
    SandboxError::Io {
        what: "look after output".to_owned(),
        source,
    }
}

async fn flood_outside(field: &Field) -> Result<Answer, SandboxError> {
    let path = field.fresh("flood");
    let out = fs::File::create(&path).map_err(io)?;
    let mut command = field.outside_command("flood-output", field.bait_marks(FLOOD));
    command.stdout(Stdio::from(out)).status().map_err(io)?;
    let length = fs::metadata(&path).map_err(io)?.len();
    fs::remove_file(&path).map_err(io)?;
    Ok(match length >= FLOOD {
        true => Answer::Done(format!("{length} bytes on disk")),
        false => Answer::Refused { errno: 0, by: None },
    })
}

async fn flood_inside(field: &Field, act: &str) -> Result<Answer, SandboxError> {
    let path = field.fresh("flood");
    let mut spec = field.spec(Place::Usual, act, field.marks(Place::Usual, FLOOD));
    spec.stdout.sink = Some(OutputSink {
        path: path.clone(),
        max_bytes: KEPT,
    });
    let outcome = field.sandbox(Place::Usual).exec(spec).await?.wait().await?;
    let length = fs::metadata(&path).map_err(io)?.len();
    // A line says that it was cut.
    let kept = length <= KEPT + 100 && outcome.stdout.tail.len() <= 64 << 10;
    Ok(match kept && outcome.stdout.total_bytes >= FLOOD {
        true => Answer::Refused {
            errno: 0,
            by: Some(Layer::Record),
        },
        false => Answer::Done(format!("{length} bytes on disk of {}", outcome.stdout.total_bytes)),
    })
}

/// An archive of one file that is larger than any bound.
fn bomb() -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(16 << 20);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    // Writing to memory does not fail.
    let _ = archive.append_data(&mut header, "bomb", std::io::repeat(0).take(16 << 20));
    archive.into_inner().unwrap_or_default()
}

fn unpacked(field: &Field, max_bytes: u64) -> Result<(u64, Result<(), TreeError>), SandboxError> {
    let dir = field.fresh("unpacked");
    fs::create_dir(&dir).map_err(io)?;
    let limits = ArchiveLimits {
        max_entries: 10,
        max_bytes,
        case_matters: false,
    };
    let done = tar_reader::unpack(bomb().as_slice(), &limits, &dir).map(|_| ());
    let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
    let length = size(&dir.join("bomb"));
    fs::remove_dir_all(&dir).map_err(io)?;
    Ok((length, done))
}

/// With a bound that has room for it.
async fn bomb_outside(field: &Field) -> Result<Answer, SandboxError> {
    Ok(match unpacked(field, 32 << 20)? {
        (length, Ok(())) => Answer::Done(format!("{length} bytes unpacked")),
        (_, Err(_)) => Answer::Refused { errno: 0, by: None },
    })
}

async fn bomb_inside(field: &Field) -> Result<Answer, SandboxError> {
    Ok(match unpacked(field, 1 << 20)? {
        (length, Err(TreeError::Limit(_))) if length <= 1 << 20 => Answer::Refused {
            errno: 0,
            by: Some(Layer::Reader),
        },
        (length, other) => Answer::Done(format!("{length} bytes unpacked: {other:?}")),
    })
}
