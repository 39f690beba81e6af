//! `egress.jsonl`: every attempt to reach something outside, allowed or not, one line each.

use std::{
    collections::HashMap,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::watch;

use crate::{
    broker::{
        BrokerError,
        ledger::{Lines, now},
    },
    policy::{AddressKind, Role},
    record::Redactor,
};

/// Most lines of one run.
const MOST: u64 = 50_000;
/// Attempts that were not allowed and are alike get as many lines of their own; further ones
/// are counted, and told in one line at the end.
const ALIKE: u64 = 20;
/// Longest wait for what serves sandboxes that are gone.
const SETTLED: Duration = Duration::from_secs(5);
/// Most kinds of them that are told apart.
const KINDS: usize = 4_096;

/// One attempt.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Line {
    /// When it began; of a line with `repeated`, when it was written.
    pub ts: String,
    /// The sandbox it came from.
    pub sandbox: String,
    /// What that is for.
    pub role: Role,
    /// The command that was running, by the beginning of its artifacts' names, or `agent` for
    /// the agent's server and its tools. Absent where the process was not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The process that held the connection, when it was made; another may have held it as
    /// well. Absent where it was gone before it could be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// How it was asked for.
    pub via: Via,
    /// The host as it was given, escaped, at most 255 characters.
    pub host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The method of plain HTTP, the command of SOCKS, the kind of a name's question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The address that the name was found to have and that was dialled, or refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// What kind of address that is, or the one that was given in place of a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_kind: Option<AddressKind>,
    pub verdict: Verdict,
    /// Why it was not allowed, or did not come to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Bytes from the inside to the host.
    pub up: u64,
    /// Bytes from the host to the inside.
    pub down: u64,
    /// Milliseconds from its beginning to its end.
    pub ms: u64,
    /// Further attempts like this one that have no line of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeated: Option<u64>,
}

/// A process inside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
pub(super) struct Process {
    /// Its pid inside.
    pub pid: u32,
    /// Its name, which it chooses itself; escaped.
    pub comm: String,
}

/// How something was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Via {
    /// An HTTP tunnel.
    Connect,
    /// Plain HTTP.
    Http,
    /// SOCKS5.
    Socks5,
    /// A question for a name.
    Dns,
    /// Not at all: sent to an address, past the door. Its `stage` is the command that was begun last.
    Direct,
    /// Nothing that the door speaks.
    Unknown,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// A rule allowed it, and it was reached; with the reason `sandbox-ended` it had not come
    /// to its end when its sandbox did.
    Allowed,
    /// It was not allowed.
    Refused,
    /// A rule allowed it, and it could not be reached.
    Failed,
    /// A rule allowed it, and a limit ended it.
    Cut,
}

/// Why it was not allowed, or did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reason {
    /// No rule is about the host.
    NoRule,
    /// A rule is about the host and not about the port.
    Port,
    /// The rule does not allow the method.
    Method,
    /// An address, in whatever spelling, where a name is wanted.
    AddressLiteral,
    /// What was given is no name.
    NotAName,
    /// The name leads to an address that it may not lead to.
    ForbiddenAddress,
    /// The name has no address.
    Unresolved,
    /// Nobody answers there.
    Unreachable,
    /// TLS for another host.
    SniMismatch,
    /// TLS that does not say for which host.
    SniAbsent,
    /// TLS that hides for which host it is.
    SniEncrypted,
    /// A first message that cannot be read.
    HelloUnreadable,
    /// No TLS where it is demanded.
    NotTls,
    /// A command of SOCKS other than CONNECT.
    Command,
    /// Names are not resolved inside.
    Dns,
    /// It was sent to an address, and not to the door.
    PastTheDoor,
    /// A request that cannot be read.
    Malformed,
    /// A request for the proxy itself, or one that no proxy takes.
    NotAProxyRequest,
    /// The sandbox's key was not shown.
    Credential,
    /// The rule's bytes are used up.
    Bytes,
    /// More connections a second than the rule allows.
    Rate,
    /// Too many connections at once.
    Connections,
    /// Nothing came or went for too long.
    Idle,
    /// It was open for too long.
    TooLong,
    /// The far end broke off.
    Broken,
    /// The sandbox ended first.
    SandboxEnded,
}

/// What attempts that are alike have in common.
#[derive(PartialEq, Eq, Hash)]
struct Kind {
    sandbox: String,
    stage: Option<String>,
    via: Via,
    host: String,
    port: Option<u16>,
    method: Option<String>,
    reason: Option<Reason>,
}

/// Attempts by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EgressCount {
    /// Allowed and reached.
    pub allowed: u64,
    /// Refused.
    pub refused: u64,
    /// Allowed, and not reached or cut off.
    pub failed: u64,
    /// Of all these, those without a line or a count of their own: the ledger was full.
    pub dropped: u64,
}

#[derive(Default)]
struct Written {
    lines: u64,
    count: EgressCount,
    alike: HashMap<Kind, (u64, Option<Line>)>,
}

