//! A Hugging Face hub of this machine: pages, large files elsewhere, keys, breaks.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::{Value, json};
use sha1::Digest as _;

use crate::{
    bench::Bench,
    server::{Asked, Reply, Server},
};

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

fn blob(bytes: &[u8]) -> String {
    let mut sha1 = sha1::Sha1::new();
    sha1.update(format!("blob {}\0", bytes.len()));
    sha1.update(bytes);
    hex(&sha1.finalize())
}

/// A hub with one data set, whose `.parquet` files lie on another server.
struct Hub {
    server: Server,
    cdn: Server,
}

type Meddle = dyn Fn(&Asked, Reply) -> Reply + Send + Sync;

impl Hub {
    fn new(
        id: &str,
        files: &[(&str, Vec<u8>)],
        about: Value,
        meddle: impl Fn(&Asked, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let files: BTreeMap<String, Vec<u8>> = files
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()))
            .collect();
        let meddle: Arc<Meddle> = Arc::new(meddle);
        let (large, other) = (files.clone(), meddle.clone());
        let cdn = Server::start(move |asked| {
            let path = asked.path.split('?').next().unwrap_or_default();
            let name = path.strip_prefix("/blob/").unwrap_or_default();
            other(
                asked,
                large
                    .get(name)
                    .map_or(Reply::new(404, ""), |bytes| Reply::file(asked, bytes, "\"cdn\"")),
            )
        });
        let (place, id) = (cdn.url("/blob/"), id.to_owned());
        let server = Server::start(move |asked| meddle(asked, answer(asked, &id, &files, &about, &place)));
        Self { server, cdn }
    }

    fn good(id: &str, files: &[(&str, Vec<u8>)]) -> Self {
        Self::new(id, files, json!({}), |_, reply| reply)
    }
}

fn answer(asked: &Asked, id: &str, files: &BTreeMap<String, Vec<u8>>, about: &Value, cdn: &str) -> Reply {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let api = format!("/api/datasets/{id}");
    if let Some(revision) = path.strip_prefix(&format!("{api}/revision/")) {
        if !["main", "v1", "refs%2Fpr%2F1"].contains(&revision) {
            return Reply::new(404, "");
        }
        let mut told = json!({"id": id, "sha": SHA, "private": false, "gated": false, "siblings": []});
        for (key, value) in about.as_object().expect("an object") {
            told[key] = value.clone();
        }
        return Reply::new(200, told.to_string());
    }
    if path == format!("{api}/tree/{SHA}") {
        // Two entries a page.
        let from: usize = query
            .split('&')
            .find_map(|part| part.strip_prefix("cursor="))
            .map_or(0, |n| n.parse().expect("a number"));
        let listed: Vec<Value> = files
            .iter()
            .skip(from)
            .take(2)
            .map(|(name, bytes)| match name.ends_with(".parquet") {
                true => json!({"type": "file", "path": name, "size": 130, "oid": "p",
                           "lfs": {"oid": sha256(bytes), "size": bytes.len(), "pointerSize": 130}}),
                false => json!({"type": "file", "path": name, "size": bytes.len(), "oid": blob(bytes)}),
            })
            .collect();
        let mut reply = Reply::new(200, json!(listed).to_string());
        if from + 2 < files.len() {
            let next = format!("<{path}?recursive=true&cursor={}>; rel=\"next\"", from + 2);
            reply = reply.with("link", &next);
        }
        return reply;
    }
    let resolved = path.strip_prefix(&format!("/datasets/{id}/resolve/{SHA}/"));
    match resolved.and_then(|name| Some((name, files.get(name)?))) {
        Some((name, _)) if name.ends_with(".parquet") => Reply::to(&format!("{cdn}{name}?X-Amz-Signature=s1gnature")),
        Some((_, bytes)) => Reply::file(asked, bytes, "\"hub\""),
        None => Reply::new(404, ""),
    }
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (".gitattributes", b"*.parquet filter=lfs\n".to_vec()),
        ("README.md", b"# data\n".to_vec()),
        (
            "main/test-00000-of-00001.parquet",
            (0..40_000u32).flat_map(u32::to_le_bytes).collect(),
        ),
        ("main/train.parquet", b"PAR1 train".to_vec()),
        ("empty", Vec::new()),
    ]
}

