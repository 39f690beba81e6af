use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A tree in memory.
struct Tree(BTreeMap<RelPath, String>);

impl AuditedTree for Tree {
    fn read(&self, path: &RelPath, most: usize) -> Option<String> {
        self.0.get(path).filter(|text| text.len() <= most).cloned()
    }

    fn files(&self) -> Vec<RelPath> {
        self.0.keys().cloned().collect()
    }
}

fn tree(files: &[(&str, &str)]) -> Tree {
    let path = |name: &str| RelPath::new(name).expect("a path");
    Tree(
        files
            .iter()
            .map(|(name, text)| (path(name), (*text).to_owned()))
            .collect(),
    )
}

/// The hints of `files`, as `LINE KIND COMMAND`.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let shown = |hint: &Hint| format!("{} {:?} {}", hint.line, hint.kind, hint.command);
    extract(&tree(files)).iter().map(shown).collect()
}

fn readme(text: &str) -> Vec<String> {
    found(&[("README.md", text)])
}

#[test]
fn code_blocks_of_every_kind_are_read_and_prose_is_not() {
    assert_eq!(
        readme(
            "# A\nRun pytest.\n\n```bash\npip install .[dev]\npytest -q\n```\n\n~~~\nmake test\n~~~\n\n    cargo test\n\n`tox`\n"
        ),
        [
            "5 Install pip install .[dev]",
            "6 Tests pytest -q",
            "10 Tests make test",
            "13 Tests cargo test"
        ]
    );
}

#[test]
fn what_only_looks_like_a_command_is_none() {
    for block in [
        "import evaluate\nfrom inspect import signature",
        "@article{bench,\n  title = {Evaluate},\n  year={2024},\n}",
        "evaluate = load(\"x\")\nbenchmark: 5",
        "make sure that the tests pass.",
        "The tests take a while to run.",
        "5 passed in 0.1s",
        "echo benchmark",
        "{\"test\": 1}",
    ] {
        assert!(
            readme(&format!("```\n{block}\n```\n")).is_empty(),
            "{block}: {:?}",
            readme(&format!("```\n{block}\n```\n"))
        );
    }
    assert!(readme("```python\nimport pytest\npytest.main()\n```\n").is_empty());
}

#[test]
fn consoles_lose_their_prompts_and_what_was_printed() {
    assert_eq!(
        readme(
            "```console\n$ pytest \\\n>   -q tests\n5 passed\nmake test\n(venv) user@box:~/x$ make check\nok\n```\n"
        ),
        ["2 Tests pytest \\\n  -q tests", "6 Tests make check"]
    );
    assert_eq!(readme("```\n> npm test\n> ok\n```\n"), ["2 Tests npm test"]);
    assert!(readme("```pycon\n>>> import evaluate\n>>> evaluate.load('x')\n```\n").is_empty());
}

#[test]
fn directories_and_variables_are_kept_with_their_commands() {
    let files = [
        ("sub/x.py", ""),
        (
            "README.md",
            "```sh\ngit clone https://x.example/y\ncd y\nmake test\ncd sub\nexport A=1\npytest\ncd ..\nmake bench\n```\n",
        ),
    ];
    assert_eq!(
        found(&files),
        [
            "4 Tests make test",
            "7 Tests export A=1 && cd sub && pytest",
            "9 Benchmark export A=1 && make bench"
        ]
    );
}

#[test]
fn steps_of_workflows_are_read() {
    let text = "on: push\njobs:\n  a:\n    steps:\n      - uses: actions/checkout@v4\n      - run: pip install -e .\n      - name: t\n        env: {A: b}\n        working-directory: sub\n        run: |\n          set -e\n          python -m pytest\n      - run: pytest.exe\n        shell: pwsh\n";
    assert_eq!(
        found(&[(".github/workflows/ci.yml", text), ("sub/a", "")]),
        [
            "6 Install pip install -e .",
            "12 Tests export A=b && cd sub && python -m pytest"
        ]
    );
    assert!(found(&[(".github/workflows/ci.yml", "a: [b\n")]).is_empty());
}

