//! `run`: from a target and a goal to a verdict.

use std::{
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    agent::{self, AgentConfig},
    contract::Plan,
    engine::{
        EngineError, ModelChoice, Outcome, RunOptions, ScaffoldBy, Stop, Summary,
        answers::{self, keep_cassette, open_door, record_cassette},
        apply,
        author::{self, Ledgers, OfRun},
        bootstrap::Bootstrap,
        bring::{PLAN_BYTES, bring_out, plan_of},
        drive::{Drive, Parts},
        evidence::{self, Evidence},
        inputs::{Executable, Inputs},
        judge::{Judge, Overrides},
        kept::Kept,
        past::At,
        permit,
        resume::TakenUp,
        site::{self, Site},
        whence::Whence,
        workspace::Workspace,
    },
    fsm::{self, Blame, EndReason, Event, Machine, Prompts},
    guard,
    policy::SettingName,
    record::{Chronicle, OpenCode, Secret, Subject},
    report::{self, Happening, Reporter},
    sandbox::{Wall, WallState},
};

fn outside_warning(url: &str) -> String {
    format!(
        "THE AGENT RUNS OUTSIDE THE SANDBOX, at {url}: whatever it and its shell do, they do as the user of that \
         server, on this host, with its network and its files. What it changes in its copy of the tree is judged and \
         taken back as ever, and the contract's stages run in a sandbox; nothing else holds. Budgets of model calls \
         and tokens are not counted there"
    )
}

/// Runs the loop on a target until the machine ends.
///
/// # Errors
/// When it cannot even begin; once it has begun, whatever happens is an
/// [`Outcome`], and what was accepted until then is in its artifacts.
pub async fn run(options: &RunOptions, reporter: &Reporter, stop: Stop) -> Result<Outcome, EngineError> {
    let mut evidence = Evidence::new("run", &options.target);
    let ended = perform(options, Whence::New, reporter, stop, &mut evidence).await;
    evidence.close(ended)
}

