//! `GIT binary patch` data: zlib, then git's base 85 (git, base85.c).

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};

const ALPHABET: &[u8; 85] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
/// Bytes encoded in one line.
const LINE: usize = 52;

/// Writes one `literal` section with its closing empty line.
pub(super) fn literal(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("literal {}\n", bytes.len()).as_bytes());
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let _ = zlib.write_all(bytes);
    let packed = zlib.finish().unwrap_or_default();
    for line in packed.chunks(LINE) {
        // 1 to 26 are A to Z, 27 to 52 are a to z; a chunk is never longer.
        let length = u8::try_from(line.len()).unwrap_or(0);
        out.push(if length <= 26 {
            b'A' + length - 1
        } else {
            b'a' + length - 27
        });
        for group in line.chunks(4) {
            let mut word = [0; 4];
            word[..group.len()].copy_from_slice(group);
            let mut rest = u32::from_be_bytes(word);
            let mut digits = [0; 5];
            for digit in digits.iter_mut().rev() {
                *digit = ALPHABET[(rest % 85) as usize];
                rest /= 85;
            }
            out.extend_from_slice(&digits);
        }
        out.push(b'\n');
    }
    out.push(b'\n');
}