#[test]
fn declarations_and_conventions_come_last() {
    let files = [
        ("Makefile", "X := 1\ntest: x\n\tpytest\ncheck-all:\nbench:\n\t:\n"),
        (
            "tox.ini",
            "[tox]\ncommands = no\n[testenv]\ndeps = pytest\ncommands =\n    pytest {posargs:tests}\n    {x} y\n",
        ),
        ("pyproject.toml", "[project]\n[tool.pytest.ini_options]\n"),
        ("package.json", "{\"scripts\": {\"test\": \"jest\", \"lint\": \"x\"}}"),
        ("tests/test_a.py", "import unittest\n"),
    ];
    assert_eq!(
        found(&files),
        [
            "2 Tests make test",
            "5 Benchmark make bench",
            "6 Tests pytest tests",
            "2 Tests pytest",
            "1 Tests npm test",
            "1 Tests python -m pytest",
            "1 Tests python -m unittest discover -s tests",
        ]
    );
}

fn ranked(commands: &[&str]) -> Vec<String> {
    let text = format!("```sh\n{}\n```\n", commands.join("\n"));
    rank(extract(&tree(&[("README.md", &text)])))
        .into_iter()
        .map(|hint| hint.command)
        .collect()
}

#[test]
fn tests_come_first_and_what_installs_or_needs_more_last() {
    assert_eq!(
        ranked(&[
            "docker run x",
            "pip install x",
            "python eval.py --backend openai",
            "python eval.py --samples 5",
            "python bench.py",
            "pytest tests/test_a.py::b",
            "pytest --help",
            "tox",
            "pytest",
        ]),
        [
            "pytest",
            "pytest tests/test_a.py::b",
            "tox",
            "python eval.py --samples 5",
            "python eval.py --backend openai",
            "python bench.py",
            "pytest --help",
            "pip install x",
            "docker run x",
        ]
    );
}

fn hint(command: &str) -> Hint {
    Hint {
        command: command.to_owned(),
        file: RelPath::new("README.md").expect("a path"),
        line: 1,
        kind: HintKind::Tests,
        origin: Origin::Documentation,
    }
}

fn around() -> Surroundings {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Surroundings {
        programs: names(&["python3", "make", "sort"]),
        modules: names(&["pytest", "unittest", "pkg"]),
        python: Some("python3".to_owned()),
        python_version: Some("3.12".to_owned()),
        model: None,
        base_url: None,
    }
}

fn adapted(command: &str) -> String {
    match adapt(&hint(command), &around()) {
        Ok(adapted) => adapted.command,
        Err(skip) => format!("! {skip}"),
    }
}

#[test]
fn words_are_exchanged_and_nothing_else() {
    for (command, fits) in [
        (
            "A=1 python -m pytest 'a b' <in >out 2>&1",
            "A=1 python3 -m pytest 'a b' <in >out 2>&1",
        ),
        ("cd x && pytest -q | tee log", "! no_program: tee"),
        ("cd x && pytest -q", "cd x && python3 -m pytest -q"),
        ("pytest 'tests/a.py::t[x-y]'", "python3 -m pytest 'tests/a.py::t[x-y]'"),
        ("pytest tests/a.py::t[x-y]", "python3 -m pytest tests/a.py::t[x-y]"),
        ("pytest -n auto --dist loadfile -q", "python3 -m pytest -q"),
        ("pkg.main --x 1", "python3 -m pkg.main --x 1"),
        ("python -m pkg.main", "python3 -m pkg.main"),
        ("foo.py x", "! no_program: foo.py"),
        ("./foo.py x", "./foo.py x"),
        ("uv run pytest -q", "python3 -m pytest -q"),
        ("poetry run python x.py", "python3 x.py"),
        ("python3.9 x.py", "python3 x.py"),
        ("python${{ matrix.python-version }} x.py", "! no_program: "),
        ("make test PY=${{ matrix.python-version }}", "make test PY=3.12"),
        ("make test OS=${{ matrix.os }}", "! unresolved: ${{ matrix.os }}"),
        ("python x.py --model <model>", "! unresolved: <model>"),
        ("python x.py [train|eval]", "! unresolved: [train|eval]"),
        ("python x.py --key YOUR_KEY", "! unresolved: YOUR_KEY"),
        ("python -m nothing.here", "! no_module: nothing"),
        ("sort <in >out", "sort <in >out"),
        ("sort <in>out", "sort <in>out"),
    ] {
        let came = adapted(command);
        assert!(
            came == fits || (fits == "! no_program: " && came.starts_with(fits)),
            "{command}: {came}"
        );
    }
}

