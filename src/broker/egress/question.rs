//! A question for a name (RFC 1035, 4.1), read for what was asked, and the answer to all of
//! them: refused.

/// Longest question that is looked at: what a datagram without extensions holds.
pub(super) const MAX_BYTES: usize = 4096;
/// Header of a message.
const HEADER: usize = 12;
/// Answer codes.
const MALFORMED: u8 = 1;
const REFUSED: u8 = 5;

/// A question.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The name with dots, as its bytes are; a dot within a part is not told from others.
    pub name: Vec<u8>,
    /// What of it is asked (`A` is 1).
    pub kind: u16,
}

/// Reads a message; what it asks, and the answer. Nothing is answered to an answer, or to
/// what has no header.
pub(super) fn read(message: &[u8]) -> Option<(Option<Question>, Vec<u8>)> {
    let header = message.get(..HEADER)?;
    if header[2] & 0x80 != 0 {
        return None;
    }
    let asked = question(message);
    let end = asked.as_ref().map_or(HEADER, |(_, end)| *end);
    let mut answer = message.get(..end)?.to_vec();
    // An answer to the same, with what was wished of it (opcode, RD).
    answer[2] = 0x80 | header[2] & 0x79;
    answer[3] = if asked.is_some() { REFUSED } else { MALFORMED };
    let questions = u16::from(asked.is_some()).to_be_bytes();
    answer[4..6].copy_from_slice(&questions);
    answer[6..HEADER].fill(0);
    Some((asked.map(|(question, _)| question), answer))
}

/// The first question, and where it ends.
fn question(message: &[u8]) -> Option<(Question, usize)> {
    let count = u16::from_be_bytes([*message.get(4)?, *message.get(5)?]);
    if count == 0 {
        return None;
    }
    let mut name = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        match length {
            0 => break,
            // A question points nowhere.
            64.. => return None,
            _ => {}
        }
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend_from_slice(message.get(at..at + length)?);
        at += length;
        if name.len() > 255 {
            return None;
        }
    }
    let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
    message.get(at + 2..at + 4)?;
    Some((Question { name, kind }, at + 4))
}

/// The name of a kind, where it is one of the common ones.
pub(super) fn kind_name(kind: u16) -> String {
    let name = match kind {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        65 => "HTTPS",
        255 => "ANY",
        other => return format!("TYPE{other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(name: &[u8], kind: u8) -> Vec<u8> {
        let header = [0xab, 0xcd, 1, 0x20, 0, 1, 0, 0, 0, 0, 0, 1];
        // An OPT record behind it (RFC 6891) is not answered to.
        [
            &header[..],
            name,
            &[0, kind, 0, 1],
            &[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat()
    }

    #[test]
    fn a_question_is_refused_with_its_own_words() {
        let asked = ask(b"\x04pypi\x03org\x00", 28);
        let (question, answer) = read(&asked).expect("an answer");
        let question = question.expect("a question");
        assert_eq!(
            (question.name.as_slice(), kind_name(question.kind)),
            (&b"pypi.org"[..], "AAAA".to_owned())
        );
        assert_eq!(answer[..12], [0xab, 0xcd, 0x81, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answer[12..], asked[12..26]);
    }

    #[test]
    fn what_is_no_question_is_told_so_or_not_answered() {
        for name in [&b"\xc0\x0c"[..], b"\x3fa"] {
            let (question, answer) = read(&ask(name, 1)).expect("an answer");
            assert_eq!((question, answer[3], answer.len()), (None, 1, 12), "{name:?}");
        }
        let long = [b"\x3f".to_vec(), vec![b'a'; 63]].concat().repeat(5);
        assert_eq!(read(&ask(&[&long[..], b"\0"].concat(), 1)).expect("an answer").0, None);
        let mut answer = ask(b"\x01a\x00", 1);
        answer[2] |= 0x80;
        assert_eq!(read(&answer), None);
        assert_eq!(read(&[0; 11]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some((_, answer)) = read(&bytes) {
                prop_assert!(answer.len() <= bytes.len() && answer[2] & 0x80 != 0);
            }
        }
    }
}
