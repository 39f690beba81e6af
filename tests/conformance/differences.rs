//! Where back ends differ, and why that is so.

use crate::{
    NOT_APPLICABLE, Verdicts,
    probe::Probe,
};

/// A difference that is known: verdicts of the first back end and of those that differ from it.
pub struct Difference {
    pub probe: &'static str,
    pub reference: &'static str,
    pub others: &'static [(&'static str, &'static str)],
    pub why: &'static str,
}

pub const DIFFERENCES: &[Difference] = &[];

/// What is said to be and is not, one line each.
pub fn undocumented(probes: &[Probe], columns: &[(&str, &Verdicts)]) -> Vec<String> {
    against(DIFFERENCES, probes, columns)
}

pub fn against(documented: &[Difference], probes: &[Probe], columns: &[(&str, &Verdicts)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let ((_, reference), others) = columns.split_first().expect("a back end");
    for probe in probes {
        let known = documented.iter().find(|difference| difference.probe == probe.name);
        let first = &reference[probe.name];
        for (column, verdicts) in others {
            let verdict = &verdicts[probe.name];
            if verdict == NOT_APPLICABLE {
                continue;
            }
            let expected = known.and_then(|known| {
                let (_, verdict) = known.others.iter().find(|(name, _)| name == column)?;
                Some((known.reference, *verdict))
            });
            let told = || format!("{}: `{}`: jail `{first}`, {column} `{verdict}`", probe.group, probe.name);
            match expected {
                None if first == verdict => {}
                None => wrong.push(format!("undocumented difference: {}", told())),
                Some(expected) if expected == (first.as_str(), verdict.as_str()) => {}
                Some((one, other)) => wrong.push(format!(
                    "the documented difference (`{one}`, `{other}`) is another or none: {}",
                    told()
                )),
            }
        }
    }
    wrong
}

/// Why back ends differ in what a probe asks.
pub fn why(probe: &str) -> &'static str {
    DIFFERENCES
        .iter()
        .find(|difference| difference.probe == probe)
        .map_or("", |difference| difference.why)
}
