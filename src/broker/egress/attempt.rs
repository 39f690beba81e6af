//! One attempt under way: what is known of it, and its line in the ledger, which is written
//! however it ends.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::ledger::{Ledger, Line, Open, Process, Reason, Verdict, Via};
use crate::{
    broker::ledger::now,
    policy::{AddressKind, Role},
    report::escape,
    sandbox::Peers,
    wire::{Connection, Peer},
};

/// Longest host, and longest text, in a line.
const HOST_CHARS: usize = 255;
const WORD_CHARS: usize = 32;

/// A sandbox whose programs ask at the door.
#[derive(Clone)]
pub(super) struct Asker {
    pub sandbox: Arc<str>,
    pub role: Role,
    pub peers: Peers,
    pub ledger: Arc<Ledger>,
}

impl Asker {
    /// Who is at the far end; asked before anything is answered, because whoever gets an
    /// answer may be gone with it.
    pub async fn peer(&self, connection: Connection) -> Option<Peer> {
        self.peers.find(connection).await
    }

    /// The line of an attempt that begins now.
    pub fn begin(&self, peer: Option<&Peer>, via: Via, host: &[u8], port: Option<u16>) -> Attempt {
        Attempt {
            _open: self.ledger.open(),
            asker: self.clone(),
            stage: peer.and_then(|peer| peer.stage),
            began: Instant::now(),
            moved: Arc::default(),
            line: Some(Line {
                ts: now(),
                sandbox: self.sandbox.to_string(),
                role: self.role,
                stage: None,
                process: peer.map(|peer| Process {
                    pid: peer.pid,
                    comm: escape(peer.comm.as_bytes(), WORD_CHARS),
                }),
                via,
                host: escape(host, HOST_CHARS),
                port,
                method: None,
                rule: None,
                address: None,
                address_kind: None,
                // Of what is never ended otherwise.
                verdict: Verdict::Cut,
                reason: Some(Reason::SandboxEnded),
                why: None,
                up: 0,
                down: 0,
                ms: 0,
                repeated: None,
            }),
        }
    }
}

/// Bytes that have passed.
#[derive(Default)]
pub(super) struct Moved {
    pub up: AtomicU64,
    pub down: AtomicU64,
}

/// An attempt. Dropped before it has an end, it ended with its sandbox.
pub(super) struct Attempt {
    asker: Asker,
    stage: Option<u64>,
    began: Instant,
    pub moved: Arc<Moved>,
    line: Option<Line>,
    /// Given up after the line is written.
    _open: Open,
}

/// Why an attempt is not allowed, or not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denial {
    pub verdict: Verdict,
    pub reason: Reason,
    /// In one line, for whoever asked and for the record.
    pub why: String,
    pub address: Option<IpAddr>,
    pub kind: Option<AddressKind>,
}

impl Denial {
    pub fn refused(reason: Reason, why: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Refused,
            reason,
            why: why.into(),
            address: None,
            kind: None,
        }
    }

    pub fn failed(reason: Reason, why: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Failed,
            ..Self::refused(reason, why)
        }
    }

    pub fn cut(reason: Reason, why: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Cut,
            ..Self::refused(reason, why)
        }
    }

    pub fn at(self, address: IpAddr, kind: Option<AddressKind>) -> Self {
        Self {
            address: Some(address),
            kind,
            ..self
        }
    }
}

impl Attempt {
    pub fn method(&mut self, method: &str) {
        if let Some(line) = &mut self.line {
            line.method = Some(escape(method.as_bytes(), WORD_CHARS));
        }
    }

    pub fn by_rule(&mut self, rule: String) {
        if let Some(line) = &mut self.line {
            line.rule = Some(rule);
        }
    }

    pub fn pinned(&mut self, address: IpAddr) {
        if let Some(line) = &mut self.line {
            line.address = Some(address);
        }
    }

    /// It was let through: that its sandbox ends before it is nothing against it.
    pub fn let_through(&mut self) {
        if let Some(line) = &mut self.line {
            line.verdict = Verdict::Allowed;
        }
    }

    /// It was allowed and came to its end.
    pub fn done(mut self) {
        if let Some(line) = &mut self.line {
            line.verdict = Verdict::Allowed;
            line.reason = None;
        }
    }

    /// It did not.
    pub fn denied(mut self, denial: &Denial) {
        if let Some(line) = &mut self.line {
            line.verdict = denial.verdict;
            line.reason = Some(denial.reason);
            line.why = Some(denial.why.clone());
            line.address = denial.address.or(line.address);
            line.address_kind = denial.kind;
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let Some(line) = self.line.take() else { return };
        let asker = &self.asker;
        asker.ledger.append(Line {
            // A command is named only once it runs.
            stage: match (self.stage, line.via) {
                (Some(stage), _) => asker.peers.stage(stage),
                (None, Via::Direct) => asker.peers.last_stage(),
                (None, _) => None,
            },
            up: self.moved.up.load(Ordering::Relaxed),
            down: self.moved.down.load(Ordering::Relaxed),
            ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            ..line
        });
    }
}
