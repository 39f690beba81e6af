//! The tables of docs/security_model.md.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use opencode_fsm::{
    escape::{self, Controls, Outcome, Tried, Verdict},
    sandbox::{Attribution, Layer, bare::Bare, docker::Docker},
};

use crate::{
    layers::{field, without},
    support::PROGRAM,
};

const BEGIN: &str = "<!-- escape: begin -->";
const END: &str = "<!-- escape: end -->";

async fn suite(tried: Tried, controls: &mut Controls) -> BTreeMap<&'static str, Verdict> {
    let field = match tried {
        Tried::Landlock => {
            let bare = Bare::with_program(PROGRAM.as_ref(), "left off by a test");
            let backend = opencode_fsm::sandbox::Backend::Bare(bare);
            let dir = std::env::temp_dir();
            let made = escape::Field::new(tried, backend, PROGRAM.as_ref(), &dir).await;
            made.expect("a field")
        }
        tried => field(tried, &[]).await,
    };
    let mut verdicts = BTreeMap::new();
    for attempt in escape::attempts() {
        let verdict = escape::make(&field, controls, &attempt).await.expect("it is made");
        verdicts.insert(attempt.name, verdict);
    }
    field.leave().await.expect("it ends");
    verdicts
}

fn cell(verdict: &Verdict) -> String {
    match (verdict.outcome, verdict.layer) {
        (Outcome::Blocked, Some(Attribution::Layer(layer))) => layer.to_string(),
        (Outcome::Blocked, _) => "blocked".to_owned(),
        (Outcome::Escaped, _) => "**escaped**".to_owned(),
        (Outcome::Unsupported, _) => "not shown".to_owned(),
        (Outcome::ControlFailed, _) => "control failed".to_owned(),
    }
}

/// What gets through without a layer that does not get through with it.
async fn reds(tried: Tried, layer: Layer, controls: &mut Controls, whole: &BTreeMap<&'static str, Verdict>) -> String {
    let blocked = |name: &str| whole[name].outcome != Outcome::Escaped;
    let all = escape::attempts();
    let red: Vec<String> = without(tried, layer, controls, &all)
        .await
        .into_iter()
        .filter(|verdict| verdict.outcome == Outcome::Escaped && blocked(verdict.attempt))
        .map(|verdict| format!("`{}`", verdict.attempt))
        .collect();
    red.join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_written_where_they_are_asked_for() {
    let Some(file) = std::env::var_os("ESCAPE_INTO") else {
        return;
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let mut controls = Controls::default();
    let mut columns = Vec::new();
    for tried in [Tried::Jail, Tried::Docker, Tried::Landlock] {
        columns.push(suite(tried, &mut controls).await);
    }
    let kernel = nix::sys::utsname::uname().expect("uname");
    let mut out = format!(
        "\nLinux {}: {} attempts, {} numbers of the list.\n\n| section | no. | attempt | jail | container | landlock |\n|---|---|---|---|---|---|\n",
        kernel.release().to_string_lossy(),
        columns[0].len(),
        escape::attempts()
            .iter()
            .map(|a| a.number)
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    );
    for attempt in escape::attempts() {
        let _ = write!(out, "| {} | {} | {} |", attempt.section, attempt.number, attempt.name);
        for column in &columns {
            let _ = write!(out, " {} |", cell(&column[attempt.name]));
        }
        out.push('\n');
    }
    out.push_str("\n| layer left off | a jail lets through | a container lets through |\n|---|---|---|\n");
    for layer in Layer::SANDBOX {
        let in_jail = reds(Tried::Jail, layer, &mut controls, &columns[0]).await;
        let in_container = if Docker::LEAVABLE.contains(&layer) {
            reds(Tried::Docker, layer, &mut controls, &columns[1]).await
        } else {
            "not left off alone".to_owned()
        };
        let _ = writeln!(out, "| {layer} | {in_jail} | {in_container} |");
    }
    let text = fs::read_to_string(&file).expect("read");
    let (before, rest) = text.split_once(BEGIN).expect("the first mark");
    let (_, after) = rest.split_once(END).expect("the second mark");
    fs::write(&file, format!("{before}{BEGIN}\n{out}\n{END}{after}")).expect("write");
}
