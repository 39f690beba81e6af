//! How inputs are tried, and new ones looked for.

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    coverage::Coverage,
    mutate::{Chance, change},
    targets::{TARGETS, Target},
};

/// Inputs that every run of the tests makes, a target.
const EVERY_TIME: usize = 1500;
/// One that takes more of a processor is a fault.
const SLOW: Duration = Duration::from_secs(3);
/// One that takes more is not gone on from: a search is for many.
const LONG: Duration = Duration::from_millis(50);
/// One that takes so long ends the search where it is.
const STUCK: Duration = Duration::from_secs(30);

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name)
}

/// Inputs that are kept: those that were faults once, and those that reach far.
fn corpus(target: &Target) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir("corpus").join(target.name))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("read"))
        })
        .collect()
}

/// What this thread has had of a processor: what others do meanwhile is no fault of an input's.
fn worked() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    now.expect("a clock").into()
}

/// Tries one input; what was wrong with it.
fn fault(target: &Target, input: &[u8]) -> Option<String> {
    let began = worked();
    let held = catch_unwind(AssertUnwindSafe(|| (target.read)(input)));
    let took = worked().saturating_sub(began);
    match held {
        Err(why) => {
            let text = why.downcast_ref::<String>().cloned();
            let text = text.or_else(|| why.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(text.unwrap_or_else(|| "it panicked".to_owned()))
        }
        Ok(()) if took > SLOW => Some(format!("it took {took:?}")),
        Ok(()) => None,
    }
}

#[test]
fn inputs_that_are_kept_hold() {
    for target in TARGETS {
        for (name, input) in corpus(target) {
            assert_eq!(fault(target, &input), None, "{}/{name}", target.name);
        }
        for input in (target.seeds)() {
            assert_eq!(
                fault(target, &input),
                None,
                "{}: {}",
                target.name,
                String::from_utf8_lossy(&input)
            );
        }
    }
}

#[test]
fn changes_of_them_hold() {
    for target in TARGETS {
        let mut inputs: Vec<Vec<u8>> = corpus(target).into_values().collect();
        inputs.extend((target.seeds)());
        assert!(!inputs.is_empty(), "{}", target.name);
        // The same ones every time.
        let mut chance = Chance::new(0x6f63_6673_6d00);
        for _ in 0..EVERY_TIME {
            let (one, other) = (chance.of(&inputs).clone(), chance.of(&inputs).clone());
            let input = change(&one, &other, target.words, &mut chance);
            if let Some(why) = fault(target, &input) {
                panic!("{}: {why}\nkept at {}", target.name, keep(target, &input).display());
            }
        }
    }
}

#[test]
fn a_fault_is_seen() {
    let target = Target {
        name: "control",
        words: &[b"boom"],
        seeds: || vec![b"a".to_vec()],
        read: |bytes| assert!(!bytes.windows(4).any(|part| part == b"boom"), "found it"),
    };
    let mut chance = Chance::new(7);
    let inputs = (target.seeds)();
    let found = (0..200).find_map(|_| fault(&target, &change(&inputs[0], &inputs[0], target.words, &mut chance)));
    assert_eq!(found.as_deref(), Some("found it"));
}

fn keep(target: &Target, input: &[u8]) -> PathBuf {
    let place = dir("found").join(target.name);
    fs::create_dir_all(&place).expect("mkdir");
    let path = place.join(&blake3::hash(input).to_hex()[..16]);
    fs::write(&path, input).expect("write");
    path
}

/// The input that is being tried, for whoever finds it stuck.
static CURRENT: Mutex<(u64, Vec<u8>)> = Mutex::new((0, Vec::new()));

/// Ends the process where one input takes too long to come back, and says which.
fn watch(target: &'static Target) {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(STUCK);
            let (number, input) = CURRENT.lock().expect("a lock").clone();
            if number == SEEN.swap(number, Ordering::Relaxed) {
                eprintln!("stuck: {}", keep(target, &input).display());
                std::process::abort();
            }
        }
    });
}

/// The long search; nothing where it is not asked for.
#[test]
fn search() {
    let Some(seconds) = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()) else {
        return;
    };
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names one");
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let mut coverage = Coverage::new();
    if !coverage.is_guide() {
        eprintln!("without counters: RUSTC_WORKSPACE_WRAPPER=tests/fuzz/instrument.sh");
    }
    watch(target);
    // A fault would else print its place, each time anew.
    std::panic::set_hook(Box::new(|_| {}));
    let mut inputs: Vec<Vec<u8>> = (target.seeds)()
        .into_iter()
        .chain(corpus(target).into_values())
        .collect();
    // Where an earlier search left off, and the next is to go on.
    let reached = std::env::var_os("FUZZ_INPUTS").map(|dir| PathBuf::from(dir).join(target.name));
    if let Some(dir) = &reached {
        fs::create_dir_all(dir).expect("mkdir");
        let earlier = fs::read_dir(dir).expect("ls").flatten();
        inputs.extend(earlier.map(|entry| fs::read(entry.path()).expect("read")));
    }
    let mut chance = Chance::new(std::process::id().into());
    let (mut tried, mut faults) = (0u64, BTreeMap::new());
    let (began, until) = (Instant::now(), Duration::from_secs(seconds));
    let mut at = 0;
    let mut told = Duration::ZERO;
    while began.elapsed() < until {
        let input = match inputs.get(at) {
            // What there is already is tried as it is first.
            Some(input) if tried == at as u64 => {
                at += 1;
                input.clone()
            }
            _ => {
                // The newest reach furthest.
                let newest = inputs.len() - 1 - chance.below(inputs.len().min(32));
                let one = if chance.below(2) == 0 {
                    newest
                } else {
                    chance.below(inputs.len())
                };
                let other = chance.below(inputs.len());
                change(&inputs[one], &inputs[other], target.words, &mut chance)
            }
        };
        *CURRENT.lock().expect("a lock") = (tried, input.clone());
        coverage.begin();
        let before = worked();
        let found = fault(target, &input);
        let long = worked().saturating_sub(before) > LONG;
        let new = coverage.is_new();
        tried += 1;
        if let Some(why) = found {
            // One of each kind.
            let kind: String = why.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
            faults.entry(kind).or_insert_with(|| (why, keep(target, &input)));
        } else if new && !long && tried > at as u64 {
            if let Some(dir) = &reached {
                fs::write(dir.join(&blake3::hash(&input).to_hex()[..16]), &input).expect("write");
            }
            inputs.push(input);
        }
        if began.elapsed() > told + Duration::from_secs(60) {
            told = began.elapsed();
            println!(
                "{name}: {tried} tried, {} kept, {} counters reached",
                inputs.len(),
                coverage.reached
            );
        }
    }
    println!(
        "{name}: {tried} tried in {seconds} s, {} kept, {} counters reached",
        inputs.len(),
        coverage.reached
    );
    for (why, path) in faults.values() {
        println!(
            "FAULT {}: {}",
            path.display(),
            why.chars().take(300).collect::<String>()
        );
    }
    assert!(faults.is_empty(), "{} kinds of faults", faults.len());
}
