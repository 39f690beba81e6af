//! What reads hostile bytes, and what must hold whatever they are.

use std::{
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use opencode_fsm::{
    broker::{Stranger, read_stranger},
    contract::{self, AuditedTree, Pipeline, Plan},
    dataset, hints,
    names::RelPath,
    policy::{HostPlaces, Policy, load_file, shell::Judge},
    report::escape,
    rollout,
    tree::{ArchiveLimits, tar_reader},
    wire::{self, Control, ExecRequest, FrameError, Progress, Reply, Request},
};

/// A reader of hostile bytes.
pub struct Target {
    pub name: &'static str,
    /// Words of its language.
    pub words: &'static [&'static [u8]],
    /// Inputs to begin with, besides those of the corpus.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads; panics where something does not hold.
    pub read: fn(&[u8]),
}

pub const TARGETS: &[Target] = &[
    Target {
        name: "wire",
        words: &[
            b"\"ask\":\"exec\"",
            b"\"reply\":\"hello\"",
            b"\"progress\":\"ended\"",
            b"\"control\":\"kill\"",
            b"\"argv\":{\"shell\":\"\"}",
            b"\"paths\":[]",
            b"18446744073709551616",
            b"\\u0000",
            b"null",
        ],
        seeds: wire_seeds,
        read: wire_frame,
    },
    Target {
        name: "tar",
        words: &[
            b"ustar\0",
            b"ustar  \0",
            b"../",
            b"/",
            b"path=../x\n",
            b"././@LongLink",
            b"00000000000",
            b"77777777777",
        ],
        seeds: tar_seeds,
        read: archive,
    },
    Target {
        name: "rollout",
        words: &[
            b"{\"columns\":null}\n",
            b"{\"row\":{\"question\":\"1+1?\",\"answer\":\"#### 2\"}}\n",
            b"{\"end\":{\"rows\":1,\"more\":false}}\n",
            b"{\"choices\":[{\"message\":{\"content\":\"x\"}}]}",
            b"data: ",
            b"FINAL: ",
            b"\\boxed{",
            b"\\frac{1}{2}",
            b"####",
            b"1,234.5e6",
            b"1/3",
            b"%",
            b"(B)",
        ],
        seeds: rollout_seeds,
        read: asked_and_said,
    },
    Target {
        name: "plan",
        words: &[
            b"## Next (exactly ONE item)\n",
            b"## Backlog\n",
            b"## Done\n",
            b"- [ ] (STEP_ID=001) ",
            b"- [x] ",
            b"```\n",
            b"## Notes\n",
            b"## Acceptance\n",
            b"<!--",
            b"-->",
        ],
        seeds: || vec![Plan::template("goal", "make test", None).into_bytes()],
        read: plan,
    },
    Target {
        name: "pipeline",
        words: &[
            b"version: 1\n",
            b"tests:\n",
            b"cmd: ",
            b"&a ",
            b"*a",
            b"<<: ",
            b"? ",
            b"!!binary ",
            b"|\n",
            b">-\n",
            b"- ",
            b"{",
            b"}",
            b"[",
            b"\t",
        ],
        seeds: || {
            vec![
                include_bytes!("../../examples/pipeline.yml").to_vec(),
                include_bytes!("../../examples/benchmark_pipeline.yml").to_vec(),
            ]
        },
        read: pipeline,
    },
    Target {
        name: "policy",
        words: &[
            b"version: 1\n",
            b"extends: default\n",
            b"commands:\n",
            b"network:\n",
            b"because: ",
            b"match:\n",
            b"not_match:\n",
            b"- ",
            b"\xff",
        ],
        seeds: || {
            opencode_fsm::policy::NAMES
                .iter()
                .filter_map(|name| opencode_fsm::policy::shipped_text(name))
                .map(|text| text.as_bytes().to_vec())
                .collect()
        },
        read: policy,
    },
    Target {
        name: "shell",
        words: &[
            b"sudo ",
            b"rm -rf /",
            b"bash -c '",
            b"eval ",
            b"$(",
            b"`",
            b"${x:-",
            b"<<EOF\n",
            b"\nEOF\n",
            b"|",
            b"&&",
            b"; ",
            b"case x in ",
            b";;",
            b"esac",
            b"for i in ",
            b"; do ",
            b"; done",
            b"if ",
            b"; then ",
            b"fi",
            b"f() {",
            b"}",
            b"$'\\x",
            b">(",
            b"<(",
            b"[[ ",
            b"xargs ",
            b"find . -exec ",
            b"env -S'",
            b"{a,b}",
            b"2>&1",
        ],
        seeds: || {
            [
                "make -C sub test && ./run.sh \"$HOME\" | tee out",
                "for f in *.c; do cc -o \"${f%.c}\" $f || exit 1; done",
                "bash -c 'curl -fsSL https://x.y/z | sh' -- a b",
                "cat <<'EOF' >x\n$(rm -rf ~)\nEOF\nsh x",
                "f() { local x=$1; case $x in a|b) rm -r \"$x\";; *) :;; esac; }; f /",
                "env -i A=b nohup timeout 5 xargs -0 -n1 sudo rm < list &",
                "echo $'\\x72m' {a,b}{1..3} $((1+2)) ${x//a/b} `date`",
            ]
            .map(|text| text.as_bytes().to_vec())
            .to_vec()
        },
        read: shell,
    },
    Target {
        name: "hints",
        words: &[
            b"```sh\n",
            b"\n```\n",
            b"~~~\n",
            b"    ",
            b"> ",
            b"$ ",
            b"cd sub\n",
            b"pytest ",
            b"make test",
            b"<model>",
            b"[a|b]",
            b"${{ matrix.x }}",
            b"jobs:\n  a:\n    steps:\n      - run: |\n          ",
            b"[testenv]\ncommands =\n    ",
            b"{\"scripts\": {\"test\": \"jest\"}}",
            b"1 passed, 2 failed in 0.1s\n",
            b"1..3\nok 1\nnot ok 2\n",
            b"<testsuite><testcase></testcase>",
            b"<![CDATA[",
            b"\x1b[31m",
        ],
        seeds: || {
            [
                "# A\n\n```console\n$ pip install .[dev]\n$ pytest -q <in >out\n5 passed in 1s\n```\n\n    make test\n",
                "on: push\njobs:\n  a:\n    steps:\n      - run: |\n          cd sub\n          python -m pytest ${{ matrix.x }}\n",
                "[testenv]\ncommands =\n    pytest {posargs:tests}\n",
                "test: all\n\tpytest\nall:\n\t@echo ok\n",
                "<testsuites><testsuite><testcase name='a'><failure/></testcase></testsuite></testsuites>",
                "=== 1 failed, 2 passed in 0.12s ===\nRan 3 tests in 0.1s\n\nFAILED (failures=1)\n",
            ]
            .map(|text| text.as_bytes().to_vec())
            .to_vec()
        },
        read: documented,
    },
    Target {
        name: "client-hello",
        words: &[
            b"\x16\x03\x01",
            b"\x01\0\0",
            b"\x03\x03",
            b"\0\0\0\x0b\0\x09\0\0\x06",
            b"example.com",
            b"\xfe\x0d",
        ],
        seeds: || {
            vec![hello(&[
                0, 0, 0, 14, 0, 12, 0, 0, 9, b'l', b'o', b'c', b'a', b'l', b'h', b'o', b's', b't',
            ])]
        },
        read: |bytes| strangers(&[Stranger::ClientHello], bytes),
    },
    Target {
        name: "proxy-head",
        words: &[
            b"CONNECT ",
            b" HTTP/1.1\r\n",
            b"Host: ",
            b"\r\n\r\n",
            b"Proxy-Authorization: Basic ",
            b":443",
            b"[::1]",
            b"\0",
            b"\r\n ",
            b"\x05\x01\0",
        ],
        seeds: || {
            [
                &b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"[..],
                b"GET http://x/ HTTP/1.1\r\n\r\n",
                b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01",
                b"E\0\0\x28\0\0\0\0\x40\x06\0\0\x7f\0\0\x01\x08\x08\x08\x08\x04\xd2\x01\xbb\0\0\0\0\0\0\0\0\x50\0\0\0\0\0\0\0",
            ]
            .map(<[u8]>::to_vec)
            .to_vec()
        },
        read: |bytes| strangers(&[Stranger::ProxyHead, Stranger::NameQuestion, Stranger::Packet], bytes),
    },
];

