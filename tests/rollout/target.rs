//! Data sets, and models that answer their questions.

use std::{fs, path::Path, process::Command, sync::Arc};

use parquet::{
    basic::Compression,
    column::writer::ColumnWriter,
    data_type::ByteArray,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use serde_json::{Value, json};

use crate::program::{Bench, json_file};

/// The key of the host's endpoint.
pub const KEY: &str = "sk-test-0123456789abcdefghijkl";
/// Where a test split lies.
pub const SPLIT: &str = "main/test-00000-of-00001.parquet";

const EVALUATE: &str = r#"
import json
samples = [json.loads(line) for line in open(json.load(open(".aider_fsm/rollout.json"))["paths"]["samples_jsonl"])]
score = sum(sample["reward"] for sample in samples) / (len(samples) or 1)
json.dump({"ok": True, "score": score, "samples": len(samples)}, open(".aider_fsm/metrics.json", "w"))
"#;

/// Question `number` and its answer, as GSM8K has them.
pub fn pair(number: usize) -> (String, String) {
    let question = format!("A farmer has {number} hens and each lays {number} eggs. How many eggs are there?");
    let answer = format!(
        "{number} * {number} = <<{number}*{number}={0}>>{0}\n#### {0}",
        number * number
    );
    (question, answer)
}

/// A Parquet file with the columns `question` and `answer`.
pub fn table(path: &Path, pairs: &[(String, String)]) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    let schema = "message rows { required binary question (UTF8); required binary answer (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
    let file = fs::File::create(path).expect("create");
    let mut writer = SerializedFileWriter::new(file, schema, properties).expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    for column in 0..2 {
        let text =
            |pair: &(String, String)| ByteArray::from(if column == 0 { pair.0.as_str() } else { pair.1.as_str() });
        let values: Vec<ByteArray> = pairs.iter().map(text).collect();
        let mut writer = group.next_column().expect("a column").expect("a column");
        let ColumnWriter::ByteArrayColumnWriter(typed) = writer.untyped() else {
            panic!("another type")
        };
        typed.write_batch(&values, None, None).expect("write");
        writer.close().expect("close");
    }
    group.close().expect("close");
    writer.close().expect("close");
}

/// A data set of `rows` questions whose contract is `rollout`, and an evaluation by the rewards.
pub fn dataset(rows: usize, rollout: &str) -> Bench {
    let bench = Bench::new();
    let pairs: Vec<(String, String)> = (1..=rows).map(pair).collect();
    table(&bench.path("repo").join(SPLIT), &pairs);
    bench
        .file(
            "data/hf_manifest.json",
            r#"{"source": "huggingface_dataset", "dataset_id": "acme/hens"}"#,
        )
        .file("evaluate.py", EVALUATE)
        .file(
            "pipeline.yml",
            &format!(
                "version: 1\n{rollout}evaluation:\n  run_cmd: python3 evaluate.py\n  \
                 metrics_path: .aider_fsm/metrics.json\n  required_keys: [ok, score]\n"
            ),
        );
    bench
}

/// `evaluate` of a target, at a model.
pub fn evaluate(bench: &Bench, base_url: &str, more: &[&str]) -> Command {
    let model: &[&str] = match base_url {
        "" => &[],
        url => &["--llm", "org/model-7", "--base-url", url],
    };
    let mut command = bench.command(&[&["evaluate"], model, more].concat(), "repo");
    command.env("OPENAI_API_KEY", KEY).env("XDG_CACHE_HOME", bench.cache());
    command
}

/// A completion that says a text.
pub fn says(text: &str) -> &'static str {
    let body = json!({
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    });
    Box::leak(body.to_string().into_boxed_str())
}

/// The number of hens that a request asks about.
pub fn hens(body: &str) -> usize {
    let (_, after) = body.split_once("A farmer has ").expect("a question");
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// The right answer to a request.
pub fn right(body: &str) -> &'static str {
    let hens = hens(body);
    says(&format!("{hens} times {hens}.\nFINAL: {}", hens * hens))
}

/// The directory of the only call of the only run.
pub fn call(bench: &Bench) -> std::path::PathBuf {
    bench.the_run().join("rollout_evaluation_attempt_01")
}

/// The samples of a call.
pub fn samples(call: &Path) -> Vec<Value> {
    let text = fs::read_to_string(call.join("samples.jsonl")).expect("samples");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect()
}

/// `rollout.json` of a call.
pub fn rollout(call: &Path) -> Value {
    json_file(&call.join("rollout.json"))
}
