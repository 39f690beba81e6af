//! The env API over a pair of pipes, for programs in any language: JSON lines, one request
//! a line, answers and events as they come (docs/env_api.md).
//!
//! | file | holds |
//! |---|---|
//! | `protocol` | the shapes of requests and answers |
//! | `lines` | lines of bounded length, in and out |
//! | `room` | one session: its requests, one after the other |
//! | `peer` | whether the process at the other end still lives |
//!
//! When the input ends, the peer dies, or a signal comes, every session is taken down
//! before the server ends.

mod lines;
mod peer;
mod protocol;
mod room;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    sync::mpsc,
    task::JoinHandle,
};

use super::{EnvError, SetupOptions};
use crate::{engine::Stop, report::Reporter};
use lines::{Line, Out};
use protocol::{Answer, Call, Failure, Hello, Request};
use room::{Job, Room};

pub use protocol::{SetupParams, schemas};

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;
/// Sessions that one server holds at once.
const SESSIONS: usize = 64;
/// How long all sessions together may take to be taken down at the end.
const FAREWELL: Duration = Duration::from_secs(60);

/// Makes of a peer's wishes what a session is asked for; `reporter` tells the peer.
pub type Setup = dyn Fn(SetupParams, Reporter) -> Result<SetupOptions, EnvError> + Send + Sync;

/// Serves until the input ends, the peer dies, or a signal comes; gives its number then.
pub async fn serve(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin + Send + 'static,
    setup: Arc<Setup>,
    mut stop: Stop,
) -> Option<i32> {
    let (out, mut gone) = Out::open(output);
    let mut server = Server {
        setup,
        out,
        rooms: BTreeMap::new(),
        tasks: Vec::new(),
        requests: BTreeMap::new(),
        peer: None,
        next: 0,
    };
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    let signal = loop {
        tokio::select! {
            read = lines::read(&mut input, &mut line) => match read {
                Line::Whole => server.take(&std::mem::take(&mut line)).await,
                Line::TooLong => server.refuse_line().await,
                Line::End => break None,
            },
            () = peer::dies(server.peer) => break None,
            _ = &mut gone => break None,
            signal = stop.requested() => break Some(signal),
        }
    };
    server.close().await;
    signal
}

struct Server {
    setup: Arc<Setup>,
    out: Out,
    rooms: BTreeMap<String, mpsc::Sender<Job>>,
    tasks: Vec<JoinHandle<()>>,
    /// Requests under way that can be cancelled.
    requests: BTreeMap<u64, tokio::sync::watch::Sender<bool>>,
    peer: Option<peer::Peer>,
    next: u64,
}

impl Server {
    async fn take(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        match Request::parse(line) {
            Ok(request) => self.perform(request).await,
            Err((id, why)) => {
                self.out
                    .answer(id, Err(Failure::protocol("invalid_request", why)))
                    .await
            }
        }
    }

    async fn refuse_line(&mut self) {
        let why = format!("a request has at most {} bytes", lines::MAX_REQUEST);
        self.out
            .answer(None, Err(Failure::protocol("line_too_long", why)))
            .await;
    }

    async fn perform(&mut self, Request { id, call }: Request) {
        self.tasks.retain(|task| !task.is_finished());
        self.requests.retain(|_, cancel| !cancel.is_closed());
        self.rooms.retain(|_, jobs| !jobs.is_closed());
        if self.requests.contains_key(&id) {
            let why = format!("request {id} is under way; each has a number of its own");
            return self
                .out
                .answer(Some(id), Err(Failure::protocol("invalid_request", why)))
                .await;
        }
        match call {
            Call::Hello(Hello { protocol, pid }) => {
                let answer = match protocol {
                    PROTOCOL => Ok(Answer::hello()),
                    other => Err(Failure::protocol(
                        "protocol_unknown",
                        format!("protocol {other} is not spoken here; {PROTOCOL} is"),
                    )),
                };
                self.peer = pid.and_then(peer::Peer::of).or(self.peer);
                self.out.answer(Some(id), answer).await;
            }
            Call::Cancel(cancel) => {
                let found = self
                    .requests
                    .get(&cancel.request)
                    .map(|sender| sender.send_replace(true));
                let answer = Answer::Cancelled { found: found.is_some() };
                self.out.answer(Some(id), Ok(answer)).await;
            }
            Call::Setup(params) => self.open(id, params).await,
            call => {
                let name = call.session().unwrap_or_default().to_owned();
                match self.rooms.get(&name) {
                    Some(jobs) => {
                        let (cancel, cancelled) = tokio::sync::watch::channel(false);
                        match jobs.try_send(Job { id, call, cancelled }) {
                            Ok(()) => drop(self.requests.insert(id, cancel)),
                            Err(_) => {
                                let why = "too many requests wait for this session".to_owned();
                                self.out.answer(Some(id), Err(Failure::protocol("busy", why))).await;
                            }
                        }
                    }
                    None => {
                        let why = format!("there is no session `{}`; `setup` opens one", name.escape_debug());
                        self.out
                            .answer(Some(id), Err(Failure::protocol("env_not_setup", why)))
                            .await;
                    }
                }
            }
        }
    }

    async fn open(&mut self, id: u64, params: SetupParams) {
        if self.rooms.len() >= SESSIONS {
            let why = format!("{SESSIONS} sessions are open; close one");
            return self.out.answer(Some(id), Err(Failure::protocol("busy", why))).await;
        }
        self.next += 1;
        let name = format!("s{}", self.next);
        let (cancel, cancelled) = tokio::sync::watch::channel(false);
        let (jobs, queue) = mpsc::channel(32);
        let room = Room::new(name.clone(), self.out.clone(), queue);
        self.tasks
            .push(tokio::spawn(room.live(id, params, self.setup.clone(), cancelled)));
        self.requests.insert(id, cancel);
        self.rooms.insert(name, jobs);
    }

    /// Takes every session down.
    async fn close(self) {
        for cancel in self.requests.values() {
            cancel.send_replace(true);
        }
        drop(self.rooms);
        let all = async {
            for task in self.tasks {
                // One that panicked has dropped its session, which ends what runs inside.
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, all).await;
    }
}
