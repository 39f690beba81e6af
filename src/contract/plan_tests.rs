use proptest::prelude::*;

use super::*;
use crate::names::RelPath;

const PLAN: &str = "# PLAN\n\n## Goal\n- fix it\n\n## Next (exactly ONE item)\n- [ ] (STEP_ID=002) Mend the parser\n\n\
                    ## Backlog\n- [x] (STEP_ID=009) Dropped\n- [ ] (STEP_ID=003) Add a test\n  with detail\n\
                    - [ ] (STEP_ID=004) Document\n\n## Done\n- [x] (STEP_ID=001) Look around\n\n## Notes\n- none\n";

fn plan(text: &str) -> Plan {
    Plan::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn codes(text: impl AsRef<[u8]>) -> Vec<(&'static str, usize)> {
    Plan::parse(text.as_ref())
        .unwrap_err()
        .0
        .into_iter()
        .map(|error| (error.code, error.line))
        .collect()
}

fn ids(steps: &[Step]) -> Vec<&str> {
    steps.iter().map(|step| step.id.as_str()).collect()
}

#[test]
fn a_plan_tells_its_steps() {
    let plan = plan(PLAN);
    assert_eq!(
        plan.next_step(),
        Some(Step {
            id: "002".into(),
            text: "Mend the parser".into()
        })
    );
    assert_eq!(plan.backlog_open(), 2);
    let (next, backlog, done) = plan.steps();
    assert_eq!(
        (ids(&next), ids(&backlog), ids(&done)),
        (vec!["002"], vec!["003", "004"], vec!["009", "001"])
    );
    assert_eq!(plan.text(), PLAN);
}

#[test]
fn mark_done_moves_ticks_and_promotes_with_the_lines_that_belong_to_a_step() {
    let text = plan(PLAN).mark_done();
    assert_eq!(
        text,
        "# PLAN\n\n## Goal\n- fix it\n\n## Next (exactly ONE item)\n- [ ] (STEP_ID=003) Add a test\n  with detail\n\n\
         ## Backlog\n- [x] (STEP_ID=009) Dropped\n- [ ] (STEP_ID=004) Document\n\n## Done\n\
         - [x] (STEP_ID=001) Look around\n- [x] (STEP_ID=002) Mend the parser\n\n## Notes\n- none\n"
    );
    let text = plan(&plan(&text).mark_done()).mark_done();
    let last = plan(&text);
    assert_eq!((last.next_step(), last.backlog_open()), (None, 0));
    assert_eq!(ids(&last.steps().2), ["009", "001", "002", "003", "004"]);
    assert_eq!(last.mark_done(), text, "nothing is left to do");
}

#[test]
fn a_done_step_goes_behind_the_last_one_and_its_lines() {
    let text = "## Next\n- [ ] (STEP_ID=2) b\n## Backlog\n## Done\n- [x] (STEP_ID=1) a\n  more\n\ntext\n";
    assert_eq!(
        plan(text).mark_done(),
        "## Next\n## Backlog\n## Done\n- [x] (STEP_ID=1) a\n  more\n- [x] (STEP_ID=2) b\n\ntext\n"
    );
}

#[test]
fn block_explains_in_notes_and_promotes() {
    let text = plan(PLAN).block("needs a\nkey\u{7}: - [ ] (STEP_ID=9) x");
    assert!(
        text.ends_with(
            "## Notes\n- none\n- Blocked (STEP_ID=002): needs a key : - [ ] (STEP_ID=9) x (step: Mend the parser)\n"
        ),
        "{text}"
    );
    assert_eq!(plan(&text).next_step().map(|step| step.id), Some("003".into()));
    assert!(plan(PLAN).block(&"y".repeat(10_000)).len() < PLAN.len() + 1000);
}

#[test]
fn missing_done_and_notes_sections_are_added() {
    let short = "## Backlog\n## Next\n- [ ] (STEP_ID=1) a";
    assert_eq!(
        plan(short).mark_done(),
        "## Backlog\n## Next\n\n## Done\n- [x] (STEP_ID=1) a"
    );
    assert_eq!(
        plan(short).block("no"),
        "## Backlog\n## Next\n\n## Notes\n- Blocked (STEP_ID=1): no (step: a)"
    );
}

#[test]
fn sections_may_stand_in_any_order() {
    let turned = "## Done\n## Backlog\n- [ ] (STEP_ID=2) b\n  more\n## Next\ntext\n- [ ] (STEP_ID=1) a\nend\n";
    assert_eq!(
        plan(turned).mark_done(),
        "## Done\n- [x] (STEP_ID=1) a\n## Backlog\n## Next\ntext\n- [ ] (STEP_ID=2) b\n  more\nend\n"
    );
}

#[test]
fn an_empty_next_is_filled_from_the_backlog() {
    let empty = plan("## Next\n\n## Backlog\n- [ ] (STEP_ID=5) e\n");
    assert_eq!(empty.next_step(), None);
    assert_eq!(empty.mark_done(), "## Next\n- [ ] (STEP_ID=5) e\n\n## Backlog\n");
}

#[test]
fn crlf_endings_are_kept() {
    let text = plan(&PLAN.replace('\n', "\r\n")).mark_done();
    assert_eq!(text, plan(PLAN).mark_done().replace('\n', "\r\n"));
    let text = plan(&PLAN.replace('\n', "\r\n")).block("why");
    assert_eq!(text, plan(PLAN).block("why").replace('\n', "\r\n"));
}

#[test]
fn headings_are_whole_words_and_fences_are_not_read() {
    let text = "## Nextcloud\n- [ ] not a step\n```sh\n## Next\n- [ ] bad\n```\n~~~~\n```\n~~~\n## Backlog\n~~~~\n\
                ## Next: now\n- [ ] (STEP_ID=1) a\n\n    ```\n    ## Done\n    ```\n## Backlog\n";
    assert_eq!(plan(text).next_step().map(|step| step.id), Some("1".into()));
    assert_eq!(codes("## Next\n## Backlog\n```\nopen\n"), [("unclosed_fence", 3)]);
    assert_eq!(
        codes("### Next\n##Backlog\n"),
        [("missing_next_section", 2), ("missing_backlog_section", 2)]
    );
    assert!(Plan::parse(b"## Next\n```not a fence```\n## Backlog\n").is_ok());
}

#[test]
fn a_fence_under_a_step_moves_with_it() {
    let text = "## Next\n- [ ] (STEP_ID=1) a\n  ```\nx\n\n  ```\n  tail\n\n## Backlog\n";
    assert_eq!(
        plan(text).mark_done(),
        "## Next\n\n## Backlog\n\n## Done\n- [x] (STEP_ID=1) a\n  ```\nx\n\n  ```\n  tail\n"
    );
}

#[test]
fn step_lines_follow_the_grammar() {
    for (line, id, text) in [
        ("- [ ] (STEP_ID=1) a", "1", "a"),
        ("-[ ](STEP_ID=007)", "007", ""),
        ("   -   [  ]   (STEP_ID=1)   a  b ", "1", "a  b"),
    ] {
        let step = plan(&format!("## Next\n{line}\n## Backlog\n")).next_step().unwrap();
        assert_eq!((step.id.as_str(), step.text.as_str()), (id, text), "{line}");
    }
    for line in [
        "- [] (STEP_ID=1) a",
        "- [ ] a",
        "- [y] (STEP_ID=1)",
        "- [ ] (STEP_ID=) a",
        "- [ ] (STEP_ID=1a)",
        "- [ ] (STEP_ID=１)",
        "- [xx] (STEP_ID=1)",
        "- [ ",
        "- [ ] (step_id=1) a",
    ] {
        assert_eq!(
            codes(format!("## Next\n{line}\n## Backlog\n")),
            [("bad_next_line", 2)],
            "{line}"
        );
        assert_eq!(
            codes(format!("## Next\n## Backlog\n{line}\n")),
            [("bad_backlog_line", 3)],
            "{line}"
        );
        assert!(
            Plan::parse(format!("## Next\n## Backlog\n## Done\n{line}\n").as_bytes()).is_ok(),
            "{line}"
        );
    }
    for line in ["* [ ] (STEP_ID=1) a", "- (STEP_ID=1) a", "text"] {
        assert_eq!(
            plan(&format!("## Next\n{line}\n## Backlog\n")).next_step(),
            None,
            "{line}"
        );
    }
}

#[test]
fn every_defect_has_its_code_and_line() {
    assert_eq!(codes("## Backlog\n"), [("missing_next_section", 1)]);
    assert_eq!(codes("## Next\n"), [("missing_backlog_section", 1)]);
    assert_eq!(codes(""), [("missing_next_section", 1), ("missing_backlog_section", 1)]);
    assert_eq!(
        codes("## Next\n- [ ] (STEP_ID=1) a\n- [ ] (STEP_ID=2) b\n## Backlog\n"),
        [("next_count_not_one", 3)]
    );
    assert_eq!(
        codes("## Next\n- [x] (STEP_ID=1) a\n## Backlog\n"),
        [("next_is_checked", 2)]
    );
    assert_eq!(codes("## Next\n## Backlog\n## Next\n"), [("duplicate_section", 3)]);
    // Duplicates count whatever stands in Next, and numerically.
    assert_eq!(
        codes("## Next\n## Backlog\n- [ ] (STEP_ID=01) a\n## Done\n- [x] (STEP_ID=1) b\n"),
        [("duplicate_step_id", 5)]
    );
    assert_eq!(codes(b"## Next\n\xff"), [("plan_not_utf8", 2)]);
    assert_eq!(codes("## Next\n\n\0"), [("plan_has_nul", 3)]);
    assert_eq!(codes("x".repeat(MAX_DOCUMENT + 1)), [("plan_too_large", 1)]);
    assert_eq!(
        codes(format!("## Next\n{}", "- [ ]\n".repeat(100_000))).len(),
        ERRORS_MAX
    );
}

#[test]
fn errors_read_as_one_line() {
    let errors = Plan::parse(b"## Next\n- [ ] go\n").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "line 2: a step in Next must read `- [ ] (STEP_ID=<digits>) <text>` (bad_next_line); \
         line 2: there is no `## Backlog` heading (missing_backlog_section)"
    );
}

