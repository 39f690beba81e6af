//! `options.json`: what a run was asked for, kept so that it can be gone on with, or done
//! again, by the same. Secrets are not in it: their names are.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    agent::Server,
    broker::Budget,
    engine::{
        Audit, Caps, EngineError, ModelChoice, NetworkOptions, OutsideAgent, RunOptions, Scaffold, StepOf,
        TargetOptions, Unattended, WallOptions, bootstrap::hides, facts::Seed,
    },
    names::RelPath,
    policy::{BackendChoice, BashMode, Isolation, Limits, Policy, Tier},
    record::{
        OPTIONS, RunDir, Secret,
        audit::{Digest, Signer},
    },
    source::{Endpoints, FetchOptions, Target},
};

/// Version of [`Kept`].
const OPTIONS_VERSION: u32 = 1;

/// What a run was asked for, as `options.json`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// 1; it rises when a field changes its meaning.
    version: u32,
    goal: String,
    model: KeptModel,
    plan: RelPath,
    pipeline: RelPath,
    require_pipeline: bool,
    test_cmd: Option<String>,
    seeds: Vec<Seed>,
    allow_repo_config: Vec<RelPath>,
    /// Revision of a target that is fetched.
    revision: Option<String>,
    sandbox: BackendChoice,
    image: Option<String>,
    docker_runtime: Option<String>,
    min_tier: Tier,
    resolver: Option<SocketAddr>,
    jobs: u32,
    limits: Limits,
    disk_bytes: u64,
    caps: Caps,
    unattended: Unattended,
    audit: Audit,
    isolation: Isolation,
    bash: BashMode,
    turn_wall: Duration,
    stall: Duration,
    max_iters: u64,
    max_fix: u32,
    run_budget: Budget,
    turn_budget: Budget,
    opencode_bin: Option<PathBuf>,
    record_cassette: Option<PathBuf>,
    /// The user's server, at which the agent works.
    outside: Option<KeptServer>,
    apply: bool,
    /// The step of an earlier run that it began at.
    from: Option<KeptStep>,
    /// How a contract is come by where the target has none.
    #[serde(default)]
    scaffold: Scaffold,
    needs: Needs,
}

/// Where model calls go.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum KeptModel {
    Endpoint {
        /// Nothing for one with a password in it.
        base_url: Option<String>,
        provider: String,
        model: String,
    },
    Cassette(PathBuf),
    /// A cassette of this program.
    Bundled,
    OfTheServer(Option<(String, String)>),
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct KeptServer {
    url: String,
    user: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct KeptStep {
    run: PathBuf,
    number: Option<u64>,
}

/// What is not kept, and has to be given again.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Needs {
    /// The model's key, `OPENAI_API_KEY`.
    api_key: bool,
    /// `OPENAI_BASE_URL`, where the endpoint's has a password in it.
    base_url: bool,
    /// `OPENCODE_SERVER_PASSWORD`.
    server_password: bool,
    /// Variables of the stages (`--env`).
    grants: Vec<String>,
    /// Variables that rules about hosts name.
    network: Vec<String>,
    /// The key that signs the receipt (`--sign-key`).
    sign_key: bool,
}

/// What is given again.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Variables of the environment, and those of `--env`.
    pub variables: Vec<(String, String)>,
    /// The key that signs.
    pub signer: Option<Arc<Signer>>,
    /// The OpenCode binary, if named.
    pub opencode_bin: Option<PathBuf>,
    /// Cassettes that are part of this program.
    pub bundled: &'static [&'static str],
}

impl Given {
    fn variable(&self, name: &str) -> Option<Secret> {
        let value = self
            .variables
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value);
        value
            .filter(|value| !value.is_empty())
            .map(|value| Secret::new(value.as_str()))
    }
}