/// Somebody who may still have a line to write, as long as it is kept.
pub(super) struct Open(Arc<Ledger>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// The ledger of a run.
pub(super) struct Ledger {
    lines: Lines,
    redactor: Redactor,
    written: Mutex<Written>,
    /// How many may still have a line to write.
    open: watch::Sender<u64>,
}

impl Ledger {
    /// What `redactor` knows is taken out of all that goes there: a host's name
    /// can be made of a secret.
    pub fn create(path: &Path, redactor: Redactor) -> Result<Self, BrokerError> {
        Ok(Self {
            lines: Lines::open(path)?,
            redactor,
            written: Mutex::default(),
            open: watch::Sender::new(0),
        })
    }

    /// One more that may still have a line to write.
    pub fn open(self: &Arc<Self>) -> Open {
        self.open.send_modify(|open| *open += 1);
        Open(self.clone())
    }

    /// Waits until nobody has a line to write any more; whatever hangs is not waited for.
    pub async fn settled(&self) {
        let mut open = self.open.subscribe();
        let _ = tokio::time::timeout(SETTLED, open.wait_for(|open| *open == 0)).await;
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the line of an attempt that is over.
    pub fn append(&self, line: Line) {
        let mut written = self.written();
        let count = &mut written.count;
        *match line.verdict {
            Verdict::Allowed => &mut count.allowed,
            Verdict::Refused => &mut count.refused,
            Verdict::Failed | Verdict::Cut => &mut count.failed,
        } += 1;
        if line.verdict != Verdict::Allowed {
            let kind = Kind {
                sandbox: line.sandbox.clone(),
                stage: line.stage.clone(),
                via: line.via,
                host: line.host.clone(),
                port: line.port,
                method: line.method.clone(),
                reason: line.reason,
            };
            let room = written.alike.len() < KINDS;
            match written.alike.get_mut(&kind) {
                Some((seen, last)) => {
                    *seen += 1;
                    if *seen > ALIKE {
                        *last = Some(line);
                        return;
                    }
                }
                None if room => {
                    written.alike.insert(kind, (1, None));
                }
                None => {}
            }
        }
        if written.lines >= MOST {
            written.count.dropped += 1;
            return;
        }
        written.lines += 1;
        self.write(&line);
    }

    fn write(&self, line: &Line) {
        let Ok(value) = serde_json::to_value(line) else { return };
        self.lines.append(&self.redactor.value(value));
    }

    /// Tells what was only counted, and syncs. Gives the counts.
    pub fn finish(&self) -> Result<EgressCount, BrokerError> {
        let mut written = self.written();
        let mut counted: Vec<Line> = std::mem::take(&mut written.alike)
            .into_values()
            .filter_map(|(seen, last)| {
                let line = last?;
                Some(Line {
                    ts: now(),
                    repeated: Some(seen - ALIKE),
                    process: None,
                    ..line
                })
            })
            .collect();
        counted.sort_by(|a, b| (&a.sandbox, &a.host, a.port).cmp(&(&b.sandbox, &b.host, b.port)));
        counted.iter().for_each(|line| self.write(line));
        self.lines.finish()?;
        Ok(written.count)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::record::Secret;

    fn line(host: &str, verdict: Verdict) -> Line {
        Line {
            ts: now(),
            sandbox: "s".to_owned(),
            role: Role::Judge,
            stage: None,
            process: None,
            via: Via::Connect,
            host: host.to_owned(),
            port: Some(443),
            method: None,
            rule: None,
            address: None,
            address_kind: None,
            verdict,
            reason: (verdict == Verdict::Refused).then_some(Reason::NoRule),
            why: None,
            up: 1,
            down: 2,
            ms: 3,
            repeated: None,
        }
    }

    fn ledger(secrets: &[Secret]) -> (tempfile::TempDir, Ledger) {
        let dir = tempfile::tempdir().expect("tempdir");
        let ledger = Ledger::create(&dir.path().join("egress.jsonl"), Redactor::new(secrets)).expect("a ledger");
        (dir, ledger)
    }

    fn lines(dir: &tempfile::TempDir) -> Vec<Value> {
        let text = std::fs::read_to_string(dir.path().join("egress.jsonl")).expect("a ledger");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    #[test]
    fn refusals_that_are_alike_are_counted_and_none_is_lost() {
        let (dir, ledger) = ledger(&[]);
        for _ in 0..100 {
            ledger.append(line("a.example", Verdict::Refused));
            ledger.append(line("b.example", Verdict::Allowed));
        }
        ledger.append(line("c.example", Verdict::Refused));
        let count = ledger.finish().expect("finishes");
        assert_eq!((count.allowed, count.refused, count.dropped), (100, 101, 0));
        let lines = lines(&dir);
        let of = |host: &str| lines.iter().filter(|line| line["host"] == host).count();
        assert_eq!((of("a.example"), of("b.example"), of("c.example")), (21, 100, 1));
        let told: u64 = lines.iter().filter_map(|line| line["repeated"].as_u64()).sum();
        assert_eq!(told, 80);
    }

    #[test]
    fn the_ledger_is_bounded_and_says_what_it_left_out() {
        let (dir, ledger) = ledger(&[]);
        for at in 0..MOST + 10 {
            ledger.append(line(&format!("{at}.example"), Verdict::Refused));
        }
        let count = ledger.finish().expect("finishes");
        assert_eq!((count.refused, count.dropped), (MOST + 10, 10));
        assert_eq!(lines(&dir).len() as u64, MOST);
    }

    #[test]
    fn a_secret_in_a_hosts_name_is_not_kept() {
        let (dir, ledger) = ledger(&[Secret::new("hunter2hunter2")]);
        ledger.append(line("hunter2hunter2.evil.example", Verdict::Refused));
        ledger.finish().expect("finishes");
        assert_eq!(lines(&dir)[0]["host"], "[redacted].evil.example");
    }
}
