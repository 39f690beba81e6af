//! An ordinary user who may talk to the engine.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    containers,
    engine::engine,
    program::{PROGRAM, opencode},
    support::Scratch,
    volumes,
};

/// A user of this machine in the engine's group, removed with this value.
struct Member {
    name: String,
    uid: u32,
    gid: u32,
}

impl Member {
    fn add() -> Self {
        let name = format!("ofsm{}", std::process::id());
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

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_the_engines_group_needs_no_root_and_leaves_nothing() {
    let Some(engine) = engine().await else { return };
    if !opencode() {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can add a user; the other tests run as an ordinary one here");
        return;
    }
    let member = Member::add();
    let scratch = Scratch::new();
    std::os::unix::fs::chown(scratch.path(), Some(member.uid), Some(member.gid)).expect("chown");
    let home = member.dir(scratch.path().join("home"));
    // Both may lie where only root can look.
    let bring = |name: &str, from: &Path| {
        let to = scratch.path().join(name);
        fs::copy(from, &to).expect("copy");
        to
    };
    let program = bring("opencode-fsm", Path::new(PROGRAM));
    let agent = bring("opencode", &opencode_fsm::agent::find_binary(None).expect("OpenCode"));

    let image = crate::support::runner_image().await;
    let demo = || {
        let mut command = member.command(&program, &home);
        command
            .args([
                "demo",
                "--json",
                "--sandbox",
                "docker",
                "--image",
                &image,
                "--artifacts-dir",
            ])
            .arg(home.join("runs"))
            .arg("--opencode-bin")
            .arg(&agent);
        command
    };
    let mut first = demo();
    first.arg("--dir").arg(home.join("demo"));
    let done = first.output().expect("starts");
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
    let left: Vec<_> = fs::read_dir(home.join(".cache/opencode-fsm/scratch"))
        .expect("scratch")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert_eq!(left, ["lock"], "the scratch directory");
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
        .arg(&program)
        .args(["gc", "--dry-run"])
        .env_clear()
        .env("HOME", "/nonexistent")
        .envs(engines_own.map(|value| ("DOCKER_HOST", value)));
    let done = stranger.output().expect("starts");
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(7), "{text}");
    assert!(text.contains("usermod -aG docker"), "{text}");
}
