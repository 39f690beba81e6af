//! Some stages at a time, in a sandbox that is kept for the next ones.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    Extent, Judge, SANDBOX_RETRIES, Verification, millis,
    outputs::{Declared, RUNTIME_ENV, below},
    sealed::Handed,
    session::Session,
};
use crate::{
    broker::ModelDoor,
    contract::{MAX_DOCUMENT, StageName},
    engine::{BRING_MAX, EngineError, workspace::Workspace},
    names::RelPath,
    policy::ReadOnlyMount,
    record::Secret,
    sandbox::{Found, Sandbox},
    tree::{Place, TreeEdits},
};

/// Where a model's directory shows inside.
const GUEST_MODEL: &str = "/opt/model";

/// What a kept sandbox is given besides the target.
#[derive(Clone, Copy, Default)]
pub(in crate::engine) struct Fittings<'a> {
    /// A directory of the host with a model, shown read-only.
    pub model_dir: Option<&'a Path>,
    /// The door to a model, and the key that it opens to.
    pub door: Option<(&'a ModelDoor, &'a Secret)>,
}

impl Fittings<'_> {
    /// What is mounted for them.
    pub(super) fn mounts(&self) -> Vec<ReadOnlyMount> {
        let model = self.model_dir.map(|host| ReadOnlyMount {
            host: host.to_path_buf(),
            guest: GUEST_MODEL.into(),
        });
        model.into_iter().collect()
    }

    /// Opens the model's door in a sandbox that has the mounts, and tells what stages see of it all.
    pub(super) async fn fit(&self, sandbox: &Sandbox) -> Result<Fitted, EngineError> {
        let inside = sandbox.inside();
        let mut fitted = Fitted {
            env: vec![(
                "AIDER_RUNTIME_ENV_PATH".to_owned(),
                format!("{}/{RUNTIME_ENV}", inside.workspace),
            )],
            model_dir: self.model_dir.map(|_| inside.piece(GUEST_MODEL)),
        };
        if let Some(dir) = &fitted.model_dir {
            fitted.env.push(("AIDER_TRAINED_MODEL_DIR".to_owned(), dir.clone()));
        }
        if let Some((door, key)) = self.door {
            door.serve(sandbox.listen(inside.model_port).await?);
            let url = format!("http://127.0.0.1:{}/v1", inside.model_port);
            let door = [
                ("OPENAI_BASE_URL", url.as_str()),
                ("OPENAI_API_BASE", &url),
                ("OPENAI_API_KEY", key.expose()),
            ];
            fitted
                .env
                .extend(door.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        Ok(fitted)
    }
}

/// Some stages, and the sandbox that they run in.
pub(in crate::engine) struct Part<'a> {
    pub stages: &'a [StageName],
    /// The sandbox that is held: taken, and put back when its stages are over.
    pub held: &'a mut Option<Held>,
    /// For a new one.
    pub fittings: Fittings<'a>,
}

/// The same as its stages see it.
#[derive(Clone, Debug, Default)]
pub(super) struct Fitted {
    /// Variables that come before all others.
    pub env: Vec<(String, String)>,
    /// The model's directory inside.
    model_dir: Option<String>,
}

/// A sandbox between two parts of its stages. Dropping it ends it and all that runs there.
pub(in crate::engine) struct Held {
    sandbox: Sandbox,
    place: Place,
    python: Option<String>,
    fitted: Fitted,
    deployed: bool,
    kept: Vec<String>,
    handed: Handed,
}

impl Held {
    /// Ends the sandbox, and nothing else.
    ///
    /// # Errors
    /// When something of it could not be removed.
    pub async fn end(self) -> Result<(), EngineError> {
        Ok(self.sandbox.destroy().await?)
    }

    /// A file of the workspace, by its path relative to it or absolute below it.
    ///
    /// # Errors
    /// When the sandbox fails; what is wrong with the path or the file is the inner error.
    pub async fn read(&self, path: &str) -> Result<Result<Vec<u8>, String>, EngineError> {
        let below = below(&self.sandbox.inside().workspace, path);
        let Some(path) = below.and_then(|below| RelPath::new(below).ok()) else {
            return Ok(Err("it is outside of the repository".to_owned()));
        };
        Ok(match self.sandbox.read(&path, BRING_MAX).await? {
            Found::File(bytes) => Ok(bytes),
            Found::Nothing => Err("it is not there".to_owned()),
            Found::Refused(why) => Err(why),
            Found::TooLarge => Err(format!("it has more than {BRING_MAX} bytes")),
        })
    }
}

