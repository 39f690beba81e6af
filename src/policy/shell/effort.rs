//! How much of a script is followed. Texts that make texts (`eval`, `xargs`, `find -exec`) in
//! each other multiply; what bounds them is one purse for the whole of a verdict.

/// Most commands that are followed, each that a wrapper runs counted, too.
const STEPS_MAX: u32 = 20_000;
/// Most bytes that are parsed, or given to commands as arguments, all together.
const BYTES_MAX: usize = 2 << 20;

/// What has been followed so far.
#[derive(Default)]
pub(super) struct Effort {
    steps: u32,
    bytes: usize,
    /// Something was left out because a bound was met, here or elsewhere.
    pub fell_short: bool,
}

impl Effort {
    /// One more command; whether it is to be followed.
    pub fn step(&mut self) -> bool {
        self.steps = self.steps.saturating_add(1);
        self.within()
    }

    /// A text to be parsed; whether it is to be.
    pub fn read(&mut self, text: &str) -> bool {
        self.bytes = self.bytes.saturating_add(text.len());
        self.within()
    }

    /// A command's words; whether it is to be looked at.
    pub fn take(&mut self, words: &[String]) -> bool {
        let bytes: usize = words.iter().map(String::len).sum();
        self.bytes = self.bytes.saturating_add(bytes);
        self.within()
    }

    fn within(&mut self) -> bool {
        let within = self.steps <= STEPS_MAX && self.bytes <= BYTES_MAX;
        self.fell_short |= !within;
        within
    }
}
