//! Archives: files of this host and of servers that break off, change and lie.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{
    bench::Bench,
    server::{Reply, Server},
};

/// Packs with Python, by the end of the name: `put(name, bytes, kind=…, target=…)`.
fn pack(path: &Path, script: &str) -> Vec<u8> {
    let head = r"
import sys, io, os, tarfile, zipfile
path = sys.argv[1]
if path.endswith('.zip'):
    out = zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED)
    def put(name, data=b'', kind='file', target='', mode=0o644):
        info = zipfile.ZipInfo(name + ('/' if kind == 'dir' else ''))
        info.create_system = 3
        info.compress_type = zipfile.ZIP_DEFLATED
        kinds = {'file': 0o100000, 'link': 0o120000, 'dir': 0o040000, 'fifo': 0o010000, 'device': 0o020000}
        info.external_attr = (kinds[kind] | mode) << 16
        out.writestr(info, target if kind == 'link' else data)
else:
    out = tarfile.open(path, 'w:gz' if path.endswith('gz') else 'w')
    def put(name, data=b'', kind='file', target='', mode=0o644):
        info = tarfile.TarInfo(name)
        kinds = {'file': tarfile.REGTYPE, 'link': tarfile.SYMTYPE, 'hard': tarfile.LNKTYPE, 'dir': tarfile.DIRTYPE,
                 'fifo': tarfile.FIFOTYPE, 'device': tarfile.CHRTYPE}
        info.type, info.linkname, info.mode, info.size = kinds[kind], target, mode, len(data)
        out.addfile(info, io.BytesIO(data))
";
    let done = Command::new("python3")
        .args(["-c", &format!("{head}\n{script}\nout.close()")])
        .arg(path)
        .output()
        .expect("python3");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fs::read(path).expect("packed")
}

const GOOD: &str = "put('top', kind='dir', mode=0o755)\nput('top/a', b'hello\\n')\n\
                    put('top/run.sh', b'#!/bin/sh\\n', mode=0o755)\nput('top/l', kind='link', target='a')";

#[test]
fn every_packing_comes_out_the_same_without_its_one_top_directory() {
    let bench = Bench::new();
    let mut digests = Vec::new();
    for name in ["x.zip", "x.tar", "x.tar.gz", "x.tgz"] {
        pack(&bench.at(name), GOOD);
        let had = bench.fetch(name, &[]);
        assert_eq!(had.text("a"), "hello\n", "{name}");
        assert_eq!(had.text("l"), "hello\n");
        assert_eq!(had.source()["kind"], "archive");
        assert_eq!(had.source()["sha256"].as_str().map(str::len), Some(64));
        digests.push(had.summary["target_digest"].clone());
        let again = bench.fetch(name, &[]);
        assert_eq!(again.source()["cached"], true);
        let url = bench.fetch(&format!("file://{}", bench.at(name).display()), &[]);
        assert_eq!(url.summary["target_digest"], again.summary["target_digest"]);
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    pack(&bench.at("many.zip"), "put('a', b'1')\nput('b/c', b'2')");
    assert_eq!(bench.fetch("many.zip", &[]).text("b/c"), "2");
}

#[test]
fn what_climbs_leads_out_or_is_no_file_is_refused_whole() {
    let bench = Bench::new();
    for (number, (entry, zip_too)) in [
        ("put('../climb', b'x')", true),
        ("put('top/../../climb', b'x')", true),
        ("put('/etc/abs', b'x')", true),
        ("put('out', kind='link', target='/etc/passwd')", true),
        ("put('up', kind='link', target='../x')", true),
        ("put('d', kind='link', target='top')\nput('d/through', b'x')", true),
        ("put('pipe', kind='fifo')", true),
        ("put('null', kind='device')", true),
        ("put('hard', kind='hard', target='/etc/passwd')", false),
        ("put('hard', kind='hard', target='../x')", false),
        (
            "import warnings\nwarnings.simplefilter('ignore')\nput('top/a', b'twice')",
            true,
        ),
        ("put('top/a/below', b'x')", true),
    ]
    .into_iter()
    .enumerate()
    {
        for end in ["tar.gz", "zip"] {
            if end == "zip" && !zip_too {
                continue;
            }
            let name = format!("evil{number}.{end}");
            pack(&bench.at(&name), &format!("{GOOD}\n{entry}"));
            let why = bench.refused(&name, &[], 11);
            assert!(why.contains("cannot be taken; first"), "{entry}: {why}");
            assert!(!bench.at("climb").exists());
        }
    }
    // A hard link to what came before it is a copy.
    pack(
        &bench.at("hard.tar.gz"),
        &format!("{GOOD}\nput('top/hard', kind='hard', target='top/a')"),
    );
    assert_eq!(bench.fetch("hard.tar.gz", &[]).text("hard"), "hello\n");
}

#[test]
fn bombs_and_damage_are_refused_and_leave_nothing() {
    let bench = Bench::new();
    let zeros = "for n in range(8): put(f'top/z{n}', bytes(32 << 20))";
    for name in ["bomb.tar.gz", "bomb.zip"] {
        pack(&bench.at(name), &format!("{GOOD}\n{zeros}"));
        let why = bench.refused(name, &[], 11);
        assert!(why.contains("more bytes than allowed"), "{why}");
    }
    for name in ["good.tar.gz", "good.zip", "good.tar"] {
        let bytes = pack(&bench.at(name), GOOD);
        let why = bench.refused(name, &["--fetch-max-bytes", "10"], 11);
        assert!(why.contains("--fetch-max-bytes"), "{why}");
        let why = bench.refused(name, &["--fetch-max-unpacked", "3"], 11);
        assert!(why.contains("--fetch-max-unpacked"), "{why}");
        // Cut off, and a byte in the middle of it changed.
        let cut = &bytes[..bytes.len() * 2 / 3];
        let cut = if name.ends_with(".tar") { &bytes[..700] } else { cut };
        fs::write(bench.at(&format!("cut-{name}")), cut).expect("write");
        bench.refused(&format!("cut-{name}"), &[], 11);
        if !name.ends_with(".tar") {
            let mut changed = bytes.clone();
            let last = changed.len() - if name.ends_with("gz") { 6 } else { 40 };
            changed[last] ^= 0x55;
            fs::write(bench.at(&format!("bad-{name}")), changed).expect("write");
            bench.refused(&format!("bad-{name}"), &[], 11);
        }
    }
    fs::write(bench.at("empty.zip"), "").expect("write");
    fs::write(bench.at("text.tar.gz"), "not packed").expect("write");
    fs::write(bench.at("nothing.tar"), [0; 1024]).expect("write");
    for name in ["empty.zip", "text.tar.gz", "nothing.tar"] {
        bench.refused(name, &[], 11);
    }
    assert_eq!(bench.trees(), 0);
}

#[test]
fn an_archive_that_is_encrypted_is_refused() {
    let bench = Bench::new();
    let mut bytes = pack(&bench.at("plain.zip"), "put('a', b'secret')");
    for (signature, offset) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        let at = bytes
            .windows(4)
            .position(|window| window == signature)
            .expect("a record");
        bytes[at + offset] |= 1;
    }
    fs::write(bench.at("closed.zip"), bytes).expect("write");
    let why = bench.refused("closed.zip", &[], 11);
    assert!(why.contains("encrypted"), "{why}");
}

