//! `policy list`: the policies that there are, and the text of one.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    engine::EngineError,
    policy::{HostPlaces, NAMES, PolicyError, Source, host_names, load, load_file, shipped_file, shipped_text},
    record,
    report::{Reporter, escape},
};

/// The exit code of policies that do not hold: that of any configuration.
const MALFORMED: u8 = 2;

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// A shipped policy, to print its text.
    name: Option<String>,
}

/// One policy.
struct Row {
    name: String,
    /// Who keeps it.
    of: &'static str,
    file: String,
    /// It and what it stands on, or why it cannot be used.
    loaded: Result<Vec<Source>, PolicyError>,
}

impl Row {
    fn purpose(&self) -> Option<&str> {
        self.loaded.as_ref().ok()?.last()?.purpose()
    }
}

/// Performs `policy list`.
pub(super) fn perform(args: &ListArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    if let Some(name) = &args.name {
        let text = shipped_text(name).ok_or_else(|| {
            let name = escape(name.as_bytes(), 60);
            EngineError::Usage(format!("no policy `{name}` is shipped; there are {}", NAMES.join(", ")))
        })?;
        reporter.result(&json!({"name": name, "text": text}), text.trim_end());
        return Ok(0);
    }
    let host = record::policy_places();
    let rows = rows(&host);
    let value: Vec<Value> = rows
        .iter()
        .map(|row| {
            let error = row.loaded.as_ref().err().map(ToString::to_string);
            json!({"name": row.name, "of": row.of, "file": row.file, "purpose": row.purpose(), "error": error})
        })
        .collect();
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let about = match &row.loaded {
                Ok(_) => row.purpose().unwrap_or("-").to_owned(),
                Err(why) => format!("error: {why}"),
            };
            let about = escape(about.as_bytes(), 300);
            let (name, of, file) = (&row.name, row.of, &row.file);
            format!("{name:<width$}  {of:<7}  {about}\n{:<width$}           {file}", "")
        })
        .collect();
    reporter.result(&json!({"policies": value}), &lines.join("\n"));
    Ok(0)
}

/// Every policy: the shipped ones, those of the host that always hold, and those it names.
fn rows(host: &HostPlaces) -> Vec<Row> {
    let shipped = NAMES.iter().map(|name| Row {
        name: (*name).to_owned(),
        of: "shipped",
        file: shipped_file(name),
        loaded: load(name, &HostPlaces::default()),
    });
    let of_path = |name: String, path: &Path| Row {
        name,
        of: "host",
        file: path.display().to_string(),
        loaded: load_file(path, host),
    };
    let always = host.files.iter().filter(|file| file.exists());
    let always = always.map(|file| of_path("(every run)".to_owned(), file));
    let named = host_names(host).into_iter().map(|(name, file)| of_path(name, &file));
    shipped.chain(always).chain(named).collect()
}

/// Performs `policy check`.
pub(super) fn check(reference: Option<&str>, reporter: &Reporter) -> Result<u8, EngineError> {
    let host = record::policy_places();
    let wanted = match reference {
        Some(reference) => vec![(reference.to_owned(), load(reference, &host))],
        None => rows(&host).into_iter().map(|row| (row.file, row.loaded)).collect(),
    };
    let mut problems = Vec::new();
    let mut names = Vec::new();
    for (name, loaded) in wanted {
        names.push(name);
        match loaded {
            Ok(_) => {}
            Err(PolicyError::Malformed(found)) => {
                problems.extend(found.iter().map(|problem| (json!(problem), problem.to_string())));
            }
            Err(other) => problems.push((json!({"message": other.to_string()}), other.to_string())),
        }
    }
    let (values, lines): (Vec<Value>, Vec<String>) = problems.into_iter().unzip();
    let good = lines.is_empty();
    let text = match good {
        true => format!(
            "every rule is well formed and every example holds: {}",
            names.join(", ")
        ),
        false => {
            let lines = lines.iter().map(|line| escape(line.as_bytes(), 500));
            lines.collect::<Vec<_>>().join("\n")
        }
    };
    reporter.result(&json!({"ok": good, "checked": names, "problems": values}), &text);
    Ok(if good { 0 } else { MALFORMED })
}
