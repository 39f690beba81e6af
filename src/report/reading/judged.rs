//! Verifications, their stages and their commands; what the guard took back.

use nix::dir::Type;
use serde_json::Value;

use super::{
    allowance::Allowance,
    episode::{AuditView, CommandView, Evidence, GuardView, Refused, StageView, VerificationView},
    fields::Fields,
    folder::Folder,
    text::line,
};

/// Commands of one verification.
const COMMANDS: usize = 200;
/// Refused changes or outputs of one record.
const REFUSED: usize = 100;
/// Guard records.
const GUARDS: usize = 2_000;

/// A verification, without its commands; nothing where there is none. Its metrics come apart.
pub(super) fn verification(folder: &Folder, directory: &str) -> Option<(VerificationView, Value)> {
    let record = folder.json(&format!("{directory}/summary.json"));
    let ok = record.at("ok").as_bool()?;
    let texts = |name: &str| {
        let texts = record.list(name).iter().filter_map(Value::as_str);
        texts.take(REFUSED).map(|text| line(text, 400)).collect()
    };
    let view = VerificationView {
        directory: directory.to_owned(),
        ok,
        failed_stage: record.line("failed_stage", 60),
        reason: record.line("reason", 1_000),
        blame: record.line("blame", 40),
        cap: record.line("cap", 40),
        evidence: record.line("evidence", 300),
        ms: record.count("wall_ms").unwrap_or(0),
        stages: record.list("stages").iter().map(stage).collect(),
        metrics_errors: texts("metrics_errors"),
        refused: refused(&record, "refused_outputs"),
        sandbox_failures: record
            .list("sandbox_failures")
            .iter()
            .filter_map(|failure| failure.line("why", 400))
            .take(REFUSED)
            .collect(),
        more_commands: 0,
        audit: record.list("audit").iter().take(REFUSED).map(audited).collect(),
    };
    Some((view, record.at("metrics").clone()))
}

/// Pairs of a path and a reason.
pub(super) fn refused(record: &Value, name: &str) -> Vec<Refused> {
    let pairs = record.list(name).iter().filter_map(Value::as_array);
    pairs
        .take(REFUSED)
        .filter_map(|pair| {
            Some(Refused {
                path: line(pair.first()?.as_str()?, 300),
                why: line(pair.get(1)?.as_str()?, 300),
            })
        })
        .collect()
}

fn audited(record: &Value) -> AuditView {
    AuditView {
        rule: record.line("rule", 40).unwrap_or_default(),
        file: record.line("file", 300).unwrap_or_default(),
        line: record.count("line").unwrap_or(1).max(1),
        text: record.line("text", 300).unwrap_or_default(),
    }
}

fn stage(record: &Value) -> StageView {
    StageView {
        name: record.line("stage", 40).unwrap_or_default(),
        ok: record.at("ok").as_bool().unwrap_or(false),
        rc: record.at("rc").as_i64(),
        reason: record.line("reason", 1_000),
        blame: record.line("blame", 40),
        cap: record.line("cap", 40),
        ms: record.count("wall_ms").unwrap_or(0),
        ran: record.count("total_results").unwrap_or(0),
        leaked: record.count("leaked").unwrap_or(0),
        commands: Vec::new(),
    }
}

/// Sorts a verification's commands into its stages.
pub(super) fn commands(folder: &Folder, verification: &mut VerificationView) {
    let mut seen = 0;
    for name in folder.names(&verification.directory, Type::File) {
        let Some((stage, index, attempt)) = parts_of(&name) else {
            continue;
        };
        seen += 1;
        if seen > COMMANDS {
            continue;
        }
        let prefix = format!("{}/{}", verification.directory, name.trim_end_matches("_result.json"));
        let record = folder.json(&format!("{prefix}_result.json"));
        let usage = record.at("usage");
        let command = CommandView {
            command: folder
                .preview(&format!("{prefix}_cmd.txt"), 400, 0)
                .map(|text| line(text.head.trim_end(), 300))
                .unwrap_or_default(),
            index,
            attempt,
            rc: record.at("rc").as_i64(),
            cap: record.line("cap", 40),
            blame: record.line("blame", 40),
            ms: usage.count("wall_ms").unwrap_or(0),
            cpu_ms: usage.count("user_ms").unwrap_or(0) + usage.count("system_ms").unwrap_or(0),
            rss_bytes: usage.count("max_rss_bytes").unwrap_or(0),
            prefix,
            ..CommandView::default()
        };
        match verification.stages.iter_mut().find(|known| known.name == stage) {
            Some(known) => known.commands.push(command),
            None => verification.stages.push(StageView {
                name: line(stage, 40),
                ok: command.rc == Some(0),
                rc: command.rc,
                ms: command.ms,
                ran: 1,
                commands: vec![command],
                ..StageView::default()
            }),
        }
    }
    verification.more_commands = seen.saturating_sub(COMMANDS) as u64;
}

/// What the commands of a verification printed, as far as the allowance goes.
pub(super) fn outputs(folder: &Folder, verification: &mut VerificationView, allowance: &mut Allowance) {
    for command in verification.stages.iter_mut().flat_map(|stage| &mut stage.commands) {
        // What failed is what somebody looks for.
        let (head, tail) = if command.rc == Some(0) {
            (600, 1_400)
        } else {
            (2_000, 6_000)
        };
        let mut printed = |stream: &str| {
            allowance
                .file(folder, &format!("{}_{stream}.txt", command.prefix), head, tail)
                .filter(|text| !text.is_empty())
        };
        (command.stdout, command.stderr) = (printed("stdout"), printed("stderr"));
    }
}

/// `tests_cmd02_try01_result.json` in its parts.
fn parts_of(name: &str) -> Option<(&str, u64, u64)> {
    let (rest, attempt) = name.strip_suffix("_result.json")?.rsplit_once("_try")?;
    let (stage, index) = rest.rsplit_once("_cmd")?;
    Some((stage, index.parse().ok()?, attempt.parse().ok()?))
}

/// What the guard took back, in order; `places` are the iteration and turn of each, by its evidence.
pub(super) fn guard(folder: &Folder, places: &[(String, u64, u64)]) -> Vec<GuardView> {
    let mut views = Vec::new();
    let mut more = 0;
    for name in folder.names("guard", Type::File) {
        let Some(base) = name.strip_suffix(".json") else {
            continue;
        };
        if views.len() == GUARDS {
            more += 1;
            continue;
        }
        let file = format!("guard/{name}");
        let record = folder.json(&file);
        let all = record.list("refused");
        let evidence = |judged: &Value| Evidence {
            path: judged.at("change").line("path", 300).unwrap_or_default(),
            kind: judged.at("change").line("kind", 20).unwrap_or_default(),
            ruling: judged.line("ruling", 20).unwrap_or_default(),
            because: judged.line("because", 600).unwrap_or_default(),
        };
        let patch = format!("guard/{base}.patch");
        let place = places.iter().find(|(known, ..)| *known == patch);
        views.push(GuardView {
            phase: record.line("phase", 40).unwrap_or_default(),
            iteration: place.map(|(_, iteration, _)| *iteration),
            turn: place.map(|(.., turn)| *turn),
            refused: all.iter().take(REFUSED).map(evidence).collect(),
            more: all.len().saturating_sub(REFUSED) as u64,
            violation: all.iter().any(|judged| judged.at("ruling") == "violation"),
            patch: None,
            file,
        });
    }
    if more > 0 {
        folder.note(format!("guard/: {more} records are left out"));
    }
    views
}
