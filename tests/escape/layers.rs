//! One layer is left off at a time: what then gets through is what the layer alone keeps out.
//! A layer that nothing gets through without is not tested, or not needed.

use std::collections::BTreeMap;

use opencode_fsm::{
    escape::{self, Attempt, Controls, Field, Outcome, Tried, Verdict},
    sandbox::{Backend, Layer, WallState, docker::Docker},
};

use crate::{
    suite::engine,
    support::{PROGRAM, docker, jail, runner_image},
};

/// A layer, and attempts that it alone keeps from succeeding: in a jail, and in a container.
type Kept = (Layer, &'static [&'static str], &'static [&'static str]);

const KEPT: &[Kept] = &[
    (
        Layer::Seccomp,
        &[
            "io-uring",
            "keyring",
            "userfaultfd",
            "personality",
            "type-into-terminal",
        ],
        &["io-uring", "keyring", "unshare-user-namespace", "personality"],
    ),
    (
        Layer::Landlock,
        &["signal-supervisor", "signal-another-command"],
        &["signal-another-command"],
    ),
    (Layer::UserNamespace, &["read-closed-piece"], &[]),
    (Layer::Ids, &["read-closed-piece"], &[]),
    (
        Layer::CommandId,
        &["be-root-of-the-sandbox"],
        &["be-root-of-the-sandbox"],
    ),
    (Layer::PidNamespace, &["see-host-process"], &[]),
    (
        Layer::NetworkNamespace,
        &["connect-to-host", "send-to-host", "tunnel-by-names"],
        &["connect-to-host", "send-to-host"],
    ),
    (Layer::IpcNamespace, &["read-shared-memory"], &["read-shared-memory"]),
    (Layer::UtsNamespace, &["see-host-name"], &["see-host-name"]),
    (Layer::CgroupNamespace, &["see-host-cgroup"], &["see-host-cgroup"]),
    (Layer::Root, &["connect-to-host-socket"], &[]),
    (
        Layer::ReadOnly,
        &["change-read-only-piece"],
        &["change-read-only-piece"],
    ),
    (Layer::ProcMasks, &["read-kernel-secrets"], &["read-kernel-secrets"]),
    (Layer::Capabilities, &["have-bounding-set"], &["have-bounding-set"]),
    (Layer::NoNewPrivs, &["run-without-no-new-privs"], &[]),
    (
        Layer::Rlimits,
        &["open-too-many-files", "sparse-file"],
        &["open-too-many-files", "sparse-file"],
    ),
    (Layer::Cgroup, &["spin"], &["spin", "fork-bomb", "take-memory"]),
    (Layer::Disk, &["fill-workspace"], &["fill-workspace"]),
];

/// What only a jail that root makes has.
const OF_ROOT: [Layer; 4] = [Layer::UserNamespace, Layer::Ids, Layer::Cgroup, Layer::CgroupNamespace];

pub async fn field(tried: Tried, off: &[Layer]) -> Field {
    let backend = match tried {
        Tried::Docker => Backend::Docker(Box::new(docker(&runner_image().await).await.without(off))),
        _ => Backend::Jail(jail().without(off)),
    };
    Field::new(tried, backend, PROGRAM.as_ref(), &std::env::temp_dir())
        .await
        .unwrap_or_else(|why| panic!("{tried}, {off:?}: {why}"))
}

/// What comes of some attempts with a layer left off, which the report on the walls must say.
pub async fn without(tried: Tried, layer: Layer, controls: &mut Controls, which: &[Attempt]) -> Vec<Verdict> {
    let field = field(tried, &[layer]).await;
    let said = field
        .walls()
        .walls
        .iter()
        .any(|wall| matches!(&wall.state, WallState::Absent(why) if format!("{} {why}", wall.name).contains(&layer.to_string())));
    assert!(said, "{tried} without {layer} says: {:#?}", field.walls());
    let mut verdicts = Vec::new();
    for attempt in which {
        verdicts.push(escape::make(&field, controls, attempt).await.expect("it is made"));
    }
    field.leave().await.expect("it ends");
    verdicts
}

async fn each_layer_keeps_something_out(tried: Tried) {
    let all: BTreeMap<&str, Attempt> = escape::attempts().into_iter().map(|a| (a.name, a)).collect();
    let root = nix::unistd::geteuid().is_root();
    let mut controls = Controls::default();
    let mut wrong = Vec::new();
    for (layer, in_jail, in_container) in KEPT {
        let kept = if tried == Tried::Docker { in_container } else { in_jail };
        if kept.is_empty() || (OF_ROOT.contains(layer) && !root) {
            continue;
        }
        let which: Vec<Attempt> = kept.iter().map(|name| all[name]).collect();
        for verdict in without(tried, *layer, &mut controls, &which).await {
            if verdict.outcome != Outcome::Escaped {
                wrong.push(format!("without {layer}: {verdict:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_layer_of_a_jail_keeps_something_out_alone() {
    each_layer_keeps_something_out(Tried::Jail).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_layer_of_a_container_keeps_something_out_alone() {
    if engine().await {
        each_layer_keeps_something_out(Tried::Docker).await;
    }
}

#[test]
fn no_layer_is_left_out_of_the_matrix() {
    let in_order: Vec<Layer> = KEPT.iter().map(|(layer, ..)| *layer).collect();
    assert_eq!(in_order, Layer::SANDBOX);
    for (layer, in_jail, in_container) in KEPT {
        assert!(!in_jail.is_empty(), "{layer}");
        assert_eq!(Docker::LEAVABLE.contains(layer), !in_container.is_empty(), "{layer}");
    }
}