#[test]
fn the_template_is_a_plan_whatever_the_goal_says() {
    for goal in ["", "mend", "x\n## Next\n- [ ] bad\n```\n"] {
        let plan = plan(&Plan::template(goal, "make\ntest", None));
        assert_eq!(plan.next_step().map(|step| step.id), Some("001".into()));
        assert!(plan.text().contains("\n- [ ] TEST_CMD passes: `make test`\n"));
    }
    let contract = b"tests: {cmd: t}\ndeploy: {setup_cmd: s}\nrollout: {run_cmd: r}\n\
        evaluation: {run_cmd: e, metrics_path: m.json}\nbenchmark: {run_cmd: b, metrics_path: b.json}\n";
    let pipeline = Pipeline::parse(&RelPath::new("pipeline.yml").unwrap(), contract).unwrap();
    let text = Plan::template("g", "t", Some(&pipeline));
    for line in [
        "- [ ] Deploy stage passes",
        "- [ ] Rollout stage passes",
        "- [ ] Evaluation stage passes",
        "- [ ] Benchmark stage passes",
        "- [ ] Metrics in `m.json` are valid",
        "- [ ] Metrics in `b.json` are valid",
    ] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
}

/// Plans made of lines that matter, with steps numbered in order so that most of them are valid.
fn documents() -> impl Strategy<Value = String> {
    let step = |ticked: f64| {
        (prop::bool::weighted(ticked), 0..3usize).prop_map(|(ticked, indent)| {
            format!(
                "{}- [{}] (STEP_ID=#) do #",
                " ".repeat(indent),
                if ticked { "x" } else { " " }
            )
        })
    };
    let filler = || {
        prop::sample::select(vec![
            "",
            "text",
            "  more",
            "    deep",
            "  ```\n## Next\n  ```",
            "~~~\n- [ ] odd\n~~~",
            "- note",
            "```",
        ])
        .prop_map(String::from)
    };
    let lines = |steps: BoxedStrategy<Vec<String>>| {
        (
            steps,
            prop::collection::vec(filler(), 0..3),
            any::<prop::sample::Index>(),
        )
            .prop_map(|(mut steps, filler, at)| {
                let at = at.index(steps.len() + 1);
                steps.splice(at..at, filler);
                steps
            })
    };
    let sections = (
        lines(prop::collection::vec(step(0.02), 0..=1).boxed()),
        lines(prop::collection::vec(step(0.3), 0..4).boxed()),
        prop::option::of(lines(prop::collection::vec(step(0.9), 0..4).boxed())),
        prop::option::of(lines(prop::collection::vec(filler(), 0..2).boxed())),
    );
    let order = Just(vec![0, 1, 2, 3]).prop_shuffle();
    (sections, order, any::<bool>(), any::<bool>()).prop_map(|((next, backlog, done, notes), order, crlf, cut)| {
        let section = |name: &str, lines: Vec<String>| format!("## {name}\n{}\n", lines.join("\n"));
        let parts = [
            section("Next", next),
            section("Backlog", backlog),
            done.map(|lines| section("Done", lines)).unwrap_or_default(),
            notes.map(|lines| section("Notes", lines)).unwrap_or_default(),
        ];
        let mut text: String = order.into_iter().map(|index| parts[index].as_str()).collect();
        for id in 1.. {
            let Some(at) = text.find("STEP_ID=#) do #") else { break };
            text.replace_range(at..at + 15, &format!("STEP_ID={id}) do {id}"));
        }
        let text = if cut {
            text.trim_end_matches('\n').to_owned()
        } else {
            text
        };
        if crlf { text.replace('\n', "\r\n") } else { text }
    })
}

