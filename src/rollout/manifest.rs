//! Which file of a data set is asked.

use serde_json::Value;

use crate::{dataset::Format, names::RelPath};

/// Where a tree says that it is a data set.
pub const MANIFEST: &str = "data/hf_manifest.json";

/// Whether a tree with this file at [`MANIFEST`] is a data set of the hub's.
pub fn is_manifest(bytes: &[u8]) -> bool {
    let value: Option<Value> = serde_json::from_slice(bytes).ok();
    value.is_some_and(|value| value["source"] == "huggingface_dataset")
}

/// Files that may hold the test split, the one to take first: `main/test-*.parquet`, other
/// `test-*.parquet`, `test.parquet`, then JSON lines of the same names, then those of a directory
/// `test`. Of several alike the first by its path.
pub fn candidates<'p>(paths: impl Iterator<Item = &'p RelPath>) -> Vec<(&'p RelPath, Format)> {
    let mut ranked: Vec<(u32, &RelPath, Format)> = paths.filter_map(ranked).collect();
    ranked.sort_by(|one, other| (one.0, one.1.as_bytes()).cmp(&(other.0, other.1.as_bytes())));
    ranked.into_iter().map(|(_, path, format)| (path, format)).collect()
}

fn ranked(path: &RelPath) -> Option<(u32, &RelPath, Format)> {
    let text = std::str::from_utf8(path.as_bytes()).ok()?;
    let (dir, name) = text.rsplit_once('/').unwrap_or(("", text));
    let (stem, format) = match name.rsplit_once('.')? {
        (stem, "parquet") => (stem, Format::Parquet),
        (stem, "jsonl" | "ndjson") => (stem, Format::JsonLines),
        _ => return None,
    };
    let in_main = dir == "main" || dir.ends_with("/main");
    let rank = match stem {
        _ if stem.starts_with("test-") && in_main => 0,
        _ if stem.starts_with("test-") => 1,
        "test" => 2,
        _ if dir == "test" || dir.ends_with("/test") => 3,
        _ => return None,
    };
    let later = if format == Format::Parquet { 0 } else { 10 };
    Some((rank + later, path, format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_split_is_found_wherever_data_sets_have_it() {
        let paths: Vec<RelPath> = [
            "README.md",
            "data/train-00000-of-00001.parquet",
            "socratic/test-00000-of-00001.parquet",
            "main/test-00001-of-00002.parquet",
            "main/test-00000-of-00002.parquet",
            "data/test.jsonl",
            "latest.jsonl",
            "test/0000.parquet",
            "test.json",
        ]
        .map(|path| RelPath::new(path).expect("a path"))
        .to_vec();
        let found: Vec<String> = candidates(paths.iter())
            .iter()
            .map(|(path, _)| path.to_string())
            .collect();
        assert_eq!(
            found,
            [
                "main/test-00000-of-00002.parquet",
                "main/test-00001-of-00002.parquet",
                "socratic/test-00000-of-00001.parquet",
                "test/0000.parquet",
                "data/test.jsonl"
            ]
        );
        assert!(is_manifest(br#"{"source": "huggingface_dataset"}"#));
        assert!(!is_manifest(b"{}") && !is_manifest(b"{"));
    }
}
