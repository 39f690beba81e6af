//! `completions` and `man`: the grammar of the command line, for shells and for readers.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use super::{args::Cli, reports};
use crate::{engine::EngineError, report::Reporter};

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Which shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The directory; it has to be there.
    pub dir: Option<PathBuf>,
}

/// Performs `completions`.
pub(super) fn completions(args: &CompletionsArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    let mut grammar = Cli::command();
    let name = grammar.get_name().to_owned();
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut grammar, name, &mut bytes);
    reports::deliver(&String::from_utf8_lossy(&bytes), None, reporter)
}

/// Performs `man`.
pub(super) fn man(args: &ManArgs, reporter: &Reporter) -> Result<u8, EngineError> {
    let mut grammar = Cli::command();
    grammar.build();
    let Some(dir) = &args.dir else {
        return reports::deliver(&page(&grammar)?, None, reporter);
    };
    let mut written = Vec::new();
    let mut left = vec![(grammar.get_name().to_owned(), grammar)];
    while let Some((name, command)) = left.pop() {
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let name = format!("{name}-{}", verb.get_name());
            left.push((name.clone(), verb.clone().name(name)));
        }
        written.push(write(dir, &name, &page(&command)?)?);
    }
    written.sort();
    let text = written
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>();
    reporter.result(&json!({"written": written}), &text.join("\n"));
    Ok(0)
}

/// One manual page (roff).
fn page(command: &clap::Command) -> Result<String, EngineError> {
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut bytes)
        .map_err(|source| EngineError::Io {
            what: "render a manual page".to_owned(),
            source,
        })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf, EngineError> {
    let path = dir.join(format!("{name}.1"));
    std::fs::write(&path, text).map_err(|source| EngineError::Io {
        what: format!("write {}", path.display()),
        source,
    })?;
    Ok(path)
}
