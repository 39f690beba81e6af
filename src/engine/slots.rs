//! How many runs go on side by side on this host: slots that processes share.
//!
//! A slot is a file whose flock(2) is held as long as the run lives; it goes with the
//! process, however that ends.

use std::{fs::File, path::Path, time::Duration};

use nix::fcntl::{Flock, FlockArg};

use crate::{
    engine::{EngineError, Stop, scratch},
    report::{Happening, Reporter},
};

/// Between two looks for a free slot.
const PAUSE: Duration = Duration::from_millis(200);

/// A slot that is held.
pub(super) struct Slot {
    _held: Flock<File>,
}

/// Waits for one of `count` slots in `dir`; with a count of 0 there is nothing to wait for.
///
/// # Errors
/// [`EngineError::Interrupted`] when a signal comes first.
pub(super) async fn take(
    dir: &Path,
    count: u32,
    reporter: &Reporter,
    stop: &mut Stop,
) -> Result<Option<Slot>, EngineError> {
    if count == 0 {
        return Ok(None);
    }
    scratch::open_directory(dir)?;
    let mut told = false;
    loop {
        for number in 0..count {
            if let Some(slot) = free(&dir.join(number.to_string()))? {
                return Ok(Some(slot));
            }
        }
        if !told {
            told = true;
            reporter.say(Happening::Note {
                text: format!("  waiting   for one of {count} slots, all taken by other runs of this host (--jobs)"),
            });
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            signal = stop.requested() => return Err(EngineError::Interrupted(signal)),
        }
    }
}

fn free(path: &Path) -> Result<Option<Slot>, EngineError> {
    match scratch::lock(path, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(Slot { _held: held })),
        Err(EngineError::Io { source, .. }) if source.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Face;

    #[tokio::test]
    async fn a_slot_is_one_runs_until_that_ends() {
        let dir = tempfile::tempdir().expect("tempdir");
        let reporter = Reporter::new(Face::Json, 0);
        let (stopper, mut stop) = Stop::pair();
        let one = take(dir.path(), 2, &reporter, &mut stop).await.expect("free");
        let two = take(dir.path(), 2, &reporter, &mut stop).await.expect("free");
        assert!(one.is_some() && two.is_some());
        assert!(take(dir.path(), 0, &reporter, &mut stop).await.expect("none").is_none());
        assert!(free(&dir.path().join("0")).expect("looked").is_none(), "it is held");
        // Whoever waits gets the one that is given back.
        let (third, ()) = tokio::join!(take(dir.path(), 2, &reporter, &mut stop), async { drop(one) });
        assert!(third.expect("free").is_some());
        drop(two);
        let held: Vec<_> = (0..2)
            .map(|n| free(&dir.path().join(n.to_string())).expect("looked"))
            .collect();
        stopper.stop(15);
        let refused = take(dir.path(), 2, &reporter, &mut stop).await;
        assert!(matches!(refused, Err(EngineError::Interrupted(15))), "{}", held.len());
    }
}
