//! Programs that remove what is installed.

use crate::policy::shell::{effect::Effect, walk::Walk};

/// Beginnings of names of packages that a machine does not work without.
const VITAL: [&str; 26] = [
    "libc6",
    "glibc",
    "libc-bin",
    "musl",
    "systemd",
    "coreutils",
    "bash",
    "dash",
    "dpkg",
    "apt",
    "kernel",
    "linux-image",
    "linux-base",
    "base-files",
    "init",
    "util-linux",
    "rpm",
    "dnf",
    "yum",
    "pacman",
    "filesystem",
    "login",
    "mount",
    "sudo",
    "grub",
    "openssh-server",
];

impl Walk<'_> {
    /// Notes that what a machine does not work without is removed.
    pub(super) fn packages(&mut self, name: &str, words: &[String]) {
        let removes: &[&str] = match name {
            "apt" | "apt-get" | "aptitude" => &["remove", "purge", "autoremove", "full-purge"],
            "yum" | "dnf" | "microdnf" | "zypper" => &["remove", "erase", "rm"],
            "apk" => &["del"],
            "dpkg" => &["-r", "-P", "--remove", "--purge"],
            "rpm" => &["-e", "--erase"],
            "pacman" => &["-R", "-Rs", "-Rns", "-Rn", "-Rdd", "-Rsc", "--remove"],
            _ => return,
        };
        if !words.iter().any(|word| removes.contains(&word.as_str())) {
            return;
        }
        let vital = |word: &&String| {
            let word = word.trim_matches(['\'', '"']);
            let all = word.chars().all(|c| matches!(c, '*' | '.' | '?' | '^' | '$')) && !word.is_empty();
            all || VITAL.iter().any(|vital| {
                let rest = word.strip_prefix(vital);
                rest.is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with([':', '=', '-', '*']) && *vital != "login" && *vital != "init"
                })
            })
        };
        let operands = words
            .iter()
            .filter(|word| !word.starts_with('-') && !removes.contains(&word.as_str()));
        if let Some(word) = operands.clone().find(vital) {
            let what = format!("removes {word}, which the machine does not work without");
            self.note(Effect::DestroysOutsideWorkspace, what);
        }
    }
}
