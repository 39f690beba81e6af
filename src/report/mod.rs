//! What a person (or a program, with `--json`) sees while a run goes on.
#![forbid(unsafe_code)]

use serde::Serialize;

/// One thing that happened, for the terminal or as one JSON line.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Happening {
    RunStarted {
        run: String,
        target: String,
        artifacts: String,
    },
    Walls {
        report: crate::sandbox::WallReport,
    },
    Copying {
        files: u64,
        bytes: u64,
    },
    State {
        state: String,
        iteration: u64,
        step: Option<String>,
    },
    Agent {
        line: String,
        calls: u64,
        tokens: u64,
    },
    StageStarted {
        stage: String,
        command: String,
    },
    StageEnded {
        stage: String,
        ok: bool,
        wall_ms: u64,
        reason: Option<String>,
    },
    Guard {
        phase: crate::guard::Phase,
        ruling: crate::guard::Ruling,
        path: String,
        because: String,
    },
    Note {
        text: String,
    },
    Warning {
        text: String,
    },
    Ended {
        exit: u8,
        reason: String,
        summary: serde_json::Value,
    },
}

/// How to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// A live line on a terminal, plain lines elsewhere (stderr).
    Human,
    /// JSON lines on stdout, nothing else there.
    Json,
}

/// Where happenings go. Cheap to clone; never fails (a closed pipe ends output, not the run).
#[derive(Clone)]
pub struct Reporter {
    _private: (),
}

impl Reporter {
    pub fn new(_face: Face, _verbose: u8) -> Self {
        unimplemented!()
    }
    pub fn say(&self, _happening: Happening) {
        unimplemented!()
    }
    /// A report line for a person on stdout at the end (not in JSON face).
    pub fn print(&self, _text: &str) {
        unimplemented!()
    }
}

/// Untrusted bytes made safe for a terminal: control, bidi and invalid bytes escaped, bounded length.
pub fn escape(_bytes: &[u8], _max_chars: usize) -> String {
    unimplemented!()
}
