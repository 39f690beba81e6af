//! What the chain says of a run that was cut off: where the machine stood, and what was used up.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    broker,
    engine::{
        EngineError,
        carried::{Carried, CarriedLine, Slot},
        evidence::NARROWED,
        inputs::FromLine,
    },
    fsm::{Command, Event, Machine, Position, Purpose},
    record::audit::{self, CONTINUED, Digest, Place, RESUMED},
    tree::Content,
};

/// Where the machine goes on.
#[derive(Clone, Debug)]
pub(super) enum At {
    /// It is told this, which nobody has written down yet.
    Event(Event),
    /// It is told this, which is a record already.
    Told(Event),
    /// This is done, which it decided before.
    Command(Command),
}

/// The fields of `command`.
#[derive(Clone, Debug, Deserialize)]
struct Decided {
    machine: Machine,
    command: Command,
}

/// The fields of the first record, as far as they are needed.
#[derive(Clone, Debug, Deserialize)]
struct Begun {
    verb: String,
    target: String,
    policy: String,
    options: Option<Digest>,
    inputs: InputsRead,
}

#[derive(Deserialize)]
struct NarrowedLine {
    policy: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct InputsRead {
    cassette: Option<String>,
    from: Option<FromLine>,
}

#[derive(Deserialize)]
struct Ledger {
    file: String,
    to: u64,
}

#[derive(Deserialize)]
struct Stood {
    role: String,
    plan: Digest,
    report: Tier,
}

#[derive(Deserialize)]
struct Tier {
    tier: crate::policy::Tier,
}

#[derive(Deserialize)]
struct Copied {
    digest: Content,
}

#[derive(Deserialize)]
struct Back {
    from: u64,
}

#[derive(Deserialize)]
struct Ended {
    receipt: Receipt,
}

#[derive(Deserialize)]
struct Receipt {
    outcome: Outcome,
}

/// How the run ended before.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Outcome {
    pub reason: String,
    pub exit: u8,
}

/// A transition, by its record.
enum Transition {
    Event(Box<Event>),
    Decided(Box<Decided>),
}

/// What the chain says.
pub(super) struct Past {
    pub verb: String,
    pub target: String,
    /// The digest of the policy that the host gave it.
    pub policy: String,
    /// That of what the target's own policy left of it.
    pub narrowed: Option<String>,
    /// SHA-256 of `options.json`.
    pub options: Option<Digest>,
    /// SHA-256 of the cassette that it played.
    pub cassette: Option<String>,
    /// The step of another run that it began at.
    pub branch: Option<FromLine>,
    /// The target, as it was copied.
    pub copied: Option<Content>,
    pub ledgers: BTreeMap<String, u64>,
    pub walls: BTreeMap<String, (Digest, String)>,
    /// How often it was taken up before.
    pub lives: u64,
    /// The closing record is the last one.
    pub closed: Option<Outcome>,
    /// Records that nobody goes back behind.
    pub from: u64,
    /// The machine, where it had moved at all, and what it does next, where it had begun.
    pub stand: Option<(Option<Machine>, At)>,
    pub carried: Option<Carried>,
    /// Where that lies.
    pub slot: Slot,
    /// Time that is used up.
    pub used: Duration,
    /// What went through the model door.
    pub door: broker::Past,
}

/// Reads the chain of a run, which was verified.
///
/// # Errors
/// When it cannot be read, or is none of a run of this version.
pub(super) fn read(run: &Path) -> Result<Past, EngineError> {
    let place = Place::Directory(run.to_path_buf());
    let mut records = audit::open(&place)?;
    let mut found = Found::default();
    while let Some(record) = audit::next(&mut records)? {
        found.take(record.seq, record.ts, record.event, record.fields.get())?;
    }
    found.past(run)
}

