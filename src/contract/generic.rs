//! `rollout.generic`: a rollout that needs no code of the repository.

use std::time::Duration;

use crate::document::{Fault, Fields};

/// Where the prompts of a generic rollout come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PromptSource {
    /// A data set where the target is one, else its own words.
    #[default]
    Auto,
    /// A data set, and nothing else.
    Dataset,
    /// The target's own words.
    Hints,
}

/// `rollout.generic`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenericRollout {
    /// Where its prompts come from.
    pub prompts: PromptSource,
    /// Most prompts; `None` leaves it to `AIDER_EVAL_MODE`.
    pub limit: Option<u64>,
    /// Calls at a time.
    pub concurrency: usize,
    /// How often a call that failed is made again.
    pub retries: u32,
    /// Calls that may fail for good before the stage has.
    pub max_errors: u64,
    /// Tokens of a completion.
    pub max_tokens: u64,
    /// In thousandths.
    pub temperature: u32,
    /// Sent with every call.
    pub seed: Option<u64>,
    /// Longest time of one call.
    pub call: Duration,
}

impl Default for GenericRollout {
    fn default() -> Self {
        Self {
            prompts: PromptSource::Auto,
            limit: None,
            concurrency: 4,
            retries: 3,
            max_errors: 0,
            max_tokens: 256,
            temperature: 0,
            seed: None,
            call: Duration::from_secs(120),
        }
    }
}

/// Reads the mapping under `generic`; each number has its range.
pub(super) fn rollout(mut fields: Fields) -> Result<GenericRollout, Fault> {
    let default = GenericRollout::default();
    let sources = [
        ("auto", PromptSource::Auto),
        ("dataset", PromptSource::Dataset),
        ("hints", PromptSource::Hints),
    ];
    let mut number = |name: &'static str, least: u64, most: u64| -> Result<Option<u64>, Fault> {
        let place = fields.place(name);
        match fields.whole_number(name, most)? {
            Some((number, at)) if number < least => Err(at.fault(format!("`{place}` must be at least {least}"))),
            other => Ok(other.map(|(number, _)| number)),
        }
    };
    let limit = number("limit", 1, 100_000)?;
    let concurrency = number("concurrency", 1, 32)?;
    let retries = number("retries", 0, 10)?;
    let max_errors = number("max_errors", 0, 100_000)?.unwrap_or(default.max_errors);
    let max_tokens = number("max_tokens", 1, 1_000_000)?.unwrap_or(default.max_tokens);
    let seed = number("seed", 0, i64::MAX.unsigned_abs())?;
    let call = number("call_seconds", 1, 3600)?.map_or(default.call, Duration::from_secs);
    let read = GenericRollout {
        prompts: fields.choice("prompts", &sources)?.unwrap_or_default(),
        limit,
        // Within their ranges both fit.
        concurrency: concurrency.map_or(default.concurrency, |number| number as usize),
        retries: retries.map_or(default.retries, |number| number as u32),
        max_errors,
        max_tokens,
        temperature: temperature(&mut fields)?,
        seed,
        call,
    };
    fields.finish()?;
    Ok(read)
}

/// A number from 0 to 2 with at most three decimals.
fn temperature(fields: &mut Fields) -> Result<u32, Fault> {
    let place = fields.place("temperature");
    if !fields.has(&["temperature"]) {
        // The name is known all the same.
        fields.value("temperature");
        return Ok(0);
    }
    let Some((text, at)) = fields.scalar("temperature")? else {
        return Ok(0);
    };
    let (whole, decimals) = text.split_once('.').unwrap_or((text.as_str(), "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    let thousandths = (digits(whole) && digits(decimals))
        .then(|| format!("{whole}{decimals:0<3}").parse::<u32>().ok())
        .flatten();
    thousandths.filter(|thousandths| *thousandths <= 2000).ok_or_else(|| {
        at.fault(format!(
            "`{place}` must be a number from 0 to 2 with at most three decimals"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{contract::Pipeline, names::RelPath};

    fn read(section: &str) -> Result<Option<GenericRollout>, String> {
        let path = RelPath::new("pipeline.yml").expect("a path");
        let text = format!("rollout:\n{section}tests:\n  cmd: 'true'\n");
        match Pipeline::parse(&path, text.as_bytes()) {
            Ok(pipeline) => Ok(pipeline.generic_rollout),
            Err(why) => Err(why.to_string()),
        }
    }

    #[test]
    fn a_generic_rollout_is_a_switch_or_a_mapping() {
        let default = GenericRollout::default();
        assert_eq!(read("  generic: true\n"), Ok(Some(default.clone())));
        assert_eq!(read("  generic: {}\n"), Ok(Some(default.clone())));
        assert_eq!(read("  generic: false\n  run_cmd: x\n"), Ok(None));
        let full = "  generic: {prompts: dataset, limit: 20, concurrency: 8, retries: 0, max_errors: 2, max_tokens: 64, \
                    temperature: 0.75, seed: 7, call_seconds: 5}\n  timeout_seconds: 60\n  env: {A: b}\n";
        let expected = GenericRollout {
            prompts: PromptSource::Dataset,
            limit: Some(20),
            concurrency: 8,
            retries: 0,
            max_errors: 2,
            max_tokens: 64,
            temperature: 750,
            seed: Some(7),
            call: Duration::from_secs(5),
        };
        assert_eq!(read(full), Ok(Some(expected)));
    }

    #[test]
    fn what_is_wrong_with_one_is_named_with_its_place_and_remedy() {
        for (section, why) in [
            ("  generic: true\n  run_cmd: x\n", "`rollout.generic` excludes"),
            ("  generic: true\n  run_cmds: []\n", "`rollout.generic` excludes"),
            ("  generic: true\n  retries: 2\n", "`rollout.retries`"),
            ("  generic: true\n  workdir: a\n", "`rollout.workdir`"),
            ("  generic: false\n", "`rollout.run_cmds` must list"),
            ("  generic: {limt: 5}\n", "did you mean `limit`?"),
            ("  generic: {limit: 0}\n", "at least 1"),
            ("  generic: {limit: 1000000}\n", "at most 100000"),
            ("  generic: {prompts: all}\n", "one of `auto`, `dataset`, `hints`"),
            ("  generic: {temperature: 3}\n", "from 0 to 2"),
            ("  generic: {temperature: -1}\n", "from 0 to 2"),
            ("  generic: {concurrency: 33}\n", "at most 32"),
            ("  generic: 'true'\n", "must be a mapping"),
            ("  generic: maybe\n", "must be true or false"),
            ("  generic:\n", "is empty"),
            ("  genric: true\n", "did you mean `generic`?"),
        ] {
            let found = read(section).expect_err(section);
            assert!(
                found.contains(why) && found.starts_with("pipeline.yml:"),
                "{section}: {found}"
            );
        }
    }
}
