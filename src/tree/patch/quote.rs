//! Names in a patch, quoted as git quotes them (git-config(1), `core.quotePath`).

use crate::names::RelPath;

/// `prefix` and the path; in double quotes with C escapes when a byte needs it.
pub(super) fn name(prefix: &[u8], path: &RelPath) -> Vec<u8> {
    let plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
    let bytes = || prefix.iter().chain(path.as_bytes());
    if bytes().all(plain) {
        return bytes().copied().collect();
    }
    let mut out = vec![b'"'];
    for byte in bytes() {
        let short = match byte {
            0x07 => b'a',
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0b => b'v',
            0x0c => b'f',
            b'\r' => b'r',
            b'"' | b'\\' => *byte,
            _ if plain(byte) => {
                out.push(*byte);
                continue;
            }
            _ => {
                out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.push(b'"');
    out
}
