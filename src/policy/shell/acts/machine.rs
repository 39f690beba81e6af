//! Power, disks, accounts, the kernel, and what starts by itself.

use super::{Arguments, values};
use crate::policy::shell::{
    effect::Effect,
    value::is_open,
    walk::{Io, Walk},
};

/// Programs that make, wipe or rearrange file systems and partitions.
const DISKS: [&str; 27] = [
    "mke2fs",
    "mkswap",
    "wipefs",
    "sfdisk",
    "sgdisk",
    "gdisk",
    "cfdisk",
    "blkdiscard",
    "mkntfs",
    "mkdosfs",
    "newfs",
    "lvremove",
    "vgremove",
    "pvremove",
    "pvcreate",
    "vgreduce",
    "zpool",
    "zfs",
    "mdadm",
    "dmsetup",
    "cryptsetup",
    "hdparm",
    "nvme",
    "badblocks",
    "tune2fs",
    "resize2fs",
    "diskpart",
];

impl Walk<'_> {
    /// `false` where `name` is none of these.
    pub(super) fn machine_effects(&mut self, name: &str, argv: &[String], io: &Io) -> bool {
        let words = &argv[1..];
        let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
        let powers = "ends or restarts the machine".to_owned();
        match name {
            "shutdown" | "reboot" | "halt" | "poweroff" | "pm-suspend" | "pm-hibernate" | "kexec"
            | "systemd-shutdown" | "sysrq" | "rtcwake" | "zzz" => {
                if !has(&["--help", "--version"]) {
                    self.note(Effect::PowersOff, powers);
                }
            }
            "init" | "telinit" | "openrc-shutdown" => {
                if has(&["0", "6", "1", "s", "S", "u"]) {
                    self.note(Effect::PowersOff, powers);
                }
            }
            "systemctl" | "loginctl" => self.systemctl(words),
            // `service NAME VERB`
            "service" | "rc-service" | "invoke-rc.d" => {
                let mut words: Vec<String> = words.iter().filter(|word| !word.starts_with('-')).cloned().collect();
                words.reverse();
                if words.len() == 2 && matches!(words[0].as_str(), "stop" | "disable") {
                    self.systemctl(&words);
                }
            }
            "ip" if has(&["exec"]) => {
                // `ip netns exec NAME COMMAND`
                let at = words.iter().position(|word| word == "exec").unwrap_or_default();
                let inner = words.get(at + 2..).unwrap_or_default().to_vec();
                self.again(inner, io);
            }
            "ip" | "ifconfig" | "ifdown" => {
                let ends = ["down", "flush", "del", "delete"];
                let says: &[&str] = if name == "ifdown" { &[] } else { &ends };
                // The loopback, and what is in a name space of its own, is nobody else's.
                if (says.is_empty() || has(says)) && !has(&["netns", "-n", "-netns", "lo"]) {
                    self.note(Effect::RaisesPrivilege, "takes the machine off its network".to_owned());
                }
            }
            "btrfs" if has(&["delete"]) => {
                for path in words.iter().filter(|word| word.contains('/')) {
                    self.removes(path);
                }
            }
            "busctl" | "dbus-send" | "gdbus" | "qdbus" | "osascript" | "wmic" => {
                let all = words.join(" ").to_lowercase();
                let ends = [
                    "poweroff",
                    "power off",
                    "reboot",
                    "shutdown",
                    "shut down",
                    "restart",
                    "halt",
                    "suspend",
                ];
                if ends.iter().any(|word| all.contains(word)) {
                    self.note(Effect::PowersOff, powers);
                }
                let shell = all.split_once("do shell script");
                if let Some((_, script)) = shell {
                    let script = script.trim().trim_matches('"').to_owned();
                    self.nested(|walk| walk.apart(|walk| walk.made(&script, &Io::default())));
                }
            }
            "systemd-run"
                if words
                    .iter()
                    .any(|word| word.starts_with("--on-") || word.starts_with("--timer-property")) =>
            {
                self.note(Effect::ChangesWhatStartsLater, "runs it at a later time".to_owned());
            }
            "kill" | "pkill" | "killall" | "killall5" | "skill" => self.kills(name, words),
            "mkfs" | "fdisk" | "parted" => {
                let lists = words
                    .iter()
                    .any(|word| word.starts_with("-l") || word == "--list" || word == "print");
                if !lists {
                    self.note(Effect::DestroysOutsideWorkspace, "changes a disk".to_owned());
                }
            }
            _ if name.starts_with("mkfs.") || DISKS.contains(&name) => {
                let lists = has(&[
                    "list",
                    "status",
                    "get",
                    "-l",
                    "--detail",
                    "--examine",
                    "-I",
                    "luksDump",
                    "id-ctrl",
                    "smart-log",
                    "ls",
                    "info",
                ]);
                if !lists && !words.is_empty() {
                    self.note(Effect::DestroysOutsideWorkspace, "changes a disk".to_owned());
                }
            }
            "useradd" | "adduser" | "usermod" | "userdel" | "deluser" | "groupdel" | "passwd" | "chpasswd" | "vipw"
            | "visudo" | "gpasswd" | "chsh" | "newusers" => {
                let plain = matches!(name, "useradd" | "adduser")
                    && !has(&["-o", "--non-unique", "sudo", "wheel", "root", "docker"])
                    && !words
                        .iter()
                        .any(|word| word == "0" || word.contains("sudo") || word.contains("-u0"));
                if !plain {
                    self.note(Effect::RaisesPrivilege, "changes accounts".to_owned());
                }
            }
            "setcap" | "insmod" | "modprobe" | "rmmod" | "iptables" | "ip6tables" | "nft" | "ufw" | "firewall-cmd"
            | "setenforce" | "swapoff" | "swapon" | "losetup" | "auditctl" | "bpftool" | "ebtables" | "pivot_root"
            | "switch_root" | "newgrp" | "aa-disable" | "aa-teardown" => {
                let lists = has(&[
                    "-L",
                    "--list",
                    "-S",
                    "list",
                    "status",
                    "--list-all",
                    "--state",
                    "-l",
                    "show",
                ]);
                if !lists {
                    self.note(
                        Effect::RaisesPrivilege,
                        "does what only an administrator may".to_owned(),
                    );
                }
            }
            "sysctl" => {
                if words
                    .iter()
                    .any(|word| word == "-w" || word == "-p" || word.contains('='))
                {
                    self.note(Effect::RaisesPrivilege, "changes the kernel's settings".to_owned());
                }
            }
            "crontab" => {
                let lists = has(&["-l"]);
                if has(&["-r"]) {
                    self.note(
                        Effect::DestroysOutsideWorkspace,
                        "removes a user's clock table".to_owned(),
                    );
                } else if !lists {
                    self.note(Effect::ChangesWhatStartsLater, "sets a user's clock table".to_owned());
                }
            }
            "at" | "batch" => {
                if let Some(text) = io.input.clone() {
                    self.nested(|walk| walk.apart(|walk| walk.made(&text, &Io::default())));
                }
                if !has(&["-l", "-c"]) {
                    self.note(Effect::ChangesWhatStartsLater, "runs later by the clock".to_owned());
                }
            }
            "launchctl" | "update-rc.d" | "chkconfig" | "rc-update" => {
                if !has(&["list", "print"]) {
                    self.note(
                        Effect::ChangesWhatStartsLater,
                        "changes what starts by itself".to_owned(),
                    );
                }
            }
            "getent" => {
                if has(&["shadow", "gshadow"]) {
                    self.note(Effect::ReadsSecrets, "prints passwords' digests".to_owned());
                }
            }
            "history" => {}
            "sudoedit" | "visudo-edit" | "polkit" => {
                self.note(Effect::RaisesPrivilege, "asks for another user's rights".to_owned());
            }
            "stress" | "stress-ng" => {}
            _ => return false,
        }
        true
    }

    fn systemctl(&mut self, words: &[String]) {
        let arguments: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .filter(|word| !word.starts_with('-'))
            .collect();
        let (verb, rest) = match arguments.split_first() {
            Some((verb, rest)) => (*verb, rest),
            None => return,
        };
        let user = words.iter().any(|word| word == "--user");
        let ends = [
            "poweroff",
            "reboot",
            "halt",
            "kexec",
            "suspend",
            "hibernate",
            "hybrid-sleep",
            "rescue",
            "emergency",
            "default",
            "exit",
            "switch-root",
            "soft-reboot",
            "sleep",
        ];
        let target = |name: &&str| {
            let name = name.trim_end_matches(".target");
            ends.contains(&name) || name == "shutdown" || name.starts_with("runlevel")
        };
        // Units that watch over the machine, or others depend on.
        let guards = |name: &&str| {
            let units = [
                "firewalld",
                "ufw",
                "iptables",
                "nftables",
                "ssh",
                "auditd",
                "apparmor",
                "selinux",
                "fail2ban",
                "systemd-",
                "dbus",
                "docker",
                "containerd",
                "kubelet",
                "cron",
                "rsyslog",
                "network",
                "clamav",
                "falco",
            ];
            units.iter().any(|unit| name.starts_with(unit))
        };
        match verb {
            verb if ends.contains(&verb) => {
                self.note(Effect::PowersOff, "ends or restarts the machine".to_owned());
            }
            "isolate" | "start" if rest.iter().any(target) => {
                self.note(Effect::PowersOff, "ends or restarts the machine".to_owned());
            }
            "enable" | "link" | "edit" | "set-default" | "preset" => {
                self.note(
                    Effect::ChangesWhatStartsLater,
                    "changes what starts by itself".to_owned(),
                );
            }
            "mask" | "disable" | "stop" if !user && rest.iter().any(guards) => {
                self.note(
                    Effect::RaisesPrivilege,
                    "does what only an administrator may".to_owned(),
                );
            }
            _ => {}
        }
    }

    fn kills(&mut self, name: &str, words: &[String]) {
        let everything = "ends every process".to_owned();
        match name {
            "killall5" => self.note(Effect::PowersOff, everything),
            "kill" => {
                let mut words = words.iter().map(String::as_str).peekable();
                // The signal stands first; `-1` after one is every process.
                match words.peek().copied() {
                    Some("-l" | "-L") => return,
                    Some("-s" | "-n" | "--signal") => {
                        words.next();
                        words.next();
                    }
                    Some(word) if word.starts_with('-') && word.len() > 1 && word != "--" => {
                        words.next();
                    }
                    _ => {}
                }
                if words.any(|word| matches!(word, "-1" | "1")) {
                    self.note(Effect::PowersOff, everything);
                }
            }
            "pkill" | "skill" | "killall" => {
                let owner = values(words, &["-u", "-U", "--euid", "--uid", "--user"]);
                let takes = [
                    "-u", "-U", "-P", "-G", "-g", "-s", "-t", "-n", "--signal", "--euid", "--uid", "--user", "--parent",
                ];
                let argv: Vec<String> = std::iter::once(name.to_owned()).chain(words.iter().cloned()).collect();
                let patterns = Arguments::of(&argv, &takes).operands;
                let vital = ["systemd", "init", "sshd", "dockerd", "containerd", ".", ".*", "", "*"];
                let broad = patterns.iter().any(|word| vital.contains(word));
                let of_root = owner.iter().any(|owner| *owner == "root" || *owner == "0");
                let of_all = patterns.is_empty() && owner.iter().any(|owner| is_open(owner));
                if broad || of_root || of_all {
                    self.note(Effect::PowersOff, everything);
                }
            }
            _ => {}
        }
    }
}
