//! What went through the door of a run before it was cut off: read back from its ledger.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use super::{BrokerError, Past, Usage, ledger::Entry};

/// What the ledger says was used, each call once. Those of the turn that was cut off are
/// left out: they are counted when that turn is taken again, recorded or not.
pub(super) fn used(ledger: &Path, past: &Past) -> Result<Usage, BrokerError> {
    let io = |source| BrokerError::Io {
        what: format!("read {}", ledger.display()),
        source,
    };
    let mut usage = Usage::default();
    let file = match File::open(ledger) {
        Ok(file) => file,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(usage),
        Err(why) => return Err(io(why)),
    };
    let mut seen = HashSet::new();
    for line in BufReader::new(file).split(b'\n') {
        // A line that was being written is no call that ended.
        let Ok(entry) = serde_json::from_slice::<Entry>(&line.map_err(io)?) else {
            continue;
        };
        let cut_off = past
            .cut_off
            .as_ref()
            .is_some_and(|(turn, occurrence)| entry.id.turn == *turn && entry.id.occurrence == *occurrence);
        if !cut_off && seen.insert(entry.id) {
            usage.calls += 1;
            usage.input_tokens = usage.input_tokens.saturating_add(entry.input_tokens);
            usage.output_tokens = usage.output_tokens.saturating_add(entry.output_tokens);
        }
    }
    Ok(usage)
}