#[derive(Default)]
struct Found {
    begun: Option<Begun>,
    narrowed: Option<String>,
    copied: Option<Content>,
    ledgers: BTreeMap<String, u64>,
    walls: BTreeMap<String, (Digest, String)>,
    lives: u64,
    closed: Option<Outcome>,
    transitions: Vec<(u64, Transition)>,
    /// With the time that the run had lived by then.
    carried: Vec<(u64, Duration, CarriedLine)>,
    last: Option<Timestamp>,
    lived: Duration,
}

impl Found {
    fn take(&mut self, number: u64, ts: &str, event: &str, fields: &str) -> Result<(), EngineError> {
        let now: Option<Timestamp> = ts.parse().ok();
        // Between two lives nobody lived.
        if let (Some(last), Some(now), true) = (self.last, now, event != RESUMED) {
            self.lived += Duration::try_from(now.duration_since(last)).unwrap_or_default();
        }
        self.last = now.or(self.last);
        match event {
            "run" => self.begun = Some(parse(number, event, fields)?),
            NARROWED => self.narrowed = Some(parse::<NarrowedLine>(number, event, fields)?.policy),
            "copied" => self.copied = Some(parse::<Copied>(number, event, fields)?.digest),
            "ledger" => {
                let ledger: Ledger = parse(number, event, fields)?;
                self.ledgers.insert(ledger.file, ledger.to);
            }
            "walls" => {
                let stood: Stood = parse(number, event, fields)?;
                self.walls
                    .insert(stood.role, (stood.plan, stood.report.tier.to_string()));
            }
            "carried" => {
                let line = parse(number, event, fields)?;
                self.carried.push((number, self.lived, line));
            }
            "event" => {
                let event = Transition::Event(Box::new(parse(number, event, fields)?));
                self.transitions.push((number, event));
            }
            "command" => {
                let decided = Transition::Decided(Box::new(parse(number, event, fields)?));
                self.transitions.push((number, decided));
            }
            "closed" => self.closed = Some(parse::<Ended>(number, event, fields)?.receipt.outcome),
            RESUMED | CONTINUED => {
                self.lives += u64::from(event == RESUMED);
                self.closed = None;
                let Back { from } = parse(number, event, fields)?;
                self.transitions.retain(|(number, _)| *number < from);
                self.carried.retain(|(number, ..)| *number < from);
            }
            _ => {}
        }
        Ok(())
    }

    fn past(mut self, run: &Path) -> Result<Past, EngineError> {
        let Some(begun) = self.begun.take() else {
            return Err(EngineError::Usage(format!(
                "{}: the run was cut off before it began; start it anew",
                run.display()
            )));
        };
        if self.closed.is_some() {
            self.before_its_end();
        }
        let from = self.transitions.last().map_or(1, |(number, _)| number + 1);
        let carried = self.carried.iter().rev().find(|(number, ..)| *number < from);
        let slot = carried.map(|(.., line)| line.slot()).unwrap_or_default();
        let carried = carried.map(|(_, by_then, line)| Ok::<_, EngineError>((*by_then, Carried::read(run, line)?)));
        let carried = carried.transpose()?;
        let used = carried.as_ref().map_or(self.lived, |(by_then, carried)| {
            carried.used + self.lived.saturating_sub(*by_then)
        });
        let door = self.door(used);
        let stand = self.stand();
        if stand.is_some() && carried.is_none() {
            return Err(EngineError::Usage(format!(
                "{}: the run's chain does not say what was carried over",
                run.display()
            )));
        }
        Ok(Past {
            verb: begun.verb,
            target: begun.target,
            policy: begun.policy,
            narrowed: self.narrowed,
            options: begun.options,
            cassette: begun.inputs.cassette,
            branch: begun.inputs.from,
            copied: self.copied,
            ledgers: self.ledgers,
            walls: self.walls,
            lives: self.lives,
            closed: self.closed,
            from,
            stand,
            carried: carried.map(|(_, carried)| carried),
            slot,
            used,
            door,
        })
    }

