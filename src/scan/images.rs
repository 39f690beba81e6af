//! Recipes of container images.

use super::{finding::Kind, look::Scan};
use crate::document::Spot;
use crate::policy::SecurityMode;

/// `RUN`, `CMD` and `ENTRYPOINT`: whoever builds an image is root in it.
pub(super) fn dockerfile(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    let mut lines = content.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let bare = line.trim_start();
        let Some((word, rest)) = bare.split_once(char::is_whitespace) else {
            continue;
        };
        if !matches!(word.to_ascii_uppercase().as_str(), "RUN" | "CMD" | "ENTRYPOINT") {
            continue;
        }
        let mut command = rest.to_owned();
        while command.trim_end().ends_with('\\')
            && let Some((_, more)) = lines.next()
        {
            command.push('\n');
            // A comment between two lines is not a part of the command.
            command.push_str(if more.trim_start().starts_with('#') { "\\" } else { more });
        }
        let command = command.trim_start();
        if command.starts_with('[') {
            continue;
        }
        let flags = command
            .split_whitespace()
            .take_while(|word| word.starts_with("--"))
            .count();
        let command: String = if flags == 0 {
            command.to_owned()
        } else {
            command.split_whitespace().skip(flags).collect::<Vec<_>>().join(" ")
        };
        let spot = Spot {
            line: index + 1,
            spread: flags == 0,
        };
        scan.script_in(
            Kind::BuildCommand,
            path,
            spot,
            "whoever builds the image",
            &command,
            SecurityMode::System,
        );
    }
}