impl Kept {
    /// Of a run that is about to begin.
    pub fn of(options: &RunOptions, seeds: &[Seed]) -> Self {
        let RunOptions { target, .. } = options;
        let names = |pairs: &[(String, Secret)]| pairs.iter().map(|(name, _)| name.clone()).collect();
        Self {
            version: OPTIONS_VERSION,
            goal: options.goal.clone(),
            model: match &options.model {
                ModelChoice::Endpoint {
                    base_url,
                    provider,
                    model,
                } => KeptModel::Endpoint {
                    base_url: Some(base_url.clone()).filter(|url| !hides("", url)),
                    provider: provider.clone(),
                    model: model.clone(),
                },
                ModelChoice::Cassette(path) => KeptModel::Cassette(absolute(path)),
                ModelChoice::Bundled(_) => KeptModel::Bundled,
                ModelChoice::OfTheServer(model) => KeptModel::OfTheServer(model.clone()),
            },
            plan: options.plan.clone(),
            pipeline: target.pipeline.clone(),
            require_pipeline: target.require_pipeline,
            test_cmd: target.test_cmd.clone(),
            seeds: seeds.to_vec(),
            allow_repo_config: options.allow_repo_config.clone(),
            revision: target.fetch.revision.clone(),
            sandbox: target.walls.backend,
            image: target.walls.image.clone(),
            docker_runtime: target.walls.docker_runtime.clone(),
            min_tier: target.walls.min_tier,
            resolver: target.network.resolver,
            jobs: target.jobs,
            limits: target.limits.clone(),
            disk_bytes: target.disk_bytes,
            caps: target.caps,
            unattended: target.unattended,
            audit: target.audit,
            isolation: target.isolation,
            bash: options.bash,
            turn_wall: options.turn_wall,
            stall: options.stall,
            max_iters: options.max_iters,
            max_fix: options.max_fix,
            run_budget: options.run_budget,
            turn_budget: options.turn_budget,
            opencode_bin: options.opencode_bin.as_ref().map(|path| absolute(path)),
            record_cassette: options.record_cassette.as_ref().map(|path| absolute(path)),
            outside: options.outside.as_ref().map(|outside| KeptServer {
                url: outside.server.url().to_owned(),
                user: outside.user.clone(),
            }),
            apply: options.apply,
            from: options.from.as_ref().map(|from| KeptStep {
                run: absolute(&from.run),
                number: from.number,
            }),
            scaffold: options.scaffold,
            needs: Needs {
                api_key: options.api_key.is_some(),
                base_url: matches!(&options.model, ModelChoice::Endpoint { base_url, .. } if hides("", base_url)),
                server_password: options
                    .outside
                    .as_ref()
                    .is_some_and(|outside| outside.password.is_some()),
                grants: names(&target.grants),
                network: names(&target.network.secrets),
                sign_key: target.signer.is_some(),
            },
        }
    }

    /// Writes it, before the first record says its hash.
    pub fn write(&self, run: &RunDir) -> Result<PathBuf, EngineError> {
        Ok(run.write_json(OPTIONS, self)?)
    }

    /// The contract's path in the tree.
    pub fn contract(&self) -> RelPath {
        self.pipeline.clone()
    }

    /// Whether somebody was there.
    pub fn unattended(&self) -> Unattended {
        self.unattended
    }

    /// Texts for every snapshot.
    pub fn seeds(&self) -> Vec<Seed> {
        self.seeds.clone()
    }

    /// The same options again, with what is given again.
    ///
    /// # Errors
    /// [`EngineError::Usage`] that names all that is missing.
    pub fn options(
        &self,
        (target, endpoints): (Target, Endpoints),
        policy: Policy,
        cassette: Option<String>,
        given: &Given,
    ) -> Result<RunOptions, EngineError> {
        self.check(&self.needs, given)?;
        self.all((target, endpoints), policy, self.model(cassette, given)?, given)
    }

    /// The same options for a run that asks no model: `cassette` plays it.
    ///
    /// # Errors
    /// As [`Kept::options`], and for an agent outside, whose calls nobody recorded.
    pub fn replayed(
        &self,
        target: (Target, Endpoints),
        policy: Policy,
        cassette: PathBuf,
        given: &Given,
    ) -> Result<RunOptions, EngineError> {
        if self.outside.is_some() {
            return Err(EngineError::Usage(
                "the run's agent worked at a server of the user's: its calls were not recorded".to_owned(),
            ));
        }
        let needs = Needs {
            api_key: false,
            base_url: false,
            sign_key: false,
            ..self.needs.clone()
        };
        self.check(&needs, given)?;
        let options = self.all(target, policy, ModelChoice::Cassette(cassette), given)?;
        Ok(RunOptions {
            api_key: None,
            record_cassette: None,
            apply: false,
            from: None,
            ..options
        })
    }

    /// Whether all is given again that is needed.
    fn check(&self, needs: &Needs, given: &Given) -> Result<(), EngineError> {
        let Needs {
            api_key,
            base_url,
            server_password,
            grants,
            network,
            sign_key,
        } = needs;
        let wanted = |name: &str, needed: bool| needed.then(|| name.to_owned());
        let variables = wanted("OPENAI_API_KEY", *api_key)
            .into_iter()
            .chain(wanted("OPENAI_BASE_URL", *base_url))
            .chain(wanted("OPENCODE_SERVER_PASSWORD", *server_password))
            .chain(grants.iter().chain(network).cloned());
        let mut missing: Vec<String> = variables.filter(|name| given.variable(name).is_none()).collect();
        missing.extend(wanted("--sign-key", *sign_key && given.signer.is_none()));
        missing.dedup();
        if !missing.is_empty() {
            return Err(EngineError::Usage(format!(
                "the run needs again what is never kept: {}; set the variables, or give them with --env NAME=VALUE or --env-file",
                missing.join(", ")
            )));
        }
        Ok(())
    }

