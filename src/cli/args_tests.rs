//! The grammar, and the predecessor's command line in it.

use std::path::Path;

use clap::CommandFactory;

use super::*;
use crate::{engine::Unattended, policy::parse_size};

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn sizes_are_powers_of_1024_and_bounded() {
    assert_eq!(parse_size("4G"), Ok(4 << 30));
    assert_eq!(parse_size("1048576"), Ok(1 << 20));
    for bad in ["", "G", "1", "-1G", "4GB", "99999999999T", "1.5G", "é"] {
        assert!(parse_size(bad).is_err(), "{bad}");
    }
}

fn run(flags: &[&str]) -> Box<RunArgs> {
    let argv = ["opencode-fsm", "run"].iter().chain(flags);
    match Cli::try_parse_from(argv).expect("parses").verb {
        Verb::Run(args) => args,
        other => panic!("{other:?}"),
    }
}

/// Every flag of the predecessor's main loop, spelled as there.
#[test]
fn the_predecessors_command_line_is_understood() {
    let args = run(&[
        "--repo",
        "r",
        "--goal",
        "g",
        "--model",
        "p/m",
        "--test-cmd",
        "t",
        "--pipeline",
        "c.yml",
        "--require-pipeline",
        "--env-file",
        "e",
        "--env-override",
        "--env",
        "A=1",
        "--env",
        "B",
        "--clone-dir",
        "d",
        "--artifacts-dir",
        "a",
        "--seed",
        "s",
        "--seed",
        "u",
        "--max-iters",
        "5",
        "--max-fix",
        "2",
        "--plan-path",
        "P.md",
        "--unattended",
        "guided",
        "--preflight-only",
        "--opencode-timeout",
        "60",
        "--opencode-bash",
        "full",
        "--opencode-url",
        "http://x",
    ]);
    let target = &args.target;
    assert_eq!(
        (target.target(), target.test_cmd.as_deref()),
        (Path::new("r"), Some("t"))
    );
    assert_eq!(
        (target.pipeline.as_ref().map(ToString::to_string), args.plan.to_string()),
        (Some("c.yml".to_owned()), "P.md".to_owned())
    );
    assert_eq!((target.env.len(), args.seeds.len()), (2, 2));
    assert_eq!((args.max_iters, args.max_fix, args.stall_timeout.as_secs()), (5, 2, 60));
    assert_eq!(
        (target.unattended, args.opencode_bash),
        (Unattended::Guided, BashMode::Full)
    );
    assert!(target.require_pipeline && target.env_override && args.preflight_only);
    assert_eq!(run(&[]).target.target(), Path::new("."));
    assert!(Cli::try_parse_from(["opencode-fsm", "run", "--repo", "a", "b"]).is_err());
}

#[test]
fn flags_that_are_not_taken_say_why() {
    for (flags, names) in [
        (&["--ensure-tools"][..], "bootstrap.yml"),
        (&["--ensure-kind"], "actions.yml"),
        (&["--kind-name", "k"], "--kind-name"),
        (&["--kind-config=c"], "--kind-config"),
        (&["--full-quickstart"], "--full-quickstart"),
    ] {
        let why = run(flags).retired.refuse().expect_err("refused");
        assert_eq!(why.exit_code(), 2);
        assert!(why.to_string().contains(names), "{why}");
    }
}

#[test]
fn a_contract_is_written_where_it_is_asked_for_and_for_what_is_fetched() {
    use crate::{
        cli::surroundings::Surroundings,
        engine::ScaffoldBy,
        source::{Endpoints, Target},
    };
    let around = Surroundings::of_variables(&[]);
    let endpoints = Endpoints::of(|_| None).expect("the usual ones");
    let mut options = crate::engine::TargetOptions::of_host("/").expect("a directory");
    let mut by = |flags: &[&str], target: &str, test_cmd: Option<&str>| {
        options.target = Target::parse(target.as_ref(), &endpoints).expect("a target").target;
        options.test_cmd = test_cmd.map(str::to_owned);
        run(flags).scaffold.of_run(&options, &around).expect("holds").by
    };
    let (here, there) = ("/", "https://example.org/x.git");
    for (flags, target, test_cmd, expected) in [
        (&[][..], here, None, ScaffoldBy::Nobody),
        (&[], there, None, ScaffoldBy::Agent),
        (&[], there, Some("make test"), ScaffoldBy::Nobody),
        (&["--scaffold-contract", "off"], there, None, ScaffoldBy::Nobody),
        (&["--scaffold-contract", "opencode"], here, None, ScaffoldBy::Agent),
        (&["--scaffold-contract", "generic"], here, None, ScaffoldBy::Generic),
    ] {
        assert_eq!(by(flags, target, test_cmd), expected, "{flags:?} {target} {test_cmd:?}");
    }
    let attempts = |value: &str| {
        let around = Surroundings::of_variables(&[("AIDER_OPENCODE_SCAFFOLD_ATTEMPTS", value)]);
        run(&[])
            .scaffold
            .of_run(&options, &around)
            .map(|scaffold| scaffold.attempts)
    };
    assert_eq!(attempts("7").expect("a number"), 7);
    for value in ["0", "11", "x"] {
        let why = attempts(value).expect_err(value).to_string();
        assert!(why.contains("AIDER_OPENCODE_SCAFFOLD_ATTEMPTS"), "{why}");
    }
}
