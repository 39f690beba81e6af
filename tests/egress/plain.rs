//! Plain HTTP through the door.

use serde_json::json;

use crate::world::{SECRET, Step, World, reasons};

const RULES: &str = "
- {host: plain.example, ports: [HTTP], addresses: [127.0.0.1]}
- {host: tls.example, addresses: [127.0.0.1]}
- {host: posts.example, ports: [HTTP], methods: [POST], addresses: [127.0.0.1]}
- {host: allowed.example, ports: [HTTPS], methods: [GET], addresses: [127.0.0.1], header: {name: authorization, secret: TOKEN}}
";
const NAMES: &[(&str, &str)] = &[
    ("plain.example", "127.0.0.1"),
    ("posts.example", "127.0.0.1"),
    ("allowed.example", "127.0.0.1"),
];

async fn ask(world: &World, request: &str) -> String {
    let request = request.replace("PORT", &world.http.port.to_string());
    let said = world.talk(&[Step::text(&request), Step::End]).await;
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_request_is_passed_on_as_one_for_the_host_that_was_judged() {
    let world = World::new("plain", RULES, NAMES).await;
    let said = ask(
        &world,
        "GET http://PLAIN.example:PORT/a?b=c HTTP/1.1\r\nHost: evil.example\r\nProxy-Authorization: Basic eA==\r\n\
         Proxy-Connection: close\r\nX-Hop: 1\r\nConnection: close, x-hop\r\nUpgrade: websocket\r\nX-Kept: 2\r\n\r\n",
    )
    .await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
    // What the server says of its own connection is not passed on either.
    assert!(!said.to_lowercase().contains("x-secret"), "{said}");
    let heard = world.http.heard().join("\n").to_lowercase();
    assert!(heard.starts_with("get /a?b=c http/1.1\r\n"), "{heard}");
    assert!(heard.contains(&format!("host: plain.example:{}\r\n", world.http.port)) && heard.contains("x-kept: 2"));
    for gone in ["evil", "authorization", "proxy", "x-hop", "upgrade"] {
        assert!(!heard.contains(gone), "{gone}: {heard}");
    }
    let lines = world.lines().await;
    assert_eq!(reasons(&lines), ["allowed"]);
    assert_eq!((&lines[0]["via"], &lines[0]["method"]), (&json!("http"), &json!("GET")));
    assert!(lines[0]["down"].as_u64() > Some(50), "{}", lines[0]);
}

#[tokio::test]
async fn requests_on_one_connection_are_judged_one_by_one() {
    let world = World::new("keep-alive", RULES, NAMES).await;
    let get = |host: &str, close: &str| format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{close}\r\n");
    let both = [
        get("plain.example:PORT", ""),
        get("unknown.example:PORT", ""),
        get("169.254.169.254", ""),
        get("plain.example:PORT", "Connection: close\r\n"),
    ]
    .concat();
    let said = ask(&world, &both).await;
    let statuses: Vec<&str> = said
        .match_indices("HTTP/1.1 ")
        .filter_map(|(at, _)| said.get(at + 9..at + 12))
        .collect();
    // The server sends the request back, whose line ends in the same words.
    let answered: Vec<&str> = statuses
        .into_iter()
        .filter(|code| code.parse::<u16>().is_ok())
        .collect();
    assert_eq!(answered, ["200", "403", "403", "200"], "{said}");
    let lines = world.lines().await;
    let mut found = reasons(&lines);
    found.sort_unstable();
    assert_eq!(found, ["address-literal", "allowed", "allowed", "no-rule"]);
}

#[tokio::test]
async fn what_is_not_allowed_or_not_for_a_proxy_is_refused() {
    let world = World::new("unfit", RULES, NAMES).await;
    let body = "Content-Length: 5\r\nConnection: close\r\n\r\nhello";
    let cases = [
        (format!("POST http://plain.example:PORT/ HTTP/1.1\r\nHost: x\r\n{body}"), "403", "method"),
        (format!("POST http://posts.example:PORT/ HTTP/1.1\r\nHost: x\r\n{body}"), "200", "allowed"),
        ("GET http://posts.example:PORT/ HTTP/1.0\r\n\r\n".to_owned(), "403", "method"),
        ("GET http://plain.example/ HTTP/1.0\r\n\r\n".to_owned(), "403", "port"),
        ("GET http://user:pass@plain.example:PORT/ HTTP/1.0\r\n\r\n".to_owned(), "403", "not-a-name"),
        ("GET http://0x7f.1:PORT/ HTTP/1.0\r\n\r\n".to_owned(), "403", "address-literal"),
        ("GET http://[::1]:PORT/ HTTP/1.0\r\n\r\n".to_owned(), "403", "address-literal"),
        ("GET http://tls.example:443/ HTTP/1.0\r\n\r\n".to_owned(), "403", "not-tls"),
        ("GET https://plain.example:PORT/ HTTP/1.0\r\n\r\n".to_owned(), "400", "not-a-proxy-request"),
        ("GET ftp://plain.example/ HTTP/1.0\r\n\r\n".to_owned(), "400", "not-a-proxy-request"),
        ("GET / HTTP/1.1\r\nHost: plain.example\r\nConnection: close\r\n\r\n".to_owned(), "400", "not-a-proxy-request"),
        ("GET http://%31%36%39.254.169.254/ HTTP/1.0\r\n\r\n".to_owned(), "400", "malformed"),
        ("NONSENSE\r\n\r\n".to_owned(), "400", "malformed"),
        // Framed in two ways.
        (
            "POST http://posts.example:PORT/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!".to_owned(),
            "400",
            "malformed",
        ),
        (
            format!("CONNECT posts.example:PORT HTTP/1.1\r\nHost: x\r\n{body}"),
            "400",
            "malformed",
        ),
    ];
    for (request, status, reason) in &cases {
        let said = ask(&world, request).await;
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status}")) || said.starts_with(&format!("HTTP/1.0 {status}")),
            "{reason}: {request}: {said}"
        );
    }
    assert_eq!(world.http.heard().len(), 1, "{:?}", world.http.heard());
    let lines = world.lines().await;
    let expected: Vec<&str> = cases.iter().map(|(_, _, reason)| *reason).collect();
    assert_eq!(reasons(&lines), expected);
    let metadata = &lines[11];
    assert_eq!(metadata["host"], "%31%36%39.254.169.254", "as it was given: {metadata}");
}

#[tokio::test]
async fn a_header_with_a_secret_is_added_outside_and_goes_over_tls() {
    let world = World::new("header", RULES, NAMES).await;
    let said = ask(
        &world,
        "GET http://allowed.example/v1 HTTP/1.1\r\nHost: allowed.example\r\nAuthorization: mine\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
    let heard = world.https.heard();
    assert_eq!(heard[..2], ["a connection", "TLS for allowed.example"]);
    assert!(
        heard[2].contains(&format!("authorization: {SECRET}\r\n")) && !heard[2].contains("mine"),
        "{}",
        heard[2]
    );
    // The server sends the request back: what a server tells is not taken out.
    assert!(said.contains(SECRET));
    let lines = world.lines().await;
    assert_eq!(reasons(&lines), ["allowed"]);
    assert!(!lines[0].to_string().contains("t0ps3cr3t"));
}