#[test]
fn a_data_set_comes_whole_pinned_and_with_its_manifest() {
    for id in ["org/name", "squad"] {
        let bench = Bench::new();
        let hub = Hub::good(id, &files());
        let url = hub.server.url("");
        let env = [("HF_ENDPOINT", url.as_str()), ("HF_TOKEN", "hf-t0ken")];
        let had = bench.fetch_with(&format!("hf:{id}"), &[], &env);
        for (name, bytes) in files() {
            assert_eq!(fs::read(had.tree.join(name)).expect(name), bytes, "{name}");
        }
        let manifest: Value = serde_json::from_str(&had.text("data/hf_manifest.json")).expect("JSON");
        assert_eq!(manifest["source"], "huggingface_dataset");
        assert_eq!(
            (manifest["dataset_id"].as_str(), manifest["revision"].as_str()),
            (Some(id), Some(SHA))
        );
        assert_eq!(
            (manifest["gated"].as_bool(), manifest["private"].as_bool()),
            (Some(false), Some(false))
        );
        assert_eq!(manifest["errors"], json!([]));
        let total: usize = files().iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(manifest["total_bytes"], total);
        let listed = manifest["downloaded_files"].as_array().expect("a list");
        assert_eq!(listed.len(), 5);
        assert!(
            listed
                .iter()
                .any(|file| *file == json!({"path": "README.md", "bytes": 7, "sha256": sha256(b"# data\n")}))
        );
        assert_eq!(
            (had.source()["kind"].as_str(), had.source()["commit"].as_str()),
            (Some("dataset"), Some(SHA))
        );
        // The key went to the hub, and not to where it keeps large files.
        assert!(
            hub.server
                .asked()
                .iter()
                .all(|asked| asked.header("authorization") == Some("Bearer hf-t0ken"))
        );
        assert!(!hub.cdn.asked().is_empty());
        assert!(
            hub.cdn
                .asked()
                .iter()
                .all(|asked| asked.header("authorization").is_none())
        );
        assert!(!had.said.contains("hf-t0ken"));
        bench.nowhere("hf-t0ken");
        bench.nowhere("s1gnature");

        hub.server.forget();
        let again = bench.fetch_with(&hub.server.url(&format!("/datasets/{id}")), &["--ref", "main"], &env);
        assert_eq!(again.source()["cached"], true);
        assert_eq!(hub.server.asked().len(), 1, "only the revision is asked for");
        hub.server.forget();
        let offline = bench.fetch_with(&format!("hf:{id}"), &["--offline"], &env);
        assert_eq!(offline.summary["target_digest"], had.summary["target_digest"]);
        assert!(hub.server.asked().is_empty());
    }
}

#[test]
fn keys_have_three_names_and_the_first_counts() {
    let bench = Bench::new();
    let hub = Hub::good("a/b", &files());
    let url = hub.server.url("");
    let names = [
        ("HF_TOKEN", "first-k"),
        ("HUGGINGFACE_TOKEN", "second-k"),
        ("HUGGINGFACEHUB_API_TOKEN", "third-k"),
    ];
    for from in 0..names.len() {
        hub.server.forget();
        let env = [&[("HF_ENDPOINT", url.as_str())], &names[from..]].concat();
        bench.fetch_with("hf:a/b", &[], &env);
        let expected = format!("Bearer {}", names[from].1);
        assert_eq!(hub.server.asked()[0].header("authorization"), Some(expected.as_str()));
    }
}

#[test]
fn revisions_are_asked_for_as_one_word() {
    let bench = Bench::new();
    let hub = Hub::good("a/b", &files());
    let url = hub.server.url("");
    let env = [("HF_ENDPOINT", url.as_str())];
    for name in ["hf:a/b@refs/pr/1", &hub.server.url("/datasets/a/b/tree/v1")] {
        bench.fetch_with(name, &[], &env);
    }
    let asked = hub.server.paths();
    for path in [
        "/api/datasets/a/b/revision/refs%2Fpr%2F1",
        "/api/datasets/a/b/revision/v1",
    ] {
        assert!(asked.iter().any(|asked| asked == path), "{asked:?}");
    }
    let why = bench.refused_with("hf:a/b@v9", &[], &env, 11);
    assert!(why.contains("404"), "{why}");
}

