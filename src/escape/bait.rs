//! Things of the host's that attempts are after: canaries for those behind walls, and a
//! second set, which may be taken, for their controls.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{MetadataExt, PermissionsExt, chown},
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::segment::Segment;
use crate::{
    probe::{Ground, Marks, Role},
    sandbox::owner,
};

/// What of the kernel's settings an attempt could change.
const SETTINGS: [&str; 7] = [
    "kernel/core_pattern",
    "kernel/hostname",
    "kernel/domainname",
    "kernel/randomize_va_space",
    "kernel/shm_rmid_forced",
    "kernel/sysrq",
    "net/ipv4/ip_forward",
];

/// One set.
pub(super) struct Bait {
    pub dir: PathBuf,
    pub token: String,
    tcp: TcpListener,
    tcp6: Option<TcpListener>,
    pub udp: UdpSocket,
    path_socket: UnixListener,
    abstract_socket: UnixListener,
    segment: Option<Segment>,
    process: Child,
    home: Option<tempfile::NamedTempFile>,
    shared: Option<PathBuf>,
}

impl Bait {
    /// Lays a set out in a new directory `dir`, to which everybody may pass through.
    pub fn lay(dir: &Path, program: &Path) -> io::Result<Self> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        fs::create_dir(dir)?;
        let open = dir.join("open");
        let piece = dir.join("piece");
        for made in [&open, &piece] {
            fs::create_dir(made)?;
            fs::set_permissions(made, Permissions::from_mode(0o777))?;
        }
        write(&open.join("file"), token.as_bytes(), 0o666)?;
        for (name, bytes, mode) in [
            ("own", &b"own"[..], 0o666),
            ("closed", token.as_bytes(), 0o600),
            ("program", &pausing(), 0o755),
            ("set-id", &tells_its_id(), 0o755),
        ] {
            write(&piece.join(name), bytes, mode)?;
        }
        if let Some(id) = owner() {
            for name in ["own", "program"] {
                chown(piece.join(name), Some(id), Some(id))?;
            }
        }
        // After the owner, which takes the bit away. All that it does is tell its id.
        fs::set_permissions(piece.join("set-id"), Permissions::from_mode(0o4755))?;
        let path = open.join("socket");
        let path_socket = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o777))?;
        let name = format!("opencode-fsm-{token}");
        let home = std::env::var_os("HOME").and_then(|home| {
            let mut file = tempfile::Builder::new()
                .prefix(".opencode-fsm-")
                .permissions(Permissions::from_mode(0o644))
                .tempfile_in(home)
                .ok()?;
            file.write_all(token.as_bytes()).ok()?;
            Some(file)
        });
        let shared = Path::new("/dev/shm").join(&token);
        let shared = write(&shared, token.as_bytes(), 0o644).is_ok().then_some(shared);
        let wait = Role {
            act: "wait".to_owned(),
            ground: Ground::Here,
            marks: Marks {
                token: token.clone(),
                ..Marks::default()
            },
        };
        Ok(Self {
            dir: dir.to_path_buf(),
            tcp: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
            tcp6: TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok(),
            udp: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
            path_socket,
            abstract_socket: UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?,
            segment: Segment::with(&token).ok(),
            process: probe(program, &wait).stdout(Stdio::null()).spawn()?,
            home,
            shared,
            token,
        })
    }

    /// What an act is told of it; places of the acting process's own are the caller's to add.
    pub fn marks(&self) -> Marks {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let port = |listener: &TcpListener| listener.local_addr().map_or(0, |address| address.port());
        Marks {
            file: text(&self.dir.join("open/file")),
            home_file: self.home.as_ref().map(|file| text(file.path())).unwrap_or_default(),
            dir: text(&self.dir.join("open")),
            token: self.token.clone(),
            pid: self.process.id().cast_signed(),
            supervisor: 0,
            tcp: port(&self.tcp),
            tcp6: self.tcp6.as_ref().map_or(0, port),
            udp: self.udp.local_addr().map_or(0, |address| address.port()),
            socket: text(&self.dir.join("open/socket")),
            name: format!("opencode-fsm-{}", self.token),
            segment: self.segment.as_ref().map_or(0, |segment| segment.key),
            host_name: fs::read_to_string("/proc/sys/kernel/hostname")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            piece: text(&self.dir.join("piece")),
            own: String::new(),
            amount: 0,
        }
    }

    /// All that is looked at between two attempts.
    pub fn state(&mut self) -> io::Result<State> {
        let mut state = State::default();
        for below in ["open", "piece"] {
            state.see_below(&self.dir.join(below))?;
        }
        let outside = self
            .home
            .iter()
            .map(tempfile::NamedTempFile::path)
            .chain(self.shared.as_deref());
        for path in outside {
            state.see(path)?;
        }
        let alive = self.process.try_wait()?.is_none();
        state.note("the process of the host", if alive { "lives" } else { "is dead" });
        state.note(
            "the segment of the host",
            self.segment.as_ref().map(Segment::text).unwrap_or_default(),
        );
        for (name, reached) in [
            ("the TCP port of the host", reached(&self.tcp)?),
            (
                "the TCP port of the host over IPv6",
                self.tcp6.as_ref().map_or(Ok(false), reached)?,
            ),
            ("the socket of the host", spoken_to(&self.path_socket)?),
            ("the abstract socket of the host", spoken_to(&self.abstract_socket)?),
            ("the UDP port of the host", heard(&self.udp)?),
        ] {
            // Who was there before is asked away by this look.
            state.note(name, if reached { "was reached" } else { "" });
        }
        for name in SETTINGS {
            let value = fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
            state.note(&format!("/proc/sys/{name}"), value);
        }
        state.note("mounts", mounts());
        state.note("control groups", cgroups());
        state.note("keys", keys(&self.token));
        Ok(state)
    }
}

