//! The witness: before anything of the repository's runs, forbidden acts are tried as its
//! commands would, by the same supervisor behind the same walls.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    probe::{Answer, Marks, Testimony, WITNESS},
    sandbox::{Attribution, ExecSpec, Sandbox, SandboxError},
    wire::{Argv, Termination},
};

/// Longest time that it may take; it is done after a few milliseconds.
const LONGEST: Duration = Duration::from_secs(20);
/// Bytes of its report.
const REPORT: usize = 64 << 10;

/// What a witness found: all its acts were refused, or there would be no run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WitnessReport {
    /// Each act and who refused it.
    pub denials: Vec<Denial>,
    /// How long it took, microseconds of wall time.
    pub micros: u64,
}

/// One act that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Denial {
    /// The act, by its name in `opencode-fsm escape-test --list`.
    pub act: String,
    /// What the kernel said (errno(3)); 0 where the act came to nothing in another way.
    pub errno: i32,
    /// Who refused it.
    pub by: Attribution,
}

/// What of the host's the witness is after. Whoever is reached shows it.
struct Bait {
    file: tempfile::NamedTempFile,
    tcp: TcpListener,
    udp: UdpSocket,
    name: String,
    socket: UnixListener,
}

impl Bait {
    /// `taken` are ports that the inside may use.
    fn lay(token: &str, taken: [u16; 2]) -> std::io::Result<Self> {
        let mut file = tempfile::Builder::new()
            .prefix("opencode-fsm-witness-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile()?;
        file.write_all(token.as_bytes())?;
        let name = format!("opencode-fsm-witness-{token}");
        Ok(Self {
            file,
            tcp: listener(taken)?,
            udp: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
            socket: UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?,
            name,
        })
    }

    /// Somebody came.
    fn reached(&self) -> std::io::Result<Option<&'static str>> {
        self.tcp.set_nonblocking(true)?;
        self.udp.set_nonblocking(true)?;
        self.socket.set_nonblocking(true)?;
        Ok(if self.tcp.accept().is_ok() {
            Some("a TCP port of the host was reached")
        } else if self.udp.recv(&mut [0]).is_ok() {
            Some("a UDP port of the host was reached")
        } else if self.socket.accept().is_ok() {
            Some("an abstract socket of the host was reached")
        } else {
            None
        })
    }
}

fn listener(taken: [u16; 2]) -> std::io::Result<TcpListener> {
    let mut passed_over = Vec::new();
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // Held until another is found, so that each is given once.
        match taken.contains(&listener.local_addr()?.port()) {
            true => passed_over.push(listener),
            false => return Ok(listener),
        }
    }
}

impl Sandbox {
    /// Has what is forbidden tried inside, as any command, and adds who refused it to the
    /// report on the walls.
    ///
    /// # Errors
    /// [`SandboxError::Witness`] where something was done; or what kept it from being tried.
    pub async fn witness(&mut self) -> Result<(), SandboxError> {
        let began = Instant::now();
        let io = |source| SandboxError::Io {
            what: "lay out what a witness is after".to_owned(),
            source,
        };
        let token = uuid::Uuid::new_v4().simple().to_string();
        let inside = self.inside().clone();
        let bait = Bait::lay(&token, [inside.server_port, inside.model_port]).map_err(io)?;
        let marks = Marks {
            file: bait.file.path().to_string_lossy().into_owned(),
            pid: std::process::id().cast_signed(),
            supervisor: 0,
            tcp: bait.tcp.local_addr().map_err(io)?.port(),
            udp: bait.udp.local_addr().map_err(io)?.port(),
            name: bait.name.clone(),
            own: inside.tmp.clone(),
            token,
            ..Marks::default()
        };
        let argv = Argv::Witness(Box::new(marks));
        let spec = ExecSpec::question(argv, &inside.workspace, LONGEST, REPORT);
        let outcome = self.exec(spec).await?.wait().await?;
        let told = match outcome.end {
            Termination::Code(0) if !outcome.timed_out => serde_json::from_slice(&outcome.stdout.tail).ok(),
            _ => None,
        };
        let told: Vec<Testimony> = told
            .filter(|told: &Vec<Testimony>| whole(told))
            .ok_or_else(|| SandboxError::Gone(format!("its witness did not report, and ended as {:?}", outcome.end)))?;
        let mut done: Vec<String> = told.iter().filter_map(did).collect();
        done.extend(bait.reached().map_err(io)?.map(str::to_owned));
        if !done.is_empty() {
            return Err(SandboxError::Witness(done));
        }
        self.set_witness(WitnessReport {
            denials: told.into_iter().filter_map(denied).collect(),
            micros: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        });
        Ok(())
    }
}

/// Every act was tried, each once and in its order.
fn whole(told: &[Testimony]) -> bool {
    told.iter()
        .map(|testimony| testimony.act.as_str())
        .eq(WITNESS.iter().map(|act| act.name))
}

fn did(testimony: &Testimony) -> Option<String> {
    match &testimony.answer {
        Answer::Done(how) => Some(format!(
            "{}: {}",
            testimony.act,
            crate::report::escape(how.as_bytes(), 200)
        )),
        Answer::Refused { .. } => None,
    }
}

fn denied(testimony: Testimony) -> Option<Denial> {
    match testimony.answer {
        Answer::Refused { errno, by } => Some(Denial {
            act: testimony.act,
            errno,
            by: by.into(),
        }),
        Answer::Done(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Layer;

    #[test]
    fn a_report_that_leaves_an_act_out_is_none() {
        let testimony = |name: &str| Testimony {
            act: name.to_owned(),
            answer: Answer::Refused { errno: 1, by: None },
        };
        let all: Vec<Testimony> = WITNESS.iter().map(|act| testimony(act.name)).collect();
        assert!(whole(&all));
        assert!(!whole(&all[1..]) && !whole(&[]));
        let mut twice = all;
        twice[1] = twice[0].clone();
        assert!(!whole(&twice));
    }

    #[test]
    fn who_refused_is_one_word() {
        let denial = |by: Option<Layer>| Denial {
            act: "mount".to_owned(),
            errno: 1,
            by: by.into(),
        };
        for (by, word) in [(Some(Layer::Seccomp), "seccomp"), (None, "unattributed")] {
            let json = serde_json::to_value(denial(by)).expect("json");
            assert_eq!(json["by"], word);
            assert_eq!(serde_json::from_value::<Denial>(json).expect("back"), denial(by));
        }
    }
}
