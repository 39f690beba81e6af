//! `model.jsonl` and `egress.jsonl`: what went through the doors.

use std::collections::HashMap;

use super::{
    fields::Fields,
    folder::Folder,
    text::line,
    view::{Destination, Network, Totals},
};

/// Bytes of one ledger that are read.
const LEDGER: u64 = 512 << 20;
/// Hosts that are told apart while the ledger is read.
const HOSTS: usize = 20_000;
/// Hosts that are listed.
const LISTED: usize = 200;

/// The model calls of one turn.
#[derive(Clone, Copy, Default)]
pub(super) struct Counted {
    pub calls: u64,
    pub input: u64,
    pub output: u64,
}

/// The model calls of a run, by the turn's label and how many of that label came before.
#[derive(Default)]
pub(super) struct Calls(HashMap<(String, u32), Counted>);

impl Calls {
    /// Reads `model.jsonl` and adds it up.
    pub fn read(folder: &Folder, totals: &mut Totals) -> Self {
        let mut calls = Self::default();
        folder.lines("model.jsonl", LEDGER, |entry| {
            let count = |name: &str| entry.count(name).unwrap_or(0);
            // Counted when it was asked.
            if entry.at("replayed").as_bool() == Some(true) {
                return true;
            }
            let (input, output) = (count("input_tokens"), count("output_tokens"));
            totals.calls += 1;
            totals.input_tokens = totals.input_tokens.saturating_add(input);
            totals.output_tokens = totals.output_tokens.saturating_add(output);
            totals.request_bytes = totals.request_bytes.saturating_add(count("request_bytes"));
            totals.model_ms = totals.model_ms.saturating_add(count("ms"));
            totals.estimated |= entry.at("estimated").as_bool().unwrap_or(false);
            totals.failed_model_calls += u64::from(!(200..300).contains(&count("status")));
            if let Some(turn) = entry.at("turn").as_str() {
                let occurrence = u32::try_from(count("occurrence")).unwrap_or(0);
                let turn = calls.0.entry((turn.to_owned(), occurrence)).or_default();
                turn.calls += 1;
                turn.input = turn.input.saturating_add(input);
                turn.output = turn.output.saturating_add(output);
            }
            true
        });
        calls
    }

    /// Those of one turn.
    pub fn of(&mut self, label: &str, occurrence: u32) -> Option<Counted> {
        self.0.remove(&(label.to_owned(), occurrence))
    }
}

/// Reads `egress.jsonl`; `None` where there is none.
pub(super) fn network(folder: &Folder) -> Option<Network> {
    folder.file("egress.jsonl").ok()?;
    let mut network = Network::default();
    let mut hosts: HashMap<(String, String), Destination> = HashMap::new();
    folder.lines("egress.jsonl", LEDGER, |entry| {
        let times = 1 + entry.count("repeated").unwrap_or(0);
        let (up, down) = (entry.count("up").unwrap_or(0), entry.count("down").unwrap_or(0));
        let verdict = entry.line("verdict", 20).unwrap_or_default();
        if verdict == "refused" {
            network.refused += times;
        } else {
            network.allowed += times;
        }
        network.up = network.up.saturating_add(up);
        network.down = network.down.saturating_add(down);
        let host = entry.line("host", 255).unwrap_or_default();
        let host = match entry.count("port") {
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        let key = (host, verdict);
        if hosts.len() == HOSTS && !hosts.contains_key(&key) {
            network.more += times;
            return true;
        }
        let seen = hosts.entry(key).or_insert_with_key(|(host, verdict)| Destination {
            host: host.clone(),
            verdict: verdict.clone(),
            rule: entry.line("rule", 200),
            why: entry.line("why", 300).or_else(|| entry.line("reason", 60)),
            stage: entry.line("stage", 80),
            process: entry.at("process").line("comm", 40),
            ..Destination::default()
        });
        seen.count += times;
        seen.up = seen.up.saturating_add(up);
        seen.down = seen.down.saturating_add(down);
        true
    });
    let mut all: Vec<Destination> = hosts.into_values().collect();
    let rank = |one: &Destination| (one.verdict != "refused", u64::MAX - one.count, line(&one.host, 300));
    all.sort_by_cached_key(rank);
    network.more += all.iter().skip(LISTED).map(|one| one.count).sum::<u64>();
    all.truncate(LISTED);
    network.destinations = all;
    Some(network)
}
