//! A measurement in a fresh sandbox of the target and the accepted changes, where no other
//! stage ran before (`verify.isolation: sealed`).
//!
//! What earlier stages ran was the agent's code. What it left in a home, in `/tmp`, in the tree,
//! or running is in their sandbox and stays there: a measurement is handed the declared outputs
//! of the deployment and the rollout, as the bytes that were judged, and TCP connections to the
//! ports that the deployment offers. The services cannot see its files, and so cannot write them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    Judge,
    held::{Fitted, Fittings},
    outputs::{Declared, RUNTIME_ENV, path},
    session::Session,
};
use crate::{
    contract::{Stage, StageName},
    engine::{EngineError, workspace::Workspace},
    fsm::Blame,
    names::RelPath,
    policy::{Isolation, Proxy},
    record::audit::Digest,
    sandbox::{Dialer, Sandbox, SandboxError},
    tree::TreeEdits,
};

/// Most ports of a deployment that a measurement is led to.
const PORTS_MAX: usize = 16;
/// Most connections to one of them at a time; further ones are closed.
const CONNECTIONS_MAX: usize = 512;
/// Where a deployment says what it offers.
const OFFERS: [&str; 3] = ["/service/base_url", "/service/health_url", "/inference/openai_base_url"];

/// What a sealed measurement gets of the stages before it.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// What the deployment offers.
    pub runtime_env: Option<Vec<u8>>,
    /// The rollout, and the samples that it names.
    pub rollout: Vec<(RelPath, Vec<u8>)>,
}

impl Handed {
    fn files(&self) -> impl Iterator<Item = (RelPath, &[u8])> {
        let offered = self
            .runtime_env
            .iter()
            .map(|bytes| (path(RUNTIME_ENV), bytes.as_slice()));
        let rolled_out = self.rollout.iter().map(|(at, bytes)| (at.clone(), bytes.as_slice()));
        offered.chain(rolled_out)
    }

    /// Ports of the loopback that the deployment says it listens on.
    fn ports(&self) -> BTreeSet<u16> {
        let offer: Value = match &self.runtime_env {
            // Judged before: it is JSON.
            Some(bytes) => serde_json::from_slice(bytes).unwrap_or_default(),
            None => return BTreeSet::new(),
        };
        let urls = OFFERS.iter().filter_map(|at| offer.pointer(at)?.as_str());
        urls.filter_map(port_of).collect()
    }
}

/// The port of a URL whose host is the loopback, however it is spelled.
pub(super) fn port_of(url: &str) -> Option<u16> {
    let url = reqwest::Url::parse(url).ok()?;
    let host = url.host_str()?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = match bare.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => host == "localhost",
    };
    url.port_or_known_default().filter(|_| is_loopback)
}

impl Judge<'_> {
    /// Whether a stage runs in a sandbox of its own.
    pub(super) fn seals(&self, stage: StageName) -> bool {
        self.pipeline.verify.isolation == Isolation::Sealed && stage.measures()
    }

    /// # Errors
    /// Where a deployment could not be reached from another sandbox: without a network of the
    /// sandbox's own there are no two that are the same from within.
    pub(super) fn can_seal(&self) -> Result<(), EngineError> {
        let deploys = self
            .pipeline
            .deploy
            .as_ref()
            .is_some_and(|it| !it.setup.cmds.is_empty());
        let sealed = self.pipeline.verify.isolation == Isolation::Sealed;
        match sealed && deploys && self.backend.inside().is_none() {
            false => Ok(()),
            true => Err(EngineError::Usage(
                "a sealed measurement cannot be led to a deployment where sandboxes have no network of their own (tier \
                 `landlock`): run it where there are namespaces (`opencode-fsm doctor`), or in containers (--sandbox docker)"
                    .to_owned(),
            )),
        }
    }

    /// Runs the measurements that are wanted, each in a sandbox of its own, up to the first
    /// failure; `session` is that of the stages before them. Nothing where they are not sealed.
    pub(super) async fn measure_sealed(
        &self,
        workspace: &mut Workspace,
        session: &mut Session<'_>,
        fittings: Option<Fittings<'_>>,
        wanted: &(dyn Fn(StageName) -> bool + Sync),
    ) -> Result<(), EngineError> {
        let stages = self.pipeline.stages().filter(|stage| self.seals(stage.name));
        let runs = |stage: &&Stage| !stage.cmds.is_empty() || self.pipeline.performs(stage.name);
        for stage in stages.filter(|stage| wanted(stage.name)).filter(runs) {
            if session.out.ok {
                self.measure(workspace, session, fittings, stage).await?;
            }
        }
        Ok(())
    }

    async fn measure(
        &self,
        workspace: &mut Workspace,
        session: &mut Session<'_>,
        fittings: Option<Fittings<'_>>,
        stage: &Stage,
    ) -> Result<(), EngineError> {
        let mounts = fittings.map(|fittings| fittings.mounts()).unwrap_or_default();
        let (sandbox, place) = workspace.open_sealed(self.backend, mounts).await?;
        let fitted = match fittings {
            Some(fittings) => fittings.fit(&sandbox).await?,
            None => Fitted::default(),
        };
        let ports = ports(session, &sandbox);
        let files: Vec<Value> = session
            .handed
            .files()
            .map(|(path, bytes)| json!({"path": path, "sha256": Digest::of(bytes)}))
            .collect();
        let what = json!({"verification": session.name, "stage": stage.name, "handed": files, "ports": ports});
        self.run.journal("sealed", &what)?;
        let led = lead(&sandbox, &session.sandbox, &ports).await?;
        let mut sealed = Session::new(self, sandbox, session.name, std::mem::take(&mut session.out))?;
        sealed.within = Some(stage.name);
        sealed.fitted = fitted;
        sealed.hinted.clone_from(&session.hinted);
        sealed.handed.rollout.clone_from(&session.handed.rollout);
        if let Err(why) = led {
            sealed.out.fail(stage.name.as_str(), why, Blame::Verifier, None);
        }
        let ran = sealed.measured(stage.name, &session.handed).await;
        session.out = sealed.end(ran).await?;
        let outputs = format!("{}/outputs_{}", session.name, stage.name);
        self.copy_out(workspace, &place, &outputs, &mut session.out)
    }
}

