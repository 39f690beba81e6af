//! What a command may use and call: limits, network, system calls.

use crate::{
    probe::{Act, Group, Probe, ended},
    support::{perl, sh},
    surroundings::{perl_says, says},
};

pub fn probes() -> Vec<Probe> {
    [limits(), network(), calls()].into_iter().flatten().collect()
}

fn limits() -> Vec<Probe> {
    let says = |name, script| says(Group::Limits, name, script);
    let perl_says = |name, program| perl_says(Group::Limits, name, program);
    let ends = |name, spec| Probe {
        group: Group::Limits,
        name,
        act: Act::Exec(spec, ended()),
    };
    vec![
        says("open files", "ulimit -Sn; ulimit -Hn"),
        says("largest file", "ulimit -Sf; ulimit -Hf"),
        says("core dumps", "ulimit -Sc; ulimit -Hc"),
        says(
            "processes of the id",
            "[ $(grep '^Max processes' /proc/self/limits | awk '{ print $4 }') = 96 ] && echo bounded || echo not bounded",
        ),
        says(
            "real-time priority, nice",
            "grep -E '^Max (realtime priority|nice)' /proc/self/limits | awk '{ print $4, $5 }'",
        ),
        says(
            "sizes of private places",
            "for p in /tmp /dev/shm /run /home/agent; do df -B1 --output=size $p | tail -n 1; done",
        ),
        says(
            "inodes of private places",
            "for p in /tmp /dev/shm /run /home/agent; do df --output=itotal $p | tail -n 1; done",
        ),
        perl_says(
            "too many open files",
            r#"my @all; while (open my $f, "<", "/dev/null") { push @all, $f } told(0); print 3 + @all"#,
        ),
        perl_says(
            "too many processes",
            r#"my @all; while (1) { my $pid = fork; last if !defined $pid; if (!$pid) { sleep 60; exit } push @all, $pid } told(0);
               print @all > 40 && @all <= 96 + 16 ? "at the cap" : scalar @all; kill 9, @all; 1 while wait > 0"#,
        ),
        says(
            "a full /tmp",
            "head -c 9M /dev/zero 2>&1 >/tmp/big | head -c 100; rm /tmp/big",
        ),
        says(
            "a full /dev/shm",
            "head -c 9M /dev/zero 2>&1 >/dev/shm/big | head -c 100; rm /dev/shm/big",
        ),
        perl_says(
            "too many files in home",
            r#"my $n = 0; while (open my $f, ">", "/home/agent/f$n") { $n++ } told(0); print $n > 400 ? "at the cap" : $n;
               unlink "/home/agent/f$_" for 0 .. $n"#,
        ),
        ends("a file above the largest", sh("exec head -c 17M /dev/zero >big")),
        ends("a file above the largest, removed", sh("rm -f big")),
        ends(
            "too much in the workspace",
            sh("n=0; while :; do head -c 4M /dev/zero >part$n || exit 9; n=$((n+1)); done"),
        ),
        ends("the workspace emptied again", sh("rm -f part* big")),
        ends("too much memory", perl(r#"my $x = "a" x (1 << 29); sleep 60"#, &[])),
        ends(
            "too much shared memory",
            perl(
                r#"
            my ($n, $b, @all) = ("m", "b" x (1 << 20)); $SIG{PIPE} = "IGNORE";
            for (1 .. 64) { open my $f, ">&=", syscall(319, $n, 0) or last; push @all, $f; syswrite $f, $b for 1 .. 8 } sleep 60"#,
                &[],
            ),
        ),
        says("the next command", "echo works"),
    ]
}

fn network() -> Vec<Probe> {
    let says = |name, script| says(Group::Network, name, script);
    let perl = |name, program| perl_says(Group::Network, name, program);
    vec![
        says("interfaces", "tail -n +3 /proc/net/dev | cut -d: -f1"),
        says("routes", "tail -n +2 /proc/net/route | wc -l"),
        perl(
            "its own loopback",
            r#"socket(my $l, AF_INET, SOCK_STREAM, 0); told(bind $l, sockaddr_in(0, INADDR_LOOPBACK)); listen $l, 1;
               socket(my $c, AF_INET, SOCK_STREAM, 0); told(connect $c, getsockname $l)"#,
        ),
        perl(
            "its own loopback, IPv6",
            r#"my $one = "\0" x 15 . "\1"; socket(my $l, AF_INET6, SOCK_STREAM, 0) or print why(), " ";
               told(bind $l, pack_sockaddr_in6(0, $one)); listen $l, 1;
               socket(my $c, AF_INET6, SOCK_STREAM, 0); told(connect $c, getsockname $l)"#,
        ),
        perl(
            "addresses outside",
            r#"for ("192.0.2.1", "169.254.169.254", "172.17.0.1", "10.0.2.2") {
                socket(my $c, AF_INET, SOCK_STREAM, 0); told(connect $c, sockaddr_in(80, inet_aton $_)) }"#,
        ),
        perl(
            "datagrams outside",
            r#"socket(my $c, AF_INET, SOCK_DGRAM, 0); told(send $c, "x", 0, sockaddr_in(53, inet_aton "192.0.2.1"));
               setsockopt $c, SOL_SOCKET, SO_BROADCAST, 1; told(send $c, "x", 0, sockaddr_in(9, INADDR_BROADCAST))"#,
        ),
        perl(
            "names",
            r#"for (qw(localhost sandbox example.invalid)) { my ($why, @all) = Socket::getaddrinfo($_, "80", { socktype => SOCK_STREAM });
                print $why ? "none " : join(",", map { inet_ntoa((unpack_sockaddr_in $_->{addr})[1]) } grep { $_->{family} == AF_INET } @all), " " }"#,
        ),
        perl(
            "low ports",
            r#"for (1, 80, 1023, 1024) { socket(my $l, AF_INET, SOCK_STREAM, 0); told(bind $l, sockaddr_in($_, INADDR_LOOPBACK)) }"#,
        ),
        perl(
            "families of sockets",
            r#"for (1, 2, 10, 16, 17, 31, 38, 40) { print "$_ "; told(socket(my $s, $_, $_ == 16 ? SOCK_RAW : SOCK_STREAM, 0)) }"#,
        ),
        perl(
            "raw and ping sockets",
            r#"told(socket(my $r, AF_INET, SOCK_RAW, 1)); told(socket(my $p, AF_INET, SOCK_DGRAM, 1))"#,
        ),
        perl(
            "abstract sockets",
            r#"socket(my $l, AF_UNIX, SOCK_STREAM, 0); told(bind $l, pack_sockaddr_un("\0own")); listen $l, 1;
               socket(my $c, AF_UNIX, SOCK_STREAM, 0); told(connect $c, pack_sockaddr_un("\0own"))"#,
        ),
        perl(
            "sockets that listen already",
            r#"my $n = 0; for (qw(tcp tcp6 udp udp6)) { open my $f, "<", "/proc/net/$_"; my @l = <$f>; $n += $#l if @l } print $n"#,
        ),
        Probe {
            group: Group::Network,
            name: "a door of the host's",
            act: Act::Door(
                r#"use Socket; socket(my $c, AF_INET, SOCK_STREAM, 0); connect $c, sockaddr_in($ENV{PORT}, INADDR_LOOPBACK) or print "no: $!";
                   syswrite $c, "ping"; sysread $c, my $got, 4; print $got"#,
            ),
        },
    ]
}

