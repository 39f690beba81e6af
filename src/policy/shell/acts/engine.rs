//! Containers, clusters, clouds.

use super::values;
use crate::policy::shell::{
    effect::Effect,
    place::Place,
    value::{EVERYTHING, shown},
    walk::Walk,
};

impl Walk<'_> {
    /// `false` where `name` is none of these.
    pub(super) fn engine_effects(&mut self, name: &str, argv: &[String]) -> bool {
        let words: Vec<&str> = argv[1..].iter().map(String::as_str).collect();
        match name {
            "docker" | "podman" | "nerdctl" | "docker-compose" | "buildah" | "ctr" | "crictl" | "lima" | "finch"
            | "podman-compose" | "dockerd" | "kubectl" | "oc" | "helm" | "k3s" | "kind" | "minikube" | "lxc"
            | "incus" => {
                self.note(Effect::TalksToContainerEngine, format!("runs {name}"));
                match name {
                    "kubectl" | "oc" => self.cluster(&words),
                    _ => self.container(argv, &words),
                }
            }
            "terraform" | "tofu" | "terragrunt" | "pulumi" | "cdk" | "cdktf" | "serverless" | "sls" | "eksctl" => {
                let ends = ["destroy", "down", "remove", "delete"];
                if words.iter().any(|word| ends.contains(word))
                    || (words.contains(&"apply") && words.contains(&"-destroy"))
                {
                    self.note(Effect::DestroysRemotely, "destroys what is kept elsewhere".to_owned());
                }
            }
            "aws" | "gcloud" | "gsutil" | "az" | "doctl" | "heroku" | "flyctl" | "fly" | "s3cmd" | "rclone"
            | "linode-cli" | "oci" | "ibmcloud" => {
                let ends = [
                    "rb",
                    "delete",
                    "purge",
                    "delete-bucket",
                    "terminate-instances",
                    "destroy",
                    "apps:destroy",
                ];
                let removes = words
                    .iter()
                    .any(|word| ends.contains(word) || word.starts_with("delete-"))
                    || (words.contains(&"rm")
                        && words
                            .iter()
                            .any(|word| matches!(*word, "--recursive" | "-r" | "-R" | "-rf" | "--force" | "-m")));
                if removes {
                    self.note(Effect::DestroysRemotely, "destroys what is kept elsewhere".to_owned());
                }
                let prints = matches!(
                    words.as_slice(),
                    ["configure", "get" | "export-credentials", ..] | ["secretsmanager", "get-secret-value", ..]
                );
                if name == "aws" && prints {
                    self.note(Effect::ReadsSecrets, "prints credentials".to_owned());
                }
            }
            "npm" | "pnpm" | "yarn" | "cargo" | "gem" | "twine" => {
                match words.as_slice() {
                    ["unpublish", ..] | ["yank", ..] => {
                        self.note(Effect::DestroysRemotely, "takes back what is published".to_owned());
                    }
                    ["login" | "adduser", rest @ ..] if name == "npm" && rest.is_empty() => {
                        self.note(Effect::WaitsForPerson, "asks on the terminal".to_owned());
                    }
                    _ => {}
                }
                return false;
            }
            "brew" => return true,
            _ => return false,
        }
        true
    }

    fn container(&mut self, argv: &[String], words: &[&str]) {
        let reaches = Effect::ReachesHostThroughEngine;
        let verb = words
            .iter()
            .find(|word| !word.starts_with('-'))
            .copied()
            .unwrap_or_default();
        if verb == "login" {
            let has = |name: &str| words.iter().any(|word| word.split('=').next() == Some(name));
            if !(has("-p") || has("--password") || has("--password-stdin")) {
                self.note(Effect::WaitsForPerson, "asks on the terminal".to_owned());
            }
        }
        if words.contains(&"prune") {
            self.note(reaches, "removes what others keep in the engine".to_owned());
        }
        let removes = ["rm", "rmi", "kill", "stop", "remove"];
        if words.iter().any(|word| removes.contains(word)) && words.iter().any(|word| word.contains(EVERYTHING)) {
            self.note(reaches, "removes or ends everything in the engine".to_owned());
        }
        if matches!(verb, "swarm" | "plugin" | "context")
            && words.iter().any(|word| ["leave", "rm", "install"].contains(word))
        {
            self.note(reaches, "changes the engine itself".to_owned());
        }
        if !(words.contains(&"run") || words.contains(&"create") || words.contains(&"exec") || verb == "launch") {
            return;
        }
        let privileged = words.iter().any(|word| {
            matches!(
                *word,
                "--privileged"
                    | "--privileged=true"
                    | "--pid=host"
                    | "--userns=host"
                    | "--uts=host"
                    | "--cgroupns=host"
            )
        }) || words
            .windows(2)
            .any(|pair| matches!(pair, ["--pid" | "--userns" | "--cgroupns", "host"]));
        let capability = values(&argv[1..], &["--cap-add"]).iter().any(|cap| {
            let cap = cap.to_ascii_uppercase();
            let cap = cap.trim_start_matches("CAP_");
            matches!(
                cap,
                "ALL" | "SYS_ADMIN" | "SYS_MODULE" | "SYS_RAWIO" | "DAC_READ_SEARCH" | "SYS_BOOT" | "BPF"
            )
        });
        let device = values(&argv[1..], &["--device"]).iter().any(|device| {
            let path = device.split(':').next().unwrap_or(device);
            self.place(path).written().is_some()
                && !path.starts_with("/dev/kvm")
                && !path.starts_with("/dev/dri")
                && !path.starts_with("/dev/fuse")
                && !path.starts_with("/dev/nvidia")
                && !path.starts_with("/dev/net")
        });
        if privileged || capability || device {
            self.note(reaches, "a container with the host's rights".to_owned());
        }
        let mounts = values(&argv[1..], &["-v", "--volume"]);
        // `-itv SOURCE:TARGET`
        let bundled = argv
            .windows(2)
            .filter(|pair| {
                let letters = pair[0].strip_prefix('-').unwrap_or_default();
                letters.len() > 1 && letters.ends_with('v') && letters.chars().all(|c| c.is_ascii_lowercase())
            })
            .map(|pair| pair[1].as_str());
        let mounts: Vec<&str> = mounts.into_iter().chain(bundled).collect();
        let typed = values(&argv[1..], &["--mount"]);
        let sources = mounts
            .iter()
            // Without a colon it is a volume of the engine's own.
            .filter_map(|mount| mount.split_once(':').map(|(source, _)| source))
            .chain(typed.iter().filter_map(|mount| {
                mount.split(',').find_map(|field| {
                    let (key, value) = field.split_once('=')?;
                    matches!(key, "source" | "src").then_some(value)
                })
            }));
        for source in sources.collect::<Vec<_>>() {
            if !source.starts_with(['/', '.', '~']) {
                continue;
            }
            let host = match self.place(source) {
                Place::Root | Place::BelowRoot | Place::Device(_) => true,
                Place::Home(parts) => parts.is_empty() || self.place(source).read().is_some(),
                Place::System(parts) => {
                    let own = ["opt", "srv", "mnt", "data", "cache", "var"];
                    let state = ["run", "var/run", "var/lib/docker", "var/lib/kubelet"];
                    let joined = parts.join("/");
                    let state = state
                        .iter()
                        .any(|dir| joined == *dir || joined.starts_with(&format!("{dir}/docker")));
                    let socket = state || parts.last().is_some_and(|last| last.ends_with(".sock"));
                    let shared = parts.starts_with(&["etc".to_owned(), "localtime".to_owned()])
                        || parts.starts_with(&["etc".to_owned(), "timezone".to_owned()])
                        || parts.starts_with(&["etc".to_owned(), "passwd".to_owned()])
                        || parts.starts_with(&["etc".to_owned(), "group".to_owned()])
                        || parts.starts_with(&["etc".to_owned(), "ssl".to_owned()]);
                    socket || !(shared || own.contains(&parts[0].as_str()) && parts.len() > 1)
                }
                _ => false,
            };
            if host {
                self.note(reaches, format!("gives a container {}", shown(source)));
            }
        }
    }

    fn cluster(&mut self, words: &[&str]) {
        let reaches = Effect::ReachesHostThroughEngine;
        let verb = words
            .iter()
            .find(|word| !word.starts_with('-'))
            .copied()
            .unwrap_or_default();
        let all = words
            .iter()
            .any(|word| matches!(*word, "--all" | "-A" | "--all-namespaces" | "--all=true"));
        let kinds = [
            "ns",
            "namespace",
            "namespaces",
            "node",
            "nodes",
            "pv",
            "crd",
            "clusterrole",
        ];
        let wide = words.iter().any(|word| kinds.contains(word));
        match verb {
            "delete" if all || wide => self.note(reaches, "deletes what others keep in the cluster".to_owned()),
            "drain" | "cordon" | "taint" => self.note(reaches, "takes nodes out of the cluster".to_owned()),
            "run" | "exec" | "debug" => {
                let text = words.join(" ");
                if text.contains("privileged")
                    || text.contains("hostPID")
                    || text.contains("hostPath")
                    || verb == "debug" && text.contains("node/")
                {
                    self.note(reaches, "a container with the host's rights".to_owned());
                }
            }
            _ => {}
        }
    }
}
