//! Hosts that cannot build the whole jail: what they are told, and with which exit code.

#[path = "support/program.rs"]
mod program;

use std::process::Command;

use program::{Bench, Forbidden, PROGRAM};

#[test]
fn a_host_without_user_namespaces_is_refused_by_name_with_the_remedy_and_taken_where_it_is_accepted() {
    for forbidden in Forbidden::all() {
        let bench = Bench::new();
        bench.file("pipeline.yml", "version: 1\ntests:\n  cmd: touch ran; test -f ran\n");
        let verify = |more: &[&str]| {
            let mut command = bench.command(&[&["verify", "--sandbox", "jail"], more].concat(), "repo");
            command.env("XDG_CACHE_HOME", bench.cache());
            forbidden.output(&command)
        };
        let (code, text) = verify(&[]);
        assert_eq!(code, Some(5), "{text}");
        assert!(
            text.contains("`landlock`") && text.contains("--min-tier landlock") && text.contains("remedy"),
            "{text}"
        );
        // Accepted by name, it is built, and says what it is.
        let (code, text) = verify(&["--min-tier", "landlock"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(
            text.contains("landlock (") && text.contains("ABSENT: no ") && text.contains("weaker: "),
            "{text}"
        );
        // What is between was not accepted, and is not what it is.
        let (code, text) = verify(&["--min-tier", "namespaces-no-proc"]);
        assert_eq!(code, Some(5), "{text}");
        let mut doctor = Command::new(PROGRAM);
        doctor.arg("doctor").env("XDG_CACHE_HOME", bench.cache());
        let (code, text) = forbidden.output(&doctor);
        assert_eq!(code, Some(5), "{text}");
        assert!(
            text.contains("MISSING") && text.contains("remedy: ") && text.contains("tier: landlock; taken only where"),
            "{text}"
        );
        if forbidden == Forbidden::Own {
            assert!(text.contains("user namespace") && text.contains("sysctl -w"), "{text}");
        }
        // The control: with user namespaces the same command passes, and stronger walls
        // than what is accepted stand.
        for more in [&[][..], &["--min-tier", "landlock"]] {
            let output = bench
                .command(&[&["verify", "--sandbox", "jail"], more].concat(), "repo")
                .output()
                .expect("starts");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && text.contains("namespaces"), "{text}");
            assert!(!text.contains("ABSENT"), "{text}");
        }
    }
}

#[test]
fn a_tier_that_the_host_does_not_reach_is_refused() {
    let bench = Bench::new();
    bench.file("pipeline.yml", "version: 1\ntests:\n  cmd: \"true\"\n");
    let output = bench
        .command(
            &["verify", "--sandbox", "jail", "--min-tier", "namespaces-cgroup"],
            "repo",
        )
        .output()
        .expect("starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // Root can make cgroups here, an ordinary user cannot; neither is a silent weakening.
    match output.status.code() {
        Some(0) => assert!(text.contains("namespaces-cgroup ("), "{text}"),
        Some(5) => assert!(text.contains("--min-tier namespaces"), "{text}"),
        other => panic!("{other:?}: {text}"),
    }
}
