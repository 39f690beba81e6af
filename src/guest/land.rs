//! The file and network rules of a command (landlock(7)).
#![allow(unsafe_code)]

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::Failure;
use crate::wire::{LandlockRules, PathAccess};

/// The landlock ABI from which signals have a scope (landlock(7)).
pub(super) const SCOPES_ABI: u32 = 6;

/// Landlock with the best ABI that kernel and crate share; `min_abi` is hard.
pub(super) fn restrict(rules: &LandlockRules, scoped: bool, no_new_privs: bool) -> Result<(), Failure> {
    let failed = |why: landlock::RulesetError| Failure::plain("landlock", why);
    let found = landlock_abi();
    if found < rules.min_abi {
        return Err(Failure::plain(
            "landlock",
            format!("ABI {found} found, {} needed", rules.min_abi),
        ));
    }
    let abi = ABI::V6;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .map_err(failed)?;
    if scoped {
        ruleset = ruleset.scope(Scope::from_all(abi)).map_err(failed)?;
    }
    if rules.restrict_tcp {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi)).map_err(failed)?;
    }
    let mut created = ruleset.create().map_err(failed)?;
    for (path, access) in &rules.paths {
        let Ok(fd) = PathFd::new(path) else { continue };
        // What concerns directories is no right over anything else (landlock_add_rule(2)).
        let is_dir = std::fs::metadata(path).is_ok_and(|meta| meta.is_dir());
        let over = if is_dir {
            AccessFs::from_all(abi)
        } else {
            AccessFs::from_file(abi)
        };
        created = created
            .add_rule(PathBeneath::new(fd, bits(*access, abi) & over))
            .map_err(failed)?;
    }
    if rules.restrict_tcp {
        for port in &rules.bind_ports {
            created = created
                .add_rule(NetPort::new(*port, AccessNet::BindTcp))
                .map_err(failed)?;
        }
        for port in &rules.connect_ports {
            created = created
                .add_rule(NetPort::new(*port, AccessNet::ConnectTcp))
                .map_err(failed)?;
        }
    }
    let status = created.no_new_privs(no_new_privs).restrict_self().map_err(failed)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(Failure::plain("landlock", "the kernel enforces none of it"));
    }
    Ok(())
}

fn bits(access: PathAccess, abi: ABI) -> BitFlags<AccessFs> {
    match access {
        PathAccess::ReadExecute => AccessFs::from_read(abi),
        PathAccess::Read => AccessFs::ReadFile | AccessFs::ReadDir,
        PathAccess::ReadWrite => {
            AccessFs::from_all(abi) & !(AccessFs::MakeBlock | AccessFs::MakeChar | AccessFs::IoctlDev)
        }
        PathAccess::Device => {
            AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev
        }
    }
}

/// The kernel's landlock ABI; 0 is none (landlock_create_ruleset(2)).
pub(crate) fn landlock_abi() -> u32 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with the version flag the kernel wants a null pointer and size 0.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            VERSION,
        )
    };
    u32::try_from(abi).unwrap_or(0)
}
