//! From the sandbox's loopback to `ssh`: bytes go through, git stays inside, keys stay here.

use std::{process::Stdio, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

use super::relay::Shared;
use crate::{
    report::escape,
    source::{SourceError, SshAddress},
};

/// Longest first packet: a path of ours and a word or two.
const MAX_FIRST: usize = 1024;
/// What is kept of ssh's last words, bytes.
const WORDS: u64 = 4096;
/// Of ssh: no terminal, no forwarding of any kind, no question, nothing run here.
const OPTIONS: [&str; 8] = [
    "-T",
    "-a",
    "-x",
    "-oBatchMode=yes",
    "-oClearAllForwardings=yes",
    "-oPermitLocalCommand=no",
    "-oConnectTimeout=20",
    "-oSendEnv=GIT_PROTOCOL",
];

/// Passes one conversation, which begins as one with git's own daemon does.
pub(super) async fn pass(shared: &Arc<Shared>, mut stream: TcpStream, find: impl Fn(&str) -> Option<SshAddress>) {
    let Some(first) = first_packet(&mut stream).await else {
        return;
    };
    let Some(wanted) = Wanted::read(&first) else { return };
    let Some(address) = find(wanted.path) else { return };
    if let Err(why) = talk(shared, &mut stream, &address, wanted.version).await {
        // Before git sees the end of it, and says something of its own.
        shared.fail(SourceError::fetch(&address, why));
    }
}

/// What the first packet asks for (gitprotocol-pack(5)).
struct Wanted<'a> {
    path: &'a str,
    /// As `GIT_PROTOCOL` has it.
    version: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(packet).ok()?;
        let mut parts = text.split('\0');
        let path = parts.next()?.strip_prefix("git-upload-pack ")?.trim_end_matches('\n');
        let version = parts.find(|part| matches!(*part, "version=1" | "version=2"));
        Some(Self { path, version })
    }
}

/// Its bytes without the length that they begin with.
async fn first_packet(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut digits = [0; 4];
    stream.read_exact(&mut digits).await.ok()?;
    let length = usize::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
    let mut packet = vec![0; length.checked_sub(4).filter(|length| *length <= MAX_FIRST)?];
    stream.read_exact(&mut packet).await.ok()?;
    Some(packet)
}

async fn talk(
    shared: &Shared,
    stream: &mut TcpStream,
    address: &SshAddress,
    version: Option<&str>,
) -> Result<(), String> {
    let mut command = Command::new("ssh");
    command.args(OPTIONS);
    if let Some(port) = address.port {
        command.args(["-p", &port.to_string()]);
    }
    let place = match &address.user {
        Some(user) => format!("{user}@{}", address.host),
        None => address.host.clone(),
    };
    command.args(["--", &place, &format!("git-upload-pack {}", quoted(&address.path))]);
    match version {
        Some(version) => command.env("GIT_PROTOCOL", version),
        None => command.env_remove("GIT_PROTOCOL"),
    };
    let mut child = command
        // Ctrl-C on the terminal is this program's to answer.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|why| format!("ssh cannot be started: {why}; install an ssh client"))?;
    let (Some(mut to), Some(mut from), Some(words)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("ssh has no pipes".to_owned());
    };
    let words = tokio::spawn(async move {
        let mut text = Vec::new();
        let mut words = words.take(WORDS);
        let _ = words.read_to_end(&mut text).await;
        // What comes beyond is read, so that ssh is not held up, and not kept.
        let _ = tokio::io::copy(words.get_mut(), &mut tokio::io::sink()).await;
        text
    });
    let (mut read, mut write) = stream.split();
    let out = async {
        let _ = tokio::io::copy(&mut read, &mut to).await;
        drop(to);
    };
    let back = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(got) = from.read(&mut buffer).await
            && got > 0
            && shared.count(got)
            && write.write_all(&buffer[..got]).await.is_ok()
        {}
    };
    // The server's end is the end: git may wait for it before it closes.
    tokio::select! {
        () = async { out.await; std::future::pending().await } => {}
        () = back => {}
    }
    let status = child.wait().await.map_err(|why| why.to_string())?;
    match status.success() {
        true => Ok(()),
        false => {
            let text = words.await.unwrap_or_default();
            let words = escape(text.trim_ascii(), 500);
            Err(format!("ssh: {words} ({status})"))
        }
    }
}

/// A path for the shell at the other end.
fn quoted(path: &str) -> String {
    let mut out = String::from("'");
    for c in path.chars() {
        match c {
            '\'' | '!' => out.extend(["'\\", c.to_string().as_str(), "'"]),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_packet_names_a_path_and_a_version() {
        let of = |text: &str| Wanted::read(text.as_bytes()).map(|w| (w.path.to_owned(), w.version.map(str::to_owned)));
        let found = of("git-upload-pack /w/0\0host=127.0.0.1:1\0\0version=2\0");
        assert_eq!(found, Some(("/w/0".to_owned(), Some("version=2".to_owned()))));
        assert_eq!(of("git-upload-pack /w/0\0host=h\0"), Some(("/w/0".to_owned(), None)));
        assert_eq!(of("git-receive-pack /w/0\0host=h\0"), None);
        assert!(Wanted::read(b"git-upload-pack \xff").is_none());
    }

    #[test]
    fn no_path_is_more_than_one_word() {
        assert_eq!(quoted("/a b"), "'/a b'");
        assert_eq!(quoted("a';id;'!"), "'a'\\'';id;'\\'''\\!''");
    }
}
