//! How happenings are shown.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use super::{Happening, live::Live, reading::visible};
use crate::{
    guard::Ruling,
    record::{Redactor, Secret},
    sandbox::WallState,
};

/// How to show what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// A live picture on a terminal, plain lines elsewhere (stderr); results on stdout.
    Human,
    /// JSON lines on stdout, nothing else there.
    Json,
}

/// The terminal is somebody else's as long as this lives.
pub struct Aside(Option<Arc<Live>>);

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(live) = &self.0 {
            live.back();
        }
    }
}

/// Where happenings go. Cheap to clone; never fails (a closed pipe ends output, not the run).
#[derive(Clone)]
pub struct Reporter {
    face: Face,
    verbose: u8,
    /// The live picture; only on a terminal.
    live: Option<Arc<Live>>,
    /// Who is told in place of the terminal.
    listener: Option<Arc<Listener>>,
    secrets: Arc<Secrets>,
}

/// Takes each happening as its JSON line would be.
type Listener = dyn Fn(serde_json::Value) + Send + Sync;

/// What is never shown.
#[derive(Default)]
pub(super) struct Secrets {
    all: Mutex<Vec<Secret>>,
    redactor: RwLock<Redactor>,
}

impl Secrets {
    /// From now on none of `secrets` is shown.
    pub fn hide(&self, secrets: &[Secret]) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(secrets);
        *self.redactor.write().unwrap_or_else(PoisonError::into_inner) = Redactor::new(&all);
    }

    /// A text without them.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.redactor.read().unwrap_or_else(PoisonError::into_inner).text(text)
    }
}

impl Reporter {
    /// `verbose`: 1 shows what the agent does and every wall even without a terminal.
    pub fn new(face: Face, verbose: u8) -> Self {
        let secrets = Arc::<Secrets>::default();
        // A terminal that can do nothing gets lines, as a pipe does.
        let dumb = std::env::var_os("TERM").is_none_or(|name| name == "dumb");
        let drawn = face == Face::Human && io::stderr().is_terminal() && !dumb;
        let live = drawn.then(|| Arc::new(Live::new(secrets.clone())));
        Self {
            face,
            verbose,
            live,
            listener: None,
            secrets,
        }
    }

    /// Tells `listener` of every happening, and shows nothing.
    pub fn to(listener: impl Fn(serde_json::Value) + Send + Sync + 'static) -> Self {
        Self {
            face: Face::Json,
            verbose: 0,
            live: None,
            listener: Some(Arc::new(listener)),
            secrets: Arc::default(),
        }
    }

    /// How results are shown.
    pub fn face(&self) -> Face {
        self.face
    }

    /// From now on none of `secrets` is shown, here and by every clone.
    pub fn hide(&self, secrets: &[Secret]) {
        self.secrets.hide(secrets);
    }

    /// Keeps the live picture away from the terminal until what is returned is dropped.
    pub fn step_aside(&self) -> Aside {
        let live = self.live.clone();
        if let Some(live) = &live {
            live.aside();
        }
        Aside(live)
    }