/// The lines as a sorted bag, without those that the edit is meant to change.
fn bag(text: &str, dropped: impl Fn(&str) -> bool) -> Vec<&str> {
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !dropped(line))
        .collect();
    lines.sort_unstable();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn edits_give_plans_and_lose_no_other_line(text in documents()) {
        let Ok(before) = Plan::parse(text.as_bytes()) else { return Ok(()) };
        let step = before.next_step();
        let moved = |line: &str| step.as_ref().is_some_and(|step| line.ends_with(&format!(" do {}", step.id)));
        let (_, backlog, done) = before.steps();

        let marked = before.mark_done();
        let after = Plan::parse(marked.as_bytes());
        prop_assert!(after.is_ok(), "{:?}\n{text}\n=>\n{marked}", after);
        let after = after.unwrap();
        let added = |line: &str| moved(line) || line == "## Done";
        prop_assert_eq!(bag(&text, added), bag(&marked, added));
        let expected_next = backlog.first().cloned();
        prop_assert_eq!(after.next_step(), expected_next.clone());
        if let Some(step) = &step {
            prop_assert!(after.steps().2.contains(step));
            prop_assert_eq!(after.steps().2.len(), done.len() + 1);
        }

        let blocked = before.block("because");
        let after = Plan::parse(blocked.as_bytes());
        prop_assert!(after.is_ok(), "{:?}\n{text}\n=>\n{blocked}", after);
        let dropped = |line: &str| moved(line) || line == "## Notes" || line.starts_with("- Blocked (STEP_ID=");
        prop_assert_eq!(bag(&text, dropped), bag(&blocked, dropped));
        prop_assert_eq!(after.unwrap().next_step(), expected_next);
        prop_assert_eq!(blocked.contains("- Blocked (STEP_ID="), step.is_some());
    }

    #[test]
    fn no_text_panics(text in "[-# \\[\\]x(STEP_ID=0-9)\n\r`~NextBacklogDone]{0,120}") {
        if let Ok(plan) = Plan::parse(text.as_bytes()) {
            prop_assert_eq!(plan.text(), &text);
            plan.mark_done();
            plan.block(&text);
        }
    }
}
