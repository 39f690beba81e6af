//! What an engine is ordered to make, whatever the image and the plan say.

use std::time::Duration;

use bollard::models::MountType;
use proptest::prelude::*;

use super::*;
use crate::policy::{LEASE, Limits, ReadOnlyMount, Role, Tier, WorkspacePlan};

fn plan(lowers: &[&str], read_only: &[(&str, &str)]) -> SandboxPlan {
    SandboxPlan {
        label: "run-judge-1".to_owned(),
        role: Role::Judge,
        workspace: WorkspacePlan {
            lowers: lowers.iter().map(PathBuf::from).collect(),
            scratch: PathBuf::from("/cache/scratch"),
            max_bytes: 1 << 30,
            max_inodes: 1000,
        },
        read_only: read_only
            .iter()
            .map(|(host, guest)| ReadOnlyMount {
                host: host.into(),
                guest: guest.into(),
            })
            .collect(),
        network: crate::policy::NetworkMode::None,
        limits: Limits::default(),
        min_tier: Tier::Namespaces,
        lease: LEASE + Duration::from_secs(1),
    }
}

fn ordered(plan: &SandboxPlan, volumes: &[String]) -> Result<ContainerCreateBody, String> {
    let image = Image {
        certificates: false,
        reference: "any".to_owned(),
        id: "sha256:0".to_owned(),
        volumes: volumes.to_vec(),
        variables: vec!["LD_PRELOAD".to_owned()],
    };
    order(
        plan,
        Parts {
            image: &image,
            program: Path::new("/bin/opencode-fsm"),
            runtime: None,
            labels: HashMap::from([("dev.opencode-fsm.sandbox".to_owned(), "run-judge-1".to_owned())]),
            libraries: &[PathBuf::from("/lib64/ld-linux-x86-64.so.2")],
            ids: (2000, 2000),
            off: &[],
        },
    )
}

/// A mount's place and whether it can be written.
fn places(host: &HostConfig) -> Vec<(String, bool)> {
    let mounts = host.mounts.iter().flatten();
    mounts
        .map(|mount| {
            let writable = mount.read_only != Some(true);
            (mount.target.clone().expect("a place"), writable)
        })
        .collect()
}

#[test]
fn nothing_of_what_an_image_may_choose_is_left_to_it() {
    let body = ordered(&plan(&["/cache/a"], &[]), &[]).expect("an order");
    assert_eq!(
        body.image.as_deref(),
        Some("sha256:0"),
        "by digest, whatever the name means now"
    );
    assert_eq!(body.user.as_deref(), Some("0:0"));
    assert_eq!(body.entrypoint, Some(vec![GUEST.to_owned(), "guest".to_owned()]));
    // A variable that is named without a value is taken away.
    let taken = Some(vec!["LD_PRELOAD".to_owned()]);
    assert_eq!((body.cmd, body.env), (Some(Vec::new()), taken));
    assert_eq!(body.working_dir.as_deref(), Some("/"));
    assert_eq!(
        body.healthcheck.and_then(|check| check.test),
        Some(vec!["NONE".to_owned()])
    );
    assert_eq!(body.stop_signal.as_deref(), Some("SIGKILL"));
    assert_eq!(body.hostname.as_deref(), Some("sandbox"));
    let none: [Option<bool>; 5] = [
        body.tty,
        body.open_stdin,
        body.attach_stdin,
        body.attach_stdout,
        body.attach_stderr,
    ];
    assert_eq!(none, [Some(false); 5]);
    assert_eq!(body.network_disabled, Some(true));
    assert!(body.exposed_ports.is_none());
}