    /// Shows a happening.
    pub fn say(&self, happening: Happening) {
        if self.face == Face::Json {
            if let Ok(value) = serde_json::to_value(&happening) {
                self.json(value);
            }
            return;
        }
        match happening {
            Happening::RunStarted { run, target, artifacts } => {
                self.line(&format!("run {run}\n  target    {target}\n  artifacts {artifacts}"));
                if let Some(live) = &self.live {
                    live.begin(artifacts.as_ref());
                }
            }
            Happening::Caps { caps } => {
                if let Some(live) = &self.live {
                    live.caps(&caps);
                }
            }
            Happening::Walls { report } => self.walls(&report),
            Happening::Copying { files, bytes } => {
                self.fleeting(&format!("copying the target: {files} files, {} MiB", bytes >> 20));
            }
            Happening::State { state, iteration, step } => {
                let step = step.map(|step| format!("  STEP_ID={step}")).unwrap_or_default();
                let text = format!("[{iteration}] {state}{step}");
                if let Some(live) = &self.live {
                    live.state(iteration, self.shown(&text));
                }
                self.line(&text);
            }
            Happening::Agent { line, calls, tokens } => {
                self.fleeting(&line);
                if let Some(live) = &self.live {
                    live.model(calls, tokens);
                }
                if self.verbose > 0 {
                    self.line(&format!("      agent: {line}"));
                }
            }
            Happening::StageStarted { stage, command, output } => {
                self.fleeting(&format!("{stage}: {command}"));
                if let Some(live) = &self.live {
                    live.watch(output.as_deref());
                }
                if self.verbose > 0 {
                    self.line(&format!("      {stage}: {command}"));
                }
            }
            Happening::StageEnded {
                stage,
                ok,
                wall_ms,
                reason,
            } => {
                let verdict = if ok { "passed" } else { "FAILED" };
                let reason = reason.map(|r| format!(": {r}")).unwrap_or_default();
                self.line(&format!("      {stage} {verdict} in {:.2} s{reason}", seconds(wall_ms)));
            }
            Happening::Guard {
                ruling, path, because, ..
            } => {
                let what = if ruling == Ruling::Violation { "GUARD" } else { "guard" };
                self.line(&format!("      {what}: {path}: {because}"));
            }
            Happening::Target {
                target,
                done,
                of,
                outcome,
                attribution,
                score,
                reason,
                wall_ms,
            } => {
                let whose = attribution.map(|whose| format!(" ({whose})")).unwrap_or_default();
                let score = score.map(|score| format!(", score {score}")).unwrap_or_default();
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                self.line(&format!(
                    "[{done}/{of}] {target} {outcome}{whose} in {:.2} s{score}{reason}",
                    seconds(wall_ms)
                ));
            }
            Happening::Working { text } => self.fleeting(&text),
            Happening::Note { text } => self.line(&text),
            Happening::Warning { text } => self.line(&format!("warning: {text}")),
            Happening::Error { message, .. } => {
                self.clear();
                self.line(&format!("error: {message}"));
            }
            Happening::Ended { .. } => self.clear(),
        }
    }

    /// A result for a person, on stdout; JSON has it in its own lines.
    pub fn print(&self, text: &str) {
        if self.face == Face::Human {
            self.clear();
            let _ = writeln!(io::stdout().lock(), "{}", self.clean(text));
        }
    }

    /// The one result of a verb that has no happenings: JSON or text, on stdout.
    pub fn result(&self, value: &serde_json::Value, text: &str) {
        match self.face {
            Face::Human => self.print(text),
            Face::Json => self.json(value.clone()),
        }
    }

    /// Why the program ends without a result.
    pub fn fail(&self, exit: u8, why: &str) {
        let message = why.to_owned();
        self.say(Happening::Error { exit, message });
    }

    fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.secrets.clean(text)
    }

    fn json(&self, value: serde_json::Value) {
        let redactor = self.secrets.redactor.read().unwrap_or_else(PoisonError::into_inner);
        let value = redactor.value(value);
        if let Some(listener) = &self.listener {
            return listener(value);
        }
        let _ = writeln!(io::stdout().lock(), "{}", value);
    }

    fn walls(&self, report: &crate::sandbox::WallReport) {
        let weak: Vec<_> = report
            .walls
            .iter()
            .filter(|wall| wall.state != WallState::Enforced)
            .collect();
        self.line(&format!(
            "  walls     {} ({} of {} as asked)",
            report.tier,
            report.walls.len() - weak.len(),
            report.walls.len()
        ));
        for wall in &report.walls {
            match &wall.state {
                WallState::Enforced if self.verbose > 0 => self.line(&format!("            {}", wall.name)),
                WallState::Enforced => {}
                WallState::Degraded(why) => self.line(&format!("            {} weaker: {why}", wall.name)),
                WallState::Absent(why) => self.line(&format!("            {} ABSENT: {why}", wall.name)),
            }
        }
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        let text = self.shown(text);
        match &self.live {
            Some(live) => live.line(&text),
            None => {
                let _ = writeln!(io::stderr().lock(), "{text}");
            }
        }
    }

    /// A text that the next one replaces; nothing where there is no terminal.
    fn fleeting(&self, text: &str) {
        if let Some(live) = &self.live {
            live.doing(self.shown(text));
        }
    }

    /// Without secrets, and without anything that a terminal obeys: whoever said it has escaped
    /// what comes from inside, and this holds if they forgot.
    fn shown(&self, text: &str) -> String {
        visible(self.clean(text).as_bytes())
    }

    fn clear(&self) {
        if let Some(live) = &self.live {
            live.clear();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a run are far below 2^52")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