/// The loop, from its beginning or from where a run was cut off.
pub(super) async fn perform(
    options: &RunOptions,
    whence: Whence<'_>,
    reporter: &Reporter,
    mut stop: Stop,
    evidence: &mut Evidence,
) -> Result<Outcome, EngineError> {
    let began = Instant::now();
    let taken_up = whence.taken_up();
    let used = taken_up.map_or(Duration::ZERO, |taken_up| taken_up.past.used);
    if options.apply && options.target.target.directory().is_none() {
        return Err(EngineError::Usage(
            "--apply brings the changes to the target, which has to be a directory of this host then; \
             `opencode-fsm apply latest --to DIR` brings them to one"
                .to_owned(),
        ));
    }
    answers::is_reached(&options.target, &options.model)?;
    let seeds = whence.seeds(&options.seeds)?;
    permit::outside(&options.target.policy, options.outside.as_ref())?;
    let found = match &options.outside {
        Some(_) => None,
        None => Some(agent::find_binary(options.opencode_bin.as_deref())?),
    };
    evidence.inputs = Inputs::of(options, &seeds)?;
    let (from, branch) = whence.step(options)?;
    evidence.inputs.from = branch;
    evidence.kept = taken_up.is_none().then(|| Kept::of(options, &seeds));
    if let (Some(path), None) = (&options.record_cassette, taken_up) {
        // Whether it can be written is known before anything is paid for.
        std::fs::File::create(path).map_err(record_cassette(path))?;
    }
    // It is large: hashed while the target is copied.
    let executable = found
        .clone()
        .map(|path| tokio::task::spawn_blocking(move || executable(&path)));
    let granted = options.target.grants.iter().map(|(_, value)| value);
    // Where the inside shares the host's network others could call the door as well.
    let door_key = Secret::new(uuid::Uuid::new_v4().simple().to_string());
    let password = options.outside.as_ref().and_then(|outside| outside.password.as_ref());
    let keys = options.api_key.iter().chain([&door_key]).chain(password);
    let secrets: Vec<_> = keys.chain(granted).cloned().collect();
    let mut site = Site::prepare(
        &options.target,
        &secrets,
        from.as_ref(),
        taken_up,
        evidence,
        reporter,
        &mut stop,
    )
    .await?;
    let narrowed = site
        .narrowed(&options.target, evidence)?
        .map(|target| options.narrowed(target));
    let options = narrowed.as_ref().unwrap_or(options);
    let withheld = guard::withheld()
        .into_iter()
        .filter(|path| !options.allow_repo_config.contains(path))
        .collect();
    let mounts = match &found {
        Some(found) => agent::mounts(&agent::reachable(found)?, site.scratch.path())?,
        None => Vec::new(),
    };
    reporter.say(Happening::Caps {
        caps: report::Caps {
            iterations: Some(options.max_iters),
            calls: options.run_budget.calls,
            tokens: options.run_budget.tokens,
            seconds: options.target.caps.max_run.map(|time| time.as_secs()),
        },
    });
    let mut workspace = site.workspace(&options.target, &options.plan, withheld, mounts)?;
    if let Some(outside) = &options.outside {
        let text = outside_warning(outside.server.url());
        site.run
            .journal("outside-agent", &json!({"url": outside.server.url()}))?;
        reporter.say(Happening::Warning { text });
        workspace.seat_outside(outside.server.clone());
    }
    let carried = taken_up.and_then(|taken_up| taken_up.past.carried.as_ref());
    if carried.is_none() {
        workspace.keep_steps()?;
        if let (Some(from), Some(line)) = (&from, &evidence.inputs.from) {
            workspace.go_on(from, &format!("step {} of {}", line.checkpoint, line.run))?;
        }
    }
    let agent_config = AgentConfig {
        bash: options.bash,
        plan: options.plan.clone(),
        pipeline: options.target.pipeline.clone(),
        contract: Vec::new(),
        turn_wall: options.turn_wall,
        stall: options.stall,
        logs: site.run.path().join("agent"),
        env: Vec::new(),
        outside_model: match &options.model {
            ModelChoice::OfTheServer(model) => model.clone(),
            _ => None,
        },
        door_key: door_key.clone(),
    };
    let past = taken_up.map(|taken_up| taken_up.past.door.clone());
    let mut ledgers = Ledgers::default();
    let mut door = None;
    match (&from, carried) {
        // What was written before it was cut off is the contract.
        (Some(from), Some(_)) if site::lacks_contract(&options.target, &workspace) => {
            workspace.take_up(from)?;
            workspace.contract_stands();
        }
        _ if options.scaffold.by != ScaffoldBy::Nobody && site::lacks_contract(&options.target, &workspace) => {
            let opened = open_door(options, door_key.clone(), &site.run, past.clone())?;
            let of_run = OfRun {
                options,
                site: &site,
                reporter,
                door: &opened,
                config: &agent_config,
                deadline: options.target.caps.deadline(began),
            };
            Box::pin(author::of_run(&of_run, &mut workspace, &mut ledgers, &mut stop)).await?;
            door = Some(opened);
        }
        _ => {}
    }
    let pipeline = site::contract_of(&options.target, &workspace, &site.run)?;
    workspace.protect(&pipeline);
    evidence.receipt.isolation = Some(pipeline.verify.isolation);
    let bootstrap = Bootstrap::of(&workspace, &options.target)?;
    site::warn(&pipeline, bootstrap.as_ref(), reporter);
    let test_cmd = pipeline.test_cmd();
    let subject = Subject {
        model: options.model.to_string(),
        ..site.subject(&options.target, &options.plan, &pipeline)
    };
    let opencode = found.as_ref().map(|found| OpenCode {
        path: found.display().to_string(),
        version: agent::version_of(found),
    });
    evidence.receipt.opencode = opencode.as_ref().and_then(|opencode| opencode.version.clone());
    let mut chronicle = match carried {
        Some(carried) => Chronicle::again(&site.run, carried.state.clone())?,
        None => Chronicle::begin(&site.run, subject, opencode)?,
    };
    let deadline = options.target.caps.deadline(began);
    let deadline = deadline.checked_sub(used).unwrap_or(began).max(began);
    let judge = Judge {
        backend: &site.backend,
        run: &site.run,
        reporter,
        pipeline: &pipeline,
        bootstrap: bootstrap.as_ref(),
        cache: &site.cache,
        options: &options.target,
        deadline,
        overrides: &Overrides::default(),
        python: OnceLock::new(),
    };
    let bootstraps = taken_up.map_or("bootstrap".to_owned(), TakenUp::bootstraps);
    let prepared = tokio::select! {
        news = prepare(&judge, &mut workspace, &bootstraps) => news,
        signal = stop.requested() => Err(EngineError::Interrupted(signal)),
    };
    let news = match prepared {
        Ok(news) => news,
        Err(why) => {
            if taken_up.is_none() {
                let interrupted = matches!(why, EngineError::Interrupted(_));
                chronicle.ended(if interrupted { "INTERRUPTED" } else { "ERROR" })?;
            }
            site.run.settle()?;
            return Err(why);
        }
    };
    if let (Some(from), Some(_)) = (&from, carried) {
        workspace.take_up(from)?;
    } else if workspace.read(&options.plan, PLAN_BYTES)?.is_none() {
        let text = Plan::template(&options.goal, &test_cmd, Some(&pipeline));
        workspace.write(&site.backend, &options.plan, text.as_bytes()).await?;
    } else if !options.goal.is_empty() {
        let text = format!(
            "the target has a `{}`; it holds the goal, and --goal is not used",
            options.plan
        );
        reporter.say(Happening::Warning { text });
    }
    let executable = match executable {
        // It was there a moment ago, or nothing would have begun.
        Some(hashing) => Some(hashing.await.map_err(|why| EngineError::Usage(why.to_string()))??),
        None => None,
    };
    evidence.lock(&site.run, &workspace, executable)?;
    let door = match door {
        Some(door) => door,
        None => open_door(options, door_key, &site.run, past)?,
    };
    let prompts = Prompts::new(
        options.plan.to_string(),
        options.target.pipeline.to_string(),
        test_cmd,
        options.max_fix,
    )?;
    let agent_config = AgentConfig {
        contract: workspace.sets().contract.clone(),
        ..agent_config
    };
    let (machine, at) = match taken_up.and_then(|taken_up| taken_up.past.stand.clone()) {
        Some((machine, at)) => (machine, at),
        None => (None, At::Event(Event::Begin)),
    };
    let machine = machine.unwrap_or_else(|| {
        Machine::new(fsm::Limits {
            max_iters: options.max_iters,
            max_fix: options.max_fix,
            ..fsm::Limits::default()
        })
    });
    let parts = Parts {
        backend: &site.backend,
        run: &site.run,
        reporter,
        judge,
        prompts,
        plan: options.plan.clone(),
        contract: options.target.pipeline.clone(),
        seeds,
        door: &door,
        agent_config,
        outside: options.outside.clone(),
        machine,
        chronicle,
        workspace,
        began,
        used,
        deadline,
        turns: options.target.policy.setting(SettingName::Turns).cloned(),
    };
    let mut drive = match (taken_up, carried) {
        (Some(taken_up), Some(carried)) => Drive::again(parts, carried, taken_up.past.slot),
        _ => Drive::new(parts, news, ledgers),
    };
    if let Some(taken_up) = taken_up {
        drive.parts.workspace.stood(taken_up.past.walls.clone().into_iter());
        evidence.goes_on(&site.run, &taken_up.past)?;
    }
    let driven = drive.drive(at, &mut stop).await;
    let closed = drive.close().await;
    let (mut parts, tally) = drive.into_parts();
    let closed = match (parts.machine.position(), closed) {
        // What failed the run fails again at its end: the first time says why.
        (fsm::Position::Ended(end), Err(why)) if end.reason == EndReason::SandboxError => {
            let text = why.to_string();
            reporter.say(Happening::Warning { text });
            Ok(())
        }
        (_, closed) => closed,
    };

    let mut summary = Summary::new(&site);
    summary.blame = match (parts.machine.position(), &driven) {
        (_, Err(why)) => Some(why.blame()),
        (fsm::Position::Ended(end), Ok(())) => end.blame,
        _ => Some(Blame::Sandbox),
    };
    (summary.exit_reason, summary.detail, summary.exit_code) = match (parts.machine.position(), driven.and(closed)) {
        (_, Err(why)) => {
            parts.chronicle.ended("ERROR")?;
            ("ERROR".to_owned(), why.to_string(), why.exit_code())
        }
        (fsm::Position::Ended(end), Ok(())) => (
            end.reason.to_string(),
            end.detail.clone(),
            parts.machine.exit_code().unwrap_or(7),
        ),
        (position, Ok(())) => ("ERROR".to_owned(), format!("the run stopped in {}", position.name()), 7),
    };
    let done = summary.exit_reason == EndReason::Done.to_string();
    if !done {
        site.run.settle()?;
    }
    summary.iterations = parts.machine.iteration();
    summary.turns = tally.turns;
    summary.guard_events = tally.guard_events;
    summary.own_ms = tally.own_ms();
    summary.plan = plan_of(&parts.workspace, &options.plan)?;
    if let fsm::Position::Ended(end) = parts.machine.position() {
        summary.evidence.clone_from(&end.evidence);
    }
    if let Some(last) = tally.last {
        summary.judged(last);
    }
    let most = options.target.changes_caps();
    bring_out(&parts.workspace, &site.run, reporter, most, &mut summary)?;
    evidence.take(&parts.workspace)?;
    drop(parts);
    let left_out = door.left_out();
    let counted = door.close()?;
    keep_cassette(options, left_out, &site.run, reporter)?;
    site.close_egress(reporter).await?;
    summary.usage = Some(counted);
    if let Some(outside) = &options.outside {
        let url = outside.server.url();
        summary.outside_agent = Some(url.to_owned());
        // Nobody but the agent itself tells what it used.
        summary.usage = Some(tally.told);
        if let Some(report) = &mut summary.walls {
            let why = format!("it works at {url}, outside every sandbox, by --allow-unsandboxed-agent");
            report.walls.insert(
                0,
                Wall {
                    name: "sandbox of the agent".to_owned(),
                    state: WallState::Absent(why),
                },
            );
        }
    }
    summary.wall_ms = u64::try_from((used + began.elapsed()).as_millis()).unwrap_or(u64::MAX);
    site.scratch.remove()?;
    if options.apply && done {
        // Who asked for it named a directory ([`RunOptions::apply`]).
        if let Some(target) = site.target.directory() {
            apply(site.run.path(), target)?;
            summary.applied = true;
        }
    }
    summary.conclude(&site.run, reporter)
}

/// OpenCode's executable, by its hash.
fn executable(path: &Path) -> Result<Executable, EngineError> {
    Ok(Executable {
        version: agent::version_of(path),
        sha256: evidence::digest_of(path)?,
    })
}

/// Puts what bootstrap makes under the agent's tree. When it cannot be made that is
/// news for the agent, whose work may mend it: each verification tries again.
async fn prepare(judge: &Judge<'_>, workspace: &mut Workspace, name: &str) -> Result<Option<String>, EngineError> {
    if judge.bootstrap.is_none() {
        return Ok(None);
    }
    let prepared = judge.bootstrap(workspace, name).await?;
    Ok((!prepared.ok).then(|| {
        format!(
            "## Bootstrap failed; it is tried again before each verification\n{}",
            prepared.evidence.text
        )
    }))
}