#[test]
fn every_wall_that_an_engine_builds_is_asked_for() {
    let body = ordered(&plan(&["/cache/a"], &[]), &[]).expect("an order");
    let host = body.host_config.expect("a host");
    assert_eq!(host.readonly_rootfs, Some(true));
    assert_eq!(host.privileged, Some(false));
    assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
    assert_eq!(host.cap_add.map_or(0, |added| added.len()), CAPABILITIES.len());
    assert_eq!(host.network_mode.as_deref(), Some("none"));
    assert_eq!(host.ipc_mode.as_deref(), Some("none"));
    assert_eq!(host.cgroupns_mode, Some(HostConfigCgroupnsModeEnum::PRIVATE));
    // What is not named is the engine's default: a namespace of the container's own.
    assert_eq!((host.pid_mode, host.uts_mode, host.userns_mode), (None, None, None));
    assert!(host.port_bindings.is_none() && host.binds.is_none() && host.volumes_from.is_none());
    assert_eq!((host.devices, host.group_add), (Some(Vec::new()), Some(Vec::new())));
    assert_eq!(host.memory, host.memory_swap);
    assert!(host.memory > Some(0) && host.pids_limit > Some(0));
    assert_eq!(host.auto_remove, Some(true));
    let options = host.security_opt.expect("options");
    assert_eq!(options[0], "no-new-privileges");
    let profile = options[1].strip_prefix("seccomp=").expect("a filter");
    assert!(
        serde_json::from_str::<serde_json::Value>(profile).is_ok(),
        "sent itself, not named"
    );
    let masked = host.masked_paths.expect("paths");
    for name in ["kcore", "kallsyms", "keys", "timer_list"] {
        assert!(masked.contains(&format!("/proc/{name}")), "{name}");
    }
    assert!(host.readonly_paths.expect("paths").contains(&"/proc/sys".to_owned()));
}

#[test]
fn an_images_volumes_are_named_as_the_engine_will() {
    let plan = plan(&["/cache/a"], &[]);
    let held = |volumes: &[&str]| {
        let volumes: Vec<String> = volumes.iter().map(|path| (*path).to_owned()).collect();
        let host = ordered(&plan, &volumes)?.host_config.expect("a host");
        Ok::<_, String>(host.tmpfs.expect("tmpfs"))
    };
    let plain = held(&[]).expect("an order");
    for same in [
        "/workspace",
        "/workspace/",
        "//workspace/.",
        "/x/../workspace",
        "/tmp/",
        "/run/.",
    ] {
        assert_eq!(held(&[same]).expect(same), plain, "{same}");
    }
    assert!(
        held(&["/var/lib/data/"])
            .expect("an order")
            .contains_key("/var/lib/data")
    );
    for hiding in [
        "/",
        "/..",
        "/workspace/data",
        "/.opencode-fsm",
        "/.opencode-fsm/door",
        "/a/../workspace/./b",
    ] {
        assert!(held(&[hiding]).expect_err(hiding).contains("would hide"), "{hiding}");
    }
    assert!(held(&["/workspace/\u{1b}[31m"]).is_err_and(|why| !why.contains('\u{1b}')));
}

proptest! {
    #[test]
    fn only_the_workspace_and_the_overlays_own_directory_can_be_written(
        lowers in prop::collection::vec("/[a-z]{1,8}(/[a-z.]{1,8}){0,3}", 1..5),
        shown in prop::collection::vec(("/[a-z]{1,8}/[a-z]{1,8}", "/opt/[a-z]{1,8}"), 0..4),
        volumes in prop::collection::vec("/{0,2}[a-z.]{0,9}(/[a-z.]{0,9}){0,3}", 0..5),
    ) {
        let lowers: Vec<&str> = lowers.iter().map(String::as_str).collect();
        let shown: Vec<(&str, &str)> = shown.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let plan = plan(&lowers, &shown);
        let Ok(body) = ordered(&plan, &volumes) else {
            // Refused for a volume; without those it is not.
            prop_assert!(ordered(&plan, &[]).is_ok());
            return Ok(());
        };
        let host = body.host_config.expect("a host");
        let writable: Vec<String> = places(&host).into_iter().filter(|(_, writable)| *writable).map(|(at, _)| at).collect();
        prop_assert_eq!(writable, [GUEST_WORKSPACE, WORK]);
        for mount in host.mounts.iter().flatten() {
            match mount.typ {
                Some(MountType::BIND) => {
                    prop_assert_eq!(mount.bind_options.as_ref().and_then(|o| o.non_recursive), Some(true));
                }
                kind => prop_assert_eq!((kind, mount.target.as_deref()), (Some(MountType::VOLUME), Some(GUEST_WORKSPACE))),
            }
        }
        let tmpfs = host.tmpfs.expect("tmpfs");
        for (at, options) in &tmpfs {
            prop_assert!(options.contains("nosuid,nodev,size="), "{} {}", at, options);
            prop_assert!(!Path::new(at).starts_with(GUEST_WORKSPACE), "{}", at);
        }
        // Each of the image's volumes is one in memory: the engine makes none of its own.
        for volume in &volumes {
            let place = clean(volume);
            prop_assert!(place == Path::new(GUEST_WORKSPACE) || tmpfs.contains_key(place.to_str().expect("UTF-8")), "{}", volume);
        }
    }
}
