//! Bytes from one end of a tunnel to the other, both ways, counted.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use super::{
    attempt::{Denial, Moved},
    ledger::Reason,
    meter::{Meter, Way},
};

/// Longest time in which nothing comes or goes.
pub(super) const IDLE: Duration = Duration::from_secs(300);
/// Longest life of one connection.
pub(super) const TOTAL: Duration = Duration::from_secs(6 * 3600);
/// What is read at once.
const BUFFER: usize = 256 * 1024;

/// What both ways share.
struct Shared<'a> {
    meter: &'a Meter,
    moved: &'a Moved,
    began: Instant,
    /// Milliseconds after `began` when something last came.
    heard: AtomicU64,
}

impl Shared<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends when nothing has come for too long.
    async fn idle(&self) -> Denial {
        let idle = u64::try_from(IDLE.as_millis()).unwrap_or(u64::MAX);
        loop {
            let since = self.now().saturating_sub(self.heard.load(Ordering::Relaxed));
            if since >= idle {
                let why = format!("nothing came or went for {} s", IDLE.as_secs());
                return Denial::cut(Reason::Idle, why);
            }
            tokio::time::sleep(Duration::from_millis(idle - since)).await;
        }
    }
}

/// Copies until both ends have said all, or something ends it.
pub(super) async fn both(
    inside: &mut TcpStream,
    outside: &mut TcpStream,
    meter: &Meter,
    moved: &Moved,
) -> Result<(), Denial> {
    let shared = Shared {
        meter,
        moved,
        began: Instant::now(),
        heard: AtomicU64::new(0),
    };
    let (mut from_inside, mut to_inside) = inside.split();
    let (mut from_outside, mut to_outside) = outside.split();
    let ways = async {
        tokio::try_join!(
            one(&mut from_inside, &mut to_outside, Way::Up, &shared),
            one(&mut from_outside, &mut to_inside, Way::Down, &shared),
        )
    };
    tokio::select! {
        ended = ways => ended.map(|_| ()),
        idle = shared.idle() => Err(idle),
        () = tokio::time::sleep(TOTAL) => {
            let why = format!("it was open for {} s", TOTAL.as_secs());
            Err(Denial::cut(Reason::TooLong, why))
        }
    }
}

async fn one(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, way: Way, shared: &Shared<'_>) -> Result<(), Denial> {
    let counter = match way {
        Way::Up => &shared.moved.up,
        Way::Down => &shared.moved.down,
    };
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await.map_err(|why| broken(&why))?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            // Its end is passed on; the other way may still have something to say.
            let _ = to.shutdown().await;
            return Ok(());
        };
        let pause = shared.meter.pass(way, read, Instant::now())?;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        to.write_all(bytes).await.map_err(|why| broken(&why))?;
        counter.fetch_add(read as u64, Ordering::Relaxed);
        shared.heard.store(shared.now(), Ordering::Relaxed);
    }
}

fn broken(why: &io::Error) -> Denial {
    Denial::cut(Reason::Broken, format!("one end broke off: {why}"))
}
