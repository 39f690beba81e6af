//! `report`, `export` and `view`: a run, read back.

use std::{
    io::Write as _,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::{
    engine::{EngineError, Stop},
    record,
    report::{
        Face, Happening, Links, Reporter, formats, html,
        reading::{Detail, Folder, RunView, read_run, read_suite},
        serve, suite_html,
        trajectory::{self, Shape},
    },
};

/// Which run.
#[derive(Debug, Args)]
pub(super) struct WhichRun {
    /// The run: `latest`, its id, the beginning of one, or a path.
    #[arg(default_value = "latest")]
    pub run: String,
    /// Directory that holds run directories [default: the XDG state directory].
    #[arg(long, value_name = "DIR")]
    pub artifacts_dir: Option<PathBuf>,
}

impl WhichRun {
    /// Its directory.
    pub fn find(&self) -> Result<PathBuf, EngineError> {
        let runs = match &self.artifacts_dir {
            Some(dir) => dir.clone(),
            None => record::default_runs_dir()?,
        };
        record::find_run(&runs, &self.run).map_err(|why| EngineError::Usage(why.to_string()))
    }
}

/// What a report is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// One page that needs nothing else.
    Html,
    /// JUnit XML: the last verification as test cases.
    Junit,
    /// CTRF JSON, likewise.
    Ctrf,
    /// SARIF 2.1.0: what the guard and policy found.
    Sarif,
    /// Annotations for GitHub Actions; the summary goes to $GITHUB_STEP_SUMMARY.
    Github,
    /// That summary, in Markdown.
    Markdown,
    /// The whole view as JSON (schema `report`).
    Json,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    pub which: WhichRun,
    /// What it is for.
    #[arg(long, value_enum, default_value = "html")]
    pub format: ReportFormat,
    /// Where it goes; `-` is standard output [default: html to opencode-fsm-ID.html here, others to standard output].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The iterations whose commands, output and tool calls are shown: N, A-B or none [default: all of a short run; the first, the last and the failed ones of a long one].
    #[arg(long, value_name = "A-B", value_parser = detail)]
    pub iterations: Option<Detail>,
}

/// Performs `report`.
pub(super) fn report(args: &ReportArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    let named = Path::new(&args.which.run);
    if args.which.run.contains('/') && named.join("suite.json").is_file() {
        return suite(named, args, reporter);
    }
    let run = args.which.find()?;
    let detail = args.iterations.clone().unwrap_or_default();
    let view = read_run(&run, &detail).map_err(reading(&run))?;
    let text = match args.format {
        ReportFormat::Html => html(&view, Links::None).map_err(|why| EngineError::Usage(why.to_string()))?,
        ReportFormat::Junit => formats::junit(&view),
        ReportFormat::Ctrf => pretty(&formats::ctrf(&view)),
        ReportFormat::Sarif => pretty(&formats::sarif(&view)),
        ReportFormat::Github => for_github(&view)?,
        ReportFormat::Markdown => formats::markdown(&view),
        ReportFormat::Json => pretty(&view),
    };
    deliver(&text, destination(args, &view.id).as_deref(), reporter)
}

/// What a trajectory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    /// ATIF 1.7: one JSON document.
    Atif,
    /// A log of Inspect, in its JSON form; the file's name has to end in .json for it.
    Inspect,
    /// ShareGPT: JSON lines, one a turn.
    Sharegpt,
    /// TRL: JSON lines of prompt, completion and reward.
    Trl,
    /// verl: JSON lines of messages and reward.
    Verl,
    /// OTLP: the spans of the run for OpenTelemetry, one JSON document on one line.
    Otlp,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    pub which: WhichRun,
    /// What it is for.
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// Where it goes; `-` is standard output [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Performs `export`.
pub(super) fn export(args: &ExportArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    let path = args.which.find()?;
    let run = read_run(&path, &Detail::Nothing).map_err(reading(&path))?;
    let folder = Folder::open(&path).map_err(reading(&path))?;
    // How a verification went can be told in spans; a trajectory is an agent's.
    if run.totals.turns == 0 && args.format != ExportFormat::Otlp {
        let shown = path.display();
        return Err(EngineError::Usage(format!(
            "no agent took part in {shown}: there is no trajectory"
        )));
    }
    let lines = |shape| {
        let mut text = String::new();
        trajectory::rows(&folder, &run, shape, |row| text += &format!("{row}\n"));
        text
    };
    let text = match args.format {
        ExportFormat::Atif => pretty(&trajectory::atif(&folder, &run)),
        ExportFormat::Inspect => pretty(&trajectory::inspect(&folder, &run)),
        ExportFormat::Sharegpt => lines(Shape::ShareGpt),
        ExportFormat::Trl => lines(Shape::Trl),
        ExportFormat::Verl => lines(Shape::Verl),
        ExportFormat::Otlp => format!("{}\n", trajectory::otlp(&folder, &run)),
    };
    let output = args.output.as_deref().filter(|path| path.as_os_str() != "-");
    deliver(&text, output, reporter)
}

