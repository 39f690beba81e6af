//! A run's directory, shown to whoever holds the address: loopback only, read only.
//!
//! | file | holds |
//! |---|---|
//! | `ask` | what a request may ask for, and the one check of its token |
//! | `reply` | what it gets: the page, a file, a listing |
//!
//! The address has a random token in its path; without it, and for every other host name
//! than the loopback's (a page elsewhere could name one that leads here), there is nothing.

mod ask;
mod reply;

use std::{convert::Infallible, future::Future, io, net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use ask::Key;

/// Longest wait for a request's head.
const HEAD: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;
/// Connections at a time; browsers open six.
const CONNECTIONS: usize = 32;

/// Serves `run` on the loopback until `stop` is done. `tell` gets the address; port 0 takes
/// any that is free.
///
/// # Errors
/// When the port is taken or the directory cannot be read.
pub async fn serve(run: &Path, port: u16, stop: impl Future<Output = ()>, tell: impl FnOnce(&str)) -> io::Result<()> {
    // A directory that cannot be read is said now and not at the first request.
    super::reading::Folder::open(run)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let port = listener.local_addr()?.port();
    let (key, token) = Key::fresh(port)?;
    tell(&format!("http://127.0.0.1:{port}/{token}/"));
    let (key, run): (Arc<Key>, Arc<Path>) = (Arc::new(key), run.into());
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        // A connection that broke before it was accepted is nobody's loss.
        let Ok((stream, _)) = accepted else { continue };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            continue;
        };
        let (key, run) = (key.clone(), run.clone());
        connections.spawn(async move {
            let service = service_fn(|request: hyper::Request<Incoming>| {
                let asked = key.check(request.method(), request.uri(), request.headers());
                let run = run.clone();
                async move { Ok::<_, Infallible>(reply::reply(&run, asked).await) }
            });
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(slot);
        });
    }
    connections.shutdown().await;
    Ok(())
}