#[test]
fn what_is_measured_is_filled_in() {
    let around = Surroundings {
        model: Some("org/a b".to_owned()),
        base_url: Some("http://127.0.0.1:1/v1".to_owned()),
        ..around()
    };
    let fits = |command: &str| {
        adapt(&hint(command), &around)
            .map(|adapted| adapted.command)
            .map_err(|skip| skip.to_string())
    };
    assert_eq!(
        fits("python x.py --model <model> --base-url=<url> --n 1"),
        Ok("python3 x.py --model 'org/a b' --base-url=http://127.0.0.1:1/v1 --n 1".to_owned())
    );
    assert_eq!(
        fits("python x.py --model gpt-4 > o"),
        Ok("python3 x.py --model 'org/a b' > o".to_owned())
    );
}

#[test]
fn what_measures_nothing_is_not_tried() {
    let of = |kind| adapt(&Hint { kind, ..hint("make x") }, &around()).expect_err("skipped");
    assert_eq!(of(HintKind::Install), Skip::MeasuresNothing);
    assert_eq!(of(HintKind::Container), Skip::NeedsContainers);
}

#[test]
fn what_a_runner_of_commands_runs_is_looked_into() {
    let makefile = "all: check\ncheck:\n\tpytest -q\nshow:\n\techo 0.9\n";
    let named = tree(&[("Makefile", makefile)]);
    let goal = tree(&[("Makefile", &format!("{makefile}.DEFAULT_GOAL := show\n"))]);
    assert!(measures("make check", &named) && !measures("make show", &named));
    // Without a goal it makes its first target, or the one that the file says.
    assert!(measures("make", &named) && !measures("make", &goal));
}

#[test]
fn hostile_sizes_are_bounded() {
    let many = format!(
        "```sh\n{}```\n",
        (0..5_000).map(|n| format!("make test{n}\n")).collect::<String>()
    );
    assert!(readme(&many).len() <= HINTS_MAX);
    let deep = format!("{}\n```sh\nmake test\n```\n", "> ".repeat(20_000));
    let _ = readme(&deep);
    let long = format!("```sh\nmake test {}\n```\n", "x".repeat(COMMAND_MAX));
    assert!(readme(&long).is_empty());
}

proptest! {
    #[test]
    fn any_text_is_read(text in "([a-z`~$<>|&;\"'\\[\\]{}() \n>-]|pytest|make test|```|```sh|\\$ ){0,60}") {
        let hints = extract(&tree(&[("README.md", &text), (".github/workflows/a.yml", &text), ("tox.ini", &text), ("Makefile", &text), ("package.json", &text)]));
        prop_assert!(hints.len() <= HINTS_MAX);
        let _ = wanted(&hints);
        for hint in rank(hints) {
            prop_assert!(hint.line >= 1 && !hint.command.trim().is_empty());
            let _ = adapt(&hint, &around());
        }
    }

    #[test]
    fn a_plain_command_stays_as_it_is(words in proptest::collection::vec("[a-z][a-z0-9_./:=-]{0,8}|'[a-z <>|]{0,6}'|\"[a-z]{1,5}\"", 1..6), to in "( <[a-z]{1,4} >[a-z]{1,4})?") {
        let command = format!("make {}{to}", words.join(" "));
        let blank = kind::words(&crate::policy::shell::listed(&command).expect("a command")[0].commands[0]).iter().any(|word| placeholder::is_blank(word));
        prop_assume!(!blank);
        let adapted = adapt(&hint(&command), &around()).map(|adapted| adapted.command);
        prop_assert_eq!(adapted, Ok(command));
    }
}