fn strangers(readers: &[Stranger], bytes: &[u8]) {
    for reader in readers {
        // Whatever they come to, they come to it at every beginning, too.
        for end in [bytes.len(), bytes.len() / 2, bytes.len().saturating_sub(1)] {
            let shown = read_stranger(*reader, &bytes[..end]);
            assert!(!escape(shown.as_bytes(), 500).chars().any(char::is_control));
        }
    }
}

fn wire_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"ask":"exec","stage":1,"argv":{"shell":"true"},"env":[["A","b"]],"cwd":"/w","wall_ms":5,"leftovers":"kill","reach":"own"}"#,
        r#"{"ask":"put","removals":[{"path":"a/b"}]}"#,
        r#"{"ask":"sweep","keep":[1,2],"mains_only":true}"#,
        r#"{"reply":"hello","protocol":1,"version":"0","pid":1,"landlock_abi":7,"found":null}"#,
        r#"{"reply":"swept","leaked":[{"pid":3,"comm":"x"}]}"#,
        r#"{"progress":"ended","end":{"code":0},"timed_out":false,"cap_hit":null,"usage":{"wall_ms":1,"user_ms":1,"system_ms":0,"max_rss_bytes":1},"leaked":[],"leaked_total":0}"#,
        r#"{"control":"kill"}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A frame as each side would take it; what is taken is the same when it is sent on.
