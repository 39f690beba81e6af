//! Which hint is tried first.

use super::{Hint, HintKind, Origin, kind, placeholder};
use crate::policy::shell::listed;

/// Words of services that are not inside.
const ELSEWHERE: [&str; 9] = [
    "openai",
    "anthropic",
    "bedrock",
    "google",
    "gemini",
    "azure",
    "ollama",
    "vllm",
    "wandb",
];
/// Options that pick some of the tests.
const PICKS: [&str; 12] = [
    "-k",
    "-m",
    "--lf",
    "--ff",
    "--last-failed",
    "--deselect",
    "--ignore",
    "--run",
    "-run",
    "--filter",
    "-t",
    "--grep",
];
/// Options by which nothing is run.
const ONLY_TELLS: [&str; 8] = [
    "--help",
    "-h",
    "--version",
    "--collect-only",
    "--co",
    "--no-run",
    "--list",
    "--dry-run",
];

/// The hints, best first. Tests come before evaluations, those before benchmarks; what needs the
/// network, picks some tests of all, or only tells something comes after its like, and what
/// installs or needs containers last. Equals stay in their order.
pub fn rank(mut hints: Vec<Hint>) -> Vec<Hint> {
    hints.sort_by_cached_key(|hint| std::cmp::Reverse(worth(hint)));
    hints
}

fn worth(hint: &Hint) -> i32 {
    let base = match hint.kind {
        HintKind::Tests => 100,
        HintKind::Evaluate => 70,
        HintKind::Benchmark => 50,
        HintKind::Run => 20,
        HintKind::Build => 10,
        HintKind::Install => -100,
        HintKind::Container => -120,
    };
    let origin = match hint.origin {
        Origin::Documentation => 0,
        Origin::Workflow => -1,
        Origin::Declaration => -2,
        Origin::Convention => -12,
    };
    let hidden = placeholder::hide(&hint.command);
    let Ok(items) = listed(&hidden.text) else {
        return base - 60;
    };
    let commands: Vec<_> = items.iter().flat_map(|item| &item.commands).collect();
    let mut worth = base + origin;
    // What has to be filled in may be known; what has not is better.
    worth -= 15 * i32::from(!hidden.words.is_empty());
    for command in &commands {
        let words = kind::words(command);
        let core = &words[kind::surrounded(&words)..];
        let name = core.first().map_or("", |word| kind::name(word));
        let low: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
        let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
        // It makes an environment of its own, from the network.
        worth -= 12 * i32::from(matches!(name, "tox" | "nox" | "hatch"));
        worth -= 20
            * i32::from(
                low.iter()
                    .any(|word| ELSEWHERE.iter().any(|service| word.contains(service)) || word.contains("://")),
            );
        worth -= 90 * i32::from(has(&ONLY_TELLS));
        if hint.kind == HintKind::Tests {
            let picks = words.iter().skip(1).any(|word| {
                PICKS
                    .iter()
                    .any(|option| word == option || word.starts_with(&format!("{option}=")))
            }) && !core.starts_with(&["python", "-m"])
                || words.iter().any(|word| word.contains("::"));
            let one = words
                .iter()
                .skip(1)
                .any(|word| word.contains("/test_") || word.starts_with("test_") || word.ends_with("_test.go"));
            worth -= 10 * i32::from(picks || one);
        }
        if kind::words(command).iter().any(|word| placeholder::is_blank(word)) {
            worth -= 15;
        }
    }
    // A sample is made to be run anywhere.
    worth
        + 5 * i32::from(
            commands
                .iter()
                .flat_map(|command| kind::words(command))
                .any(|word| word == "--samples"),
        )
}
