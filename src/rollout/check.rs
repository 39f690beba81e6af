//! Demands on the samples of a rollout, beyond the form of each.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::plain::folded;

/// Bytes by which questions are found in prompts.
const WINDOW: usize = 16;
/// Most distinct prompts that questions are looked for in.
const SCANNED_MAX: usize = 2_000;
/// Most bytes of a prompt that are looked at.
const PROMPT_MAX: usize = 64 << 10;

/// The questions of a data set, to be found in prompts.
#[derive(Debug, Default)]
pub struct Anchors {
    questions: Vec<String>,
    long: HashMap<[u8; WINDOW], Vec<usize>>,
    short: Vec<usize>,
}

impl Anchors {
    /// All of a data set's questions.
    pub fn new(questions: impl Iterator<Item = String>) -> Self {
        let mut anchors = Self::default();
        let distinct: BTreeSet<String> = questions
            .map(|text| folded(&text))
            .filter(|text| !text.is_empty())
            .collect();
        for question in distinct {
            let index = anchors.questions.len();
            match question.as_bytes().first_chunk::<WINDOW>() {
                Some(window) => anchors.long.entry(*window).or_default().push(index),
                None => anchors.short.push(index),
            }
            anchors.questions.push(question);
        }
        anchors
    }

    /// How many there are, each once.
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    /// The questions in a prompt.
    fn found_in(&self, prompt: &str) -> BTreeSet<usize> {
        let mut end = prompt.len().min(PROMPT_MAX);
        while !prompt.is_char_boundary(end) {
            end -= 1;
        }
        let prompt = folded(&prompt[..end]);
        let bytes = prompt.as_bytes();
        let short = self
            .short
            .iter()
            .copied()
            .filter(|index| prompt.contains(&self.questions[*index]));
        let mut found: BTreeSet<usize> = short.collect();
        for (at, window) in bytes.windows(WINDOW).enumerate() {
            // The window has the key's length by construction.
            let Some(candidates) = window.first_chunk().and_then(|window| self.long.get(window)) else {
                continue;
            };
            found.extend(
                candidates
                    .iter()
                    .filter(|index| bytes[at..].starts_with(self.questions[**index].as_bytes())),
            );
        }
        found
    }
}

/// Demands of a data set with `rows` rows, of which `limit` were to be asked: enough samples,
/// diverse prompts, and its own questions in them. `prompts` has the prompt of every sample;
/// `anchors` are all of the data set's questions, where they could be had.
///
/// Codes: `hf_qa_samples_too_few`, `hf_qa_prompts_not_diverse`, `hf_qa_prompts_not_anchored`.
pub fn check_prompts(prompts: &[String], rows: usize, limit: usize, anchors: Option<&Anchors>) -> Vec<String> {
    let mut findings = Vec::new();
    let wanted = rows.min(limit);
    if prompts.len() < wanted {
        findings.push(format!(
            "hf_qa_samples_too_few: expected>={wanted} got={}",
            prompts.len()
        ));
    }
    let distinct: BTreeSet<&String> = prompts.iter().collect();
    let diverse = wanted.min(10);
    if distinct.len() < diverse {
        findings.push(format!(
            "hf_qa_prompts_not_diverse: expected>={diverse} got={}",
            distinct.len()
        ));
    }
    let Some(anchors) = anchors.filter(|anchors| !anchors.is_empty()) else {
        return findings;
    };
    let mut asked = BTreeSet::new();
    let (mut anchored, mut scanned) = (0, 0);
    for prompt in distinct.iter().take(SCANNED_MAX) {
        let found = anchors.found_in(prompt);
        scanned += 1;
        anchored += usize::from(!found.is_empty());
        asked.extend(found);
    }
    let enough = wanted.min(5).min(anchors.len());
    if asked.len() < enough || 2 * anchored < scanned {
        findings.push(format!(
            "hf_qa_prompts_not_anchored: expected>={enough} of the data set's {} questions and half of the prompts, \
             got={} in {anchored} of {scanned}",
            anchors.len(),
            asked.len()
        ));
    }
    findings
}

