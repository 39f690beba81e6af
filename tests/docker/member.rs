//! An ordinary user who may talk to the engine.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
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
        let _ = Command::new("userdel").args(["--force", &self.name]).output();
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

    /// Whether there is such a path where runs have their layers (find(1), `-path`).
    fn holds(&self, pattern: &str) -> bool {
        let mut find = Command::new("find");
        find.arg(self.home.join(".cache/opencode-fsm/scratch"))
            .args(["-path", pattern]);
        // What vanishes meanwhile is not there.
        !find.stderr(Stdio::null()).output().expect("find").stdout.is_empty()
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

/// A run of the member's that has come to its stage: its host, and its id.
async fn begun(place: &Place, image: &str) -> (Child, String) {
    let repo = place.member.dir(place.home.join("repo"));
    fs::write(repo.join("pipeline.yml"), WHITEOUT).expect("write");
    fs::write(repo.join("gone"), "").expect("write");
    let runs = place.home.join("runs");
    let mut command = place.command();
    command
        .args(["verify", "--sandbox", "docker", "--image", image, "--artifacts-dir"])
        .arg(&runs)
        .arg(&repo);
    let host = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    until("the stage", Duration::from_secs(60), async || {
        if place.holds("*/upper/here") {
            Ok(())
        } else {
            Err("no file yet".to_owned())
        }
    })
    .await;
    assert!(
        place.holds("*/work/work/*"),
        "control: the kernel keeps nothing of its own"
    );
    let run = fs::read_dir(&runs)
        .expect("runs")
        .next()
        .expect("a run")
        .expect("entry");
    let id = run.file_name().to_string_lossy().into_owned();
    fs::remove_dir_all(&runs).expect("rm");
    (host, id)
}

/// What the member's `gc` ends with and says.
fn gc(place: &Place) -> (Option<i32>, String) {
    let done = place.command().arg("gc").output().expect("starts");
    let text = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_members_killed_run_leaves_is_the_members_to_collect() {
    let Some(engine) = engine().await else { return };
    let Some(place) = Place::make("ofsk") else { return };
    let image = crate::support::runner_image().await;
    let (mut host, id) = begun(&place, &image).await;
    host.kill().expect("it lives");
    host.wait().expect("wait");
    let (code, text) = gc(&place);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!("scratch/{id}: its run is over")), "{text}");
    assert_eq!(containers(&engine, &id).await, Vec::<String>::new());
    assert_eq!(volumes(&engine, &id).await, Vec::<String>::new());
    assert_eq!(place.layers(), ["lock"], "{text}");

    // The worst: the guest is killed too, so nobody takes the kernel's files away.
    let (mut host, id) = begun(&place, &image).await;
    let container = containers(&engine, &id).await.remove(0);
    let state = engine
        .inspect_container(&container, None)
        .await
        .expect("inspects")
        .state;
    let pid = state
        .and_then(|state| state.pid)
        .and_then(|pid| i32::try_from(pid).ok());
    let guest = Pid::from_raw(pid.expect("a pid"));
    kill(guest, Signal::SIGSTOP).expect("it lives");
    host.kill().expect("it lives");
    host.wait().expect("wait");
    kill(guest, Signal::SIGKILL).expect("it lives");
    let (code, text) = gc(&place);
    assert_eq!(code, Some(7), "{text}");
    assert!(
        text.contains(&format!("scratch/{id}, where")) && text.contains("remove it as root"),
        "{text}"
    );
    assert_eq!(containers(&engine, &id).await, Vec::<String>::new());
    // It is in no other run's way.
    fs::write(
        place.home.join("repo/pipeline.yml"),
        "version: 1\ntests:\n  cmd: \"true\"\n",
    )
    .expect("write");
    let mut next = place.command();
    next.args(["verify", "--sandbox", "docker", "--image", &image])
        .arg(place.home.join("repo"));
    let done = next.output().expect("starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
