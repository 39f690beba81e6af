//! A tunnel: judged, dialled, and let through when what comes first is TLS for that host.

use std::{sync::atomic::Ordering, time::Duration, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    attempt::{Attempt, Denial},
    copy,
    door::{Door, Way},
    hello::{self, Fault, Hello},
    ledger::Reason,
    meter, names,
};

/// Longest time until the first message is there.
const HELLO: Duration = Duration::from_secs(20);
/// A fatal alert, `access_denied` (RFC 8446, 6.2): what a client shows instead of a broken connection.
const ALERT: [u8; 7] = [21, 3, 1, 0, 2, 2, 49];

/// A connection from inside that wants a tunnel, and what was read of it beyond its request.
pub(super) struct Wanted {
    pub stream: TcpStream,
    pub beyond: Vec<u8>,
}

/// Judges and dials. The answer to the inside is the caller's: it has a protocol of its own.
pub(super) async fn dial<'a>(
    door: &'a Door,
    host: &[u8],
    port: u16,
    attempt: &mut Attempt,
) -> Result<(Way<'a>, TcpStream), Denial> {
    let way = door.judge(host, port, attempt)?;
    way.admit()?;
    let addresses = door.names.addresses(&way.host, way.rule).await?;
    let (stream, address) = names::dial(&way.host, &addresses, port).await?;
    attempt.pinned(address);
    Ok((way, stream))
}

/// Lets the two ends talk, as far as the rule allows.
pub(super) async fn through(
    way: &Way<'_>,
    wanted: &mut Wanted,
    outside: &mut TcpStream,
    attempt: &mut Attempt,
) -> Result<(), Denial> {
    if way.rule.tls
        && let Err(denial) = first_message(way, wanted).await
    {
        // Nothing of it has gone out.
        let _ = wanted.stream.write_all(&ALERT).await;
        let _ = wanted.stream.shutdown().await;
        return Err(denial);
    }
    attempt.let_through();
    if !wanted.beyond.is_empty() {
        let pause = way.meter.pass(meter::Way::Up, wanted.beyond.len(), Instant::now())?;
        tokio::time::sleep(pause).await;
        let sent = outside.write_all(&wanted.beyond).await;
        sent.map_err(|why| Denial::cut(Reason::Broken, format!("{} broke off: {why}", way.host)))?;
        let bytes = wanted.beyond.len() as u64;
        attempt.moved.up.fetch_add(bytes, Ordering::Relaxed);
        wanted.beyond = Vec::new();
    }
    copy::both(&mut wanted.stream, outside, &way.meter, &attempt.moved).await
}

/// Reads the hello into `beyond` and looks for whom it is.
async fn first_message(way: &Way<'_>, wanted: &mut Wanted) -> Result<(), Denial> {
    let host = &way.host;
    let refuse = |reason, why: String| {
        let rule = way.rule;
        Err(Denial::refused(
            reason,
            format!("{why}; rule {rule} wants TLS for {host}"),
        ))
    };
    let reading = async {
        let mut chunk = [0; 4096];
        loop {
            match hello::read(&wanted.beyond) {
                Hello::More => {}
                known => return Ok(Some(known)),
            }
            match wanted.stream.read(&mut chunk).await? {
                0 => return Ok(None),
                read => wanted.beyond.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            }
        }
    };
    let found: std::io::Result<_> = match tokio::time::timeout(HELLO, reading).await {
        Ok(found) => found,
        Err(_) => return refuse(Reason::NotTls, format!("nothing came for {} s", HELLO.as_secs())),
    };
    match found {
        Ok(Some(Hello::For(name))) if name == *host => Ok(()),
        Ok(Some(Hello::For(name))) => refuse(Reason::SniMismatch, format!("its TLS is for {name}")),
        Ok(Some(Hello::Not(fault))) => {
            let reason = match &fault {
                Fault::NotTls => Reason::NotTls,
                Fault::NoName => Reason::SniAbsent,
                Fault::Encrypted => Reason::SniEncrypted,
                Fault::OddName(_) => Reason::SniMismatch,
                Fault::Unreadable(_) => Reason::HelloUnreadable,
            };
            refuse(reason, fault.to_string())
        }
        Ok(Some(Hello::More) | None) => refuse(Reason::NotTls, "it ended before its first message did".to_owned()),
        Err(why) => refuse(Reason::NotTls, format!("it broke off: {why}")),
    }
}
