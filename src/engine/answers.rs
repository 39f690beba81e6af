//! Where the model's answers come from, and how they are kept.

use std::path::Path;

use serde_json::json;

use crate::{
    broker::{self, AGENT_PATIENCE, Budget, DoorConfig, ModelDoor, Recording, Upstream},
    engine::{EngineError, ModelChoice, RunOptions, TargetOptions, evidence::CASSETTE},
    policy::{NetworkMode, SettingName, SettingValue},
    record::{RunDir, Secret},
    report::{Happening, Reporter},
};

/// Bytes of the model's answers that one run keeps, a little less than a cassette may have.
const RECORDED: u64 = (256 << 20) - 1024;

/// Every model call of a run.
pub(super) const LEDGER: &str = "model.jsonl";

/// A cassette on which nothing is recorded.
const NO_ANSWERS: &str = "{\"cassette\": 1}\n";

/// Whether calls to the model may leave this host.
pub(super) fn is_reached(options: &TargetOptions, model: &ModelChoice) -> Result<(), EngineError> {
    let said = options.policy.setting(SettingName::Network);
    match (said, model) {
        (Some(said), ModelChoice::Endpoint { base_url, .. })
            if said.value == SettingValue::Network(NetworkMode::None) =>
        {
            let at = &said.origin;
            Err(EngineError::Usage(format!(
                "the network is `none` ({at}), which lets nothing out, and the model is at {base_url}: allow its calls \
                 with --network model, or play a cassette (--model cassette:FILE)"
            )))
        }
        _ => Ok(()),
    }
}

/// Says what of the answers was not recorded, and brings them where the user wants them.
pub(super) fn keep_cassette(
    options: &RunOptions,
    left_out: u64,
    run: &RunDir,
    reporter: &Reporter,
) -> Result<(), EngineError> {
    if left_out > 0 {
        run.note("unrecorded", &json!({"answers": left_out, "most_bytes": RECORDED}))?;
        let text = format!(
            "{left_out} answers of the model are not in {CASSETTE}, which holds {} MiB at the most: the run cannot be \
             replayed to its end",
            RECORDED.div_ceil(1 << 20)
        );
        reporter.say(Happening::Warning { text });
    }
    match &options.record_cassette {
        Some(path) => std::fs::copy(run.path().join(CASSETTE), path)
            .map(|_| ())
            .map_err(record_cassette(path)),
        None => Ok(()),
    }
}

/// The file that the user wants them in.
pub(super) fn record_cassette(path: &Path) -> impl FnOnce(std::io::Error) -> EngineError {
    let what = format!("--record-cassette {}", path.display());
    move |source| EngineError::Io { what, source }
}

/// Opens the door of a run.
pub(super) fn open_door(
    options: &RunOptions,
    door_key: Secret,
    run: &RunDir,
    past: Option<broker::Past>,
) -> Result<ModelDoor, EngineError> {
    let to = DoorTo {
        model: &options.model,
        api_key: options.api_key.as_ref(),
        budgets: (options.run_budget, options.turn_budget),
        ledger: LEDGER,
        cassette: CASSETTE,
    };
    open_door_to(to, door_key, run, past)
}

/// Where a door leads, and what is kept of what comes through it.
pub(super) struct DoorTo<'a> {
    pub model: &'a ModelChoice,
    pub api_key: Option<&'a Secret>,
    /// Of all turns, and of one.
    pub budgets: (Budget, Budget),
    pub ledger: &'a str,
    pub cassette: &'a str,
}

/// Opens the door that answers come through.
pub(super) fn open_door_to(
    to: DoorTo<'_>,
    door_key: Secret,
    run: &RunDir,
    past: Option<broker::Past>,
) -> Result<ModelDoor, EngineError> {
    let (upstream, model) = match to.model {
        ModelChoice::Cassette(path) => (Upstream::Cassette(path.clone()), "cassette".to_owned()),
        ModelChoice::Bundled(cassette) => (Upstream::Bundled(cassette), "cassette".to_owned()),
        // A door that nobody is led to.
        ModelChoice::OfTheServer(_) => (Upstream::Bundled(NO_ANSWERS), String::new()),
        ModelChoice::Endpoint { base_url, model, .. } => (
            Upstream::Http {
                base_url: base_url.clone(),
                key: to.api_key.cloned(),
            },
            model.clone(),
        ),
    };
    Ok(ModelDoor::open(DoorConfig {
        upstream,
        model,
        inside_key: door_key,
        per_run: to.budgets.0,
        per_turn: to.budgets.1,
        patience: AGENT_PATIENCE,
        ledger: run.path().join(to.ledger),
        record_to: Some(Recording {
            to: run.path().join(to.cassette),
            redactor: run.redactor_now(),
            most: RECORDED,
        }),
        past,
    })?)
}