    /// A run that has ended for its sandbox or its host goes back behind what ended it.
    fn before_its_end(&mut self) {
        let ended = |transition: &Transition| matches!(transition, Transition::Decided(decided) if matches!(decided.command, Command::End(_)));
        if self.transitions.last().is_some_and(|(_, last)| ended(last)) {
            self.transitions.pop();
            // The event that it came of, and not what the machine had decided before.
            if matches!(self.transitions.last(), Some((_, Transition::Event(_)))) {
                self.transitions.pop();
            }
        }
    }

    /// Where the machine goes on.
    fn stand(&self) -> Option<(Option<Machine>, At)> {
        let machine = self
            .transitions
            .iter()
            .rev()
            .find_map(|(_, transition)| match transition {
                Transition::Decided(decided) => Some(decided.machine.clone()),
                Transition::Event(_) => None,
            });
        let at = match &self.transitions.last()?.1 {
            Transition::Decided(decided) => At::Command(decided.command.clone()),
            Transition::Event(event) => At::Told((**event).clone()),
        };
        Some((machine, at))
    }

    /// Turns that began, by their labels.
    fn door(&self, wall: Duration) -> broker::Past {
        let mut turns: HashMap<String, u32> = HashMap::new();
        let mut last = None;
        for (_, transition) in &self.transitions {
            last = match transition {
                Transition::Decided(decided) => match &decided.command {
                    Command::Turn {
                        purpose, try_number, ..
                    } => {
                        let label = purpose.label(*try_number);
                        *turns.entry(label.clone()).or_default() += 1;
                        Some(label)
                    }
                    _ => None,
                },
                Transition::Event(_) => None,
            };
        }
        // The one that was cut off begins anew under its number.
        let cut_off = last.map(|label| {
            let count = turns.entry(label.clone()).or_default();
            let number = *count;
            *count = count.saturating_sub(1);
            (label, number)
        });
        broker::Past { turns, cut_off, wall }
    }
}

impl Past {
    /// The files of what was being done when the run was cut off, by their beginnings:
    /// directories, each with the names that are of it.
    pub fn left(&self, dir: &str, name: &str) -> bool {
        let numbered = |most: u64| {
            let number: Option<u64> = name.split(['-', '.']).next().and_then(|number| number.parse().ok());
            number.is_some_and(|number| number > most)
        };
        let Some(carried) = &self.carried else {
            return true;
        };
        match dir {
            "turns" => numbered(carried.turns),
            "guard" => numbered(carried.guard_events),
            "checkpoints" => carried.step.is_none_or(numbered),
            _ => true,
        }
    }

    /// Directories and files besides, whole.
    pub fn left_whole(&self) -> Vec<String> {
        let iteration = |machine: &Option<Machine>| {
            let number = machine.as_ref().map_or(0, Machine::iteration);
            format!("iter_{number:04}")
        };
        let mut left: Vec<String> = ["files", "changes.json", "changes.patch", "summary.json"]
            .map(str::to_owned)
            .to_vec();
        match &self.stand {
            None => left.extend(["bootstrap", "scaffold"].map(str::to_owned)),
            Some((machine, At::Command(Command::Verify))) => left.push(iteration(machine)),
            Some((
                machine,
                At::Command(Command::Turn {
                    purpose: Purpose::FixOrReplan { .. },
                    ..
                }),
            )) => {
                left.push(format!("{}/actions", iteration(machine)));
            }
            Some(_) => {}
        }
        left
    }

    /// What the machine does next, in a word.
    pub fn at(&self) -> &'static str {
        self.stand
            .as_ref()
            .and_then(|(machine, _)| machine.as_ref())
            .map_or(Position::Ready.name(), |machine| machine.position().name())
    }
}

fn parse<T: DeserializeOwned>(number: u64, event: &str, fields: &str) -> Result<T, EngineError> {
    serde_json::from_str(fields)
        .map_err(|why| EngineError::Usage(format!("journal.jsonl, record {number}: `{event}`: {why}")))
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
