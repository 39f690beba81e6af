//! How a run is asked to stop.

use tokio::sync::watch;

/// The receiving end: resolves once a stop was asked for.
#[derive(Clone)]
pub struct Stop(watch::Receiver<i32>);

/// The asking end, held by the command line's signal watcher.
#[derive(Clone)]
pub struct Stopper(watch::Sender<i32>);

impl Stop {
    /// A pair of both ends.
    pub fn pair() -> (Stopper, Stop) {
        let (sender, receiver) = watch::channel(0);
        (Stopper(sender), Stop(receiver))
    }

    /// One that nobody will ever ask for.
    pub fn never() -> Stop {
        Self::pair().1
    }

    /// Waits for a stop and gives its signal number; never resolves when the
    /// asking end is gone without having asked.
    pub async fn requested(&mut self) -> i32 {
        match self.0.wait_for(|signal| *signal != 0).await.map(|signal| *signal) {
            Ok(signal) => signal,
            Err(_) => std::future::pending().await,
        }
    }

    /// The signal, if a stop was asked for already.
    pub fn signal(&self) -> Option<i32> {
        Some(*self.0.borrow()).filter(|signal| *signal != 0)
    }
}

impl Stopper {
    /// Asks for a stop because of `signal`; the first one counts.
    pub fn stop(&self, signal: i32) {
        self.0.send_if_modified(|now| {
            let first = *now == 0;
            if first {
                *now = signal;
            }
            first
        });
    }
}