impl Session<'_> {
    /// Takes what is handed over, logs in, and measures.
    async fn measured(&mut self, stage: StageName, handed: &Handed) -> Result<(), EngineError> {
        self.python = self.find_python().await?;
        if !self.out.ok || !self.prepare(Declared::all(self.judge.pipeline)).await? {
            return Ok(());
        }
        for (path, bytes) in handed.files() {
            let mut edits = TreeEdits::write_file(&path, bytes, 0o644);
            edits.removals.push(path);
            if !self.edit(&edits, stage.as_str()).await? {
                return Ok(());
            }
        }
        self.in_order(&|name| name == StageName::Auth || name == stage).await
    }
}

/// The ports that a measurement in `fresh` is led to: those that the deployment says, and the
/// one that it is told to use. Those where the fresh sandbox has doors of its own lead there.
fn ports(session: &Session<'_>, fresh: &Sandbox) -> Vec<u16> {
    if !session.deployed {
        return Vec::new();
    }
    let inside = fresh.inside();
    let doors = [
        Some(inside.model_port),
        inside.proxy.as_ref().map(|proxy: &Proxy| proxy.port),
    ];
    let mut ports = session.handed.ports();
    ports.insert(session.sandbox.inside().server_port);
    ports.retain(|port| !doors.contains(&Some(*port)));
    ports.into_iter().take(PORTS_MAX).collect()
}

/// Leads connections to `ports` of one sandbox's loopback to the same ports of another's; the
/// inner error is what the tree's own services keep from being done.
async fn lead(from: &Sandbox, to: &Sandbox, ports: &[u16]) -> Result<Result<(), String>, EngineError> {
    for port in ports {
        match from.listen(*port).await {
            Ok(listener) => from.attend(serve(listener, to.dialer(), *port)),
            Err(SandboxError::Guest { step, why, .. }) => {
                return Ok(Err(format!(
                    "nothing can be led to port {port} of what was deployed: {step}: {why}"
                )));
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(Ok(()))
}

async fn serve(listener: TcpListener, to: Dialer, port: u16) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((mut from, _)) = accepted else { return };
                if open.len() >= CONNECTIONS_MAX {
                    continue;
                }
                let to = to.clone();
                open.spawn(async move {
                    // Where nobody listens the connection ends, as it would have there.
                    if let Ok(mut to) = to.dial(port).await {
                        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
            Some(_) = open.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_the_loopback_that_a_deployment_names() {
        let offer = json!({
            "service": {"base_url": "http://127.0.0.1:8000/x", "health_url": "http://localhost/health"},
            "inference": {"openai_base_url": "http://[::1]:9000/v1", "model": "http://127.0.0.1:1"},
        });
        let handed = Handed {
            runtime_env: Some(offer.to_string().into_bytes()),
            rollout: Vec::new(),
        };
        assert_eq!(handed.ports(), BTreeSet::from([80, 8000, 9000]));
        for foreign in [
            "http://192.0.2.1:8000",
            "http://example.com:8000",
            "8000",
            "unix:/run/x",
        ] {
            assert_eq!(port_of(foreign), None, "{foreign}");
        }
        assert_eq!(port_of("https://0.0.0.0"), Some(443));
    }
}
