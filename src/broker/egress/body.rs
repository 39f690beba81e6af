//! A body of plain HTTP on its way through, counted and held back like a tunnel's bytes.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{task::JoinSet, time::Sleep};

use super::{
    attempt::{Attempt, Denial, Moved},
    copy::IDLE,
    ledger::Reason,
    meter::{Meter, Way},
};

/// The body of a request (up) or of its answer (down), with which the attempt ends.
pub(super) struct Metered {
    body: Incoming,
    way: Way,
    meter: Arc<Meter>,
    moved: Arc<Moved>,
    attempt: Option<Attempt>,
    /// Why it was cut off, for whoever waits for the answer to a request.
    cut: Arc<OnceLock<Denial>>,
    /// A part that has to wait.
    held: Option<(Pin<Box<Sleep>>, Bytes)>,
    idle: Pin<Box<Sleep>>,
    /// Drives the connection to the host; ends with this.
    driver: JoinSet<()>,
}

impl Metered {
    pub fn request(body: Incoming, meter: Arc<Meter>, moved: Arc<Moved>, cut: Arc<OnceLock<Denial>>) -> Self {
        Self {
            body,
            way: Way::Up,
            meter,
            moved,
            attempt: None,
            cut,
            held: None,
            idle: Box::pin(tokio::time::sleep(IDLE)),
            driver: JoinSet::new(),
        }
    }

    pub fn answer(body: Incoming, meter: Arc<Meter>, attempt: Attempt, driver: JoinSet<()>) -> Self {
        let moved = attempt.moved.clone();
        let mut answer = Self::request(body, meter, moved, Arc::default());
        answer.way = Way::Down;
        answer.attempt = Some(attempt);
        answer.driver = driver;
        answer
    }

    fn count(&self, bytes: &Bytes) {
        let counter = match self.way {
            Way::Up => &self.moved.up,
            Way::Down => &self.moved.down,
        };
        counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    /// Ends the body, and with it the attempt.
    fn cut(&mut self, denial: &Denial) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(attempt) = self.attempt.take() {
            attempt.denied(denial);
        }
        let _ = self.cut.set(denial.clone());
        Poll::Ready(Some(Err(io::Error::other(denial.why.clone()))))
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if let Some((pause, _)) = &mut this.held {
            ready!(pause.as_mut().poll(cx));
        }
        if let Some((_, bytes)) = this.held.take() {
            this.count(&bytes);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(this.idle.as_mut().poll(cx));
                let why = format!("nothing came or went for {} s", IDLE.as_secs());
                return this.cut(&Denial::cut(Reason::Idle, why));
            }
        };
        this.idle.as_mut().reset(tokio::time::Instant::now() + IDLE);
        let frame = match frame {
            None => {
                if let Some(attempt) = this.attempt.take() {
                    attempt.done();
                }
                return Poll::Ready(None);
            }
            Some(Err(why)) => return this.cut(&Denial::cut(Reason::Broken, format!("one end broke off: {why}"))),
            Some(Ok(frame)) => frame,
        };
        // Trailers go with their connection.
        let Ok(bytes) = frame.into_data() else {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        match this.meter.pass(this.way, bytes.len(), Instant::now()) {
            Err(denial) => this.cut(&denial),
            Ok(pause) if pause.is_zero() => {
                this.count(&bytes);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Ok(pause) => {
                this.held = Some((Box::pin(tokio::time::sleep(pause)), bytes));
                self.poll_frame(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.held {
            None => self.body.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        // An answer without a body is never asked for one; and whoever asked may have enough.
        if let Some(attempt) = self.attempt.take() {
            attempt.done();
        }
    }
}
