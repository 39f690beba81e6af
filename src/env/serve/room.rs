//! One session of a server: its requests, one after the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use super::{
    Setup,
    lines::Out,
    protocol::{Answer, Call, Failure, SetupParams},
};
use crate::{
    engine::Ending,
    env::{EnvError, EnvSession},
    report::Reporter,
};

/// How long a session may take to be taken down when its peer is gone.
const FAREWELL: Duration = Duration::from_secs(30);

/// One request for a session.
pub struct Job {
    pub id: u64,
    pub call: Call,
    /// Becomes true when the peer does not want it any more.
    pub cancelled: watch::Receiver<bool>,
}

/// A session and its queue.
pub struct Room {
    name: String,
    out: Out,
    queue: mpsc::Receiver<Job>,
    /// The request that events belong to.
    current: Arc<AtomicU64>,
}

impl Room {
    pub fn new(name: String, out: Out, queue: mpsc::Receiver<Job>) -> Self {
        Self {
            name,
            out,
            queue,
            current: Arc::default(),
        }
    }

    /// Opens the session for the request `id`, then answers its queue until it is closed or
    /// nobody can ask any more.
    pub async fn live(mut self, id: u64, params: SetupParams, setup: Arc<Setup>, cancelled: watch::Receiver<bool>) {
        self.current.store(id, Ordering::Relaxed);
        let (out, current) = (self.out.clone(), self.current.clone());
        let reporter = Reporter::to(move |event| out.event(current.load(Ordering::Relaxed), event));
        let opened = or_cancelled(cancelled, async {
            let options = setup(params, reporter)?;
            EnvSession::setup(options).await
        })
        .await;
        let mut session = match opened {
            Ok(session) => session,
            Err(failure) => {
                self.queue.close();
                return self.out.answer(Some(id), Err(failure)).await;
            }
        };
        let answer = Answer::session(&self.name, &session);
        self.out.answer(Some(id), Ok(answer)).await;
        while let Some(Job { id, call, cancelled }) = self.queue.recv().await {
            self.current.store(id, Ordering::Relaxed);
            if matches!(call, Call::Close(_)) {
                self.queue.close();
                let closed = session.close().await;
                let answer = closed.map(|outcome| Answer::Closed {
                    artifacts_dir: outcome.artifacts,
                });
                return self.out.answer(Some(id), answer.map_err(|why| Failure::of(&why))).await;
            }
            // A request that is given up takes the sandbox in which it ran with it.
            let answer = or_cancelled(cancelled, perform(&mut session, &call)).await;
            self.out.answer(Some(id), answer).await;
        }
        let ending = Ending {
            reason: "PEER_GONE",
            detail: "the program that held the session is gone".to_owned(),
            exit_code: 0,
        };
        match tokio::time::timeout(FAREWELL, session.end(ending)).await {
            Ok(Ok(_)) => {}
            Ok(Err(why)) => tracing::warn!("session {}: {why}", self.name),
            Err(_) => tracing::warn!("session {}: its teardown took too long and was ended", self.name),
        }
    }
}

async fn or_cancelled<T>(
    mut cancelled: watch::Receiver<bool>,
    work: impl Future<Output = Result<T, EnvError>>,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => done.map_err(|why| Failure::of(&why)),
        Ok(_) = cancelled.wait_for(|given_up| *given_up) => {
            Err(Failure::protocol("cancelled", "the request was cancelled".to_owned()))
        }
    }
}

async fn perform(session: &mut EnvSession, call: &Call) -> Result<Answer, EnvError> {
    Ok(match call {
        Call::Deploy(params) => {
            let llm = params.llm()?.ok_or(EnvError::MissingLlm)?;
            Answer::Deploy(Box::new(session.deploy(&llm, &params.options()).await?))
        }
        Call::Rollout(params) => {
            let (llm, options) = (params.llm()?, params.options());
            Answer::Rollout(Box::new(session.rollout(llm.as_ref(), &options).await?))
        }
        Call::Evaluation(params) => Answer::Evaluation(Box::new(session.evaluation(&params.options()).await?)),
        Call::RolloutAndEvaluation(params) => {
            let (llm, options) = (params.llm()?, params.options());
            let (rollout, evaluation) = session.rollout_and_evaluation(llm.as_ref(), &options).await?;
            Answer::RolloutAndEvaluation {
                rollout: Box::new(rollout),
                evaluation: Box::new(evaluation),
            }
        }
        Call::Teardown(params) => Answer::Teardown {
            ok: session.teardown(&params.options()).await?,
        },
        Call::Hello(_) | Call::Cancel(_) | Call::Setup(_) | Call::Close(_) => {
            return Err(EnvError::InvalidEnv("a request that no session answers".to_owned()));
        }
    })
}