#[test]
fn a_server_is_asked_again_only_whether_anything_changed() {
    let bench = Bench::new();
    let bytes = pack(&bench.at("x.tar.gz"), GOOD);
    let other = pack(&bench.at("y.tar.gz"), "put('top/a', b'other\\n')");
    let changed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = changed.clone();
    let server = Server::start(move |asked| {
        let (bytes, etag) = if flag.load(Ordering::Relaxed) {
            (&other, "\"2\"")
        } else {
            (&bytes, "\"1\"")
        };
        match asked.header("if-none-match") {
            Some(known) if known == etag => Reply::new(304, ""),
            _ => Reply::file(asked, bytes, etag),
        }
    });
    let url = server.url("/x.tar.gz");
    let first = bench.fetch(&url, &[]);
    assert_eq!(first.text("a"), "hello\n");
    let second = bench.fetch(&url, &[]);
    assert_eq!(
        (
            second.source()["cached"].as_bool(),
            second.source()["fetched_bytes"].as_u64()
        ),
        (Some(true), Some(0))
    );
    assert_eq!(server.asked()[1].header("if-none-match"), Some("\"1\""));
    assert_eq!(server.asked().len(), 2);
    let anew = bench.fetch(&url, &["--refresh"]);
    assert_eq!(anew.source()["cached"], false);
    changed.store(true, Ordering::Relaxed);
    assert_eq!(bench.fetch(&url, &[]).text("a"), "other\n");
    server.forget();
    assert_eq!(bench.fetch(&url, &["--offline"]).text("a"), "other\n");
    assert!(server.asked().is_empty());
}

#[test]
fn what_breaks_off_is_gone_on_with() {
    let bench = Bench::new();
    let noise = "import random\nrandom.seed(1)\nput('top/noise', random.randbytes(300_000))";
    let bytes = pack(&bench.at("x.tar.gz"), &format!("{GOOD}\n{noise}"));
    let length = bytes.len();
    let times = AtomicU32::new(0);
    let server = Server::start(move |asked| {
        let reply = Reply::file(asked, &bytes, "\"same\"");
        match times.fetch_add(1, Ordering::Relaxed) {
            0 => reply.cut(100_000),
            1 => reply.cut(50_000),
            _ => reply,
        }
    });
    let had = bench.fetch(&server.url("/x.tar.gz"), &[]);
    assert_eq!(had.text("a"), "hello\n");
    let ranges: Vec<Option<usize>> = server.asked().iter().map(|asked| asked.range()).collect();
    assert_eq!(ranges, [None, Some(100_000), Some(150_000)]);
    assert_eq!(server.asked()[1].header("if-range"), Some("\"same\""));
    assert_eq!(had.source()["fetched_bytes"], length);
}

