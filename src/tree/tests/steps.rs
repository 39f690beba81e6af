//! Steps: kept, compared and laid out again.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// Keeps a step as a run does.
fn keep(writer: &mut StepWriter, run: &Path, base: &Pristine, before: &Checkpoint, now: &Checkpoint) -> Kept {
    let kept = writer.keep(base, before, now, "as told").unwrap();
    fs::create_dir_all(run.join("checkpoints")).unwrap();
    fs::write(run.join(&kept.file), serde_json::to_vec(&kept.step).unwrap()).unwrap();
    kept
}

#[test]
fn a_step_costs_what_it_changed_and_every_one_can_be_had_again() {
    let bench = Bench::new();
    bench.write("old", b"old\n");
    bench.write("dir/a", b"a\n");
    bench.write("dir/b", &[7; 100_000]);
    let base = bench.pristine();
    let start = Checkpoint::empty(&bench.at("start")).unwrap();
    let one = start
        .with_file(&base, &path("new/x"), b"x\n", &bench.at("one"))
        .unwrap();
    let two = one.without(&base, &path("dir"), &bench.at("two")).unwrap();
    let two = two
        .with_file(&base, &path("old"), b"OLD\n", &bench.at("two.b"))
        .unwrap();
    let three = two
        .with_reverted(&base, &start, &[path("dir")], &bench.at("three"))
        .unwrap();
    let run = bench.at("run");
    let mut writer = StepWriter::new(&run, base.digest);
    fs::create_dir(&run).unwrap();
    let states = [&start, &start, &one, &two, &three];
    let kept: Vec<Kept> = states
        .windows(2)
        .map(|pair| keep(&mut writer, &run, &base, pair[0], pair[1]))
        .collect();
    // Bytes of what is new, and of what was changed or removed of the base; each once.
    assert_eq!(
        kept.iter().map(|kept| kept.objects.len()).collect::<Vec<_>>(),
        [0, 1, 4, 0]
    );
    assert_eq!(kept[3].step.state, three.digest());
    let steps = Steps::read(&run).unwrap();
    assert_eq!(steps.all().len(), 4);
    // The same as a comparison of the states themselves, whichever way.
    let states = [&start, &one, &two, &three];
    for (from, old) in states.iter().enumerate() {
        for (to, new) in states.iter().enumerate() {
            let found = steps.changes(from as u64, to as u64);
            assert_eq!(found, new.changes_since(&base, old), "{from} to {to}");
            let patch = steps.patch(from as u64, to as u64).unwrap();
            assert_eq!(patch, super::patch(&base, old, new, &found).unwrap(), "{from} to {to}");
        }
        let again = steps
            .checkpoint(&base, from as u64, &bench.at(&format!("again-{from}")))
            .unwrap();
        assert!(again.changes_since(&base, old).is_empty(), "{from}");
        let read = |state: &Checkpoint, name: &str| state.read(&base, &path(name), 1 << 20).unwrap();
        for name in ["new/x", "old", "dir/b"] {
            assert_eq!(read(&again, name), read(old, name), "{name} at {from}");
        }
    }
    // An object is private to the run, and never written through.
    let mode = fs::metadata(&kept[1].objects[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o022, 0);
}

#[test]
fn steps_that_do_not_follow_or_stand_elsewhere_are_refused() {
    let bench = Bench::new();
    bench.write("old", b"old\n");
    let base = bench.pristine();
    let start = Checkpoint::empty(&bench.at("start")).unwrap();
    let one = start.with_file(&base, &path("x"), b"x\n", &bench.at("one")).unwrap();
    let run = bench.at("run");
    fs::create_dir(&run).unwrap();
    assert!(Steps::read(&run).unwrap().all().is_empty());
    let mut writer = StepWriter::new(&run, base.digest);
    keep(&mut writer, &run, &base, &start, &start);
    let kept = keep(&mut writer, &run, &base, &start, &one);
    let text = fs::read_to_string(run.join(&kept.file)).unwrap();
    for (from, to) in [
        ("\"x\"", "\"y\""),
        ("\"number\":1", "\"number\":2"),
        ("\"version\":1", "\"version\":2"),
    ] {
        fs::write(run.join(&kept.file), text.replacen(from, to, 1)).unwrap();
        assert!(matches!(Steps::read(&run), Err(TreeError::Refused(_))), "{from}");
    }
    fs::write(run.join(&kept.file), &text).unwrap();
    let steps = Steps::read(&run).unwrap();
    bench.write("old", b"moved on\n");
    let other = bench.pristine();
    assert!(steps.checkpoint(&other, 1, &bench.at("no")).is_err());
    // Bytes that are another's, or gone.
    fs::remove_file(&kept.objects[0]).unwrap();
    assert!(steps.checkpoint(&base, 1, &bench.at("no")).is_err());
    fs::write(&kept.objects[0], "y\n").unwrap();
    assert!(steps.checkpoint(&base, 1, &bench.at("no")).is_err() && !bench.at("no").exists());
    assert!(steps.patch(0, 1).is_err());
}
