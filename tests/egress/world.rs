//! A sandbox with the door, what is outside of it, and programs inside that say exactly what
//! they are told.

use std::sync::Arc;

use opencode_fsm::{
    broker::{EgressConfig, EgressDoor},
    policy::{NetworkMode, NetworkRules, Role, SandboxPlan},
    record::Secret,
    sandbox::{Backend, ExecSpec, Sandbox},
};
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};
use serde_json::Value;

use crate::{
    servers::{Certificate, NameServer, Server},
    support::{Scratch, backend, perl, plan, text},
};

/// The secret that rules may name.
pub const SECRET: &str = "Bearer t0ps3cr3t";

/// Connects to the door and does what its arguments say: `s:` sends, `h` reads a head, `r:`
/// reads so many bytes more, `e` reads to the end. Prints what it read, as hex.
const TALK: &str = r#"
    use IO::Socket::INET; alarm 30; $SIG{PIPE} = 'IGNORE';
    my $port = shift;
    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port) or die "connect: $!";
    my $all = "";
    my $more = sub { my $n = sysread($s, my $b, 65536); $all .= $b if $n; $n };
    for my $step (@ARGV) {
        my ($what, $value) = split /:/, $step, 2;
        if ($what eq "s") { syswrite($s, pack("H*", $value)) }
        elsif ($what eq "h") { until ($all =~ /\r\n\r\n/s) { $more->() or last } }
        elsif ($what eq "r") { my $end = length($all) + $value; while (length($all) < $end) { $more->() or last } }
        elsif ($what eq "e") { 1 while $more->() }
    }
    print unpack("H*", $all);
"#;

pub struct World {
    pub sandbox: Sandbox,
    pub door: EgressDoor,
    pub names: NameServer,
    pub https: Server,
    pub http: Server,
    pub echo: Server,
    /// Sandboxes end with what made them.
    backend: Option<Backend>,
    /// The ledger's place; removed last.
    dir: Scratch,
}

/// What is where: the ports stand in rules as `HTTPS`, `HTTP` and `ECHO`.
impl World {
    /// With these rules (YAML, a list) and these names.
    pub async fn new(label: &str, rules: &str, names: &[(&str, &str)]) -> Self {
        let backend = backend(&[]).await;
        let built = async |plan| backend.create(&plan).await.expect("a sandbox");
        let mut world = Self::with(label, rules, names, built).await;
        world.backend = Some(backend);
        world
    }

    /// The same in a sandbox that `build` makes of a plan.
    pub async fn with(
        label: &str,
        rules: &str,
        names: &[(&str, &str)],
        build: impl AsyncFnOnce(SandboxPlan) -> Sandbox,
    ) -> Self {
        let certificate = Certificate::of(&["allowed.example", "other.example"]);
        let https = Server::https(&certificate).await;
        let (http, echo) = (Server::http().await, Server::echo().await);
        let names = NameServer::start(names).await;
        let ports = [("HTTPS", https.port), ("HTTP", http.port), ("ECHO", echo.port)];
        let rules = ports.iter().fold(rules.to_owned(), |text, (name, port)| {
            text.replace(&format!("[{name}]"), &format!("[{port}]"))
        });
        let rules = NetworkRules {
            mode: Some(NetworkMode::Allow),
            rules: serde_yaml::from_str(&rules).expect("rules"),
        };
        let dir = Scratch::new();
        let door = EgressDoor::open(EgressConfig {
            rules,
            secrets: [("TOKEN".to_owned(), Secret::new(SECRET))].into(),
            hidden: vec![Secret::new(SECRET)],
            resolver: Some(names.at),
            certificates: vec![certificate.der()],
            ledger: dir.path().join("egress.jsonl"),
        });
        let door = door.expect("a door");
        let plan = SandboxPlan {
            network: NetworkMode::Allow,
            ..plan(dir.path(), label)
        };
        let sandbox = build(plan).await;
        door.serve(&sandbox, label, Role::Judge).await.expect("the door serves");
        Self {
            sandbox,
            door,
            names,
            https,
            http,
            echo,
            backend: None,
            dir,
        }
    }

    /// Runs a command inside, as the stage of that name.
    pub async fn stage(&self, name: &str, spec: ExecSpec) -> String {
        let running = self.sandbox.exec(spec).await.expect("exec");
        self.sandbox.name_stage(running.stage(), name);
        text(&running.wait().await.expect("wait"))
    }

    /// Talks to the door from inside.
    pub async fn talk(&self, steps: &[Step]) -> Vec<u8> {
        let proxy = self.sandbox.inside().proxy.as_ref().expect("a door");
        let mut words = vec![proxy.port.to_string()];
        words.extend(steps.iter().map(Step::word));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut spec = perl(TALK, &words);
        spec.cwd.clone_from(&self.sandbox.inside().workspace);
        let said = self.stage("talk", spec).await;
        unhex(&said).unwrap_or_else(|| panic!("{said}"))
    }

    /// A `CONNECT`, then what comes within it if it is let through.
    pub async fn connect(&self, target: &str, then: &[Step]) -> Vec<u8> {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let steps = [vec![Step::Send(head.into_bytes()), Step::Head], then.to_vec()].concat();
        self.talk(&steps).await
    }

    /// Ends it and gives the ledger's lines, in the order in which the attempts began.
    pub async fn lines(self) -> Vec<Value> {
        self.sandbox.destroy().await.expect("destroyed");
        self.door.finish().await.expect("a ledger");
        let text = std::fs::read_to_string(self.dir.path().join("egress.jsonl")).expect("a ledger");
        let line = |line| serde_json::from_str::<Value>(line).expect("JSON");
        let mut lines: Vec<Value> = text.lines().map(line).collect();
        let began = |line: &Value| -> jiff::Timestamp { line["ts"].as_str().expect("text").parse().expect("a time") };
        lines.sort_by_key(began);
        lines
    }
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    Head,
    Read(usize),
    End,
}

impl Step {
    pub fn text(text: &str) -> Self {
        Self::Send(text.as_bytes().to_vec())
    }

    fn word(&self) -> String {
        match self {
            Self::Send(bytes) => {
                let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                format!("s:{hex}")
            }
            Self::Head => "h".to_owned(),
            Self::Read(bytes) => format!("r:{bytes}"),
            Self::End => "e".to_owned(),
        }
    }
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.trim().as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// The first message of a real TLS client for a name.
pub fn hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("writes");
    bytes
}

/// What became of every attempt, in order: `allowed`, or why not.
pub fn reasons(lines: &[Value]) -> Vec<&str> {
    let told = |line: &Value| {
        if line["verdict"] == "allowed" {
            "verdict"
        } else {
            "reason"
        }
    };
    lines
        .iter()
        .map(|line| line[told(line)].as_str().unwrap_or("?"))
        .collect()
}