#[test]
fn a_file_that_changes_meanwhile_is_not_mixed_from_two() {
    let bench = Bench::new();
    let noise = |seed: u32| {
        format!(
            "import random\nrandom.seed({seed})\nput('top/noise', random.randbytes(100_000))\nput('top/a', b'{seed}')"
        )
    };
    let one = pack(&bench.at("1.tar.gz"), &noise(1));
    let two = pack(&bench.at("2.tar.gz"), &noise(2));
    let times = AtomicU32::new(0);
    let server = Server::start(move |asked| match times.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::file(asked, &one, "\"1\"").cut(60_000),
        // What If-Range names is no longer there: the whole of the new one.
        _ => Reply::new(200, two.clone()).with("etag", "\"2\""),
    });
    assert_eq!(bench.fetch(&server.url("/x.tar.gz"), &[]).text("a"), "2");
}

#[test]
fn a_killed_download_is_gone_on_with_by_the_next_run() {
    let bench = Bench::new();
    let noise = "import random\nrandom.seed(1)\nput('top/noise', random.randbytes(300_000))";
    let bytes = pack(&bench.at("x.tar.gz"), &format!("{GOOD}\n{noise}"));
    let times = AtomicU32::new(0);
    let server = Server::start(move |asked| {
        let mut reply = Reply::file(asked, &bytes, "\"same\"");
        if times.fetch_add(1, Ordering::Relaxed) == 0 {
            (reply.cut, reply.stall) = (Some(200_000), true);
        }
        reply
    });
    let url = server.url("/x.tar.gz");
    let (mut command, _) = bench.command(&url, &[]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let parts = bench.cache().join("fetched/parts");
    let arrived = || {
        let parts = fs::read_dir(&parts).into_iter().flatten().flatten();
        parts
            .filter_map(|part| part.metadata().ok())
            .map(|meta| meta.len())
            .max()
            .unwrap_or(0)
    };
    let began = std::time::Instant::now();
    while arrived() < 200_000 {
        assert!(began.elapsed().as_secs() < 60, "it does not come");
        std::thread::yield_now();
    }
    child.kill().expect("kill");
    child.wait().expect("ends");
    let had = bench.fetch(&url, &[]);
    assert_eq!(had.text("a"), "hello\n");
    assert_eq!(server.asked()[1].range(), Some(200_000));
    assert_eq!(
        fs::read_dir(&parts).expect("ls").count(),
        0,
        "it is gone once it is unpacked"
    );
    bench.nothing_under_way();
}

#[test]
fn more_than_is_allowed_is_not_taken_whatever_the_server_says() {
    let bench = Bench::new();
    let server = Server::start(|_| Reply::new(200, vec![0; 200_000]));
    let why = bench.refused(&server.url("/x.tar"), &["--fetch-max-bytes", "100K"], 11);
    assert!(why.contains("as the server says"), "{why}");
    // Without a length.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        while stream.write_all(&[0; 8192]).is_ok() {}
    });
    let why = bench.refused(
        &format!("http://127.0.0.1:{port}/x.tar"),
        &["--fetch-max-bytes", "100K"],
        11,
    );
    assert!(why.contains("more than 102400 bytes"), "{why}");
    let slow = Server::start(|_| Reply {
        stall: true,
        ..Reply::new(200, vec![0; 10]).cut(5)
    });
    let why = bench.refused(&slow.url("/x.tar"), &["--fetch-timeout", "1"], 11);
    assert!(why.contains("--fetch-timeout"), "{why}");
}

#[test]
fn a_key_in_the_url_goes_to_its_server_alone() {
    let bench = Bench::new();
    let bytes = pack(&bench.at("x.zip"), GOOD);
    let second = Server::start(move |asked| Reply::file(asked, &bytes, "\"1\""));
    let place = second.url("/signed.zip?sig=s1gnature");
    let first = Server::start(move |asked| match asked.header("authorization") {
        Some(_) => Reply::to(&place),
        None => Reply::new(401, ""),
    });
    let url = format!("http://me:s3cret-word@127.0.0.1:{}/x.zip?key=qu3ry-word", first.port);
    let had = bench.fetch(&url, &[]);
    assert_eq!(had.text("a"), "hello\n");
    assert_eq!(second.asked()[0].header("authorization"), None);
    for word in ["s3cret-word", "s1gnature"] {
        assert!(!had.said.contains(word), "{}", had.said);
        bench.nowhere(word);
    }
    assert!(!had.source().to_string().contains("qu3ry-word"), "{}", had.source());
    let why = bench.refused(&first.url("/x.zip"), &[], 11);
    assert!(why.contains("401"), "{why}");
}
