//! JSON Schemas of what a run leaves behind, made of the types that write it.

use schemars::Schema;

use crate::{
    broker,
    engine::{
        Provenance, RepairProvenance, Summary,
        carried::Carried,
        command::CommandResult,
        inputs::Lock,
        judge::{StageSummary, Verification},
        kept::Kept,
        turn::{TakenBack, TurnRecord},
    },
    policy::Origins,
    record::{
        LogLine, State, Versions,
        audit::{Document, JournalLine},
        schema_of,
    },
    report::Happening,
    sandbox::WallReport,
    tree::{Change, Step},
};

/// The name, the file and the schema of every record of a run, and of each line that `--json` prints.
pub fn schemas() -> Vec<(&'static str, &'static str, Schema)> {
    vec![
        ("summary", "summary.json", schema_of::<Summary>()),
        ("state", "state.json", schema_of::<State>()),
        ("versions", "versions.json", schema_of::<Versions>()),
        ("log", "a line of logs/run_ID.jsonl", schema_of::<LogLine>()),
        (
            "journal",
            "a line of journal.jsonl",
            schema_of::<JournalLine<'_, serde_json::Value>>(),
        ),
        ("receipt", "receipt.json", schema_of::<Document>()),
        ("lock", "lock.json", schema_of::<Lock<'_>>()),
        ("options", "options.json", schema_of::<Kept>()),
        ("carried", "carried/N.json", schema_of::<Carried>()),
        ("cassette", "a line of cassette.jsonl", broker::cassette_schema()),
        ("checkpoint", "checkpoints/NNNN.json", schema_of::<Step>()),
        ("verification", "iter_NNNN/summary.json", schema_of::<Verification>()),
        ("stage", "iter_NNNN/STAGE_summary.json", schema_of::<StageSummary>()),
        (
            "command",
            "iter_NNNN/STAGE_cmdNN_tryNN_result.json",
            schema_of::<CommandResult>(),
        ),
        ("turn", "turns/NNNN-LABEL.json", schema_of::<TurnRecord<'_>>()),
        ("guard", "guard/NNNN-LABEL.json", schema_of::<TakenBack<'_>>()),
        (
            "scaffold",
            "scaffold/scaffold_provenance.json",
            schema_of::<Provenance>(),
        ),
        (
            "repair",
            "repair_NN/repair_provenance.json",
            schema_of::<RepairProvenance>(),
        ),
        ("changes", "changes.json", schema_of::<Vec<Change>>()),
        ("policy_origins", "policy_origins.json", schema_of::<Origins>()),
        ("walls", "walls.json", schema_of::<WallReport>()),
        ("model", "a line of model.jsonl", broker::ledger_schema()),
        ("egress", "a line of egress.jsonl", broker::egress_schema()),
        ("event", "a line of --json", schema_of::<Happening>()),
    ]
}
