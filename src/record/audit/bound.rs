//! What a chain binds: the files, the receipt, the signature; and what a chain without an end is.

use super::{
    AuditError, Break, Digest, PublicKey, RECEIPT, Receipt, State, Verified, receipt,
    seal::{Artifact, UNLISTED},
    sign::ENVELOPE,
    verify::{SMALL, Walk, name},
};
use crate::{names::RelPath, record::run_dir::LOCK, tree::Item};

impl Walk<'_> {
    /// The chain holds; what does it end with, and what does it bind?
    pub fn end(mut self, key: Option<&PublicKey>) -> Result<Verified, AuditError> {
        let number = self.number;
        if let Some(top) = self.place.top().filter(|top| top.as_bytes() != self.run.as_bytes()) {
            return Err(AuditError::broken(Break {
                found: top.to_string(),
                ..Break::at(
                    "the bundle",
                    format!("a directory called {}, as its run", self.run.escape_debug()),
                )
            }));
        }
        let Some(closed) = self.closed.take() else {
            return self.unclosed();
        };
        if self.torn > 0 {
            return Err(self.broken(number, "the end", format!("{} bytes", self.torn)));
        }
        if closed.course != self.course.digest() {
            let expected = format!("the course {}", self.course.digest());
            return Err(self.broken(number - 1, expected, closed.course.to_string()));
        }
        if closed.files != self.listed.len() as u64 {
            let expected = format!("{} files, as listed before", self.listed.len());
            return Err(self.broken(number - 1, expected, closed.files.to_string()));
        }
        if let Some(found) = self.ledger.take() {
            return Err(AuditError::broken(found));
        }
        self.files()?;
        let parsed: Receipt = match serde_json::from_value(closed.receipt.clone()) {
            Ok(parsed) => parsed,
            Err(why) => return Err(self.broken(number - 1, "a receipt", why.to_string())),
        };
        let document = receipt::document(&closed.receipt, number, self.root);
        self.same(RECEIPT, &document)?;
        let signed_by = self.signature(&parsed, &document, key)?;
        Ok(Verified {
            state: State::Whole,
            run: self.run,
            records: number,
            root: self.root,
            course: self.course.digest(),
            files: closed.files,
            resumed: self.resumed,
            torn: 0,
            receipt: Some(parsed),
            signed_by,
            key_is_expected: key.is_some(),
        })
    }

    /// A chain without its end: a crash leaves one, and whoever cuts records off. What only
    /// a finished run has says which.
    fn unclosed(mut self) -> Result<Verified, AuditError> {
        let finished = self.place.small(&name(RECEIPT), SMALL)?.is_some();
        if finished || self.place.is_bundle() {
            let because = if finished {
                "the run is finished: receipt.json is there"
            } else {
                "a bundle is of a finished run"
            };
            let found = match self.torn {
                0 => "the end".to_owned(),
                torn => format!("{torn} bytes of a record"),
            };
            return Err(self.broken(
                self.number,
                format!("a record, up to the closing one ({because})"),
                found,
            ));
        }
        if let Some(found) = self.ledger.take() {
            return Err(AuditError::broken(found));
        }
        let state = if self.place.is_held() {
            State::Running
        } else {
            State::CutOff
        };
        Ok(Verified {
            state,
            run: self.run,
            records: self.number,
            root: self.root,
            course: self.course.digest(),
            files: 0,
            resumed: self.resumed,
            torn: self.torn,
            receipt: None,
            signed_by: None,
            key_is_expected: false,
        })
    }

    /// Every file that is listed is there as listed, and no other.
    fn files(&self) -> Result<(), AuditError> {
        let there = self.place.items()?;
        for (path, (record, artifact)) in &self.listed {
            let found = self.found(path, artifact, there.get(path))?;
            if let Some(found) = found {
                return Err(AuditError::broken(Break {
                    bound_by: Some(*record),
                    found,
                    ..Break::at(&path.to_string(), artifact.to_string())
                }));
            }
        }
        let own = |path: &RelPath| {
            UNLISTED.iter().any(|name| name.as_bytes() == path.as_bytes())
                && !(self.place.is_bundle() && path.as_bytes() == LOCK.as_bytes())
        };
        match there.keys().find(|path| !self.listed.contains_key(path) && !own(path)) {
            Some(path) => Err(AuditError::broken(Break {
                found: "something".to_owned(),
                ..Break::at(&path.to_string(), "nothing: the chain lists no such file")
            })),
            None => Ok(()),
        }
    }

    /// What is there instead of an artifact; `None` where it is as it should be.
    fn found(&self, path: &RelPath, artifact: &Artifact, item: Option<&Item>) -> Result<Option<String>, AuditError> {
        let digest = match (item, artifact.size) {
            (None, _) => return Ok(Some("nothing".to_owned())),
            (Some(Item::Link(target)), None) => Digest::of(target),
            (Some(Item::File(size)), Some(listed)) if *size == listed => {
                let Some(stream) = self.place.read(path, 0)? else {
                    return Ok(Some("nothing".to_owned()));
                };
                let read = Digest::of_stream(stream);
                read.map_err(|source| AuditError::io("read", path.as_path(), source))?.0
            }
            (Some(Item::File(size)), _) => return Ok(Some(format!("a file of {size} bytes"))),
            (Some(Item::Link(_)), _) => return Ok(Some("a link".to_owned())),
            (Some(Item::Other), _) => return Ok(Some("neither a file nor a link".to_owned())),
        };
        Ok((digest != artifact.sha256).then(|| digest.to_string()))
    }

    /// A small file that is exactly these bytes.
    fn same(&self, file: &str, expected: &[u8]) -> Result<(), AuditError> {
        let found = self.place.small(&name(file), SMALL)?;
        if found.as_deref() == Some(expected) {
            return Ok(());
        }
        let what = match found {
            None => "nothing".to_owned(),
            Some(found) => Digest::of(&found).to_string(),
        };
        Err(AuditError::broken(Break {
            bound_by: Some(self.number - 1),
            found: what,
            ..Break::at(
                file,
                format!(
                    "{}: the closing record and its hash {}, unless that record was changed",
                    Digest::of(expected),
                    self.root
                ),
            )
        }))
    }

    /// Who signed, where the chain says that somebody does.
    fn signature(
        &self,
        receipt: &Receipt,
        document: &[u8],
        wanted: Option<&PublicKey>,
    ) -> Result<Option<Digest>, AuditError> {
        let broken = |expected: String, found: &str| {
            Err(AuditError::broken(Break {
                found: found.to_owned(),
                ..Break::at(ENVELOPE, expected)
            }))
        };
        let bytes = self.place.small(&name(ENVELOPE), SMALL)?;
        let Some(line) = &receipt.signer else {
            return match (bytes, wanted) {
                (Some(_), _) => broken("nothing: the receipt names no signer".to_owned(), "something"),
                (None, Some(key)) => broken(format!("a signature by the key {}", key.id()), "nothing"),
                (None, None) => Ok(None),
            };
        };
        let Some(key) = PublicKey::of_line(line) else {
            return Err(self.broken(self.number - 1, "the key that signs", "no ed25519 key"));
        };
        if let Some(wanted) = wanted.filter(|wanted| **wanted != key) {
            return broken(
                format!("a signature by the key {}", wanted.id()),
                &format!("one by the key {}", key.id()),
            );
        }
        let Some(bytes) = bytes else {
            return broken(format!("the receipt, signed by the key {}", key.id()), "nothing");
        };
        match key.objection(&bytes, &receipt::statement(receipt, document)) {
            Some(why) => broken(format!("the receipt, signed by the key {}", key.id()), &why),
            None => Ok(Some(key.id())),
        }
    }
}
