//! What a command finds around it: files, ids, environment.

use crate::{
    probe::{Act, Group, Probe, said},
    support::{perl, sh, text},
};

/// A script's words.
pub fn says(group: Group, name: &'static str, script: &str) -> Probe {
    Probe {
        group,
        name,
        act: Act::Exec(sh(script), said()),
    }
}

/// Names the error of the call before it, or says that there was none.
const PRELUDE: &str = r#"
    $| = 1; use Errno; use POSIX (); use Fcntl; use Socket qw(:DEFAULT pack_sockaddr_in6);
    sub why { for (sort keys %!) { return $_ if $!{$_} } "error " . ($! + 0) }
    sub told { print $_[0] ? "done" : why(), " " }
    sub call { $! = 0; told(syscall(shift, @_) != -1) }
"#;

/// A perl program's words. It has `told(SUCCESS)` and `call(NUMBER, ARGUMENTS)`, which print
/// `done` or the name of the error.
pub fn perl_says(group: Group, name: &'static str, program: &str) -> Probe {
    Probe {
        group,
        name,
        act: Act::Exec(perl(&format!("{PRELUDE}{program}"), &[]), said()),
    }
}

pub fn probes() -> Vec<Probe> {
    [files(), ids(), environment()].into_iter().flatten().collect()
}

fn files() -> Vec<Probe> {
    let says = |name, script| says(Group::Files, name, script);
    let perl = |name, program| perl_says(Group::Files, name, program);
    vec![
        says(
            "what / holds besides what every system has",
            "ls -A / | grep -vxE 'bin|dev|etc|home|lib|lib32|lib64|libx32|mnt|proc|run|sbin|sys|tmp|usr|workspace' || :",
        ),
        says("what /dev holds", "ls -A /dev | sort"),
        says("what /home and /run hold", "ls -A /home /run"),
        says("the kind of the workspace's file system", "stat -f -c %T /workspace"),
        says(
            "how the workspace is mounted",
            "awk '$2 == \"/workspace\" { print $4 }' /proc/self/mounts | tr , '\\n' | grep -xE 'r[ow]|nosuid|nodev|noexec'",
        ),
        says(
            "how private places are mounted",
            "for p in /tmp /dev/shm /run /home/agent; do awk -v p=$p '$2 == p { print $3, $4 }' /proc/self/mounts | \
             tail -n 1 | tr ', ' '\\n\\n' | grep -xE 'tmpfs|r[ow]|nosuid|nodev|noexec' | tr '\\n' ','; echo; done",
        ),
        says(
            "host paths in the table of mounts",
            "if grep -q -e 'upperdir=[^,]*/layer/upper' /proc/self/mounts; then echo shown; else echo hidden; fi",
        ),
        says(
            "modes of private places",
            "stat -c '%n %a' /tmp /dev/shm /run /home/agent /workspace",
        ),
        says(
            "owners of private places",
            "for p in /run /home/agent /workspace /workspace/hello; do [ -O $p ] && [ -G $p ] && echo mine; done",
        ),
        says("an existing file", "cat hello; stat -c '%a %s %h' hello"),
        says(
            "modes of new files",
            "umask; : >new; mkdir newdir; stat -c %a new newdir",
        ),
        perl(
            "places that cannot be written",
            r#"for (qw(/ /usr /etc /dev /proc /proc/sys /sys /home /.opencode-fsm)) {
                open(my $f, ">", "$_/.p$$") ? print("$_ written ") : 0 }
               print "none""#,
        ),
        perl(
            "opening settings to write",
            r#"for (qw(/etc/passwd /etc/hosts /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/self/oom_score_adj)) {
                print open(my $f, "+<", $_) ? "open " : "refused " }"#,
        ),
        perl(
            "files of secrets",
            r#"for (qw(/etc/shadow /etc/gshadow /root /root/.ssh /var/run/docker.sock)) {
                print open(my $f, "<", $_) && defined(readline $f) ? "read " : opendir(my $d, $_) ? "listed " : "refused " }"#,
        ),
        perl(
            "files of /proc about the kernel",
            r#"for (qw(kcore keys kallsyms timer_list sched_debug kmsg latency_stats acpi scsi)) {
                my $p = "/proc/$_"; my ($f, $d);
                if (-d $p) { opendir($d, $p) and (grep { !/^\./ } readdir $d) and print "$_ " }
                elsif (open($f, "<", $p)) { print "$_ " if sysread($f, my $b, 1) } }
               print "none else""#,
        ),
        perl(
            "pid 1 seen from a command",
            r#"for (qw(environ root cwd exe maps mem fd)) { my $p = "/proc/1/$_";
                print((open(my $f, "<", $p) && sysread($f, my $b, 1)) || readlink($p) || opendir(my $d, $p) ? "$_ " : "") }
               print "none else""#,
        ),
        perl(
            "how many processes there are",
            // The warden of the command before it may still be on its way out.
            r#"my $n; for (1 .. 10000) { opendir(my $d, "/proc"); $n = grep { /^\d+$/ } readdir $d; last if $n <= 3 } print $n"#,
        ),
        perl(
            "links, pipes and sockets in the workspace",
            r#"told(link "hello", "hard"); told(symlink "hello", "soft"); told(POSIX::mkfifo("fifo", 0600));
               socket(my $s, AF_UNIX, SOCK_STREAM, 0); told(bind $s, pack_sockaddr_un("sock"));
               told(rename "hard", "harder"); told(unlink "harder", "soft", "fifo", "sock")"#,
        ),
        perl(
            "devices in the workspace",
            r#"call(133, my $n = "null", 020666, 0x103); call(133, my $w = "white", 020000, 0); call(133, my $b = "disk", 060600, 0x800)"#,
        ),
        perl(
            "set-id bits in the workspace",
            r#"open my $f, ">", "setid"; told(chmod 06755, "setid"); printf "%o", (stat "setid")[2]"#,
        ),
        perl(
            "renaming a directory of the pristine tree",
            r#"told(rename "deep", "deeper"); print -e "deep/leaf" ? "there" : "gone""#,
        ),
        perl(
            "names of 255 and 256 bytes",
            r#"for (255, 256) { told(open my $f, ">", "n" x $_) } unlink "n" x 255"#,
        ),
        perl(
            "extended attributes",
            r#"for my $named (qw(user.mine user.overlay.opaque trusted.mine security.capability)) {
                my ($p, $n, $v) = ("hello", $named, "y"); call(188, $p, $n, $v, 1, 0) }"#,
        ),
        perl(
            "unnamed files, holes, locks and ranges",
            r#"told(sysopen(my $t, ".", 020200000 | O_RDWR, 0600)); open my $f, "+>", "hole"; told(truncate $f, 1 << 20);
               print +(stat $f)[12] * 512 < 65536 ? "sparse " : "full "; told(flock $f, 6);
               call(285, fileno $f, 0, 0, 4096); call(326, fileno $f, 0, fileno $t, 0, 4096, 0)"#,
        ),
        perl(
            "executing from private places",
            r##"for (qw(/tmp /dev/shm /run /home/agent /workspace)) {
            open my $f, ">", "$_/x"; print $f "#!/bin/sh\nexit 3\n"; close $f; chmod 0755, "$_/x";
            print system("$_/x") >> 8, " "; unlink "$_/x" }"##,
        ),
    ]
}

