//! Every back end asked the same questions: equal answers, or a difference that is
//! written down with its reason.
//!
//! `CONFORMANCE_INTO=docs/security_model.md cargo test --test conformance` also writes the
//! table into that file, between its two marks.

mod support;

#[path = "conformance/bounds.rs"]
mod bounds;
#[path = "conformance/commands.rs"]
mod commands;
#[path = "conformance/copies.rs"]
mod copies;
#[path = "conformance/differences.rs"]
mod differences;
#[path = "conformance/probe.rs"]
mod probe;
#[path = "conformance/surroundings.rs"]
mod surroundings;
#[path = "conformance/table.rs"]
mod table;

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

use differences::Difference;
use opencode_fsm::{
    policy::Tier,
    sandbox::{Backend, bare::Bare, docker::Engine},
};
use probe::{Group, Probe};
use support::{PROGRAM, Scratch, docker, jail, plan, runner_image};

/// A back end that is asked, and what makes no sense there.
pub struct Column {
    pub name: &'static str,
    backend: Backend,
    /// The weakest walls that are accepted.
    tier: Tier,
    /// Probes whose verdict is `n/a`, by name.
    not_applicable: &'static [&'static str],
    /// Where it differs from the first back end.
    differences: &'static [Difference],
}

/// Verdicts by probe.
pub type Verdicts = BTreeMap<&'static str, String>;

/// The verdict of what makes no sense in a back end.
const NOT_APPLICABLE: &str = "n/a";

impl Column {
    /// The known difference that a probe shows.
    pub fn known(&self, probe: &str) -> Option<&Difference> {
        self.differences.iter().find(|known| known.probe == probe)
    }

    /// Asks everything, each group in a sandbox of its own.
    async fn ask(&self, probes: &[Probe]) -> Verdicts {
        let mut verdicts = Verdicts::new();
        for group in Group::ALL {
            let dir = Scratch::new();
            // Who has no root of their own comes here by its path.
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).expect("chmod");
            let mut plan = plan(dir.path(), &format!("{}-{}", self.name, group as u8));
            table::prepare(dir.path(), &mut plan);
            plan.min_tier = self.tier;
            if self.tier == Tier::Landlock {
                // Counted by the id, which others of this host have at the same time.
                plan.limits.processes = 4096;
            }
            let sandbox = self.backend.create(&plan).await.expect("a sandbox");
            let upper = plan.workspace.scratch.join("upper");
            for probe in probes.iter().filter(|probe| probe.group == group) {
                let verdict = if self.not_applicable.contains(&probe.name) {
                    NOT_APPLICABLE.to_owned()
                } else {
                    probe.ask(&sandbox, &upper).await
                };
                verdicts.insert(probe.name, verdict);
            }
            sandbox.destroy().await.expect("an end");
        }
        verdicts
    }
}

/// The engine; where one must be (CI), its absence is a failure.
async fn engine() -> Option<Engine> {
    match Engine::reach().await {
        Ok(engine) => Some(engine),
        Err(why) if std::env::var_os("CI").is_some() => panic!("{why}"),
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn back_ends_give_the_same_verdicts_or_differ_as_documented() {
    let Some(engine) = engine().await else { return };
    // The first is what the others are compared with.
    let columns = [
        Column {
            name: "jail",
            backend: Backend::Jail(jail()),
            tier: Tier::Namespaces,
            not_applicable: &[],
            differences: &[],
        },
        Column {
            name: "container",
            backend: Backend::Docker(Box::new(docker(&runner_image().await).await)),
            tier: Tier::NamespacesCgroup,
            not_applicable: &[],
            differences: differences::CONTAINER,
        },
        Column {
            name: "landlock",
            backend: Backend::Bare(Bare::with_program(PROGRAM.as_ref(), "left off by a test")),
            tier: Tier::Landlock,
            not_applicable: differences::NOT_BARE,
            differences: differences::LANDLOCK,
        },
    ];
    let probes = table::probes();
    table::well_formed(&probes, &columns);
    let answers = futures_util::future::join_all(columns.iter().map(|column| column.ask(&probes))).await;
    let named: Vec<_> = columns.iter().zip(&answers).collect();
    let wrong = differences::undocumented(&probes, &named);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    if let Some(file) = std::env::var_os("CONFORMANCE_INTO") {
        table::write(file.as_ref(), &probes, &named, &engine.about.version);
    }
}

#[test]
fn a_difference_is_seen_in_both_directions() {
    let probes: Vec<Probe> = table::probes().into_iter().take(1).collect();
    let name = probes[0].name;
    const KNOWN: &[Difference] = &[Difference {
        probe: FIRST,
        reference: "yes",
        verdict: "no",
        why: "so",
    }];
    let check = |left: &str, right: &str, differences: &'static [Difference]| {
        let column = |differences| Column {
            name: "any",
            backend: Backend::Bare(Bare::with_program(PROGRAM.as_ref(), "never asked")),
            tier: Tier::Landlock,
            not_applicable: &[],
            differences,
        };
        let [left, right] = [left, right].map(|verdict| Verdicts::from([(name, verdict.to_owned())]));
        let columns = [column(&[]), column(differences)];
        differences::undocumented(&probes, &[(&columns[0], &left), (&columns[1], &right)]).len()
    };
    assert_eq!(name, FIRST);
    assert_eq!(check("yes", "yes", &[]), 0);
    assert_eq!(check("yes", NOT_APPLICABLE, &[]), 0);
    assert_eq!(check("yes", "no", &[]), 1, "undocumented");
    assert_eq!(check("yes", "no", KNOWN), 0, "documented");
    assert_eq!(check("yes", "yes", KNOWN), 1, "no more");
    assert_eq!(check("no", "no", KNOWN), 1, "both as the other was");
    assert_eq!(check("yes", "maybe", KNOWN), 1, "another one");
}

/// The first probe of the table.
const FIRST: &str = "what / holds besides what every system has";
