//! Programs of awk, and makefiles that are given as text.

use super::literals::texts;
use crate::policy::shell::{effect::Effect, value::DOWNLOADED, walk::Walk};

impl Walk<'_> {
    /// Programs of awk; `fetched` says whether its input is what the network gave.
    pub(super) fn awk(&mut self, program: &str, fetched: bool) {
        // Two texts side by side are one.
        let program = &program.replace("\" \"", "").replace("\"\"", "");
        if program.contains("/inet/") {
            self.note(Effect::OpensReverseShell, "a connection from within awk".to_owned());
        }
        if !program.contains("system(")
            && !program.contains('|')
            && !program.contains("print >")
            && !program.contains('>')
        {
            self.reads(program);
            return;
        }
        let forever = ["while(1)", "while (1)", "for(;;)", "for (;;)"];
        if forever.iter().any(|word| program.contains(word))
            && texts(program).iter().any(|text| text.trim_end().ends_with('&'))
        {
            self.note(Effect::ExhaustsHost, "starts processes without end".to_owned());
        }
        if program.contains("system($") {
            let effect = match fetched {
                true => (Effect::DownloadsAndExecutes, "lines that it fetches"),
                false => (Effect::RunsUnknownProgram, "lines of its input"),
            };
            self.note(effect.0, effect.1.to_owned());
        }
        for text in texts(program) {
            if program.contains("system(")
                || program.contains("| getline")
                || program.contains("|getline")
                || program.contains('|')
            {
                self.tried(&text);
            }
            if program.contains('>') && text.starts_with('/') {
                self.writes(&text);
            }
        }
    }

    /// `$(shell …)` and recipes of a makefile that is given as text.
    pub(super) fn makefile(&mut self, text: &str) {
        if text.contains(DOWNLOADED) {
            self.note(Effect::DownloadsAndExecutes, "a makefile that it fetched".to_owned());
            return;
        }
        let mut rest = text;
        while let Some(at) = rest.find("$(shell ") {
            let script = &rest[at + 8..];
            let end = script.rfind(')').unwrap_or(script.len());
            self.tried(&script[..end]);
            rest = script;
        }
        for line in text.lines() {
            let recipe = line
                .strip_prefix('\t')
                .or_else(|| line.split_once(';').map(|(_, recipe)| recipe));
            if let Some(recipe) = recipe {
                let recipe = recipe.trim_start_matches(['@', '-', '+', ' ']).to_owned();
                self.tried(&recipe);
            }
        }
    }
}