#[test]
fn what_is_closed_needs_a_key() {
    for about in [
        json!({"gated": "auto"}),
        json!({"private": true}),
        json!({"gated": true}),
    ] {
        let bench = Bench::new();
        let hub = Hub::new("a/b", &files(), about, |_, reply| reply);
        let url = hub.server.url("");
        let why = bench.refused_with("hf:a/b", &[], &[("HF_ENDPOINT", &url)], 11);
        assert!(
            why.contains("hf_dataset_requires_token") && why.contains("HF_TOKEN"),
            "{why}"
        );
        bench.fetch_with("hf:a/b", &[], &[("HF_ENDPOINT", &url), ("HF_TOKEN", "hf-t0ken")]);
    }
    let bench = Bench::new();
    let hub = Hub::new("a/b", &files(), json!({}), |_, _| Reply::new(401, ""));
    let url = hub.server.url("");
    let why = bench.refused_with("hf:a/b", &[], &[("HF_ENDPOINT", &url)], 11);
    assert!(why.contains("hf_dataset_requires_token"), "{why}");
}

#[test]
fn caps_leave_out_what_is_beyond_and_the_manifest_says_so() {
    let bench = Bench::new();
    let hub = Hub::good("a/b", &files());
    let url = hub.server.url("");
    let with = |name, value| [("HF_ENDPOINT", url.as_str()), (name, value)];
    let had = bench.fetch_with("hf:a/b", &[], &with("AIDER_FSM_HF_MAX_FILE_BYTES", "1000"));
    assert!(!had.tree.join("main/test-00000-of-00001.parquet").exists());
    assert_eq!(had.text("main/train.parquet"), "PAR1 train");
    let manifest: Value = serde_json::from_str(&had.text("data/hf_manifest.json")).expect("JSON");
    assert_eq!(
        manifest["errors"],
        json!(["main/test-00000-of-00001.parquet: max_bytes_exceeded: 1000"])
    );
    assert!(
        had.said.contains("left out: main/test-00000-of-00001.parquet"),
        "{}",
        had.said
    );
    let had = bench.fetch_with("hf:a/b", &[], &with("AIDER_FSM_HF_MAX_TOTAL_BYTES", "100"));
    let manifest: Value = serde_json::from_str(&had.text("data/hf_manifest.json")).expect("JSON");
    assert!(
        manifest["errors"].to_string().contains("max_total_bytes_exceeded: 100"),
        "{manifest}"
    );
    let had = bench.fetch_with(
        "hf:a/b",
        &["--hf-max-file", "1", "--hf-max-total", "1"],
        &[("HF_ENDPOINT", url.as_str())],
    );
    assert_eq!(had.text("empty"), "", "what has no bytes is taken");
    bench.refused_with("hf:a/b", &[], &with("AIDER_FSM_HF_MAX_FILE_BYTES", "many"), 2);
}

#[test]
fn what_breaks_off_is_gone_on_with_and_what_is_wrong_is_refused() {
    let bench = Bench::new();
    let times = AtomicU32::new(0);
    let hub = Hub::new("a/b", &files(), json!({}), move |asked, reply| {
        match asked.path.starts_with("/blob/main/test") && times.fetch_add(1, Ordering::Relaxed) < 2 {
            true => reply.cut(50_000),
            false if asked.path.contains("tree") && times.load(Ordering::Relaxed) == 0 => reply,
            false => reply,
        }
    });
    let url = hub.server.url("");
    let had = bench.fetch_with("hf:a/b", &[], &[("HF_ENDPOINT", &url)]);
    assert_eq!(
        fs::read(had.tree.join("main/test-00000-of-00001.parquet")).expect("there"),
        files()[2].1
    );
    let ranges: Vec<Option<usize>> = hub
        .cdn
        .asked()
        .iter()
        .filter(|asked| asked.path.contains("test"))
        .map(Asked::range)
        .collect();
    assert_eq!(ranges, [None, Some(50_000), Some(100_000)]);

    // Other bytes of the same length, large and small; more, and fewer.
    for (part, change) in [
        ("train.parquet", "PAR1 TRAIN"),
        ("README.md", "# DATA\n"),
        ("train.parquet", "PAR1 train and more"),
        ("train.parquet", "XAR"),
    ] {
        let bench = Bench::new();
        let hub = Hub::new("a/b", &files(), json!({}), move |asked, reply| {
            match asked.path.contains(part) && reply.status == 200 {
                true => Reply::new(200, change),
                false => reply,
            }
        });
        let url = hub.server.url("");
        let why = bench.refused_with("hf:a/b", &[], &[("HF_ENDPOINT", &url)], 11);
        assert!(
            ["digest", "announced", "ended after", "more than"]
                .iter()
                .any(|word| why.contains(word)),
            "{why}"
        );
        assert_eq!(bench.trees(), 0);
    }
}

