use std::collections::BTreeMap;

use super::*;

struct Tree(BTreeMap<RelPath, String>);

impl AuditedTree for Tree {
    fn read(&self, path: &RelPath, most: usize) -> Option<String> {
        self.0.get(path).filter(|text| text.len() <= most).cloned()
    }

    fn files(&self) -> Vec<RelPath> {
        self.0.keys().cloned().collect()
    }
}

/// The findings about an evaluation by `command` beside `files`, as `FILE:LINE:RULE`.
fn found(command: &str, files: &[(&str, &str)]) -> Vec<String> {
    let command: String = command.lines().map(|line| format!("    {line}\n")).collect();
    let contract = format!("evaluation:\n  run_cmd: |\n{command}  metrics_path: .aider_fsm/metrics.json\n");
    let path = |name: &str| RelPath::new(name).expect("a path");
    let pipeline = Pipeline::parse(&path("pipeline.yml"), contract.as_bytes()).expect("a contract");
    let all = files.iter().copied().chain([("pipeline.yml", contract.as_str())]);
    let tree = Tree(all.map(|(name, text)| (path(name), text.to_owned())).collect());
    let findings = audit(&pipeline, &tree);
    let shown = |found: &AuditFinding| format!("{}:{}:{}", found.file, found.line, found.rule.as_str());
    findings.iter().map(shown).collect()
}

#[test]
fn scores_that_stand_as_numbers_are_found_where_they_stand() {
    for (script, line) in [
        ("make test\necho '{\"ok\": true, \"score\": 1.0}' > m", 2),
        ("make test\n\nscore=.9\necho \"{\\\"score\\\": $score}\" > m", 3),
        ("make test\nif true; then\n  SCORE=\"1e0\"\nfi", 3),
        ("make test\ncat > m <<END\n{\n  \"score\": 0.5\n}\nEND", 4),
        (
            "make test\npython3 -c 'import json; print(json.dumps({\"score\": 1}))'",
            2,
        ),
        ("make test\njq -n '{ok: true, score: 1}' > m", 2),
        ("f() {\n  printf '{\"reward\": 1}'\n}\nmake test && f > m", 2),
    ] {
        let expected = [format!("s.sh:{line}:hard-coded-score")];
        assert_eq!(found("sh s.sh", &[("s.sh", script)]), expected, "{script}");
    }
    for honest in [
        "make test\necho '{\"score\": 0.0}' > m",
        "score=$(make score)\necho \"{\\\"score\\\": $score}\" > m",
        "# echo '{\"score\": 1.0}'\nmake test",
        "make test\nscore=0",
        "make test && echo 'the score: 1'",
    ] {
        assert!(found("sh s.sh", &[("s.sh", honest)]).is_empty(), "{honest}");
    }
    // In the contract itself, and through what a script runs in turn.
    assert_eq!(
        found("make test\necho '{\"score\": 2}' > m", &[]),
        ["pipeline.yml:4:hard-coded-score"]
    );
    let path = RelPath::new("pipeline.yml").expect("a path");
    let quoted =
        b"tests:\n  cmd: make\nevaluation:\n  run_cmd: \"make && echo '{\\\"score\\\": 1}' > m\"\n  metrics_path: m\n";
    let pipeline = Pipeline::parse(&path, quoted).expect("a contract");
    let tree = Tree(BTreeMap::from([(path, String::from_utf8_lossy(quoted).into_owned())]));
    assert_eq!(audit(&pipeline, &tree)[0].line, 4);
    let nested = [
        ("s.sh", "make\nsh sub/t.sh\n"),
        ("sub/t.sh", "\necho '{\"score\": 1}' > m\n"),
    ];
    assert_eq!(found("sh s.sh", &nested), ["sub/t.sh:2:hard-coded-score"]);
}

#[test]
fn scores_in_python_are_found_and_computed_ones_are_not() {
    for (script, line) in [
        ("import subprocess\nd = {'ok': True, \"score\": 1.0}", 2),
        ("import subprocess\n\nscore = 1\n", 3),
        ("import subprocess\nm = {}\nm['score'] = 0.9\n", 3),
        ("import subprocess\nout(ok=True, score=1)\n", 2),
        ("import subprocess\nopen('m', 'w').write('{\"score\": 1.0}')\n", 2),
    ] {
        let expected = [format!("e.py:{line}:hard-coded-score")];
        assert_eq!(found("python3 e.py", &[("e.py", script)]), expected, "{script}");
    }
    for honest in [
        "import subprocess\nscore = 1 - failed / total\n",
        "import subprocess\nd = {'score': 1 if ok else 0}\n",
        "import subprocess\nscore = 0.0\nscore += 1\n",
        "import subprocess # {\"score\": 1.0}\n'''a docstring about score = 1'''\n",
        "import subprocess\nassert score == 1\n",
    ] {
        assert!(found("python3 e.py", &[("e.py", honest)]).is_empty(), "{honest}");
    }
}

#[test]
fn what_only_prints_and_copies_measures_nothing() {
    for (command, files) in [
        ("sh s.sh", &[("s.sh", "set -e\n: pytest\ncp canned.json m\n")][..]),
        (
            "sh s.sh",
            &[("s.sh", "echo pytest -q # pytest\nif false; then echo; fi\n")],
        ),
        (
            "python3 e.py",
            &[(
                "e.py",
                "import json, sys\njson.dump({}, open('m', 'w'))\n# subprocess\n",
            )],
        ),
        ("python3 -c 'print(1)' > m", &[]),
        ("cat canned.json > m", &[]),
    ] {
        let all = found(command, files);
        assert_eq!(all.len(), 1, "{command}: {all:?}");
        assert!(
            all[0].ends_with(":1:no-execution") || all[0] == "pipeline.yml:3:no-execution",
            "{all:?}"
        );
    }
    for command in [
        "pytest -q",
        "make",
        "./score",
        "python3 -m pytest",
        "python3 -c 'import subprocess'",
        "env A=1 timeout 5 pytest",
        "$CMD",
        "test -f x && pytest",
    ] {
        assert!(found(command, &[]).is_empty(), "{command}");
    }
    // Rewards of a rollout that are read are a measurement.
    let mean = "import json\nfor line in open('samples.jsonl'):\n    pass\n";
    assert!(found("python3 e.py", &[("e.py", mean)]).is_empty());
}

#[test]
fn tests_that_write_rewards_or_verdicts_are_found() {
    let conftest = "def pytest_runtest_makereport(item, call):\n    report = item\n    report.outcome = 'passed'\n";
    let finish = "def pytest_sessionfinish(session):\n    session.exitstatus = 0\n";
    let writes = "import pathlib\n\n\ndef test_a():\n    pathlib.Path('/x/.aider_fsm/metrics.json').write_text('{}')\n";
    for (name, text, line) in [
        ("conftest.py", conftest, 3),
        ("a/conftest.py", finish, 2),
        ("tests/test_a.py", writes, 5),
        ("tests/a_test.py", "open('reward.txt', 'w')\n", 1),
    ] {
        let expected = [format!("{name}:{line}:reward-by-tests")];
        assert_eq!(found("pytest", &[(name, text)]), expected, "{name}");
    }
    for (name, text) in [
        ("conftest.py", "# metrics.json\nassert report.outcome == 'passed'\n"),
        ("tests/test_a.py", "def test_a():\n    assert read('metrics.json')\n"),
        ("src/metrics.py", "open('metrics.json', 'w')\n"),
    ] {
        assert!(found("pytest", &[(name, text)]).is_empty(), "{name}");
    }
}
