//! What a model is asked where there is no data set: about the target's own words.

/// Bytes of a README that are looked at.
const README_MAX: usize = 6_000;
/// Longest excerpt, in characters.
const EXCERPT_MAX: usize = 800;
/// Most prompts.
pub const PROMPTS_MAX: usize = 32;

/// Prompts about commands that a target documents, at most `limit`.
pub fn of_commands(commands: impl Iterator<Item = String>, name: &str, limit: usize) -> Vec<String> {
    let ask = |command: String| {
        let excerpt: String = command.chars().take(EXCERPT_MAX).collect();
        format!(
            "`{name}` documents this command:\n\n{excerpt}\n\nSay in two sentences what it does and how one sees that it \
             worked."
        )
    };
    commands.take(limit.min(PROMPTS_MAX)).map(ask).collect()
}

/// Prompts about the paragraphs of a README, at most `limit`; with a seed in an order of its
/// own. Where it has none, one about the target's name.
pub fn of_readme(readme: &str, name: &str, limit: usize, seed: Option<u64>) -> Vec<String> {
    let mut end = README_MAX.min(readme.len());
    while !readme.is_char_boundary(end) {
        end -= 1;
    }
    let mut paragraphs: Vec<&str> = Vec::new();
    for paragraph in readme[..end].split("\n\n").map(str::trim) {
        let says = paragraph.chars().filter(|c| c.is_alphabetic()).count() >= 20;
        if says && !paragraph.starts_with("```") && !paragraphs.contains(&paragraph) {
            paragraphs.push(paragraph);
        }
    }
    if let Some(seed) = seed {
        paragraphs.sort_by_cached_key(|text| {
            let mut hash = blake3::Hasher::new();
            hash.update(&seed.to_le_bytes()).update(text.as_bytes());
            *hash.finalize().as_bytes()
        });
    }
    let mut prompts: Vec<String> = paragraphs
        .into_iter()
        .take(limit.min(PROMPTS_MAX))
        .map(|text| {
            let excerpt: String = text.chars().take(EXCERPT_MAX).collect();
            format!("This is from the README of `{name}`:\n\n{excerpt}\n\nSay in two sentences what it tells a user to do or to expect.")
        })
        .collect();
    if prompts.is_empty() {
        prompts.push(format!(
            "Say in two sentences what a project called `{name}` could be for."
        ));
    }
    prompts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_asked_about_in_their_order_or_a_seeds() {
        let readme: String = (0..40)
            .map(|n| format!("Paragraph number {n} says something.\n\n"))
            .collect();
        let all = of_readme(&readme, "x", 64, None);
        assert_eq!(all.len(), PROMPTS_MAX);
        assert!(all[0].contains("number 0") && all[1].contains("number 1"));
        let seeded = of_readme(&readme, "x", 64, Some(7));
        assert_eq!(seeded, of_readme(&readme, "x", 64, Some(7)));
        assert!(seeded != all && seeded != of_readme(&readme, "x", 64, Some(8)));
        assert_eq!(of_readme(&readme, "x", 3, None).len(), 3);
        let commands = of_commands(["make test".to_owned(), "y".repeat(2_000)].into_iter(), "x", 8);
        assert!(commands[0].contains("make test") && commands[1].len() < 1_000 && commands.len() == 2);
        for nothing in ["", "# T\n\n```sh\nmake everything that there is\n```", "é"] {
            assert_eq!(of_readme(nothing, "x", 8, None).len(), 1, "{nothing}");
        }
        assert_eq!(of_readme(&"é".repeat(9_000), "x", 8, None).len(), 1);
    }
}
