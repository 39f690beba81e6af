//! Signatures: ed25519 (RFC 8032) in a DSSE envelope (secure-systems-lab/dsse, v1.0.2).
//!
//! Keys are PEM files as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`
//! write them (RFC 8410).

use std::{fs::File, io::Read, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::{Digest, receipt::SignerLine};

/// The envelope in a run's directory.
pub const ENVELOPE: &str = "receipt.dsse.json";
/// What the payload is.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// What stands before the 32 bytes of a key in its `SubjectPublicKeyInfo`.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Largest key file.
const KEY_BYTES: u64 = 16 << 10;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path}: {why}; make one with `openssl genpkey -algorithm ed25519 -out KEY` and `openssl pkey -in KEY -pubout -out PUB`"
)]
pub struct KeyError {
    path: String,
    why: String,
}

/// A private key.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.public.id())
    }
}

impl Signer {
    /// Reads a private key.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no such key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let fail = |why: String| KeyError {
            path: path.display().to_string(),
            why,
        };
        let der = pem(path, "PRIVATE KEY").map_err(fail)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map_err(|why| fail(format!("it is no ed25519 private key ({why})")))?;
        let mut bytes = [0; 32];
        bytes.copy_from_slice(pair.public_key().as_ref());
        let public = PublicKey(bytes);
        Ok(Self { pair, public })
    }

    /// Who signs, for the chain.
    pub fn line(&self) -> SignerLine {
        SignerLine {
            keyid: self.public.id(),
            public: STANDARD.encode(self.public.der()),
        }
    }

    /// The envelope's bytes.
    pub(super) fn envelope(&self, payload: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&signed(payload));
        envelope(payload, self.public.id(), signature.as_ref())
    }
}

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads a public key.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no such key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let fail = |why: String| KeyError {
            path: path.display().to_string(),
            why,
        };
        let der = pem(path, "PUBLIC KEY").map_err(fail)?;
        Self::of_der(&der).ok_or_else(|| fail("it is no ed25519 public key".to_owned()))
    }

    /// The key that a chain names.
    pub(super) fn of_line(line: &SignerLine) -> Option<Self> {
        let key = Self::of_der(&STANDARD.decode(&line.public).ok()?)?;
        (key.id() == line.keyid).then_some(key)
    }

    fn of_der(der: &[u8]) -> Option<Self> {
        Some(Self(der.strip_prefix(&SPKI)?.try_into().ok()?))
    }

    fn der(&self) -> Vec<u8> {
        [&SPKI[..], &self.0].concat()
    }

    /// SHA-256 of its `SubjectPublicKeyInfo`.
    pub fn id(&self) -> Digest {
        Digest::of(&self.der())
    }

    /// What is wrong with an envelope that should be `payload`, signed by this key.
    pub(super) fn objection(&self, bytes: &[u8], payload: &[u8]) -> Option<String> {
        let read: Envelope = match serde_json::from_slice(bytes) {
            Ok(read) => read,
            Err(why) => return Some(format!("it is no DSSE envelope: {why}")),
        };
        let [signature] = read.signatures.as_slice() else {
            return Some(format!(
                "it holds {} signatures; one is expected",
                read.signatures.len()
            ));
        };
        let Ok(signature) = STANDARD.decode(&signature.sig) else {
            return Some("its signature is no base64".to_owned());
        };
        // Byte for byte, so that nothing in it can be changed unseen.
        if bytes != envelope(payload, self.id(), &signature) {
            return Some("it is not the envelope of this receipt and this key".to_owned());
        }
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        let wrong = key.verify(&signed(payload), &signature).is_err();
        wrong.then(|| format!("the signature is not that of the key {}", self.id()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

fn envelope(payload: &[u8], keyid: Digest, signature: &[u8]) -> Vec<u8> {
    let envelope = Envelope {
        payload_type: PAYLOAD_TYPE.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![Signature {
            keyid: keyid.to_string(),
            sig: STANDARD.encode(signature),
        }],
    };
    // Writing JSON to memory never fails.
    let mut bytes = serde_json::to_vec_pretty(&envelope).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// The pre-authentication encoding of DSSE: what the signature is over.
fn signed(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// The bytes of the PEM block `label` of a file (RFC 7468).
fn pem(path: &Path, label: &str) -> Result<Vec<u8>, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|why| why.to_string())?;
    file.take(KEY_BYTES)
        .read_to_string(&mut text)
        .map_err(|why| why.to_string())?;
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let body = text
        .split_once(&begin)
        .and_then(|(_, rest)| rest.split_once(&end))
        .ok_or_else(|| format!("it holds no `{begin}`"))?
        .0;
    let digits: String = body.split_whitespace().collect();
    STANDARD.decode(digits).map_err(|_| "its base64 is damaged".to_owned())
}
