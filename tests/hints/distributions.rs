//! Source distributions from PyPI, each evaluated by what it documents: the score is what a run
//! of its own tests says, outside of any sandbox.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    GENERIC,
    program::{Bench, json_file},
    sdists,
};

/// A distribution, and how its project runs its tests where pytest is at hand.
struct Project {
    pin: &'static str,
    /// Arguments of `python3 -m`.
    own: &'static [&'static str],
}

/// Pure Python, with their tests inside, and nothing that they need but pytest.
const PROJECTS: [Project; 8] = [
    project(
        "tabulate==0.9.0",
        &["pytest", "--doctest-modules", "--ignore", "benchmark.py"],
    ),
    // What its tests skip depends on the modules of the host's Python.
    project("six==1.16.0", &["pytest"]),
    project("xmltodict==0.13.0", &["pytest"]),
    project("inflection==0.5.1", &["pytest"]),
    project("toolz==0.12.1", &["pytest"]),
    project("idna==3.7", &["pytest"]),
    project("cachetools==5.4.0", &["pytest"]),
    project("more-itertools==10.3.0", &["unittest"]),
];

const fn project(pin: &'static str, own: &'static [&'static str]) -> Project {
    Project { pin, own }
}

/// An environment with pytest, made of wheels that lie in the tree: nothing is fetched inside.
const BOOTSTRAP: &str = "version: 1
env:
  VIRTUAL_ENV: ${AIDER_FSM_REPO_ROOT}/.venv
  PATH: $VIRTUAL_ENV/bin:${PATH}
  PYTHONPATH: ${AIDER_FSM_REPO_ROOT}/src
  PYTHONDONTWRITEBYTECODE: '1'
cmds:
  - python3 -m venv --without-pip .venv
  - for wheel in .aider_fsm/wheels/*.whl; do python3 -m zipfile -e $wheel .venv/lib/python3.*/site-packages; done
";

/// Counts a report's cases by another reader than the program's.
const COUNT: &str = "import sys, xml.etree.ElementTree as tree
suite = next(tree.parse(sys.argv[1]).iter('testsuite'))
count = lambda name: int(suite.get(name))
bad = count('failures') + count('errors')
print(count('tests') - bad - count('skipped'), bad)
";

/// Counts unittest's by its own result.
const UNITTEST: &str = "import sys, unittest
result = unittest.main(module=None, argv=['x'], exit=False, verbosity=0).result
bad = len(result.failures) + len(result.errors)
print(result.testsRun - bad - len(result.skipped), bad)
";

/// What could be brought: the archives and the wheels; in CI all of it.
fn brought() -> Option<PathBuf> {
    let (dir, whole) = sdists::bring("hints-sdists", &PROJECTS.map(|project| project.pin));
    if !whole {
        return None;
    }
    let wheels = dir.join("wheels");
    let pytest = wheels.join("pytest-8.2.2-py3-none-any.whl");
    let pip = || {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "-q", "--only-binary", ":all:", "-d"])
            .arg(&wheels);
        pip.args(["pytest==8.2.2"])
            .status()
            .is_ok_and(|status| status.success())
    };
    let pytest = pytest.is_file() || pip();
    assert!(
        pytest || std::env::var_os("CI").is_none(),
        "pytest could not be brought"
    );
    if !pytest {
        eprintln!("SKIPPED: PyPI did not give pytest");
    }
    pytest.then_some(dir)
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("starts");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The repository in a bench, with what its bootstrap needs.
fn unpacked(dir: &Path, project: &Project) -> Bench {
    let bench = Bench::new();
    let name = project.pin.split("==").next().expect("a name");
    let mut tar = Command::new("tar");
    tar.arg("-xzf")
        .arg(dir.join(format!("{name}.tar.gz")))
        .args(["--strip-components=1", "-C"])
        .arg(bench.path("repo"));
    assert!(tar.status().expect("tar").success());
    bench
        .file("pipeline.yml", GENERIC)
        .file(".aider_fsm/bootstrap.yml", BOOTSTRAP);
    let wheels = bench.path("repo/.aider_fsm/wheels");
    let copied = Command::new("cp")
        .arg("-R")
        .arg(dir.join("wheels"))
        .arg(&wheels)
        .status();
    assert!(copied.expect("cp").success());
    bench
}

/// What a run of its own tests says: passed, and failed or broken.
fn by_hand(dir: &Path, project: &Project) -> (u64, u64) {
    let bench = unpacked(dir, project);
    let repo = bench.path("repo");
    let venv = bench.path("venv");
    // The interpreter that sandboxes have: others have other modules.
    run(Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(&venv));
    let packages = fs::read_dir(venv.join("lib"))
        .expect("lib")
        .next()
        .expect("one")
        .expect("entry")
        .path()
        .join("site-packages");
    for wheel in fs::read_dir(dir.join("wheels")).expect("wheels").flatten() {
        run(Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(wheel.path())
            .arg(&packages));
    }
    let python = || {
        let mut python = Command::new(venv.join("bin/python3"));
        python
            .current_dir(&repo)
            .env("PYTHONPATH", repo.join("src"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        python.env("LANG", "C.UTF-8");
        python
    };
    let said = match project.own {
        ["unittest"] => run(python().args(["-c", UNITTEST])),
        own => {
            let report = bench.path("report.xml");
            let shown = run(python().arg("-m").args(own).arg("--junitxml").arg(&report));
            assert!(report.is_file(), "{}: {shown}", project.pin);
            run(python().args(["-c", COUNT]).arg(&report))
        }
    };
    let pair = |line: &str| {
        let (passed, bad) = line.split_once(' ')?;
        Some((passed.parse().ok()?, bad.parse().ok()?))
    };
    let counts = said.lines().find_map(pair);
    counts.unwrap_or_else(|| panic!("{}: {said}", project.pin))
}

#[test]
fn source_distributions_score_what_their_own_tests_say() {
    let Some(dir) = brought() else { return };
    for project in &PROJECTS {
        let (passed, bad) = by_hand(&dir, project);
        let bench = unpacked(&dir, project);
        let shown = run(&mut bench.command(&["verify"], "repo"));
        let record = json_file(&bench.the_run().join("verify/summary.json"));
        let metrics = &record["metrics"];
        let counted = |key: &str| metrics[key].as_u64().unwrap_or_default();
        eprintln!(
            "{}: {passed} passed, {bad} not; {} by {}",
            project.pin, metrics["score"], metrics["source"]["command"]
        );
        assert_eq!(
            (counted("passed"), counted("failed") + counted("errors")),
            (passed, bad),
            "{}: {record}\n{shown}",
            project.pin
        );
        #[expect(clippy::cast_precision_loss, reason = "some hundred tests")]
        let score = passed as f64 / (passed + bad) as f64;
        assert_eq!(metrics["score"], Value::from(score), "{}", project.pin);
        assert!(passed > 0, "{}", project.pin);
    }
}
