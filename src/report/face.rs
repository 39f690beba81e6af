//! How happenings are shown.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Happening;
use crate::{
    guard::Ruling,
    record::{Redactor, Secret},
    sandbox::WallState,
};

/// Between two pictures of the live line.
const TICK: Duration = Duration::from_millis(120);

/// How to show what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// A live line on a terminal, plain lines elsewhere (stderr); results on stdout.
    Human,
    /// JSON lines on stdout, nothing else there.
    Json,
}

/// The terminal is somebody else's as long as this lives.
pub struct Aside(Option<Arc<ProgressBar>>);

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(TICK);
        }
    }
}

/// Where happenings go. Cheap to clone; never fails (a closed pipe ends output, not the run).
#[derive(Clone)]
pub struct Reporter {
    face: Face,
    verbose: u8,
    /// The live line; only on a terminal.
    live: Option<Arc<ProgressBar>>,
    /// Who is told in place of the terminal.
    listener: Option<Arc<Listener>>,
    secrets: Arc<Secrets>,
}

/// Takes each happening as its JSON line would be.
type Listener = dyn Fn(serde_json::Value) + Send + Sync;

#[derive(Default)]
struct Secrets {
    all: Mutex<Vec<Secret>>,
    redactor: RwLock<Redactor>,
}

impl Reporter {
    /// `verbose`: 1 shows what the agent does and every wall even without a terminal.
    pub fn new(face: Face, verbose: u8) -> Self {
        let live = (face == Face::Human && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {prefix} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            Arc::new(bar)
        });
        Self {
            face,
            verbose,
            live,
            listener: None,
            secrets: Arc::default(),
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
        let mut all = self.secrets.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(secrets);
        *self.secrets.redactor.write().unwrap_or_else(PoisonError::into_inner) = Redactor::new(&all);
    }

    /// Keeps the live line away from the terminal until what is returned is dropped.
    pub fn step_aside(&self) -> Aside {
        let live = self.live.clone();
        if let Some(bar) = &live {
            bar.disable_steady_tick();
            bar.set_draw_target(ProgressDrawTarget::hidden());
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
            }
            Happening::Walls { report } => self.walls(&report),
            Happening::Copying { files, bytes } => {
                self.fleeting(&format!("copying the target: {files} files, {} MiB", bytes >> 20));
            }
            Happening::State { state, iteration, step } => {
                let step = step.map(|step| format!("  STEP_ID={step}")).unwrap_or_default();
                let text = format!("[{iteration}] {state}{step}");
                if let Some(bar) = &self.live {
                    bar.set_prefix(self.clean(&text).into_owned());
                }
                self.line(&text);
            }
            Happening::Agent { line, calls, tokens } => {
                self.fleeting(&format!("{calls} calls, {tokens} tokens  {line}"));
                if self.verbose > 0 {
                    self.line(&format!("      agent: {line}"));
                }
            }
            Happening::StageStarted { stage, command } => {
                self.fleeting(&format!("{stage}: {command}"));
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
        let redactor = self.secrets.redactor.read().unwrap_or_else(PoisonError::into_inner);
        redactor.text(text)
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
        let text = self.clean(text);
        match &self.live {
            Some(bar) => bar.suspend(|| {
                let _ = writeln!(io::stderr().lock(), "{text}");
            }),
            None => {
                let _ = writeln!(io::stderr().lock(), "{text}");
            }
        }
    }

    /// A text that the next one replaces; nothing where there is no terminal.
    fn fleeting(&self, text: &str) {
        if let Some(bar) = &self.live {
            bar.set_message(self.clean(text).into_owned());
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.live {
            bar.finish_and_clear();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a run are far below 2^52")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
