//! What `/etc` holds inside, whatever the image says.

use std::{fs, io, path::Path};

use crate::{policy::GUEST_HOME, sandbox::etc};

/// The files, by name below `/etc`, each in place of the image's.
pub(super) const NAMES: [&str; 6] = ["passwd", "group", "hosts", "hostname", "resolv.conf", "nsswitch.conf"];

/// Writes them into `dir`; commands run as `uid` and `gid`, and names may be asked for at the loopback.
pub(super) fn write(dir: &Path, uid: u32, gid: u32, asks_for_names: bool) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for name in NAMES {
        fs::write(dir.join(name), text(name, uid, gid, asks_for_names))?;
    }
    Ok(())
}

fn text(name: &str, uid: u32, gid: u32, asks_for_names: bool) -> String {
    match name {
        "passwd" => format!(
            "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nagent:x:{uid}:{gid}::{GUEST_HOME}:/bin/sh\n\
             nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n"
        ),
        "group" => format!("root:x:0:\nagent:x:{gid}:\nnogroup:x:65534:\n"),
        "hosts" => "127.0.0.1 localhost sandbox\n::1 localhost\n".to_owned(),
        "hostname" => "sandbox\n".to_owned(),
        "nsswitch.conf" => etc::nsswitch(asks_for_names),
        "resolv.conf" if asks_for_names => etc::RESOLV.to_owned(),
        _ => String::new(),
    }
}