    fn all(
        &self,
        (target, endpoints): (Target, Endpoints),
        policy: Policy,
        model: ModelChoice,
        given: &Given,
    ) -> Result<RunOptions, EngineError> {
        let Needs {
            api_key,
            server_password,
            grants,
            network,
            ..
        } = &self.needs;
        let secrets = |names: &[String]| {
            let with = |name: &String| Some((name.clone(), given.variable(name)?));
            names.iter().filter_map(with).collect::<Vec<_>>()
        };
        let outside = self.outside.as_ref().map(|kept| {
            let server = Server::parse(&kept.url).map_err(|why| EngineError::Usage(format!("{}: {why}", kept.url)))?;
            Ok::<_, EngineError>(OutsideAgent {
                server,
                user: kept.user.clone(),
                password: given.variable("OPENCODE_SERVER_PASSWORD").filter(|_| *server_password),
            })
        });
        Ok(RunOptions {
            target: TargetOptions {
                network: NetworkOptions {
                    rules: policy.network(),
                    resolver: self.resolver,
                    secrets: secrets(network),
                },
                target,
                fetch: FetchOptions {
                    revision: self.revision.clone(),
                    ..FetchOptions::default()
                },
                endpoints,
                test_cmd: self.test_cmd.clone(),
                pipeline: self.pipeline.clone(),
                require_pipeline: self.require_pipeline,
                artifacts_dir: None,
                walls: WallOptions {
                    backend: self.sandbox,
                    image: self.image.clone(),
                    docker_runtime: self.docker_runtime.clone(),
                    min_tier: self.min_tier,
                    trial: None,
                },
                jobs: self.jobs,
                limits: self.limits.clone(),
                disk_bytes: self.disk_bytes,
                caps: self.caps,
                unattended: self.unattended,
                audit: self.audit,
                isolation: self.isolation,
                grants: secrets(grants),
                policy: Arc::new(policy),
                signer: given.signer.clone(),
            },
            goal: self.goal.clone(),
            plan: self.plan.clone(),
            model,
            api_key: given.variable("OPENAI_API_KEY").filter(|_| *api_key),
            record_cassette: self.record_cassette.clone(),
            opencode_bin: given.opencode_bin.clone().or_else(|| self.opencode_bin.clone()),
            outside: outside.transpose()?,
            bash: self.bash,
            turn_wall: self.turn_wall,
            stall: self.stall,
            max_iters: self.max_iters,
            max_fix: self.max_fix,
            seeds: Vec::new(),
            allow_repo_config: self.allow_repo_config.clone(),
            run_budget: self.run_budget,
            turn_budget: self.turn_budget,
            apply: self.apply,
            from: self.from.as_ref().map(|from| StepOf {
                run: from.run.clone(),
                number: from.number,
            }),
            scaffold: self.scaffold,
        })
    }

    /// `cassette`: the hash of the one that the run played.
    fn model(&self, cassette: Option<String>, given: &Given) -> Result<ModelChoice, EngineError> {
        Ok(match &self.model {
            KeptModel::Endpoint {
                base_url,
                provider,
                model,
            } => ModelChoice::Endpoint {
                base_url: match base_url {
                    Some(url) => url.clone(),
                    // Asked for with all else that is missing.
                    None => given
                        .variable("OPENAI_BASE_URL")
                        .map(|url| url.expose().to_owned())
                        .unwrap_or_default(),
                },
                provider: provider.clone(),
                model: model.clone(),
            },
            KeptModel::Cassette(path) => ModelChoice::Cassette(path.clone()),
            KeptModel::Bundled => {
                let is_it = |text: &&&str| {
                    let digest = Digest::of(text.as_bytes()).to_string();
                    cassette.as_deref() == Some(digest.as_str())
                };
                let found = given.bundled.iter().find(is_it).copied();
                ModelChoice::Bundled(found.ok_or_else(|| {
                    EngineError::Usage("the run played a cassette of another version of this program".to_owned())
                })?)
            }
            KeptModel::OfTheServer(model) => ModelChoice::OfTheServer(model.clone()),
        })
    }
}

fn absolute(path: &std::path::Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