#[test]
fn an_interrupted_data_set_is_gone_on_with_file_by_file() {
    let bench = Bench::new();
    let broken = Arc::new(Mutex::new(true));
    let flag = broken.clone();
    let hub = Hub::new("a/b", &files(), json!({}), move |asked, reply| {
        match asked.path.contains("train.parquet") && *flag.lock().expect("no panic") {
            true => Reply::new(404, ""),
            false => reply,
        }
    });
    let url = hub.server.url("");
    bench.refused_with("hf:a/b", &[], &[("HF_ENDPOINT", &url)], 11);
    assert!(hub.cdn.paths().iter().any(|path| path.contains("test-00000")));
    *broken.lock().expect("no panic") = false;
    hub.cdn.forget();
    let had = bench.fetch_with("hf:a/b", &[], &[("HF_ENDPOINT", &url)]);
    assert_eq!(had.text("main/train.parquet"), "PAR1 train");
    assert!(
        !hub.cdn.paths().iter().any(|path| path.contains("test-00000")),
        "what was there is not asked for again"
    );
}

#[test]
fn names_and_listings_that_lead_elsewhere_are_refused() {
    let bench = Bench::new();
    let hub = Hub::new("a/b", &files(), json!({}), |asked, reply| {
        match asked.path.contains("/tree/") {
            true => Reply::new(
                200,
                json!([
                    {"type": "file", "path": "../climb", "size": 7, "oid": blob(b"# data\n")},
                    {"type": "file", "path": "/abs", "size": 7, "oid": blob(b"# data\n")},
                    {"type": "file", "path": "data/hf_manifest.json", "size": 7, "oid": blob(b"# data\n")},
                    {"type": "directory", "path": "main", "size": 0, "oid": "x"},
                    {"type": "file", "path": "README.md", "size": 7, "oid": blob(b"# data\n")},
                ])
                .to_string(),
            ),
            false => reply,
        }
    });
    let url = hub.server.url("");
    let had = bench.fetch_with("hf:a/b", &[], &[("HF_ENDPOINT", &url)]);
    let manifest: Value = serde_json::from_str(&had.text("data/hf_manifest.json")).expect("JSON");
    assert_eq!(
        manifest["errors"],
        json!([
            "skip_unsafe_path: ../climb",
            "skip_unsafe_path: /abs",
            "skip_unsafe_path: data/hf_manifest.json"
        ])
    );

    let bench = Bench::new();
    let elsewhere = Server::start(|_| Reply::new(200, "[]"));
    let next = format!("<{}>; rel=\"next\"", elsewhere.url("/api"));
    let hub = Hub::new("a/b", &files(), json!({}), move |asked, mut reply| {
        if asked.path.contains("/tree/") {
            reply.headers = vec![("link".to_owned(), next.clone())];
        }
        reply
    });
    let url = hub.server.url("");
    let why = bench.refused_with("hf:a/b", &[], &[("HF_ENDPOINT", &url), ("HF_TOKEN", "hf-t0ken")], 11);
    assert!(why.contains("goes on elsewhere"), "{why}");
    assert!(elsewhere.asked().is_empty());
    for body in ["", "{}", "[1]", "{\"sha\": \"main\"}", "<html>"] {
        let hub = Hub::new("a/b", &files(), json!({}), move |_, _| Reply::new(200, body));
        let url = hub.server.url("");
        let why = bench.refused_with("hf:a/b", &[], &[("HF_ENDPOINT", &url)], 11);
        assert!(why.contains("hf_api_invalid_json"), "{why}");
    }
}
