//! The dozen acts with which a guest shows that its walls stand.

use super::{Act, Answer, Marks, families, files, kernel, network, nodes, privileges, processes};
use serde::{Deserialize, Serialize};

/// They are tried in this order: what would change the acting process comes last.
pub const WITNESS: [Act; 25] = [
    files::READ_HOST_FILE,
    files::MAKE_IN_READ_ONLY,
    files::OPEN_SETTINGS,
    nodes::MAKE_DEVICE,
    processes::SIGNAL_HOST,
    processes::SIGNAL_SUPERVISOR,
    processes::TRACE_SUPERVISOR,
    processes::READ_SUPERVISOR,
    processes::LIMIT_SUPERVISOR,
    network::CONNECT_HOST,
    network::CONNECT_OUTSIDE,
    network::SEND_OUTSIDE,
    network::ABSTRACT_SOCKET,
    families::VSOCK,
    families::RAW,
    privileges::CHANGE_CGROUP,
    kernel::KEYRING,
    kernel::BPF,
    kernel::IO_URING,
    privileges::HAVE_CAPABILITIES,
    privileges::GAIN_PRIVILEGES,
    privileges::RAISE_LIMITS,
    privileges::BECOME_ROOT,
    privileges::MOUNT,
    privileges::UNSHARE_USER,
];

/// One act of a witness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Testimony {
    /// The act's name.
    pub act: String,
    /// What became of it.
    pub answer: Answer,
}

/// Tries them all in this process.
pub fn testify(marks: &Marks) -> Vec<Testimony> {
    let one = |act: &Act| Testimony {
        act: act.name.to_owned(),
        answer: (act.run)(marks),
    };
    WITNESS.iter().map(one).collect()
}
