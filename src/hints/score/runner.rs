//! Which forms a command can print, and which reports it writes, by its words.

use super::Format;
use crate::{
    hints::{kind, placeholder},
    names::RelPath,
    policy::shell::listed,
};

/// Options whose value is the file of a report.
const REPORTS: [&str; 15] = [
    "--junitxml",
    "--junit-xml",
    "--junit-output",
    "--output-junit",
    "--json-report-file",
    "--ctrf",
    "--ctrf-output",
    "--outputFile",
    "--output",
    "--output-file",
    "--output_file",
    "--output-path",
    "--output_path",
    "--results",
    "-o",
];

/// Most reports of one command.
const REPORTS_MAX: usize = 4;

/// The forms that a command can print; none where that is not known, and any may come.
pub fn formats(command: &str) -> Vec<Format> {
    let hidden = placeholder::hide(command);
    let mut all = Vec::new();
    for command in listed(&hidden.text)
        .unwrap_or_default()
        .iter()
        .flat_map(|item| &item.commands)
    {
        let words = kind::words(command);
        let core = &words[kind::surrounded(&words)..];
        let Some(program) = core.first() else { continue };
        let module = core
            .iter()
            .position(|word| *word == "-m")
            .and_then(|at| core.get(at + 1))
            .copied();
        let verb = core
            .iter()
            .skip(1)
            .find(|word| !word.starts_with('-') && !word.starts_with('+'))
            .copied();
        let format = match (kind::name(program), module, verb) {
            ("pytest" | "py.test", ..) => Format::Pytest,
            (name, Some("pytest"), _) if kind::is_python(name) => Format::Pytest,
            (name, Some("unittest"), _) if kind::is_python(name) => Format::Unittest,
            ("cargo", _, Some("test" | "t" | "nextest")) => Format::Cargo,
            ("go", _, Some("test")) if core.contains(&"-json") => Format::GoJson,
            ("go", _, Some("test")) => Format::Go,
            ("ctest", ..) => Format::Ctest,
            ("jest", ..) => Format::Jest,
            ("vitest", ..) => Format::Vitest,
            ("cd" | "export" | "true" | ":" | "set", ..) => continue,
            // Whatever runs beside it can print anything.
            _ => return Vec::new(),
        };
        if !all.contains(&format) {
            all.push(format);
        }
    }
    all
}

/// The files that a command is told to write a report to, in the root's own terms.
pub fn reports(command: &str) -> Vec<RelPath> {
    let mut all = Vec::new();
    let mut dir = String::new();
    for command in listed(command)
        .unwrap_or_default()
        .iter()
        .flat_map(|item| &item.commands)
    {
        let words = kind::words(command);
        if let ["cd", to] = words.as_slice() {
            dir = format!("{dir}{to}/");
            continue;
        }
        for (at, word) in words.iter().enumerate() {
            let (option, value) = word.split_once('=').unwrap_or((word, ""));
            let value = match value {
                "" => words.get(at + 1).copied().unwrap_or_default(),
                value => value,
            };
            let is_report = REPORTS.contains(&option) && (value.ends_with(".xml") || value.ends_with(".json"));
            if !is_report || value.starts_with('/') || all.len() == REPORTS_MAX {
                continue;
            }
            all.extend(RelPath::new(format!("{dir}{}", value.trim_start_matches("./"))));
        }
    }
    all
}
