//! What every verification of a target that is open shares.

use std::{sync::OnceLock, time::Instant};

use crate::{
    contract::Pipeline,
    engine::{
        TargetOptions,
        bootstrap::Bootstrap,
        judge::{Judge, Overrides},
        site::Site,
    },
    report::Reporter,
};

/// What stays the same from one call to the next, as long as the contract does.
pub(super) struct Ground {
    pub options: TargetOptions,
    pub reporter: Reporter,
    pub site: Site,
    pub pipeline: Pipeline,
    pub bootstrap: Option<Bootstrap>,
}

impl Ground {
    /// The judge of one call.
    pub fn judge<'a>(&'a self, overrides: &'a Overrides) -> Judge<'a> {
        Judge {
            backend: &self.site.backend,
            run: &self.site.run,
            reporter: &self.reporter,
            pipeline: &self.pipeline,
            bootstrap: self.bootstrap.as_ref(),
            cache: &self.site.cache,
            options: &self.options,
            // Each call has the whole time: a session may go on as long as its caller does.
            deadline: self.options.caps.deadline(Instant::now()),
            overrides,
            python: OnceLock::new(),
        }
    }
}
