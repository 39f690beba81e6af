use std::{fs, path::Path, sync::Arc};

use ::parquet::{
    basic::Compression,
    column::writer::ColumnWriter,
    data_type::ByteArray,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use proptest::prelude::*;

use super::*;
use crate::dataset::read_rows;

/// A file with the columns `question` and `answer`.
fn written(path: &Path, pairs: &[(&str, &str)], compression: Compression) {
    let schema = "message rows { required binary question (UTF8); required binary answer (UTF8); required int32 id; }";
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let file = fs::File::create(path).expect("create");
    let mut writer = SerializedFileWriter::new(file, schema, properties).expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    let columns: [Vec<&str>; 2] = [
        pairs.iter().map(|pair| pair.0).collect(),
        pairs.iter().map(|pair| pair.1).collect(),
    ];
    let mut number = 0;
    while let Some(mut column) = group.next_column().expect("a column") {
        match column.untyped() {
            ColumnWriter::ByteArrayColumnWriter(writer) => {
                let values: Vec<ByteArray> = columns[number].iter().map(|text| ByteArray::from(*text)).collect();
                writer.write_batch(&values, None, None).expect("write");
            }
            ColumnWriter::Int32ColumnWriter(writer) => {
                let ids: Vec<i32> = (0..).take(pairs.len()).collect();
                writer.write_batch(&ids, None, None).expect("write");
            }
            _ => unreachable!("no such column"),
        }
        column.close().expect("close");
        number += 1;
    }
    group.close().expect("close");
    writer.close().expect("close");
}

fn ask(path: &Path, most_rows: u64) -> RowsAsk {
    let format = match path.extension().is_some_and(|end| end == "parquet") {
        true => Format::Parquet,
        false => Format::JsonLines,
    };
    RowsAsk {
        file: path.display().to_string(),
        format,
        columns: ["question", "answer", "none"].map(str::to_owned).to_vec(),
        most_rows,
        most_bytes: 1 << 20,
    }
}

fn printed(ask: &RowsAsk) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    print_rows(ask, &mut out).map(|()| out)
}

#[test]
fn rows_of_either_format_come_out_as_they_went_in() {
    let dir = tempfile::tempdir().expect("tempdir");
    let pairs = [("1+1?", "#### 2"), ("größer?\n", "ja"), ("", "x")];
    let lines: String = pairs
        .iter()
        .map(|(question, answer)| {
            serde_json::json!({"question": question, "answer": answer, "id": [1]}).to_string() + "\n\n"
        })
        .collect();
    fs::write(dir.path().join("test.jsonl"), lines).expect("write");
    let packed = [("plain", Compression::UNCOMPRESSED), ("snappy", Compression::SNAPPY)];
    let gzip = ("gzip", Compression::GZIP(Default::default()));
    for (name, compression) in packed.into_iter().chain([gzip]) {
        written(&dir.path().join(format!("{name}.parquet")), &pairs, compression);
    }
    for name in ["plain.parquet", "snappy.parquet", "gzip.parquet", "test.jsonl"] {
        let path = dir.path().join(name);
        let all = read_rows(&printed(&ask(&path, 10)).expect(name), 10).expect(name);
        let found: Vec<(&str, &str)> = all
            .rows
            .iter()
            .map(|row| {
                (
                    row["question"].as_str().expect("text"),
                    row["answer"].as_str().expect("text"),
                )
            })
            .collect();
        assert_eq!((found, all.more), (pairs.to_vec(), false), "{name}");
        assert!(!all.rows[0].contains_key("id"), "only what is asked for");
        let first = read_rows(&printed(&ask(&path, 1)).expect(name), 1).expect(name);
        assert_eq!((first.rows.len(), first.more), (1, true), "{name}");
    }
}

#[test]
fn what_is_no_file_of_rows_is_an_error_in_one_line() {
    let dir = tempfile::tempdir().expect("tempdir");
    let place = |name: &str| dir.path().join(name);
    fs::write(place("no.parquet"), "PAR1 and nothing of it PAR1").expect("write");
    fs::write(place("empty.parquet"), "").expect("write");
    fs::write(place("no.jsonl"), "{\"question\": \"a\"}\n{").expect("write");
    fs::write(place("list.jsonl"), "[1]").expect("write");
    fs::write(
        place("long.jsonl"),
        format!("{{\"question\": \"{}\"}}", "x".repeat(5 << 20)),
    )
    .expect("write");
    fs::write(
        place("cell.jsonl"),
        format!("{{\"question\": \"{}\"}}", "x".repeat(2 << 20)),
    )
    .expect("write");
    fs::write(
        place("deep.jsonl"),
        format!("{{\"question\": {}1{}}}", "[".repeat(20), "]".repeat(20)),
    )
    .expect("write");
    std::os::unix::fs::symlink("no.jsonl", place("link.jsonl")).expect("link");
    nix::unistd::mkfifo(&place("fifo.jsonl"), nix::sys::stat::Mode::S_IRUSR).expect("fifo");
    for (name, why) in [
        ("no.parquet", "no Parquet"),
        ("empty.parquet", "no Parquet"),
        ("no.jsonl", "row 2: line 2: no JSON"),
        ("list.jsonl", "line 1: no object"),
        ("long.jsonl", "longer than"),
        ("cell.jsonl", "more than 1048576 bytes"),
        ("deep.jsonl", "nested deeper"),
        ("link.jsonl", "os error"),
        ("fifo.jsonl", "no regular file"),
        ("none.jsonl", "os error 2"),
    ] {
        let found = printed(&ask(&place(name), 10)).expect_err(name);
        assert!(found.contains(why) && !found.contains('\n'), "{name}: {found}");
    }
}

/// One run of a dictionary stands for any number of rows: a small file of a large table.
#[test]
fn a_bomb_ends_at_the_bytes_that_are_taken() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("bomb.parquet");
    let large = "x".repeat(100_000);
    written(&path, &vec![(large.as_str(), "1"); 2_000], Compression::SNAPPY);
    assert!(
        fs::metadata(&path).expect("meta").len() < 100_000,
        "the control: it is small"
    );
    let found = printed(&ask(&path, u64::MAX)).expect_err("a bomb");
    assert!(found.contains("more bytes than are taken"), "{found}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_file_with_any_bytes_changed_is_read_or_refused(at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("x.parquet");
        written(&path, &[("one", "1"), ("two", "2")], Compression::SNAPPY);
        let mut bytes = fs::read(&path).expect("read");
        let at = at.index(bytes.len());
        match cut {
            true => bytes.truncate(at),
            false => bytes[at] = byte,
        }
        fs::write(&path, &bytes).expect("write");
        // The reader may panic: it has a process of its own. What it prints is read all the same.
        let done = std::panic::catch_unwind(|| printed(&ask(&path, 10)));
        if let Ok(Ok(printed)) = done {
            prop_assert!(read_rows(&printed, 10).is_ok());
        }
    }
}
