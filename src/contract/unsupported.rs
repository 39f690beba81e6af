//! Files that other versions of the runner act upon and this one does not: refused by name, never ignored.

use super::{ContractError, error::Position};
use crate::names::RelPath;

/// The files, and what to do instead.
const LATER_FILES: [(&str, &str); 2] = [
    (
        ".aider_fsm/bootstrap.yml",
        "remove it and do the setup in the first stage's commands",
    ),
    (
        ".aider_fsm/actions.yml",
        "remove it; the agent runs what it needs inside its sandbox",
    ),
];

/// Refuses a tree that holds a file which this version would have to ignore.
/// `present` says whether a path exists in the tree.
///
/// # Errors
/// The first such file, as an error at its first character.
pub fn reject_unsupported(present: impl Fn(&RelPath) -> bool) -> Result<(), ContractError> {
    for (name, remedy) in LATER_FILES {
        if let Ok(path) = RelPath::new(name)
            && present(&path)
        {
            let message = format!("this file is not supported by this version yet; {remedy}");
            return Err(Position::START.fault(message).of(&path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_later_version_is_refused_by_name() {
        assert_eq!(reject_unsupported(|_| false), Ok(()));
        for (name, _) in LATER_FILES {
            let error = reject_unsupported(|path| path.as_bytes() == name.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{name}:1:1: ")), "{error}");
            assert!(error.to_string().contains("not supported"), "{error}");
        }
    }
}
