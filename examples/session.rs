//! A target as an environment, from Rust: deployed, rolled out, evaluated twice, taken down.
//!
//!     cargo run --example session -- examples [MODEL]

use std::process::ExitCode;

use opencode_fsm::{
    cli,
    env::{self, CallOptions, EnvError, Llm, SetupOptions},
};

fn main() -> ExitCode {
    // This program is also the other side of the sandboxes that it makes.
    if let Some(code) = cli::inner_role() {
        return code;
    }
    let mut words = std::env::args().skip(1);
    let target = words.next().unwrap_or_else(|| "examples".to_owned());
    let llm = words.next();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(session(&target, llm.as_deref())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(why.exit_code())
        }
    }
}

async fn session(target: &str, llm: Option<&str>) -> Result<bool, EnvError> {
    let llm = llm.map_or(Ok(Llm::None), Llm::parse)?;
    let mut session = env::setup(SetupOptions::of_host(target)?).await?;
    let call = CallOptions {
        require_samples: true,
        ..CallOptions::default()
    };
    let rollout = env::rollout(&mut session, Some(&llm), &call).await?;
    println!("rollout {} {:?}", rollout.ok, rollout.rollout_path);
    // What was deployed for the rollout still runs.
    let mut ok = rollout.ok;
    for _ in 0..2 {
        let evaluation = env::evaluation(&mut session, &call).await?;
        let metrics = evaluation.metrics.unwrap_or_default();
        println!("evaluation {} {metrics}", evaluation.ok);
        ok &= evaluation.ok;
    }
    println!("teardown {}", env::teardown(&mut session, &call).await?);
    let closed = session.close().await?;
    println!("artifacts {}", closed.artifacts.display());
    Ok(ok)
}