fn ids() -> Vec<Probe> {
    let says = |name, script| says(Group::Ids, name, script);
    let perl = |name, program| perl_says(Group::Ids, name, program);
    let status = "for l in $(grep -E '^(Cap...|NoNewPrivs|Seccomp):' /proc/self/status); do echo $l; done";
    vec![
        says(
            "user and group",
            "[ \"$(id -u):$(id -g)\" = \"$(stat -c %u:%g hello)\" ] && echo those of the workspace",
        ),
        says("names of user and group", "id -un; id -gn; echo ~"),
        says("supplementary groups", "[ \"$(id -G)\" = \"$(id -g)\" ] && echo none"),
        says("known accounts", "cut -d: -f1 /etc/passwd /etc/group"),
        says("capabilities, no_new_privs, seccomp", status),
        says(
            "mapped ids",
            "awk '{ print $3 == 1 ? \"one\" : \"many\" }' /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups",
        ),
        perl(
            "becoming somebody else",
            r#"call(105, 0); call(106, 0); call(117, 65534, 65534, 65534); my $g = pack "L", 0; call(116, 1, $g)"#,
        ),
        perl(
            "giving a file away",
            r#"told(chown 0, 0, "hello"); told(chown 65534, -1, "hello"); told(chown $<, $(+0, "hello")"#,
        ),
        says(
            "set-id programs",
            "for p in /usr/bin/su /usr/bin/passwd /usr/bin/newgrp; do [ -u $p ] && $p </dev/null >/dev/null 2>&1 && echo $p; done; \
             grep ^CapPrm /proc/self/status",
        ),
        perl(
            "setting limits higher",
            r#"for (7, 1, 4) { my $l = pack "Q2", 1 << 40, 1 << 40; call(160, $_, $l) }"#,
        ),
        perl(
            "being nicer and less nice",
            r#"print POSIX::nice(1) ? "done " : why(), " "; print POSIX::nice(-5) ? "done" : why()"#,
        ),
    ]
}

fn environment() -> Vec<Probe> {
    let says = |name, script| says(Group::Environment, name, script);
    let perl = |name, program| perl_says(Group::Environment, name, program);
    vec![
        perl("variables", r#"print join " ", map { "$_=$ENV{$_}" } sort keys %ENV"#),
        says("directory and shell", "pwd; echo $0"),
        says(
            "standard input",
            "read x; echo $?; readlink /proc/self/fd/0; [ -t 0 ] || [ -t 1 ] || echo no terminal",
        ),
        perl(
            "open descriptors",
            r#"opendir my $d, "/proc/self/fd"; print join " ", sort grep { /\d/ && $_ != fileno $d } readdir $d"#,
        ),
        says(
            "signals blocked and ignored",
            "grep -E '^Sig(Blk|Ign|Pnd)' /proc/self/status",
        ),
        perl(
            "session, group and nice value",
            r#"print getppid == $$ ? 0 : 1, $$ == getpgrp ? " leads" : " follows", " ", open(my $t, "<", "/dev/tty") ? "a terminal" : "no terminal"; print ", behind by ", getpriority(0, 0) - getpriority(0, 1)"#,
        ),
        says(
            "host name",
            "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname /etc/hostname; uname -n",
        ),
        says("control groups", "cut -d: -f3 /proc/self/cgroup | sort -u"),
        Probe {
            group: Group::Environment,
            name: "namespaces apart from the host's",
            act: Act::Exec(
                sh("cd /proc/self/ns; for n in cgroup ipc mnt net pid user uts; do readlink $n; done"),
                Box::new(|outcome| {
                    let said = text(outcome);
                    let apart = said.lines().filter_map(|line| {
                        let (name, _) = line.split_once(':')?;
                        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).ok()?;
                        (host.to_str() != Some(line)).then_some(name)
                    });
                    apart.collect::<Vec<_>>().join(" ")
                }),
            ),
        },
        says("name service", "cat /etc/nsswitch.conf /etc/resolv.conf"),
        says(
            "System V segments that outlive whom they serve",
            "cat /proc/sys/kernel/shm_rmid_forced",
        ),
    ]
}
