//! Redirections: what a command reads, and where its output goes.

use std::rc::Rc;

use super::{
    effect::Effect,
    place::Place,
    tree::{Redirect, RedirectOp},
    value::{DECODED, DOWNLOADED, OUTPUT, SECRET, shown},
    walk::{Io, Walk},
};

impl Walk<'_> {
    /// Takes redirections into account, the effects of opening their files included.
    pub(super) fn redirected(&mut self, redirects: &[Redirect], io: &Io) -> Io {
        let mut io = io.clone();
        for redirect in redirects {
            let Some(word) = redirect.target.word() else { continue };
            let text = self.text(word);
            let is_network = text.starts_with("/dev/tcp/") || text.starts_with("/dev/udp/");
            match redirect.op {
                RedirectOp::HereDoc => io.input = Some(Rc::from(text)),
                RedirectOp::HereString => io.input = Some(Rc::from(text + "\n")),
                RedirectOp::Read if is_network => {
                    io.network = true;
                    io.input = Some(Rc::from(DOWNLOADED.to_string()));
                }
                RedirectOp::Read => {
                    self.reads(&text);
                    io.input = Some(Rc::from(self.content(&text)));
                }
                RedirectOp::DupRead | RedirectOp::DupWrite if text == "-" || text.parse::<u32>().is_ok() => {
                    let number = text.parse::<u32>().ok();
                    if number.is_some_and(|number| self.scene.network.contains(&number)) {
                        io.network = true;
                        if redirect.op == RedirectOp::DupRead {
                            io.input = Some(Rc::from(DOWNLOADED.to_string()));
                        } else {
                            io.to = Some(("/dev/tcp/".to_owned(), false));
                            io.wanted = true;
                        }
                    } else if redirect.op == RedirectOp::DupWrite && redirect.fd.is_none_or(|fd| fd == 1) {
                        // `echo x >&2`
                        io.to = io.to.take().filter(|_| number.is_none());
                    }
                }
                RedirectOp::ReadWrite if is_network => {
                    io.network = true;
                    self.scene.network.push(redirect.fd.unwrap_or(0));
                }
                _ if is_network => {
                    io.network = true;
                    io.to = Some((text.clone(), false));
                    io.wanted = true;
                    self.scene.network.push(redirect.fd.unwrap_or(1));
                }
                op => {
                    let appends = matches!(op, RedirectOp::Append | RedirectOp::AppendBoth);
                    if redirect.fd.is_none_or(|fd| fd == 1) && op != RedirectOp::DupRead {
                        io.to = Some((text.clone(), appends));
                        io.wanted = true;
                    }
                    let start_up = self.place(&text).written() == Some(Effect::ChangesWhatStartsLater);
                    // What is added there is looked at once it is known.
                    if !(start_up && appends && io.to.is_some()) {
                        self.writes(&text);
                    }
                }
            }
        }
        io
    }

    /// Remembers what a command printed into a file; gives what is left to print.
    pub(super) fn keep_output(&mut self, io: &Io, output: Option<String>) -> Option<String> {
        let Some((path, appends)) = &io.to else { return output };
        let text = output.unwrap_or_else(|| OUTPUT.to_string());
        if text.contains(SECRET) && path.starts_with("/dev/tcp/") {
            self.note(Effect::ReadsSecrets, "sends out what may hold secrets".to_owned());
        }
        let place = self.place(path);
        if place.written() == Some(Effect::ChangesWhatStartsLater) && *appends {
            self.starts_later(path, &text);
        }
        if place.written() == Some(Effect::PowersOff) {
            self.note(Effect::PowersOff, shown(path));
        }
        let name = self.file_name(path);
        self.scene.wrote(&name, &text, *appends);
        Some(String::new())
    }

    /// A text is added to what a later shell runs: looked into, and only what sets up paths
    /// and completions is taken as harmless.
    fn starts_later(&mut self, path: &str, text: &str) {
        let plain = |line: &str| {
            let line = line.trim();
            let begins = [
                "export ",
                "PATH=",
                "source ",
                ". ",
                "#",
                "eval \"$(",
                "[ -f ",
                "[ -s ",
                "fpath",
                "autoload",
            ];
            (line.is_empty() || begins.iter().any(|begin| line.starts_with(begin)))
                && !["LD_", "BASH_ENV", "PROMPT_COMMAND", "alias ", "curl ", "wget "]
                    .iter()
                    .any(|bad| line.contains(bad))
        };
        let home = matches!(self.place(path), Place::Home(parts) if parts.first().is_some_and(|name| !name.starts_with(".ssh")));
        let completion = |line: &str| line.chars().all(|c| c == OUTPUT);
        let harmless = |line: &str| plain(line) || completion(line);
        if home && !text.contains([DOWNLOADED, DECODED]) && text.lines().all(harmless) {
            let known: Vec<&str> = text.lines().filter(|line| !completion(line)).collect();
            self.apart(|walk| walk.nested(|walk| walk.source(&known.join("\n"), &Io::default())));
            return;
        }
        self.note(Effect::ChangesWhatStartsLater, shown(path));
    }
}
