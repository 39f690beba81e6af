//! The page of a hostile run in a real browser.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    hostile, kit,
    program::{expect, program},
};

/// Every request that a browser makes goes to this listener, which counts it: it is its proxy.
struct Home {
    port: u16,
    heard: Arc<AtomicUsize>,
}

impl Home {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let heard = Arc::new(AtomicUsize::new(0));
        let count = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut head = [0; 4096];
                let got = stream.read(&mut head).unwrap_or(0);
                // What a browser asks for itself is nobody's page.
                if String::from_utf8_lossy(&head[..got]).contains(hostile::HOME) {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        });
        Self { port, heard }
    }

    /// The document that a browser makes of a page, and what it asked for meanwhile.
    fn open(&self, page: &Path) -> (String, usize) {
        let profile = tempfile::tempdir().expect("tempdir");
        let before = self.heard.load(Ordering::SeqCst);
        let output = Command::new("chromium")
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--dump-dom",
                "--virtual-time-budget=3000",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--no-first-run",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--proxy-server=http://127.0.0.1:{}", self.port))
            // Else what is on the loopback goes there without the proxy.
            .arg("--proxy-bypass-list=<-loopback>")
            .arg(format!("file://{}", page.display()))
            .output()
            .expect("chromium");
        let dom = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(dom.contains("</html>"), "{}", String::from_utf8_lossy(&output.stderr));
        (dom, self.heard.load(Ordering::SeqCst) - before)
    }
}

fn title(dom: &str) -> &str {
    let from = dom.find("<title>").map_or(0, |at| at + "<title>".len());
    dom[from..].split("</title>").next().unwrap_or_default()
}

#[test]
fn nothing_of_a_hostile_run_is_run_or_fetched_by_a_browser() {
    let Some(run) = hostile::run().filter(|_| kit::tool("chromium")) else {
        return;
    };
    let dir = tempfile::tempdir().expect("tempdir");
    let at = |name: &str| dir.path().join(name);
    let write = |name: &str, text: &str| -> PathBuf {
        std::fs::write(at(name), text).expect("write");
        at(name)
    };
    let home = Home::new();
    // The control: the same markup, on a page that lets it.
    let open = format!(
        "<!doctype html><html><head><title>fine</title></head><body><pre>{}</body></html>",
        hostile::markup(hostile::HOME)
    );
    let (dom, heard) = home.open(&write("control.html", &open));
    assert_eq!(title(&dom), "OWNED", "{dom}");
    assert!(heard > 0, "the control calls home");

    let mut command = program();
    command.arg("report").arg(run).arg("-o").arg(at("page.html"));
    expect(command, 0);
    let (dom, heard) = home.open(&at("page.html"));
    assert!(title(&dom).ends_with("opencode-fsm"), "{}", title(&dom));
    assert_eq!(heard, 0, "no request leaves the page");
    // No element of the markup came to be: all of it is text.
    for element in [
        "<script",
        "<img",
        "<iframe",
        "<link",
        "<svg onload",
        "<a href=\"javascript",
    ] {
        assert!(!dom.contains(element), "{element}");
    }
    assert!(dom.contains("&lt;script&gt;document.title"), "it is shown");
    assert!(dom.contains("{{ 7*7 }}"), "and is no template");
    // Were the escaping gone, the page's policy would still hold.
    let text = std::fs::read_to_string(at("page.html")).expect("page");
    let unescaped = text.replacen("<footer>", &format!("{}<footer>", hostile::markup(hostile::HOME)), 1);
    let (dom, heard) = home.open(&write("unescaped.html", &unescaped));
    assert!(dom.contains("<script>"), "the markup is there");
    assert!(title(&dom).ends_with("opencode-fsm"), "{}", title(&dom));
    assert_eq!(heard, 0, "the policy keeps it from calling home");
}

#[test]
fn a_hostile_run_is_shown_bounded_and_visible() {
    let Some(run) = hostile::run() else { return };
    let mut command = program();
    command.arg("report").arg(run).args(["-o", "-"]);
    let text = String::from_utf8(expect(command, 0).stdout).expect("UTF-8");
    assert!(text.len() < 1_500_000, "{} bytes", text.len());
    assert!(
        text.contains("bytes more</span>") || text.contains(" bytes more in <code>iter_"),
        "the long line is cut, and says so"
    );
    assert!(
        text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()),
        "no control character"
    );
    assert!(!text.contains('\u{202e}'), "no turned direction");
    for shown in [
        "\u{2039}U+202E\u{203a}",
        "\\u{202e}",
        "\u{241b}]0;owned\u{2407}",
        "\\xff",
    ] {
        assert!(text.contains(shown), "{shown}");
    }
    // What the guard took back is there by name, with its rule.
    assert!(text.contains("phase repeated") && text.contains("pipeline.yml"));
}