impl Drop for Bait {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(shared) = &self.shared {
            let _ = fs::remove_file(shared);
        }
    }
}

/// A probe of an act, whose environment and directory are its own.
pub(super) fn probe(program: &Path, role: &Role) -> Command {
    let mut command = Command::new(program);
    command
        .arg0_is_ours()
        .arg("escape-probe")
        .arg(serde_json::to_string(role).unwrap_or_default())
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

trait Arg0 {
    fn arg0_is_ours(&mut self) -> &mut Self;
}

impl Arg0 for Command {
    fn arg0_is_ours(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::arg0(self, "opencode-fsm")
    }
}

/// What the host's things are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State(Vec<(String, String)>);

impl State {
    fn note(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    fn see(&mut self, path: &Path) -> io::Result<()> {
        let meta = fs::symlink_metadata(path)?;
        let bytes = if meta.is_file() { fs::read(path)? } else { Vec::new() };
        // Times of changes, not of reads: whoever reads is found by what it read.
        let like = format!(
            "mode {:o}, of {}:{}, {} bytes, changed {}.{}, content {}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.len(),
            meta.ctime(),
            meta.ctime_nsec(),
            blake3::hash(&bytes).to_hex()
        );
        self.note(&path.to_string_lossy(), like);
        Ok(())
    }

    fn see_below(&mut self, dir: &Path) -> io::Result<()> {
        self.see(dir)?;
        let mut entries: Vec<PathBuf> = fs::read_dir(dir)?.flatten().map(|entry| entry.path()).collect();
        entries.sort_unstable();
        entries.iter().try_for_each(|path| self.see(path))
    }

    /// What is not as it was.
    pub fn changed_since(&self, before: &Self) -> Vec<String> {
        let was = |name: &String| before.0.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let changed = self.0.iter().filter(|(name, value)| was(name) != Some(value));
        let mut out: Vec<String> = changed.map(|(name, value)| format!("{name}: {value}")).collect();
        let gone = before
            .0
            .iter()
            .filter(|(name, _)| !self.0.iter().any(|(known, _)| known == name));
        out.extend(gone.map(|(name, _)| format!("{name} is gone")));
        out
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    fs::write(path, bytes)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn reached(listener: &TcpListener) -> io::Result<bool> {
    listener.set_nonblocking(true)?;
    Ok(listener.accept().is_ok())
}

fn spoken_to(listener: &UnixListener) -> io::Result<bool> {
    listener.set_nonblocking(true)?;
    Ok(listener.accept().is_ok())
}

fn heard(socket: &UdpSocket) -> io::Result<bool> {
    socket.set_nonblocking(true)?;
    Ok(socket.recv(&mut [0; 512]).is_ok())
}

/// The host's own mounts. Engines and other sandboxes come and go with theirs.
fn mounts() -> String {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let system = ["/", "/usr", "/etc", "/proc", "/dev", "/sys", "/tmp", "/home"];
    let place = |line: &&str| line.split(' ').nth(4).is_some_and(|place| system.contains(&place));
    // Without the numbers that the kernel gives.
    let like = |line: &str| line.split(' ').skip(3).collect::<Vec<_>>().join(" ");
    text.lines().filter(place).map(like).collect::<Vec<_>>().join("; ")
}

/// Groups with this program's name for what an act makes.
fn cgroups() -> String {
    let roots = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let all = roots.chain([PathBuf::from("/sys/fs/cgroup")]);
    let mut found: Vec<String> = all
        .flat_map(|root| fs::read_dir(root).into_iter().flatten().flatten())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("opencode-fsm-"))
        .collect();
    found.sort_unstable();
    found.join(" ")
}

/// Keys under the name that an act gives.
fn keys(token: &str) -> String {
    let text = fs::read_to_string("/proc/keys").unwrap_or_default();
    text.lines()
        .filter(|line| line.contains(token))
        .collect::<Vec<_>>()
        .join("; ")
}

/// A static program that waits for a signal: `pause` in a loop.
fn pausing() -> Vec<u8> {
    // mov eax, 34; syscall; jmp back
    elf(b"\xb8\x22\0\0\0\x0f\x05\xeb\xf7")
}

/// A static program that exits with 0 where its effective user id is root's, else with 1.
fn tells_its_id() -> Vec<u8> {
    // mov eax, 107; syscall; test eax, eax; setne al; movzx edi, al; mov eax, 60; syscall
    elf(b"\xb8\x6b\0\0\0\x0f\x05\x85\xc0\x0f\x95\xc0\x0f\xb6\xf8\xb8\x3c\0\0\0\x0f\x05")
}

/// The smallest program of some machine code (elf(5)): one segment, which is also the entry.
fn elf(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    // ET_EXEC for EM_X86_64, then the version.
    out.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [BASE + HEADERS, 64, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend([0; 4]);
    // This header's size, a program header's size and how many; no sections.
    for half in [64u16, 56, 1, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    // PT_LOAD, PF_R | PF_X.
    out.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, BASE, BASE, size, size, 0x1000] {
        out.extend(word.to_le_bytes());
    }
    out.extend(code);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_anything_is_seen() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut bait = Bait::lay(&dir.path().join("bait"), Path::new("/bin/cat")).expect("a bait");
        // `cat` ends at once: that the process is dead shows.
        let _ = bait.process.wait();
        let before = bait.state().expect("a state");
        assert!(bait.state().expect("a state").changed_since(&before).is_empty());
        let open = bait.dir.join("open");
        fs::set_permissions(open.join("file"), Permissions::from_mode(0o600)).expect("chmod");
        assert_eq!(bait.state().expect("a state").changed_since(&before).len(), 1);
        fs::write(open.join("new"), "").expect("write");
        let changed = bait.state().expect("a state").changed_since(&before);
        assert!(changed.iter().any(|line| line.contains("open/new")), "{changed:?}");
        std::net::TcpStream::connect(bait.tcp.local_addr().expect("an address")).expect("connects");
        let changed = bait.state().expect("a state").changed_since(&before);
        assert!(changed.iter().any(|line| line.contains("TCP port")), "{changed:?}");
    }

    #[test]
    fn the_small_programs_do_what_they_say() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("id");
        write(&path, &tells_its_id(), 0o755).expect("write");
        let code = Command::new(&path).status().expect("runs").code();
        assert_eq!(code, Some(i32::from(!nix::unistd::geteuid().is_root())));
        let path = dir.path().join("pause");
        write(&path, &pausing(), 0o755).expect("write");
        let mut child = Command::new(&path).spawn().expect("runs");
        child.kill().expect("kill");
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&child.wait().expect("wait")),
            Some(9)
        );
    }
}
