//! Inputs made of others.

/// Numbers that only look like chance, the same in every run (xorshift64*).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    pub fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// Bytes at which readers stumble.
const BYTES: [u8; 16] = [
    0, 1, 0x7f, 0x80, 0xff, b'\n', b'\r', b' ', b'"', b'\'', b'\\', b'/', b'{', b'}', b'-', b'9',
];
/// Longest input.
const LONGEST: usize = 16 << 10;

/// One to eight changes of `input`, with words of the target's and pieces of another input.
pub fn change(input: &[u8], other: &[u8], words: &[&[u8]], chance: &mut Chance) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=chance.below(8) {
        let at = chance.below(out.len() + 1);
        let magnitude = chance.below(8);
        let length = chance.below(1 << magnitude);
        let end = (at + length).min(out.len());
        match chance.below(10) {
            0 if at < out.len() => out[at] ^= 1 << chance.below(8),
            1 if at < out.len() => out[at] = *chance.of(&BYTES),
            2 => out.insert(at, *chance.of(&BYTES)),
            3 => drop(out.drain(at..end)),
            4 => {
                let piece = out[at..end].to_vec();
                let to = chance.below(out.len() + 1);
                out.splice(to..to, piece);
            }
            5 if !words.is_empty() => {
                let word = *chance.of(words);
                out.splice(at..at, word.iter().copied());
            }
            6 if !words.is_empty() => {
                let word = *chance.of(words);
                let end = (at + word.len()).min(out.len());
                out.splice(at..end, word.iter().copied());
            }
            7 if !other.is_empty() => {
                let from = chance.below(other.len());
                let to = (from + length).min(other.len());
                out.splice(at..end, other[from..to].iter().copied());
            }
            8 if !other.is_empty() => {
                out.truncate(at);
                out.extend(&other[chance.below(other.len())..]);
            }
            9 => {
                // One byte again and again: depth, and length.
                let byte = out.get(at).copied().unwrap_or(b'(');
                let times = 1 << chance.below(12);
                out.splice(at..at, std::iter::repeat_n(byte, times));
            }
            _ => {}
        }
    }
    out.truncate(LONGEST);
    out
}
