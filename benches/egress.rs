//! The egress door against a plain proxy of Debian's on the same loopback, measured in one run
//! on one machine: `cargo bench --bench egress`. Needs curl and tinyproxy (it need not run).

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use opencode_fsm::{
    broker::{EgressConfig, EgressDoor},
    policy::{NetworkMode, NetworkRules, Role, SandboxPlan},
    sandbox::{ExecSpec, Sandbox, jail::Jail},
    wire::Argv,
};
use support::{PROGRAM, Wanted, median, own, plan, row};

/// What is downloaded.
const BYTES: usize = 500 << 20;
/// How often, each way.
const ROUNDS: usize = 11;
/// A name for the loopback that both proxies resolve.
const HOST: &str = "localhost";

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let wanted = Wanted::new();
    let Some(dir) = wanted.part("download") else { return };
    let origin = origin();
    let peer = Peer::start(&dir);
    runtime.block_on(async {
        let jail = Jail::with_launcher(Path::new(PROGRAM)).expect("the launcher starts");
        let rule = format!("[{{host: {HOST}, ports: [{origin}], tls: false, addresses: [127.0.0.1, '::1']}}]");
        let door = EgressDoor::open(EgressConfig {
            rules: NetworkRules {
                mode: Some(NetworkMode::Allow),
                rules: serde_yaml::from_str(&rule).expect("a rule"),
            },
            ledger: dir.join("egress.jsonl"),
            ..EgressConfig::default()
        });
        let door = door.expect("a door");
        let lower = dir.join("lower");
        fs::create_dir_all(&lower).expect("mkdir");
        own(&lower);
        let plan = SandboxPlan {
            network: NetworkMode::Allow,
            ..plan(&lower, &dir.join("layer"))
        };
        let sandbox = jail.create(&plan).await.expect("a jail");
        door.serve(&sandbox, "bench", Role::Judge)
            .await
            .expect("the door serves");
        let url = format!("http://{HOST}:{origin}/");
        for (what, tunnel) in [("plain HTTP", false), ("a tunnel", true)] {
            let [mut ours, mut theirs] = [const { Vec::new() }; 2];
            for _ in 0..ROUNDS {
                ours.push(inside(&sandbox, &curl(4098, tunnel, &url)).await);
                theirs.push(outside(&curl(peer.port, tunnel, &url)));
            }
            let text = format!("500 MB through {what}");
            row(&text, median(ours), "tinyproxy", median(theirs));
        }
        sandbox.destroy().await.expect("destroyed");
    });
}

/// A server that answers every request with so many bytes; its port.
fn origin() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

fn answer(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_exact(&mut byte).is_err() {
            return;
        }
        head.push(byte[0]);
    }
    let told = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(told.as_bytes());
    let block = vec![0; 1 << 20];
    for _ in 0..BYTES >> 20 {
        if stream.write_all(&block).is_err() {
            return;
        }
    }
}

fn curl(proxy: u16, tunnel: bool, url: &str) -> Vec<String> {
    let proxy = format!("http://127.0.0.1:{proxy}");
    let mut words = vec![
        "/usr/bin/curl",
        "--silent",
        "--show-error",
        "--fail",
        "--output",
        "/dev/null",
    ];
    words.extend([
        "--write-out",
        "%{time_total} %{size_download}",
        "--noproxy",
        "",
        "--proxy",
        &proxy,
    ]);
    words.extend(tunnel.then_some("--proxytunnel"));
    words.push(url);
    words.into_iter().map(str::to_owned).collect()
}

/// What curl says that it took.
fn took(said: &[u8]) -> Duration {
    let said = String::from_utf8_lossy(said);
    let (seconds, bytes) = said.trim().split_once(' ').unwrap_or_else(|| panic!("{said}"));
    assert_eq!(bytes.parse(), Ok(BYTES), "{said}");
    Duration::from_secs_f64(seconds.parse().expect("seconds"))
}

fn outside(words: &[String]) -> Duration {
    let done = Command::new(&words[0]).args(&words[1..]).output().expect("curl");
    took(&done.stdout)
}

async fn inside(sandbox: &Sandbox, words: &[String]) -> Duration {
    let argv = Argv::Direct(words.to_vec());
    let spec = ExecSpec::question(argv, "/workspace", Duration::from_secs(60), 4096);
    let outcome = sandbox.exec(spec).await.expect("exec").wait().await.expect("wait");
    let said = String::from_utf8_lossy(&outcome.stderr.tail).into_owned();
    assert!(!outcome.stdout.tail.is_empty(), "{said}");
    took(&outcome.stdout.tail)
}

/// A tinyproxy that runs as long as it is kept.
struct Peer {
    process: Child,
    port: u16,
}

impl Peer {
    fn start(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("mkdir");
        let free = TcpListener::bind("127.0.0.1:0").expect("listen");
        let port = free.local_addr().expect("address").port();
        drop(free);
        let config = dir.join("tinyproxy.conf");
        let text = format!("Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 100\nLogLevel Error\n");
        fs::write(&config, text).expect("write");
        let process = Command::new("tinyproxy")
            .arg("-d")
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .spawn()
            .expect("tinyproxy: install Debian's package of that name");
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "tinyproxy does not listen");
            std::thread::yield_now();
        }
        Self { process, port }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
