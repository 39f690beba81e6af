//! A Docker engine for tests.

use bollard::Docker;
use opencode_fsm::sandbox::docker::Engine;

/// This machine's engine. Where one must be (CI), its absence is a failure.
pub async fn engine() -> Option<Docker> {
    match Engine::reach().await {
        Ok(engine) => Some(engine.client),
        Err(why) if std::env::var_os("CI").is_some() => panic!("{why}"),
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            None
        }
    }
}
