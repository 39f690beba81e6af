use proptest::prelude::*;

use super::*;

fn message(text: impl AsRef<[u8]>) -> String {
    let fault = parse(text.as_ref()).expect_err("must be refused");
    format!("{}:{}: {}", fault.at.line, fault.at.column, fault.message)
}

#[test]
fn keys_and_values_keep_their_places_and_spelling() {
    let root = parse(b"# c\na:\n  b: yes\n  c: ['1', 2]\n").unwrap();
    let Value::Mapping(pairs) = &root.value else {
        panic!("{root:?}")
    };
    assert_eq!(pairs[0].0.at, Position { line: 2, column: 1 });
    let Value::Mapping(inner) = &pairs[0].1.value else {
        panic!("{root:?}")
    };
    assert_eq!(inner[0].1.at, Position { line: 3, column: 6 });
    assert_eq!(
        inner[0].1.value,
        Value::Scalar {
            text: "yes".into(),
            plain: true
        }
    );
    let Value::Sequence(items) = &inner[1].1.value else {
        panic!("{root:?}")
    };
    assert_eq!((items[0].kind(), items[1].kind()), ("a string", "a number"));
}

#[test]
fn plain_scalars_have_the_core_schemas_types() {
    for (text, kind) in [
        ("", "nothing"),
        ("~", "nothing"),
        ("true", "a boolean"),
        ("yes", "a string"),
        ("12", "a number"),
        ("-1.5e3", "a number"),
        (".5", "a number"),
        ("0x1f", "a number"),
        (".nan", "a number"),
        ("nan", "a string"),
        ("infinity", "a string"),
        ("1.2.3", "a string"),
        ("make test", "a string"),
    ] {
        assert_eq!(plain_kind(text), kind, "{text}");
    }
}

#[test]
fn what_is_not_one_plain_document_is_refused_with_its_place() {
    assert_eq!(
        message("a: 1\nb: 2\na: 3\n"),
        "3:1: duplicate key `a`, first given in line 1"
    );
    assert_eq!(
        message("a: &x 1\nb: *x\n"),
        "2:4: aliases (`*name`) are not supported; write the value out"
    );
    assert_eq!(
        message("a: {b: 1}\nc:\n  <<: {d: 1}\n"),
        "3:3: merge keys (`<<`) are not supported; write the keys out"
    );
    assert_eq!(
        message("a: !!python/object:os.system x\n"),
        "1:4: the tag `!!python/object:os.system` is not supported; remove it"
    );
    assert!(message("a: 1\n---\nb: 2\n").contains("second document"));
    assert!(message("? [a]\n: 1\n").contains("a key must be a plain word"));
    assert_eq!(message(""), "1:1: the file is empty");
    assert_eq!(message("# only a comment\n"), "1:1: the file is empty");
    assert_eq!(message(b"a: 1\nb: \xff\n"), "2:4: the file is not UTF-8 from here on");
    assert!(message("a: [1, 2\n").contains("not valid YAML"));
    assert!(message("a: 'x\n").starts_with("1:"));
    assert_eq!(
        message("a: {b: 1}\n\tc: 2\n"),
        "2:2: not valid YAML: YAML is indented with blanks, and a tab stands here"
    );
}

#[test]
fn what_others_write_is_read_without_following_it() {
    let text = b"a: &x [1, 2]\nb: *x\nc: !reference [a, b]\nd: {<<: *x, e: 1, e: 2}\n---\nf: g\n";
    let roots = parse_foreign(text).unwrap();
    let keys = |node: &Node| -> Vec<(String, usize)> {
        let Value::Mapping(pairs) = &node.value else {
            panic!("{node:?}")
        };
        pairs.iter().map(|(key, _)| (key.text.clone(), key.at.line)).collect()
    };
    let key = |name: &str, line| (name.to_owned(), line);
    assert_eq!(keys(&roots[0]), [key("a", 1), key("b", 2), key("c", 3), key("d", 4)]);
    assert_eq!(keys(&roots[1]), [key("f", 6)]);
    let Value::Mapping(pairs) = &roots[0].value else {
        panic!()
    };
    assert!(pairs[1].1.is_null(), "an alias is nothing: {:?}", pairs[1]);
    assert_eq!(keys(&pairs[3].1).len(), 3);
    let bomb: String = (0..3000)
        .map(|n| format!("a{}: &a{} [*a{n}, *a{n}]\n", n + 1, n + 1))
        .collect();
    assert!(parse_foreign(format!("a0: &a0 x\n{bomb}").as_bytes()).is_ok_and(|roots| roots.len() == 1));
}

#[test]
fn hostile_sizes_are_stopped_quickly() {
    let started = std::time::Instant::now();
    assert!(message("x".repeat(MAX_DOCUMENT + 1)).contains("at most 1048576 are read"));
    for hostile in [
        "[".repeat(MAX_DOCUMENT),
        "{a: ".repeat(MAX_DOCUMENT / 4),
        "- ".repeat(MAX_DOCUMENT / 2),
        "? ".repeat(MAX_DOCUMENT / 2),
        "- a\n".repeat(MAX_DOCUMENT / 4),
        (0..MAX_DOCUMENT / 16).map(|n| format!("k{n}: 1\n")).collect(),
        (0..10_000)
            .map(|n| format!("a{}: &a{} [*a{n}, *a{n}]\n", n + 1, n + 1))
            .collect(),
    ] {
        let shown = message(&hostile);
        assert!(shown.len() < 300, "{shown}");
    }
    assert!(
        started.elapsed() < std::time::Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

proptest! {
    #[test]
    fn no_text_panics_and_every_refusal_is_one_line(text in "[a-c:\\-\\[\\]{}&*!?|>'\"#%\n \t,~0-9]{0,60}") {
        if let Err(fault) = parse(text.as_bytes()) {
            prop_assert!(!fault.message.contains('\n'));
            prop_assert!(fault.at.line >= 1 && fault.at.column >= 1);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }
}
