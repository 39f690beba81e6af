//! All probes, what they need, and the table that is printed of their verdicts.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use opencode_fsm::{policy::SandboxPlan, sandbox::owner};

use crate::{Column, NOT_APPLICABLE, Verdicts, bounds, commands, copies, probe::Probe, surroundings};

const BEGIN: &str = "<!-- conformance: begin -->";
const END: &str = "<!-- conformance: end -->";
/// Fewer would leave something out.
const FEWEST: usize = 60;

/// The table of probes.
pub fn probes() -> Vec<Probe> {
    let mut all = surroundings::probes();
    all.extend(bounds::probes());
    all.extend(commands::probes());
    all.extend(copies::probes());
    // A sandbox's first probe finds it as it was made; what fills or wears it comes last.
    all.sort_by_key(|probe| probe.group);
    all
}

/// Names are unique, and whoever is named exists.
pub fn well_formed(probes: &[Probe], columns: &[Column]) {
    let names: BTreeSet<_> = probes.iter().map(|probe| probe.name).collect();
    assert_eq!(names.len(), probes.len(), "names are unique");
    assert!(probes.len() >= FEWEST, "{} probes", probes.len());
    for column in columns {
        for known in column.differences {
            assert!(names.contains(known.probe), "no probe `{}`", known.probe);
            assert!(
                !known.why.is_empty() && known.reference != known.verdict,
                "{}",
                known.probe
            );
        }
        for name in column.not_applicable {
            assert!(names.contains(name), "no probe `{name}`");
            assert!(column.known(name).is_none(), "`{name}` is asked or not");
        }
    }
}

/// Gives a sandbox's tree what probes look at, and the plan its caps.
pub fn prepare(dir: &Path, plan: &mut SandboxPlan) {
    plan.limits.processes = 96;
    plan.limits.memory_bytes = 384 << 20;
    plan.limits.scratch_bytes = 8 << 20;
    plan.limits.scratch_inodes = 512;
    plan.limits.file_bytes = 16 << 20;
    plan.limits.open_files = 256;
    plan.workspace.max_bytes = 48 << 20;
    let lower = dir.join("lower");
    fs::create_dir(lower.join("deep")).expect("mkdir");
    for (name, mode, text) in [
        ("deep/leaf", 0o644, "leaf\n"),
        ("gone", 0o644, "gone\n"),
        ("script", 0o755, "#!/bin/sh\necho \"$0 $*\"\n"),
        ("no-interpreter", 0o755, "echo plain\n"),
        ("missing-interpreter", 0o755, "#!/no/such\n"),
        ("not-executable", 0o644, "#!/bin/sh\n"),
        ("write-protected", 0o444, "w\n"),
    ] {
        fs::write(lower.join(name), text).expect("write");
        fs::set_permissions(lower.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
    }
    fs::create_dir(lower.join("closed")).expect("mkdir");
    fs::set_permissions(lower.join("closed"), fs::Permissions::from_mode(0o0)).expect("chmod");
    if let Some(id) = owner() {
        for entry in fs::read_dir(&lower).expect("ls").flatten() {
            chown(entry.path(), Some(id), Some(id)).expect("chown");
        }
        chown(lower.join("deep/leaf"), Some(id), Some(id)).expect("chown");
    }
}

/// Writes the table between the marks of a file.
pub fn write(file: &Path, probes: &[Probe], columns: &[(&Column, &Verdicts)], engine: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(&file).expect("read");
    let (before, rest) = text.split_once(BEGIN).expect("the first mark");
    let (_, after) = rest.split_once(END).expect("the second mark");
    let table = markdown(probes, columns, engine);
    fs::write(&file, format!("{before}{BEGIN}\n{table}{END}{after}")).expect("write");
}

fn markdown(probes: &[Probe], columns: &[(&Column, &Verdicts)], engine: &str) -> String {
    let kernel = nix::sys::utsname::uname().expect("uname");
    let release = kernel.release().to_string_lossy();
    let today = today();
    let mut out = format!(
        "\nDocker engine {engine}, Linux {release}, {today}: {} probes.\n\n| group | probe |",
        probes.len()
    );
    for (column, _) in columns {
        let _ = write!(out, " {} |", column.name);
    }
    out.push_str(" note |\n|---|---|");
    out.push_str(&"---|".repeat(columns.len() + 1));
    out.push('\n');
    for probe in probes {
        let _ = write!(out, "| {} | {} |", probe.group, cell(probe.name));
        let mut first = None;
        for (_, verdicts) in columns {
            let verdict = &verdicts[probe.name];
            match first {
                Some(first) if first == verdict => out.push_str(" same |"),
                _ if verdict == NOT_APPLICABLE => out.push_str(" n/a |"),
                _ => {
                    let _ = write!(out, " {} |", code(verdict));
                }
            }
            first.get_or_insert(verdict);
        }
        let mut notes: Vec<String> = Vec::new();
        for (column, _) in columns {
            notes.extend(
                column
                    .known(probe.name)
                    .map(|known| format!("{}: {}", column.name, known.why)),
            );
        }
        let _ = writeln!(out, " {} |", cell(&notes.join("; ")));
    }
    out.push('\n');
    out
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn code(text: &str) -> String {
    if text.is_empty() {
        return "(nothing)".to_owned();
    }
    format!("`{}`", cell(&text.replace('`', "'")))
}

fn today() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock");
    let seconds = i64::try_from(now.as_secs()).expect("this century");
    let day = jiff::Timestamp::from_second(seconds).expect("a time");
    day.to_string().chars().take(10).collect()
}
