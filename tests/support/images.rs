//! Small images for tests, made here and given to the engine: no registry is needed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use bollard::{
    Docker, body_full,
    query_parameters::{ImportImageOptionsBuilder, RemoveImageOptionsBuilder},
};
use futures_util::StreamExt;
use serde_json::{Value, json};

/// One layer under construction.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// A file that everybody may execute.
    pub fn file(&mut self, path: &str, bytes: &[u8]) -> &mut Self {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        self.0.append_data(&mut header, path, bytes).expect("tar");
        self
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> &mut Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        self.0.append_link(&mut header, path, target).expect("tar");
        self
    }

    /// The host's static busybox, and `shell` (a path inside, busybox itself as a rule)
    /// under the name of every tool of it.
    pub fn tools(&mut self, shell: &str) -> &mut Self {
        let busybox = Path::new("/bin/busybox");
        self.file("bin/busybox", &std::fs::read(busybox).expect("busybox"));
        let names = Command::new(busybox)
            .arg("--list")
            .output()
            .expect("busybox runs")
            .stdout;
        for name in String::from_utf8_lossy(&names)
            .lines()
            .filter(|name| *name != "busybox")
        {
            self.link(&format!("bin/{name}"), shell);
        }
        self
    }
}

/// An image of the engine; removed with this value.
pub struct Image {
    docker: Docker,
    pub name: String,
    pub id: String,
}

impl Image {
    /// Loads a layer with a configuration (OCI image-spec, `config`); `tag` keeps tests apart.
    pub async fn load(docker: &Docker, tag: &str, layer: Layer, config: Value) -> Self {
        let name = format!("opencode-fsm-test:{tag}-{}", std::process::id());
        let layer = layer.0.into_inner().expect("tar");
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))]},
        })
        .to_string();
        let manifest = json!([{"Config": "config.json", "Layers": ["layer.tar"], "RepoTags": [name]}]).to_string();
        let mut archive = Layer::new();
        archive
            .file("config.json", config.as_bytes())
            .file("manifest.json", manifest.as_bytes())
            .file("layer.tar", &layer);
        let archive = archive.0.into_inner().expect("tar");
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let mut answers = docker.import_image(options, body_full(archive.into()), None);
        while let Some(answer) = answers.next().await {
            answer.expect("loads");
        }
        let id = docker.inspect_image(&name).await.expect("there").id.expect("an id");
        Self {
            docker: docker.clone(),
            name,
            id,
        }
    }

    /// Busybox for everything, nothing else.
    pub async fn busybox(docker: &Docker, tag: &str, config: Value) -> Self {
        let mut layer = Layer::new();
        layer.tools("/bin/busybox");
        Self::load(docker, tag, layer, config).await
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let (docker, name) = (self.docker.clone(), self.name.clone());
        // The test's runtime may not wait here.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let options = RemoveImageOptionsBuilder::default().force(true).build();
            runtime.map(|runtime| {
                runtime
                    .block_on(docker.remove_image(&name, Some(options), None))
                    .is_ok()
            })
        });
        let _ = removal.join();
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the packages that images are made of are there. Where they must be (CI), their
/// absence is a failure.
pub fn ingredients(paths: &[&str]) -> bool {
    let missing: Vec<&&str> = paths.iter().filter(|path| !Path::new(path).exists()).collect();
    if missing.is_empty() {
        return true;
    }
    let remedy = format!("{missing:?} missing: apt-get install busybox-static musl-tools");
    assert!(std::env::var_os("CI").is_none(), "{remedy}");
    eprintln!("SKIPPED: {remedy}");
    false
}

/// A C program compiled with musl's C library; `flags` say how it is linked.
pub fn musl_program(dir: &Path, name: &str, source: &str, flags: &[&str]) -> Vec<u8> {
    let (from, to): (PathBuf, PathBuf) = (dir.join(format!("{name}.c")), dir.join(name));
    std::fs::write(&from, source).expect("write");
    let done = Command::new("musl-gcc")
        .args(flags)
        .arg("-o")
        .arg(&to)
        .arg(&from)
        .output();
    let done = done.expect("musl-gcc runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    std::fs::read(to).expect("read")
}
