//! Whether anything listens where `OPENAI_API_BASE` points.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::TokioResolver;
use tokio::net::TcpStream;

/// Longest time for resolving and connecting together.
const PROBE: Duration = Duration::from_millis(500);

/// The base URL that a value of `OPENAI_API_BASE` stands for, if something accepts
/// connections there within half a second: without a scheme it is `http`, trailing
/// slashes go, and `/v1` is appended where it is missing.
///
/// # Errors
/// Why it is not used, in one line without the value, which may hold a password.
pub async fn api_base(value: &str) -> Result<String, String> {
    let (base, host, port) = normal(value)?;
    match tokio::time::timeout(PROBE, connects(&host, port)).await {
        Ok(Ok(())) => Ok(base),
        Ok(Err(why)) => Err(format!("{host}:{port} does not answer: {why}")),
        Err(_) => Err(format!("{host}:{port} does not answer within {} ms", PROBE.as_millis())),
    }
}

/// The base URL, its host and its port.
fn normal(value: &str) -> Result<(String, String, u16), String> {
    let value = value.trim();
    let with_scheme = match value.contains("://") {
        true => value.to_owned(),
        false => format!("http://{value}"),
    };
    let url = reqwest::Url::parse(&with_scheme).map_err(|why| format!("it is no URL: {why}"))?;
    let (Some(host), Some(port), "http" | "https") = (url.host_str(), url.port_or_known_default(), url.scheme()) else {
        return Err("it is no http or https URL".to_owned());
    };
    let base = with_scheme.trim_end_matches('/');
    let base = match base.ends_with("/v1") {
        true => base.to_owned(),
        false => format!("{base}/v1"),
    };
    Ok((base, host.trim_matches(['[', ']']).to_owned(), port))
}

async fn connects(host: &str, port: u16) -> Result<(), String> {
    let addresses: Vec<IpAddr> = match host.parse() {
        Ok(address) => vec![address],
        // The static program has no getaddrinfo(3).
        Err(_) => {
            let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
            let resolver = resolver.map_err(|why| why.to_string())?;
            let found = resolver.lookup_ip(host).await.map_err(|why| why.to_string())?;
            found.iter().collect()
        }
    };
    let mut last = "it has no address".to_owned();
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(_) => return Ok(()),
            Err(why) => last = why.to_string(),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_and_the_version_are_supplied_where_they_are_missing() {
        let of = |value: &str| normal(value).expect(value);
        let expected = |base: &str, host: &str, port| (base.to_owned(), host.to_owned(), port);
        assert_eq!(
            of("https://a.example/v1/"),
            expected("https://a.example/v1", "a.example", 443)
        );
        assert_eq!(of("http://a.example"), expected("http://a.example/v1", "a.example", 80));
        assert_eq!(
            of("a.example:8000//"),
            expected("http://a.example:8000/v1", "a.example", 8000)
        );
        assert_eq!(of("http://[::1]:9/x"), expected("http://[::1]:9/x/v1", "::1", 9));
        for bad in ["", "ftp://a.example", "http://", "http://a:99999", "file:///etc/passwd"] {
            assert!(normal(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_listens_is_used_and_what_does_not_is_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        for host in ["127.0.0.1", "localhost"] {
            let expected = format!("http://{host}:{port}/v1");
            assert_eq!(api_base(&format!("{host}:{port}")).await, Ok(expected));
        }
        drop(listener);
        let why = api_base(&format!("http://user:secret@127.0.0.1:{port}"))
            .await
            .expect_err("closed");
        assert!(why.contains("127.0.0.1") && !why.contains("secret"), "{why}");
    }
}
