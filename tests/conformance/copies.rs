//! What the host brings in and out.

use crate::{
    probe::{Act, Group, Probe, ended},
    support::sh,
};

/// An entry of a tar stream: path, kind, mode, bytes or target.
fn archive(entries: &[(&str, tar::EntryType, u32, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, mode, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        let bytes = match kind {
            tar::EntryType::Symlink | tar::EntryType::Link => {
                header.set_link_name(text).expect("a target");
                &[][..]
            }
            _ => text.as_bytes(),
        };
        header.set_size(bytes.len() as u64);
        // As hostile as it comes: the checked setter refuses `..`.
        let name = &mut header.as_gnu_mut().expect("gnu").name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, bytes).expect("in memory");
    }
    builder.into_inner().expect("in memory")
}

pub fn probes() -> Vec<Probe> {
    use tar::EntryType::{Directory, Fifo, Regular, Symlink};
    let put = |name, removals, entries: &[(&str, tar::EntryType, u32, &str)], then| Probe {
        group: Group::Copies,
        name,
        act: Act::Put {
            removals,
            tar: archive(entries),
            then,
        },
    };
    let read = |name, first, path| Probe {
        group: Group::Copies,
        name,
        act: Act::Read { first, path, max: 4096 },
    };
    let upper = |name, first, path| Probe {
        group: Group::Copies,
        name,
        act: Act::Upper { first, path },
    };
    vec![
        put(
            "a file and its mode",
            &[],
            &[("in/x", Regular, 0o755, "x\n")],
            "stat -c '%a %s' in in/x; [ -O in/x ] && cat in/x",
        ),
        put(
            "set-id bits",
            &[],
            &[("setid", Regular, 0o6755, "")],
            "stat -c %a setid",
        ),
        put(
            "a link and a directory",
            &[],
            &[("d", Directory, 0o700, ""), ("d/l", Symlink, 0o777, "../hello")],
            "stat -c %a d; cat d/l",
        ),
        put(
            "in place of a directory",
            &[],
            &[("deep", Regular, 0o644, "flat\n")],
            "cat deep",
        ),
        put(
            "in place of a protected file",
            &[],
            &[("write-protected", Regular, 0o600, "new\n")],
            "stat -c %a write-protected; cat write-protected",
        ),
        put("a removal", &["gone"], &[], "ls gone 2>/dev/null | wc -l"),
        put(
            "a removal of what is not there",
            &["never", "hello/below"],
            &[],
            "cat hello",
        ),
        Probe {
            group: Group::Copies,
            name: "directories that nobody may enter",
            act: Act::Exec(sh("mkdir -p shut/in && : >shut/in/f && chmod 0 shut/in shut"), ended()),
        },
        put("a removal of those", &["shut"], &[], "ls -d shut 2>/dev/null | wc -l"),
        Probe {
            group: Group::Copies,
            name: "a link out of the workspace",
            act: Act::Exec(sh("ln -s /tmp out; ln -s /etc/passwd passwd"), ended()),
        },
        Probe {
            group: Group::Copies,
            name: "a directory that may not be written",
            act: Act::Exec(sh("mkdir -p ro/in && echo old >ro/f && chmod 555 ro ro/in"), ended()),
        },
        put(
            "into that directory",
            &["ro/f"],
            &[("ro/x", Regular, 0o644, "x\n"), ("ro/in/y", Regular, 0o644, "")],
            "ls ro ro/in; stat -c %a ro",
        ),
        put("through that link", &[], &[("out/x", Regular, 0o644, "")], "ls -A /tmp"),
        put(
            "a path that leads out",
            &[],
            &[("../x", Regular, 0o644, "")],
            "ls /x 2>/dev/null | wc -l",
        ),
        put(
            "a fifo",
            &[],
            &[("pipe", Fifo, 0o644, "")],
            "ls pipe 2>/dev/null | wc -l",
        ),
        read("reading a file", "echo back >back", "back"),
        read("reading what is not there", ":", "nowhere"),
        read("reading below a file", ":", "hello/x"),
        read("reading a directory", ":", "in"),
        read("reading a link", ":", "passwd"),
        read(
            "reading through a link",
            "mkdir -p t; ln -sfn t tl; echo x >t/x",
            "tl/x",
        ),
        read("reading a fifo", "mkfifo p 2>/dev/null; :", "p"),
        read("reading a protected file", "echo s >sealed; chmod 0 sealed", "sealed"),
        read("reading too much", "head -c 5000 /dev/zero >large", "large"),
        read("reading a hole", "truncate -s 4096 holed", "holed"),
        upper("a new file in the layer", "echo n >fresh; chmod 640 fresh", "fresh"),
        upper("a new directory in the layer", "mkdir -m 750 freshdir", "freshdir"),
        upper("a removed file in the layer", "rm -f script", "script"),
        upper(
            "a changed file in the layer",
            "echo more >>no-interpreter",
            "no-interpreter",
        ),
        upper("a link in the layer", "ln -sfn hello linked", "linked"),
        upper("an untouched file in the layer", ":", "hello"),
    ]
}
