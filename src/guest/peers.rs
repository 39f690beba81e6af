//! Which process inside holds the far end of a connection to a door: the socket's inode by
//! its ports (proc(5), `/proc/net/tcp`), then whose descriptor that is.

use std::{
    collections::HashMap,
    fs,
    io::Read,
    time::{Duration, Instant},
};

use nix::unistd::getpid;

use super::process::{self, Process};
use crate::wire::{Connection, Peer};

/// Longest look: whoever fills `/proc` with descriptors delays nothing but the names in its
/// own record.
const LOOK: Duration = Duration::from_millis(100);
/// Most of a table of sockets that is read.
const TABLE_BYTES: u64 = 4 << 20;
/// Most ancestors of a process.
const DEPTH: usize = 10_000;

/// Who holds it; `stage_of` knows the wardens.
pub(super) fn of(connection: Connection, stage_of: impl Fn(i32) -> Option<u64>) -> Option<Peer> {
    let end = Instant::now() + LOOK;
    let tables: &[&str] = if connection.stream {
        &["/proc/net/tcp", "/proc/net/tcp6"]
    } else {
        &["/proc/net/udp", "/proc/net/udp6"]
    };
    let inode = tables.iter().find_map(|table| {
        let mut text = String::new();
        let file = fs::File::open(table).ok()?;
        file.take(TABLE_BYTES).read_to_string(&mut text).ok()?;
        text.lines().skip(1).find_map(|line| inode_of(line, connection))
    })?;
    let wanted = format!("socket:[{inode}]");
    let all = process::all();
    let me = getpid().as_raw();
    // The door's listener is the host's: what we hold ourselves is no answer.
    let holder = all
        .iter()
        .filter(|process| process.pid != me && stage_of(process.pid).is_none())
        .take_while(|_| Instant::now() < end)
        .find(|process| holds(process.pid, &wanted, end))?;
    Some(Peer {
        pid: holder.pid.unsigned_abs(),
        comm: holder.comm.clone(),
        stage: stage_above(holder, &all, stage_of),
    })
}

/// The inode in a line of `/proc/net/tcp` that is about the connection's far end.
fn inode_of(line: &str, connection: Connection) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let port = |end: &str| u16::from_str_radix(end.rsplit_once(':')?.1, 16).ok();
    let (local, remote) = (port(fields.next()?)?, port(fields.next()?)?);
    let to = if connection.stream {
        [connection.to; 2]
    } else {
        [connection.to, 0]
    };
    if local != connection.from || !to.contains(&remote) {
        return None;
    }
    // state, queues, timer, retransmissions, uid, timeout come before it
    fields.nth(6)?.parse().ok().filter(|inode| *inode != 0)
}

fn holds(pid: i32, wanted: &str, end: Instant) -> bool {
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    fds.flatten()
        .enumerate()
        .take_while(|(at, _)| at % 64 != 0 || Instant::now() < end)
        .any(|(_, fd)| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == wanted))
}

fn stage_above(process: &Process, all: &[Process], stage_of: impl Fn(i32) -> Option<u64>) -> Option<u64> {
    let parents: HashMap<i32, i32> = all.iter().map(|process| (process.pid, process.parent)).collect();
    let mut at = process.parent;
    for _ in 0..DEPTH {
        if let Some(stage) = stage_of(at) {
            return Some(stage);
        }
        at = *parents.get(&at)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn the_holder_of_a_socket_is_found_by_its_ports() {
        let line = "   3: 0100007F:C350 0100007F:1002 01 00000000:00000000 00:00000000 00000000  1000        0 77 1 0";
        let connection = |stream, from, to| Connection { stream, from, to };
        assert_eq!(inode_of(line, connection(true, 0xc350, 0x1002)), Some(77));
        assert_eq!(inode_of(line, connection(true, 0xc350, 0x1003)), None);
        assert_eq!(inode_of(line, connection(true, 0xc351, 0x1002)), None);
        let unconnected = line.replace("0100007F:1002", "00000000:0000");
        assert_eq!(inode_of(&unconnected, connection(false, 0xc350, 53)), Some(77));
        assert_eq!(inode_of(&unconnected, connection(true, 0xc350, 53)), None);
        for short in ["", "x", "3: a b", "3: 1:1 1:1 01"] {
            assert_eq!(inode_of(short, connection(true, 1, 1)), None, "{short}");
        }

        // A child of this test holds both ends; "wardens" are the test itself.
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let to = listener.local_addr().expect("address").port();
        let stream = TcpStream::connect(("127.0.0.1", to)).expect("connect");
        let from = stream.local_addr().expect("address").port();
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let udp = datagrams.local_addr().expect("address").port();
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("60")
            .stdin(std::os::fd::OwnedFd::from(stream))
            .stdout(std::os::fd::OwnedFd::from(datagrams))
            .spawn()
            .expect("sleep");
        let me = getpid().as_raw();
        let found = [connection(true, from, to), connection(false, udp, 53)]
            .map(|of_child| of(of_child, |pid| (pid == me).then_some(9)));
        let nobody = of(connection(true, to, from), |_| None);
        child.kill().expect("kill");
        child.wait().expect("wait");
        for peer in found.map(|peer| peer.expect("found")) {
            assert_eq!(
                (peer.pid, peer.comm.as_str(), peer.stage),
                (child.id(), "sleep", Some(9))
            );
        }
        assert_eq!(nobody, None);
        assert_eq!(of(connection(true, from, to), |_| None), None, "it is gone");
    }
}
