//! The samples of a rollout: the file at `paths.samples_jsonl`, one JSON object a line.

use serde_json::Value;

use super::metrics::parse_json;

/// Findings about single lines that are given; the rest is counted.
const LISTED: usize = 3;

/// What a file of samples holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// How many.
    pub count: u64,
    /// The prompt of each.
    pub prompts: Vec<String>,
    /// The mean of their rewards.
    pub mean_reward: f64,
}

/// Checks samples: every line that is not blank is an object with the strings `prompt` and
/// `completion` and the finite number `reward`, there is at least one, and not every
/// completion is blank.
///
/// # Errors
/// Every finding, one line each, by its code: `samples_jsonl_empty`,
/// `samples_jsonl_invalid_line: NUMBER: WHY` (the first three, and how many more) and
/// `samples_jsonl_all_empty_completions`.
pub fn validate_samples(bytes: &[u8]) -> Result<Samples, Vec<String>> {
    let (mut count, mut sum, mut spoken, mut prompts) = (0_u64, 0.0, false, Vec::new());
    let (mut findings, mut more) = (Vec::new(), 0_u64);
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match sample(line) {
            Ok((prompt, reward, speaks)) => {
                prompts.push(prompt);
                count += 1;
                sum += reward;
                spoken |= speaks;
            }
            Err(why) if findings.len() < LISTED => {
                findings.push(format!("samples_jsonl_invalid_line: {}: {why}", index + 1));
            }
            Err(_) => more += 1,
        }
    }
    if more > 0 {
        findings.push(format!("samples_jsonl_invalid_line: and {more} more"));
    }
    if findings.is_empty() && count == 0 {
        findings.push("samples_jsonl_empty".to_owned());
    } else if findings.is_empty() && !spoken {
        findings.push("samples_jsonl_all_empty_completions".to_owned());
    }
    #[expect(clippy::cast_precision_loss, reason = "lines of a bounded file are far below 2^52")]
    match findings.is_empty() {
        true => Ok(Samples {
            count,
            prompts,
            mean_reward: sum / count as f64,
        }),
        false => Err(findings),
    }
}

/// The prompt and the reward of one sample, and whether its completion says anything.
fn sample(line: &[u8]) -> Result<(String, f64, bool), String> {
    let Value::Object(sample) = parse_json(line).map_err(|why| format!("no JSON: {why}"))? else {
        return Err("no object".to_owned());
    };
    let text = |name: &str| {
        let value = sample.get(name).and_then(Value::as_str);
        value.ok_or_else(|| format!("`{name}` must be a string"))
    };
    let (prompt, completion) = (text("prompt")?, text("completion")?);
    let reward = sample.get("reward").and_then(Value::as_f64);
    let reward = reward.filter(|reward| reward.is_finite());
    let reward = reward.ok_or_else(|| "`reward` must be a finite number".to_owned())?;
    Ok((prompt.to_owned(), reward, !completion.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"{"prompt": "p", "completion": "c", "reward": 1, "meta": {"id": 1}}"#;

    fn findings(text: &str) -> String {
        validate_samples(text.as_bytes()).expect_err(text).join("; ")
    }

    #[test]
    fn samples_are_counted_and_their_rewards_averaged() {
        let other = r#"{"prompt": "", "completion": "", "reward": -0.5}"#;
        let text = format!("{GOOD}\n\n{other}\r\n");
        let found = validate_samples(text.as_bytes()).expect("valid");
        assert_eq!((found.count, found.mean_reward), (2, 0.25));
        assert_eq!(found.prompts, ["p", ""]);
    }

    #[test]
    fn what_is_no_sample_is_named_by_its_line() {
        for (line, why) in [
            ("{", "no JSON: "),
            ("[1]", "no object"),
            (r#"{"completion": "c", "reward": 1}"#, "`prompt` must be a string"),
            (
                r#"{"prompt": "p", "completion": 5, "reward": 1}"#,
                "`completion` must be a string",
            ),
            (
                r#"{"prompt": "p", "completion": "c"}"#,
                "`reward` must be a finite number",
            ),
            (
                r#"{"prompt": "p", "completion": "c", "reward": true}"#,
                "`reward` must be a finite number",
            ),
            (r#"{"prompt": "p", "completion": "c", "reward": NaN}"#, "no JSON: "),
            (r#"{"prompt": "p", "completion": "c", "reward": 1e999}"#, "no JSON: "),
        ] {
            let found = findings(&format!("{GOOD}\n{line}"));
            assert!(
                found.starts_with(&format!("samples_jsonl_invalid_line: 2: {why}")),
                "{line}: {found}"
            );
        }
        assert!(findings(&"x\n".repeat(9)).ends_with("and 6 more"));
    }

    #[test]
    fn no_samples_and_samples_that_say_nothing_are_none() {
        assert_eq!(findings("\n \n"), "samples_jsonl_empty");
        let silent = r#"{"prompt": "p", "completion": " ", "reward": 0}"#;
        assert_eq!(findings(silent), "samples_jsonl_all_empty_completions");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_findings_are_single_lines(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Err(findings) = validate_samples(&bytes) {
                prop_assert!(findings.iter().all(|finding| !finding.contains('\n')));
            }
        }
    }
}
