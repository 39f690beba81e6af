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
#[path = "conformance/differences.rs"]
mod differences;
#[path = "conformance/probe.rs"]
mod probe;
#[path = "conformance/surroundings.rs"]
mod surroundings;
#[path = "conformance/table.rs"]
mod table;

use std::collections::BTreeMap;

use opencode_fsm::sandbox::{Backend, docker::Engine};
use probe::{Group, Probe};
use support::{Scratch, docker, jail, plan, runner_image};

/// A back end that is asked, and what makes no sense there.
pub struct Column {
    pub name: &'static str,
    backend: Backend,
    /// Probes whose verdict is `n/a`, by name.
    not_applicable: &'static [&'static str],
}

/// Verdicts by probe.
pub type Verdicts = BTreeMap<&'static str, String>;

/// The verdict of what makes no sense in a back end.
const NOT_APPLICABLE: &str = "n/a";

impl Column {
    /// Asks everything, each group in a sandbox of its own.
    async fn ask(&self, probes: &[Probe]) -> Verdicts {
        let mut verdicts = Verdicts::new();
        for group in Group::ALL {
            let dir = Scratch::new();
            let mut plan = plan(dir.path(), &format!("{}-{}", self.name, group as u8));
            table::prepare(dir.path(), &mut plan);
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
            not_applicable: &[],
        },
        Column {
            name: "container",
            backend: Backend::Docker(Box::new(docker(&runner_image().await).await)),
            not_applicable: &[],
        },
    ];
    let probes = table::probes();
    table::well_formed(&probes, &columns);
    let (first, second) = tokio::join!(columns[0].ask(&probes), columns[1].ask(&probes));
    let answers = [first, second];
    let named: Vec<_> = columns.iter().map(|column| column.name).zip(&answers).collect();
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
    let verdicts = |verdict: &str| Verdicts::from([(name, verdict.to_owned())]);
    let (a, b) = (verdicts("yes"), verdicts("no"));
    let check = |left: &Verdicts, right: &Verdicts, documented: &[differences::Difference]| {
        differences::against(documented, &probes, &[("jail", left), ("container", right)])
    };
    let known = [differences::Difference {
        probe: name,
        reference: "yes",
        others: &[("container", "no")],
        why: "so",
    }];
    assert!(check(&a, &a, &[]).is_empty());
    assert!(check(&a, &verdicts(NOT_APPLICABLE), &[]).is_empty());
    assert_eq!(check(&a, &b, &[]).len(), 1, "undocumented");
    assert!(check(&a, &b, &known).is_empty(), "documented");
    assert_eq!(check(&a, &a, &known).len(), 1, "no more");
    assert_eq!(check(&b, &b, &known).len(), 1, "both as the other was");
    assert_eq!(check(&a, &verdicts("maybe"), &known).len(), 1, "another one");
}