impl Judge<'_> {
    /// Runs some of the contract's stages, in their order, in the sandbox that is held, or
    /// in a new one where none is. A new one whose sandbox fails is replaced as in
    /// [`Judge::verify`]; one that was held takes what earlier parts made with it, and the
    /// sandbox is to blame.
    ///
    /// # Errors
    /// As there.
    pub async fn part(
        &self,
        workspace: &mut Workspace,
        name: &str,
        part: Part<'_>,
    ) -> Result<Verification, EngineError> {
        let retries = if part.held.is_some() { 0 } else { SANDBOX_RETRIES };
        self.attempts(workspace, name, retries, Extent::Part(part)).await
    }

    pub(super) async fn one_part(
        &self,
        workspace: &mut Workspace,
        name: &str,
        out: Verification,
        part: &mut Part<'_>,
    ) -> Result<Verification, EngineError> {
        // Where an error cuts this short, the sandbox goes with it.
        let (held, removals) = match part.held.take() {
            Some(held) => (held, Vec::new()),
            None => (self.hold(workspace, part.fittings).await?, Declared::all(self.pipeline)),
        };
        let (mut session, place) = self.resume(held, name, out)?;
        session.fittings = part.fittings;
        if session.python.is_none() {
            session.python = session.find_python().await?;
        }
        if session.prepare(removals).await? {
            let wanted = |stage| part.stages.contains(&stage);
            self.prepare_rollout(workspace, &mut session, &wanted).await?;
            self.prepare_evaluation(workspace, &mut session, &wanted)?;
            session.in_order(&|stage| wanted(stage) && !self.seals(stage)).await?;
            let fittings = Some(part.fittings);
            self.measure_sealed(workspace, &mut session, fittings, &wanted).await?;
            self.audit(workspace, &mut session, &wanted)?;
        }
        // What the deployment left running must not write while its files are copied.
        session.sandbox.freeze().await?;
        self.copy_out(workspace, &place, &format!("{name}/outputs"), &mut session.out)?;
        session.sandbox.thaw().await?;
        let out = std::mem::take(&mut session.out);
        *part.held = Some(session.pause(place));
        Ok(out)
    }

    /// A new sandbox with its fittings.
    async fn hold(&self, workspace: &mut Workspace, fittings: Fittings<'_>) -> Result<Held, EngineError> {
        let (sandbox, place) = workspace.open_judge(self.backend, fittings.mounts()).await?;
        let fitted = fittings.fit(&sandbox).await?;
        Ok(Held {
            sandbox,
            place,
            python: None,
            fitted,
            deployed: false,
            kept: Vec::new(),
            handed: Handed::default(),
        })
    }

    fn resume<'a>(&'a self, held: Held, name: &'a str, out: Verification) -> Result<(Session<'a>, Place), EngineError> {
        let mut session = Session::new(self, held.sandbox, name, out)?;
        session.python = held.python;
        session.fitted = held.fitted;
        session.deployed = held.deployed;
        session.kept = held.kept;
        session.handed = held.handed;
        Ok((session, held.place))
    }

    /// Diagnostics, the teardown where the contract's policy has one for stages that
    /// `passed` or did not, and the sandbox's end.
    ///
    /// # Errors
    /// When the record cannot be kept, or the sandbox fails; it is gone then, too.
    pub async fn take_down(
        &self,
        workspace: &mut Workspace,
        name: &str,
        held: Held,
        passed: bool,
    ) -> Result<Verification, EngineError> {
        let began = std::time::Instant::now();
        let (mut session, place) = self.resume(held, name, Verification::begun())?;
        // The directory of this part is where the teardown's files go.
        let ran = match session.prepare(Vec::new()).await {
            Ok(true) => session.ending(passed).await,
            Ok(false) => Ok(()),
            Err(why) => Err(why),
        };
        let mut out = session.end(ran).await?;
        self.copy_out(workspace, &place, &format!("{name}/outputs"), &mut out)?;
        out.wall_ms = millis(began.elapsed());
        self.run.keep_json(&format!("{name}/summary.json"), &out)?;
        self.run.sync()?;
        Ok(out)
    }
}

impl Session<'_> {
    /// The sandbox without what this part came to.
    fn pause(self, place: Place) -> Held {
        Held {
            sandbox: self.sandbox,
            place,
            python: self.python,
            fitted: self.fitted,
            deployed: self.deployed,
            kept: self.kept,
            handed: self.handed,
        }
    }

    /// Writes the model's directory into what the deployment offers, where both are there.
    pub(super) async fn name_the_model(&mut self) -> Result<(), EngineError> {
        let Some(dir) = self.fitted.model_dir.clone() else {
            return Ok(());
        };
        // A constant of plain names, which RelPath accepts.
        let path = RelPath::new(RUNTIME_ENV).map_err(|why| EngineError::Usage(why.to_string()))?;
        let Found::File(bytes) = self.sandbox.read(&path, MAX_DOCUMENT as u64).await? else {
            return Ok(());
        };
        let Ok(Value::Object(mut offer)) = serde_json::from_slice::<Value>(&bytes) else {
            return Ok(());
        };
        let inference = offer.entry("inference").or_insert_with(|| json!({}));
        if let Value::Object(inference) = inference {
            inference.insert("model_dir".to_owned(), json!(dir));
            inference.entry("type").or_insert_with(|| json!("local_hf"));
        }
        let mut text = serde_json::to_vec_pretty(&offer).unwrap_or_default();
        text.push(b'\n');
        let mut edits = TreeEdits::write_file(&path, &text, 0o644);
        edits.removals.push(path);
        if self.edit(&edits, "deploy_setup").await? {
            self.judge
                .run
                .write(&format!("{}/runtime_env.json", self.name), &text)?;
            self.handed.runtime_env = Some(text);
        }
        Ok(())
    }
}