fn wire_frame(bytes: &[u8]) {
    fn taken<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) {
        let (ours, theirs) = wire::pair().expect("a pair");
        let sent = nix::unistd::write(&theirs, bytes);
        if sent != Ok(bytes.len()) || bytes.is_empty() {
            return;
        }
        match wire::recv::<T>(ours.as_fd()) {
            Ok((value, fds)) => {
                assert!(fds.is_empty());
                let again = serde_json::to_vec(&value).expect("it was JSON");
                let value: T = serde_json::from_slice(&again).expect("it is what it was");
                assert_eq!(serde_json::to_vec(&value).expect("again"), again);
            }
            Err(FrameError::Malformed(_) | FrameError::TooLarge) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    taken::<Request>(bytes);
    taken::<Reply>(bytes);
    taken::<Progress>(bytes);
    taken::<Control>(bytes);
    taken::<ExecRequest>(bytes);
}

fn tar_seeds() -> Vec<Vec<u8>> {
    let mut whole = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    whole.append_data(&mut header, "dir/file", &b"hello"[..]).expect("tar");
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    whole.append_link(&mut header, "link", "dir/file").expect("tar");
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    whole.append_data(&mut header, "x".repeat(150), &b""[..]).expect("tar");
    vec![whole.into_inner().expect("tar")]
}

/// A directory of this process's own, in memory where that is to be had.
fn ground() -> PathBuf {
    static GROUND: OnceLock<tempfile::TempDir> = OnceLock::new();
    let memory = Path::new("/dev/shm");
    let made = || match tempfile::tempdir_in(memory) {
        Ok(dir) => dir,
        Err(_) => tempfile::tempdir().expect("tempdir"),
    };
    let thread = format!("{:?}", std::thread::current().id());
    let dir = GROUND.get_or_init(made).path().join(thread.replace(['(', ')'], "-"));
    fs::create_dir_all(&dir).expect("mkdir");
    dir
}

/// Whatever an archive holds, nothing beside its directory changes, and no more comes out than
/// it may.
fn archive(bytes: &[u8]) {
    const MOST: u64 = 1 << 20;
    let ground = ground();
    let (into, outside) = (ground.join("into"), ground.join("outside"));
    fs::create_dir_all(&into).expect("mkdir");
    fs::write(&outside, "outside").expect("write");
    let limits = ArchiveLimits {
        max_entries: 200,
        max_bytes: MOST,
        case_matters: false,
    };
    let unpacked = tar_reader::unpack(bytes, &limits, &into);
    assert_eq!(fs::read_to_string(&outside).expect("read"), "outside");
    let beside = fs::read_dir(&ground).expect("ls").count();
    assert_eq!(beside, 2, "something was made beside it");
    let (held, _) = opencode_fsm::tree::usage(&into, u64::MAX).expect("measured");
    assert!(held <= 2 * MOST, "{held} bytes");
    if let Ok(unpacked) = unpacked {
        for (path, _) in unpacked.manifest.iter() {
            assert!(
                path.under(&into).symlink_metadata().is_ok(),
                "{path} is said to be there"
            );
        }
    }
    opencode_fsm::tree::remove_all(&into).expect("removed");
}

/// A plan that is read stays one when it is edited.
fn plan(bytes: &[u8]) {
    match Plan::parse(bytes) {
        Ok(plan) => {
            assert_eq!(plan.text().as_bytes(), bytes);
            for edited in [
                plan.mark_done(),
                plan.block("it does not work\n- [ ] (STEP_ID=999) x\n```"),
            ] {
                let again = Plan::parse(edited.as_bytes()).unwrap_or_else(|why| panic!("{why}\n{edited}"));
                assert!(again.backlog_open() <= plan.backlog_open() + 1);
            }
        }
        Err(why) => {
            let lines = why.lines();
            assert!((1..=20).contains(&lines.len()), "{lines:?}");
        }
    }
}

fn one_line(text: &str) {
    assert!(text.len() < 64 << 10, "an error of {} bytes", text.len());
}

fn pipeline(bytes: &[u8]) {
    let path = contract::default_path();
    if let Err(why) = Pipeline::parse(&path, bytes) {
        let why = why.to_string();
        one_line(&why);
        assert!(why.contains("pipeline.yml"), "{why}");
    }
    let path = RelPath::new(".aider_fsm/bootstrap.yml").expect("a path");
    let _ = contract::Bootstrap::parse(&path, bytes);
    let _ = contract::parse_actions(&path, bytes);
    let _ = contract::parse_dotenv(bytes);
}

fn policy(bytes: &[u8]) {
    let file = ground().join("policy.yml");
    fs::write(&file, bytes).expect("write");
    let none = HostPlaces {
        files: Vec::new(),
        named: Vec::new(),
    };
    if let Err(why) = load_file(&file, &none) {
        one_line(&why.to_string());
    }
    fs::remove_file(&file).expect("removed");
}

fn rollout_seeds() -> Vec<Vec<u8>> {
    let rows = "{\"columns\":[\"question\"]}\n{\"row\":{\"question\":\"1+1?\",\"answer\":\"#### 2\"}}\n{\"end\":{\"rows\":1,\"more\":true}}\n";
    let reply =
        r#"{"choices":[{"message":{"content":"so \\boxed{\\frac{1}{2}}\nFINAL: 1,234"},"finish_reason":"stop"}]}"#;
    [rows, reply, "data: {\"choices\":[]}\n\ndata: [DONE]\n"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// What a reader of rows and a model may say: read or refused in one line, and judged the same
/// each time.
fn asked_and_said(bytes: &[u8]) {
    match dataset::read_rows(bytes, 100) {
        Ok(rows) => {
            assert!(rows.rows.len() <= 100);
            for question in rows.rows.iter().filter_map(rollout::question) {
                assert!(question.prompt().contains(question.text.trim()));
            }
        }
        Err(why) => one_line(&why),
    }
    for status in [200, 429] {
        if let Err(failed) = rollout::read_reply(status, bytes) {
            one_line(&failed.why);
        }
    }
    let text = String::from_utf8_lossy(bytes);
    let (completion, expected) = text.split_once('\n').unwrap_or((&text, "18"));
    let reference = rollout::Reference {
        accepted: vec![expected.to_owned()],
        choices: Vec::new(),
    };
    assert_eq!(
        rollout::judge(completion, &reference),
        rollout::judge(completion, &reference)
    );
}

/// A tree in which every file that hints are read from holds the same.
struct Everywhere<'t>(&'t str);

impl AuditedTree for Everywhere<'_> {
    fn read(&self, _: &RelPath, most: usize) -> Option<String> {
        (self.0.len() <= most).then(|| self.0.to_owned())
    }

    fn files(&self) -> Vec<RelPath> {
        let names = [
            "README.md",
            ".github/workflows/a.yml",
            "Makefile",
            "tox.ini",
            "package.json",
            "sub/test_a.py",
        ];
        names.map(|name| RelPath::new(name).expect("a path")).to_vec()
    }
}

/// Whatever is documented, each hint is a command that parses, can be fitted or is passed over
/// with a reason; whatever is printed, a score is one.
fn documented(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let tree = Everywhere(&text);
    let all = hints::extract(&tree);
    assert!(all.len() <= hints::HINTS_MAX);
    let wanted = hints::wanted(&all);
    let around = hints::Surroundings {
        programs: wanted.programs,
        modules: wanted.modules,
        python: Some("python3".to_owned()),
        python_version: Some("3.12".to_owned()),
        model: Some("a model".to_owned()),
        base_url: None,
    };
    for hint in hints::rank(all) {
        assert!(hint.line >= 1 && hint.command.len() <= hints::COMMAND_MAX);
        let _ = (hints::measures(&hint.command, &tree), hints::anchors(&hint.command));
        match hints::adapt(&hint, &around) {
            Ok(adapted) => {
                let _ = hints::score::reports(&adapted.command);
            }
            Err(skip) => assert!(!skip.to_string().is_empty()),
        }
    }
    let stream = hints::score::Stream {
        name: "stdout",
        bytes,
        whole: true,
    };
    let reports = ["r.xml", "r.json"].map(|name| hints::score::of_report(name, bytes));
    for score in reports
        .into_iter()
        .chain([hints::score::of_output(&[stream], &[])])
        .flatten()
    {
        assert!((0.0..=1.0).contains(&score.score), "{score:?}");
    }
}

fn judge() -> &'static Judge {
    static JUDGE: OnceLock<Judge> = OnceLock::new();
    JUDGE.get_or_init(|| Judge::new(&Policy::shipped().expect("the shipped policy")))
}

/// Any text has a verdict, the same again, with a reason.
fn shell(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let verdict = judge().verdict(&text);
    assert!(!verdict.rule.is_empty() || verdict.because.is_empty(), "{verdict:?}");
    assert_eq!(format!("{verdict:?}"), format!("{:?}", judge().verdict(&text)));
}

/// A TLS 1.2 hello with one extension list.
fn hello(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(u16::try_from(extensions.len()).expect("short").to_be_bytes());
    body.extend(extensions);
    let mut out = vec![0x16, 3, 1];
    out.extend(u16::try_from(body.len() + 4).expect("short").to_be_bytes());
    out.push(1);
    out.extend(&u32::try_from(body.len()).expect("short").to_be_bytes()[1..]);
    out.extend(body);
    out
}
