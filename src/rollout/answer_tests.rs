use proptest::prelude::*;

use super::*;

fn open(answer: &str) -> Reference {
    Reference {
        accepted: vec![answer.to_owned()],
        choices: Vec::new(),
    }
}

fn offered(answer: &str) -> Reference {
    let choice = |label: &str, text: &str| Choice {
        label: label.to_owned(),
        text: text.to_owned(),
    };
    Reference {
        accepted: vec![answer.to_owned()],
        choices: vec![
            choice("A", "a dog"),
            choice("B", "the cat"),
            choice("C", "42"),
            choice("D", "none"),
        ],
    }
}

fn correct(completion: &str, reference: &Reference) -> bool {
    judge(completion, reference).correct
}

/// The predecessor's expressions recognised neither numbers nor `FINAL:`, and gave every answer
/// of GSM8K 0.
#[test]
fn the_predecessors_case_is_right() {
    let reference = open("Janet sells 16 - 3 - 4 = <<16-3-4=9>>9 duck eggs a day.\n#### 18");
    let judged = judge("She makes 9 * 2 = $18 a day.\nFINAL: 18", &reference);
    assert_eq!(
        (judged.correct, judged.said, judged.compared, judged.expected.as_str()),
        (true, Said::Final, Compared::Number, "18")
    );
    assert!(!correct("FINAL: 17", &reference), "the control");
}

/// The table of docs/rollouts.md.
#[test]
fn the_table_of_examples_holds() {
    let page = include_str!("../../docs/rollouts.md");
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| completion | expected |"));
    let mut seen = 0;
    for row in rows.skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [completion, answer, verdict, by] = cells[..] else {
            panic!("{row}");
        };
        let text = |cell: &str| cell.trim_matches('`').replace("⏎", "\n");
        let reference = match text(answer).split_once(" of A: a dog, B: the cat") {
            Some((answer, _)) => offered(answer),
            None => open(&text(answer)),
        };
        let judged = judge(&text(completion), &reference);
        assert_eq!(judged.correct, verdict == "right", "{row}: {judged:?}");
        let rule = serde_json::json!([judged.said, judged.compared]);
        assert_eq!(
            by,
            format!(
                "`{}`, `{}`",
                rule[0].as_str().expect("a word"),
                rule[1].as_str().expect("a word")
            ),
            "{row}"
        );
        seen += 1;
    }
    assert!(seen >= 30, "{seen} rows");
}

#[test]
fn the_first_place_that_says_an_answer_is_the_only_one_that_counts() {
    let reference = open("18");
    assert!(!correct("\\boxed{18}\nFINAL: 17", &reference), "what it settles on");
    assert!(!correct("FINAL: 18\nFINAL: 17", &reference), "the last one");
    assert!(correct("FINAL: 17\nOn reflection.\n**FINAL:** 18", &reference));
    assert!(!correct("FINAL: 18 or 17", &reference), "a hedge is no answer");
    assert!(correct("<think>FINAL: 17</think>FINAL: 18", &reference));
    assert!(correct("FINAL:\n18", &reference));
    assert!(!correct("", &reference) && !correct("FINAL:", &reference));
    assert!(!correct("anything", &open("")), "nothing is no answer");
}

#[test]
fn any_of_several_accepted_answers_is_right() {
    let reference = Reference {
        accepted: vec!["Denver Broncos".to_owned(), "the Broncos".to_owned()],
        choices: Vec::new(),
    };
    assert!(correct("FINAL: The Broncos.", &reference) && correct("denver broncos", &reference));
    assert!(!correct("FINAL: Carolina Panthers", &reference));
}

#[test]
fn a_choice_is_named_by_its_letter_or_its_text() {
    for right in [
        "FINAL: B",
        "FINAL: (b)",
        "FINAL: B. the cat",
        "FINAL: the cat",
        "B",
        "It is (B).",
        "the cat",
        "So:\nB.",
    ] {
        assert!(correct(right, &offered("B")), "{right}");
        assert!(correct(right, &offered("the cat")), "{right}");
    }
    for wrong in [
        "FINAL: A",
        "FINAL: a dog",
        "A dog",
        "Because (A)",
        "FINAL: E",
        "FINAL: Both",
        "Be it so",
    ] {
        assert!(!correct(wrong, &offered("B")), "{wrong}");
    }
    assert!(correct("FINAL: 42", &offered("C")));
}

proptest! {
    #[test]
    fn no_completion_panics(completion in "\\PC{0,120}", answer in "\\PC{0,40}") {
        let _ = judge(&completion, &open(&answer));
        let _ = judge(&completion, &offered(&answer));
    }

    #[test]
    fn pieces_of_markup_do_not_panic(parts in proptest::collection::vec("(FINAL:|\\\\boxed\\{|\\}|####|answer is|\n|18|\\(B\\)|\\\\frac|é| )", 0..20)) {
        let _ = judge(&parts.concat(), &open("18"));
        let _ = judge(&parts.concat(), &offered("B"));
    }

    #[test]
    fn a_number_is_right_however_it_is_said_and_no_other_is(value in -100_000_i64..100_000, other in -100_000_i64..100_000) {
        prop_assume!(value != other);
        let reference = open(&format!("some steps\n#### {value}"));
        for say in [
            |n: i64| format!("FINAL: {n}"),
            |n| format!("thus \\boxed{{{n}}}"),
            |n| format!("#### {n}"),
            |n| format!("The answer is {n}."),
            |n| format!("**Final answer:** {n}.0 dollars"),
        ] {
            prop_assert!(correct(&say(value), &reference), "{}", say(value));
            prop_assert!(!correct(&say(other), &reference), "{}", say(other));
        }
    }

    #[test]
    fn a_text_is_right_in_any_case_and_spacing(words in proptest::collection::vec("[a-z]{2,8}", 1..4)) {
        let text = words.join(" ");
        let said = format!("FINAL:  {}. ", words.join("  ").to_uppercase());
        prop_assert!(correct(&said, &open(&text)), "{said}");
        let other = format!("FINAL: {text} more");
        prop_assert!(!correct(&other, &open(&text)));
    }
}
