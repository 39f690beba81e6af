//! The profile that a container engine loads before the guest is started.
//!
//! It bounds the guest itself; commands get the stricter filter of [`super::compile`]
//! on top. Engines keep a list by name and judge few arguments, so it closes what
//! matters most: the calls that are dangerous at any argument, and socket families
//! that leave a network namespace (`AF_VSOCK`).

use serde_json::{Value, json};

use super::{ALLOWED, DANGEROUS};

/// Calls of the guest and of the engine's own start that commands do without.
const GUEST: [&str; 4] = ["setgroups", "capset", "setuid", "setgid"];
/// Judged by argument below.
const JUDGED: [&str; 3] = ["clone", "clone3", "socket"];
/// Every CLONE_NEW* flag (clone(2)).
const NAMESPACES: u64 = 0x7e02_0080;

/// The profile's text (the format of the engine's own default profile).
pub fn profile() -> String {
    let dangerous: Vec<String> = DANGEROUS.iter().map(ToString::to_string).collect();
    let allowed: Vec<&str> = ALLOWED
        .split_whitespace()
        .chain(GUEST)
        .filter(|name| !JUDGED.contains(name) && !dangerous.iter().any(|d| d == name))
        .collect();
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let sockets = families.map(|family| {
        json!({
            "names": ["socket"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}],
        })
    });
    let mut rules: Vec<Value> = vec![
        json!({"names": allowed, "action": "SCMP_ACT_ALLOW"}),
        json!({
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
        }),
        // The C library then falls back to clone, whose flags a filter can see.
        json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS}),
    ];
    rules.extend(sockets);
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": rules,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_dangerous_is_allowed_and_sockets_are_judged() {
        let profile: Value = serde_json::from_str(&profile()).expect("JSON");
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        let rules = profile["syscalls"].as_array().expect("rules");
        let unasked: Vec<&str> = rules
            .iter()
            .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW" && rule["args"].is_null())
            .flat_map(|rule| rule["names"].as_array().expect("names"))
            .map(|name| name.as_str().expect("a name"))
            .collect();
        for call in [
            "io_uring_setup",
            "bpf",
            "mount",
            "unshare",
            "keyctl",
            "socket",
            "clone",
            "clone3",
        ] {
            assert!(!unasked.contains(&call), "{call}");
        }
        for call in ["read", "landlock_restrict_self", "setresuid", "seccomp"] {
            assert!(unasked.contains(&call), "{call}");
        }
        let vsock = rules.iter().any(|rule| rule["args"][0]["value"] == libc::AF_VSOCK);
        assert!(!vsock);
    }
}
