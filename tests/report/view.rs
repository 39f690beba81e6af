//! `view`: who gets what.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    made::Made,
    program::{PROGRAM, expect, program},
};

/// A server and its address in parts.
struct Served {
    child: Child,
    host: String,
    path: String,
}

impl Served {
    fn new(run: &std::path::Path) -> Self {
        let mut child = Command::new(PROGRAM)
            .arg("view")
            .arg(run)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("an address");
        let rest = line.trim().strip_prefix("http://").expect("an address");
        let (host, path) = rest.split_once('/').expect("a path");
        Self {
            child,
            host: host.to_owned(),
            path: format!("/{path}"),
        }
    }

    /// Status and whole text of an answer.
    fn ask(&self, method: &str, path: &str, host: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.host).expect("connect");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        )
        .expect("ask");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        (status, text)
    }

    fn get(&self, below: &str) -> (u16, String) {
        self.ask("GET", &format!("{}{below}", self.path), &self.host)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_run_is_shown_to_who_has_the_address_and_nothing_else_to_anybody() {
    let mut made = Made::new();
    (1..=3).for_each(|number| made.iteration(number));
    made.end("DONE", 0, 3);
    made.file("a b/<x>.html", "<script>1</script>");
    std::os::unix::fs::symlink("/etc/passwd", made.path().join("passwd")).expect("link");
    std::os::unix::fs::symlink("/etc", made.path().join("etc")).expect("link");
    let mut served = Served::new(made.path());

    let (status, page) = served.get("");
    assert_eq!(status, 200);
    assert!(
        page.contains("<details class=\"it\" id=\"i2\"") && page.contains("href=\"files/iter_0002&#x2f;\""),
        "{page}"
    );
    for header in [
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none'",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
    ] {
        assert!(page.contains(header), "{header}");
    }
    let (status, listing) = served.get("files/a%20b/");
    assert!(
        status == 200 && listing.contains("&lt;x&gt;.html") && !listing.contains("<x>"),
        "{listing}"
    );
    let (status, file) = served.get("files/a%20b/%3Cx%3E.html");
    assert!(
        status == 200 && file.contains("content-type: text/plain; charset=utf-8") && file.contains("sandbox"),
        "{file}"
    );
    assert!(file.ends_with("<script>1</script>"), "{file}");

    for out in [
        "files/passwd",
        "files/etc/passwd",
        "files/etc/",
        "files/../../../../etc/passwd",
        "files/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "files//etc/passwd",
        "files/..%2f..%2fetc%2fpasswd",
        "files/none",
        "other",
        "../",
    ] {
        let (status, text) = served.get(out);
        assert_eq!(status, 404, "{out}: {text}");
        assert!(!text.contains("root:"), "{out}");
    }
    let ask = |method: &str, path: &str, host: &str| served.ask(method, path, host).0;
    assert_eq!(ask("GET", "/", &served.host), 404);
    assert_eq!(
        ask(
            "GET",
            &served.path.replace(|c: char| c == '0' || c == '1', "2"),
            &served.host
        ),
        404
    );
    assert_eq!(
        ask("GET", &served.path, "elsewhere.example"),
        404,
        "a name that was made to lead here"
    );
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        assert_eq!(ask(method, &served.path, &served.host), 405, "{method}");
    }

    kill(
        Pid::from_raw(i32::try_from(served.child.id()).expect("a pid")),
        Signal::SIGINT,
    )
    .expect("signal");
    assert_eq!(served.child.wait().expect("ends").code(), Some(0));
    let mut command = program();
    command.args(["view", "/nowhere/at/all"]);
    expect(command, 2);
}
