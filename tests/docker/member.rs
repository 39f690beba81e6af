//! An ordinary user who may talk to the engine.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    containers,
    engine::engine,
    program::{PROGRAM, opencode},
    support::Scratch,
    until, volumes,
};

/// A user of this machine in the engine's group, removed with this value.
struct Member {
    name: String,
    uid: u32,
    gid: u32,
}

impl Member {
    fn add(name: &str) -> Self {
        let name = format!("{name}{}", std::process::id());
        let added = Command::new("useradd")
            .args(["--no-create-home", "--user-group", "--groups", "docker", &name])
            .output()
            .expect("useradd");
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let user = nix::unistd::User::from_name(&name).expect("passwd").expect("the user");
        Self {
            name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        }
    }

    /// A directory of the user's.
    fn dir(&self, path: PathBuf) -> PathBuf {
        fs::create_dir_all(&path).expect("mkdir");
        chown(&path, Some(self.uid), Some(self.gid)).expect("chown");
        path
    }

    /// A program run as the user, with nothing of root's around it.
    fn command(&self, program: &Path, home: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", self.uid))
            .arg(format!("--regid={}", self.gid))
            .args(["--init-groups", "--inh-caps=-all", "--"])
            .arg(program)
            .current_dir(home)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", home);
        for (name, dir) in [("CACHE", ".cache"), ("STATE", ".state"), ("CONFIG", ".config")] {
            command.env(format!("XDG_{name}_HOME"), home.join(dir));
        }
        for name in ["DOCKER_HOST", "CI"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(&self.name).output();
    }
}

/// Contents by relative path.
fn contents(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let all = crate::program::fingerprint(root);
    let files = all.into_iter().filter(|(path, _)| path.is_file());
    files
        .map(|(path, (.., bytes))| (path.strip_prefix(root).expect("below").to_path_buf(), bytes))
        .collect()
}

/// A member's directory, with the program in it.
struct Place {
    // Dropped in this order.
    scratch: Scratch,
    member: Member,
    home: PathBuf,
    program: PathBuf,
}

impl Place {
    /// `None` where only an ordinary user runs the tests.
    fn make(name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: only root can add a user; the other tests run as an ordinary one here");
            return None;
        }
        let (member, scratch) = (Member::add(name), Scratch::new());
        chown(scratch.path(), Some(member.uid), Some(member.gid)).expect("chown");
        let home = member.dir(scratch.path().join("home"));
        let program = bring(&scratch, "opencode-fsm", Path::new(PROGRAM));
        Some(Self {
            scratch,
            member,
            home,
            program,
        })
    }

    fn command(&self) -> Command {
        self.member.command(&self.program, &self.home)
    }

    /// What lies where runs have their layers.
    fn layers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.join(".cache/opencode-fsm/scratch")).expect("scratch");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// Brings a program to where others than root can look, too.
fn bring(scratch: &Scratch, name: &str, from: &Path) -> PathBuf {
    let to = scratch.path().join(name);
    fs::copy(from, &to).expect("copy");
    to
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_the_engines_group_needs_no_root_and_leaves_nothing() {
    let Some(engine) = engine().await else { return };
    if !opencode() {
        return;
    }
    let Some(place) = Place::make("ofsm") else { return };
    let (member, home) = (&place.member, &place.home);
    let agent = opencode_fsm::agent::find_binary(None).expect("OpenCode");
    let agent = bring(&place.scratch, "opencode", &agent);
    let image = crate::support::runner_image().await;
    let mut demo = place.command();
    demo.args(["demo", "--json", "--sandbox", "docker", "--image", &image])
        .arg("--artifacts-dir")
        .arg(home.join("runs"))
        .arg("--opencode-bin")
        .arg(&agent)
        .arg("--dir")
        .arg(home.join("demo"));
    let done = demo.output().expect("starts");
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    let run = fs::read_dir(home.join("runs"))
        .expect("runs")
        .next()
        .expect("a run")
        .expect("entry");
    let id = run.file_name().to_string_lossy().into_owned();
    assert_eq!(containers(&engine, &id).await, Vec::<String>::new());
    assert_eq!(volumes(&engine, &id).await, Vec::<String>::new());
    assert_eq!(place.layers(), ["lock"]);
    // The target is as it was written, and all that came out is the user's.
    assert_eq!(
        contents(&home.join("demo")),
        contents(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo"))
    );
    let owners = crate::program::fingerprint(&home.join("runs"));
    let foreign: Vec<_> = owners
        .iter()
        .filter(|(_, (_, _, _, uid, _))| *uid != member.uid)
        .collect();
    assert!(
        foreign.is_empty(),
        "{:?}",
        foreign.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );

    // The control: who is in no group of the engine is told what to do.
    let engines_own = std::env::var_os("DOCKER_HOST");
    let mut stranger = Command::new("setpriv");
    stranger
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&place.program)
        .args(["gc", "--dry-run"])
        .env_clear()
        .env("HOME", "/nonexistent")
        .envs(engines_own.map(|value| ("DOCKER_HOST", value)));
    let done = stranger.output().expect("starts");
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(7), "{text}");
    assert!(text.contains("usermod -aG docker"), "{text}");
}

/// Removes a file of the target, so that the kernel keeps a whiteout of its own (root's) in
/// the overlay's work directory, and stays.
const WHITEOUT: &str = "version: 1\ntests:\n  cmd: rm gone && touch here && sleep 1000\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_members_killed_run_leaves_is_the_members_to_collect() {
    let Some(engine) = engine().await else { return };
    let Some(place) = Place::make("ofsk") else { return };
    let repo = place.member.dir(place.home.join("repo"));
    fs::write(repo.join("pipeline.yml"), WHITEOUT).expect("write");
    fs::write(repo.join("gone"), "").expect("write");
    let image = crate::support::runner_image().await;
    let verify = || {
        let mut command = place.command();
        command
            .args(["verify", "--sandbox", "docker", "--image", &image, "--artifacts-dir"])
            .arg(place.home.join("runs"))
            .arg(&repo);
        command
    };
    let mut host = verify()
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let layers = place.home.join(".cache/opencode-fsm/scratch");
    let below = |wanted: &str| {
        let all = crate::program::fingerprint(&layers);
        all.into_keys().any(|path| path.to_string_lossy().contains(wanted))
    };
    until("the stage", Duration::from_secs(60), async || {
        // Trees change while they are looked at.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| below("/upper/here"))) {
            Ok(true) => Ok(()),
            _ => Err("no file yet".to_owned()),
        }
    })
    .await;
    assert!(below("/work/work/"), "control: the kernel keeps nothing of its own");
    host.kill().expect("it lives");
    host.wait().expect("wait");
    let id = fs::read_dir(place.home.join("runs"))
        .expect("runs")
        .next()
        .expect("a run")
        .expect("entry");
    let id = id.file_name().to_string_lossy().into_owned();
    let done = place.command().arg("gc").output().expect("starts");
    let text = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success(), "{text}");
    assert!(text.contains(&format!("scratch/{id}: its run is over")), "{text}");
    assert_eq!(containers(&engine, &id).await, Vec::<String>::new());
    assert_eq!(volumes(&engine, &id).await, Vec::<String>::new());
    assert_eq!(place.layers(), ["lock"], "{text}");
}
