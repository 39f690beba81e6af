//! A Docker engine for tests.

use bollard::Docker;

/// This machine's engine. Where one must be (CI), its absence is a failure.
pub async fn engine() -> Option<Docker> {
    match opencode_fsm::image::connect().await {
        Ok(docker) => Some(docker),
        Err(why) if std::env::var_os("CI").is_some() => panic!("{why}"),
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            None
        }
    }
}