/// The report of a suite, which is named by its directory.
fn suite(path: &Path, args: &ReportArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    let view = read_suite(path).map_err(reading(path))?;
    let text = match args.format {
        ReportFormat::Html => suite_html(&view).map_err(|why| EngineError::Usage(why.to_string()))?,
        ReportFormat::Junit => formats::suite_junit(&view),
        ReportFormat::Json => pretty(&view),
        _ => {
            let why = "a suite is told as html, junit or json; the runs of its targets as anything";
            return Err(EngineError::Usage(why.to_owned()));
        }
    };
    deliver(&text, destination(args, &view.id).as_deref(), reporter)
}

/// Where a report goes; nothing is standard output.
fn destination(args: &ReportArgs, id: &str) -> Option<PathBuf> {
    match (&args.output, args.format) {
        (Some(path), _) if path.as_os_str() == "-" => None,
        (None, ReportFormat::Html) => Some(PathBuf::from(format!("opencode-fsm-{}.html", file_name(id)))),
        (output, _) => output.clone(),
    }
}

#[derive(Debug, Args)]
pub(super) struct ViewArgs {
    #[command(flatten)]
    pub which: WhichRun,
    /// The port on the loopback [default: any that is free].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub port: u16,
}

/// Performs `view`: until it is stopped.
pub(super) async fn view(args: &ViewArgs, reporter: &Reporter, mut stop: Stop) -> Result<u8, EngineError> {
    let run = args.which.find()?;
    let stopped = async move {
        stop.requested().await;
    };
    let tell = |address: &str| {
        let text = format!("{address}\nwho has this address can read the run; Ctrl-C ends it");
        reporter.result(&json!({"address": address}), &text);
    };
    serve(&run, args.port, stopped, tell)
        .await
        .map_err(|source| EngineError::Io {
            what: format!("serve {}", run.display()),
            source,
        })?;
    Ok(0)
}

/// Whether, and how, a job of a CI service is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Ci {
    /// GitHub Actions, where it is one ($GITHUB_ACTIONS).
    Auto,
    /// GitHub Actions.
    Github,
    /// Nobody.
    None,
}

/// Tells the CI service that this is a job of how a run ended. Nothing of it changes what
/// the run came to.
pub(super) fn tell_ci(ci: Ci, run: &Path, reporter: &Reporter) {
    let detected = std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
    if ci == Ci::None || (ci == Ci::Auto && !detected) {
        return;
    }
    let told = read_run(run, &Detail::Nothing)
        .map_err(reading(run))
        .and_then(|view| for_github(&view));
    match told {
        // Standard error: a job looks at both, and standard output may be JSON.
        Ok(lines) => eprint!("{lines}"),
        Err(why) => reporter.say(Happening::Warning {
            text: format!("the CI service is not told: {why}"),
        }),
    }
}

/// Appends the summary where GitHub wants it; gives the annotations.
fn for_github(view: &RunView) -> Result<String, EngineError> {
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(&path);
        let written = opened.and_then(|mut file| file.write_all(formats::markdown(view).as_bytes()));
        written.map_err(|source| EngineError::Io {
            what: format!("append to {}", path.display()),
            source,
        })?;
    }
    // Where the target lies below what was checked out.
    let below = std::env::var_os("GITHUB_WORKSPACE").and_then(|workspace| {
        let below = Path::new(&view.target).strip_prefix(workspace).ok()?;
        Some(below.display().to_string())
    });
    Ok(formats::annotations(view, &below.unwrap_or_default()))
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Writes a text where it is to go, and says where.
pub(super) fn deliver(text: &str, output: Option<&Path>, reporter: &Reporter) -> Result<u8, EngineError> {
    match output {
        Some(path) => {
            std::fs::write(path, text).map_err(|source| EngineError::Io {
                what: format!("write {}", path.display()),
                source,
            })?;
            let shown = path.display().to_string();
            reporter.result(&json!({"written": shown, "bytes": text.len()}), &shown);
        }
        None if reporter.face() == Face::Json => reporter.result(&json!({"text": text}), text),
        None => std::io::stdout()
            .lock()
            .write_all(text.as_bytes())
            .map_err(|source| EngineError::Io {
                what: "write to standard output".to_owned(),
                source,
            })?,
    }
    Ok(0)
}

/// Says that a run could not be read.
pub(super) fn reading(run: &Path) -> impl FnOnce(std::io::Error) -> EngineError {
    let what = format!("read {}", run.display());
    move |source| EngineError::Io { what, source }
}

/// An id that may have been made up, as a part of a file's name.
fn file_name(id: &str) -> String {
    let fit = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-');
    fit.take(60).collect()
}

/// `7`, `3-20` or `none`.
fn detail(text: &str) -> Result<Detail, String> {
    let wrong = || "N, A-B or none is expected".to_owned();
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
    let range: RangeInclusive<u64> = match text.split_once('-') {
        _ if text == "none" => return Ok(Detail::Nothing),
        Some((first, last)) => number(first)?..=number(last)?,
        None => number(text)?..=number(text)?,
    };
    if range.is_empty() {
        Err(wrong())
    } else {
        Ok(Detail::Only(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iterations_are_a_number_a_range_or_none() {
        assert_eq!(detail("7"), Ok(Detail::Only(7..=7)));
        assert_eq!(detail("3-20"), Ok(Detail::Only(3..=20)));
        assert_eq!(detail("none"), Ok(Detail::Nothing));
        for bad in ["", "x", "5-3", "1-2-3", "-1"] {
            assert!(detail(bad).is_err(), "{bad}");
        }
    }
}