/// `rollout_counts_all_errors`, where a rollout says that at least as many calls failed as were
/// answered.
pub fn check_counts(rollout: &Value) -> Option<String> {
    let count = |name: &str| rollout.pointer(&format!("/counts/{name}")).and_then(Value::as_u64);
    let (samples, errors) = (count("samples").unwrap_or(0), count("errors").unwrap_or(0));
    (errors > 0 && errors >= samples).then(|| format!("rollout_counts_all_errors: samples={samples} errors={errors}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn questions(from: usize, count: usize) -> Vec<String> {
        (from..from + count)
            .map(|n| format!("How many apples are {n} apples and {n} more?"))
            .collect()
    }

    fn codes(prompts: &[String], rows: usize, limit: usize, anchors: &Anchors) -> Vec<String> {
        let findings = check_prompts(prompts, rows, limit, Some(anchors));
        findings
            .iter()
            .map(|finding| finding.split(':').next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn a_rollout_of_the_data_sets_own_questions_holds() {
        let anchors = Anchors::new(questions(0, 1_000).into_iter());
        // The predecessor knew the first twenty questions and no others.
        let late: Vec<String> = questions(900, 8)
            .iter()
            .map(|text| format!("Say:\n {}", text.to_uppercase()))
            .collect();
        assert_eq!(codes(&late, 1_000, 8, &anchors), Vec::<String>::new());
        assert_eq!(
            codes(&questions(0, 3), 3, 8, &anchors),
            Vec::<String>::new(),
            "a small data set"
        );
    }

    #[test]
    fn each_demand_has_its_code() {
        let anchors = Anchors::new(questions(0, 100).into_iter());
        assert_eq!(codes(&questions(0, 12), 100, 20, &anchors), ["hf_qa_samples_too_few"]);
        let repeated: Vec<String> = questions(0, 5).into_iter().cycle().take(64).collect();
        assert_eq!(codes(&repeated, 100, 64, &anchors), ["hf_qa_prompts_not_diverse"]);
        let foreign: Vec<String> = (0..8).map(|n| format!("What is {n} and {n}, all told?")).collect();
        assert_eq!(codes(&foreign, 100, 8, &anchors), ["hf_qa_prompts_not_anchored"]);
        // Five questions among many prompts that are none of the data set's.
        let mixed: Vec<String> = questions(0, 5).into_iter().chain(foreign).collect();
        assert_eq!(codes(&mixed, 100, 8, &anchors), ["hf_qa_prompts_not_anchored"]);
        assert_eq!(
            check_prompts(&mixed, 100, 8, None),
            Vec::<String>::new(),
            "whose questions is not known"
        );
    }

    #[test]
    fn short_questions_are_found_too() {
        let anchors = Anchors::new(["2+2?", "a\u{e9}?"].map(str::to_owned).into_iter());
        assert_eq!(anchors.found_in("Say: 2+2? Quick").len(), 1);
        assert_eq!(anchors.found_in("nothing").len(), 0);
    }

    #[test]
    fn a_rollout_whose_calls_failed_is_none() {
        assert!(check_counts(&json!({"counts": {"samples": 8, "errors": 8}})).is_some());
        assert!(check_counts(&json!({"counts": {"errors": 1}})).is_some());
        for fine in [
            json!({"counts": {"samples": 8, "errors": 7}}),
            json!({"counts": {"samples": 0, "errors": 0}}),
            json!({}),
        ] {
            assert_eq!(check_counts(&fine), None, "{fine}");
        }
    }

    proptest! {
        #[test]
        fn a_question_is_found_wherever_it_stands(before in "\\PC{0,40}", question in "[a-zA-Z0-9 ]{1,60}", after in "\\PC{0,40}") {
            prop_assume!(!question.trim().is_empty());
            let anchors = Anchors::new([question.clone()].into_iter());
            let prompt = format!("{before} {question} {after}");
            prop_assert_eq!(anchors.found_in(&prompt).len(), 1);
        }
    }
}