fn calls() -> Vec<Probe> {
    let call = |name, program| perl_says(Group::Calls, name, program);
    vec![
        call("unshare", "call(272, $_) for 0x10000000, 0x00020000, 0x40000000"),
        call("clone into namespaces", "call(56, 0x10000011, 0, 0, 0, 0)"),
        call("clone3", "call(435, 0, 0)"),
        call("setns", "call(308, 0, 0)"),
        call(
            "mount, umount2",
            r#"my ($a, $b, $c) = ("none", "/tmp", "tmpfs"); call(165, $a, $b, $c, 0, 0); call(166, $b, 2)"#,
        ),
        call(
            "fsopen, open_tree, move_mount",
            r#"my ($a, $b) = ("tmpfs", "/tmp"); call(430, $a, 0); call(428, -100, $b, 1); call(429, -1, $b, -1, $b, 0)"#,
        ),
        call(
            "pivot_root, chroot",
            r#"my $a = "/tmp"; call(155, $a, $a); call(161, $a)"#,
        ),
        call("ptrace of a parent", "call(101, 16, getppid, 0, 0)"),
        call(
            "ptrace of a child",
            "my $c = fork; if (!$c) { sleep 60; exit } call(101, 16, $c, 0, 0); kill 9, $c",
        ),
        call(
            "process_vm_readv, process_vm_writev",
            r#"my $b = "\0" x 8; my ($l, $r) = (pack("PQ", $b, 8), pack("Q2", 0x400000, 8));
                call(310, getppid, $l, 1, $r, 1, 0); call(311, getppid, $l, 1, $r, 1, 0)"#,
        ),
        call(
            "kcmp, pidfd_getfd",
            "call(312, getppid, $$ + 0, 0, 0, 0); call(438, 0, 0, 0)",
        ),
        call(
            "bpf, perf_event_open",
            r#"my $a = "\0" x 128; call(321, 0, $a, 128); call(298, $a, 0, -1, -1, 0)"#,
        ),
        call(
            "io_uring",
            r#"my $a = "\0" x 128; call(425, 8, $a); call(426, 0, 0, 0, 0, 0); call(427, 0, 0, 0, 0)"#,
        ),
        call("userfaultfd", "call(323, 0)"),
        call(
            "keyrings",
            r#"my ($a, $b) = ("user", "n"); call(250, 0, -3, 0); call(248, $a, $b, $b, 1, -3); call(249, $a, $b, 0, -3)"#,
        ),
        call(
            "modules and kexec",
            "call(175, 0, 0, 0); call(313, 0, 0, 0); call(246, 0, 0, 0, 0); call(320, 0, 0, 0, 0, 0)",
        ),
        call(
            "reboot, swapon, acct",
            r#"my $a = "/tmp"; call(169, 0, 0, 0, 0); call(167, $a, 0); call(163, $a)"#,
        ),
        call(
            "clocks",
            r#"my $t = pack "Q2", 1, 0; call(164, $t, 0); call(227, 0, $t); call(305, 0, $t)"#,
        ),
        call(
            "sethostname, setdomainname",
            r#"my $n = "x"; call(170, $n, 1); call(171, $n, 1)"#,
        ),
        call(
            "syslog, iopl, ioperm",
            "call(103, 3, 0, 0); call(172, 3); call(173, 0, 1, 1)",
        ),
        call(
            "file handles",
            r#"my ($p, $h) = ("/", pack("L2", 128, 0) . "\0" x 128); call(303, -100, $p, $h, $h, 0); call(304, -1, $h, 0)"#,
        ),
        call("fanotify, quotactl", "call(300, 0, 0); call(179, 0, 0, 0, 0)"),
        call("personality", "call(135, 0xffffffff); call(135, 0x0040000)"),
        call("memory files", r#"my $n = "m"; call(319, $n, 0)"#),
        call(
            "further walls",
            r#"call(444, 0, 0, 1); call(317, 2, 0, 0); call(157, 38, 1, 0, 0, 0)"#,
        ),
        call(
            "futexes, aio, pidfd_open",
            r#"my $f = pack "L", 1; call(202, $f, 1, 1, 0, 0, 0); my $c = pack "Q", 0; call(206, 1, $c); call(434, $$ + 0, 0)"#,
        ),
        call(
            "schedulers and locked memory",
            r#"my $p = pack "L", 1; call(144, 0, 1, $p); call(151, 1)"#,
        ),
        call("a call that nobody knows", "call(1000)"),
        call("a call of x32", "call(0x40000000 | 39)"),
        call(
            "typing into a terminal",
            r#"my $c = "x"; told(open my $t, "+<", "/dev/ptmx"); told(ioctl $t, 0x5412, $c)"#,
        ),
    ]
}
