//! Files that a script names: what they hold, and what becomes of them.

use std::sync::Arc;

use super::{
    place::{Place, place},
    value::{SECRET, UNKNOWN, clean, is_open, shown},
    walk::Walk,
};

impl Walk<'_> {
    pub(super) fn place(&self, path: &str) -> Place {
        place(path, self.scene.cwd.as_deref())
    }

    /// A path by which a file is known here.
    pub(super) fn file_name(&self, path: &str) -> String {
        match super::place::canonical(path, self.scene.cwd.as_deref()) {
            Some(parts) => super::place::joined(&parts),
            None => path.to_owned(),
        }
    }

    /// What a file holds, as far as it is known.
    pub(super) fn content(&mut self, path: &str) -> String {
        let name = self.file_name(path);
        if let Some(text) = self.scene.written(&name) {
            return text.to_owned();
        }
        let place = self.place(path);
        if place.read().is_some() || super::output::is_dotenv(path) {
            return SECRET.to_string();
        }
        if let (Place::Workspace(parts), Some(scripts)) = (&place, self.scripts)
            && !is_open(path)
            && let Some(text) = scripts.read(parts)
        {
            return bounded_script(&text);
        }
        UNKNOWN.to_string()
    }

    /// The file of the workspace that a path names and that the script has not written itself.
    pub(super) fn workspace_file(&self, path: &str) -> Option<Arc<str>> {
        match self.place(path) {
            Place::Workspace(parts) if self.scene.written(&self.file_name(path)).is_none() => {
                Some(Arc::from(parts.join("/")))
            }
            _ => None,
        }
    }

    /// The text of a script that is run, where it is known.
    pub(super) fn script_of(&mut self, path: &str) -> Option<String> {
        let text = self.content(path);
        (!text.chars().all(|c| c == UNKNOWN || c == SECRET)).then_some(text)
    }

    pub(super) fn writes(&mut self, path: &str) {
        if let Some(effect) = self.place(path).written() {
            self.note(effect, format!("writes {}", shown(path)));
        }
    }

    pub(super) fn reads(&mut self, path: &str) {
        if let Some(effect) = self.place(path).read() {
            self.note(effect, format!("reads {}", shown(path)));
        }
    }

    pub(super) fn removes(&mut self, path: &str) {
        if let Some(effect) = self.place(path).removed() {
            self.note(effect, format!("removes {}", shown(path)));
        }
    }
}

/// A script of the workspace, without what would mean something else here.
fn bounded_script(text: &str) -> String {
    match text.len() > super::parse::SCRIPT_MAX {
        true => UNKNOWN.to_string(),
        false => clean(text).into_owned(),
    }
}
