//! The receipt: what a run came to and by what, in one document that the chain holds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Digest;
use crate::{names::RelPath, policy::Isolation};

/// Version of [`Receipt`].
pub const RECEIPT_VERSION: u32 = 1;
/// The receipt in a run's directory.
pub const RECEIPT: &str = "receipt.json";

/// What a run came to and by what; what is not known, or was never there, is null.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// 1; it rises when a field changes its meaning.
    pub version: u32,
    /// The run.
    pub run: String,
    /// `run` or `verify`.
    pub verb: String,
    /// Version of this program.
    pub tool: String,
    /// Version of OpenCode, as its package names it.
    pub opencode: Option<String>,
    /// What built the walls.
    pub backend: Option<String>,
    /// The image of containers, by its id.
    pub image: Option<String>,
    /// Digest of `policy.json`, `sha256:` before it.
    pub policy: String,
    /// Per role of a sandbox: the digest of its plan.
    pub plans: BTreeMap<String, Digest>,
    /// Per role of a sandbox: the tier that its walls add up to.
    pub tiers: BTreeMap<String, String>,
    /// Where verifications measured; nothing where no contract was read.
    pub isolation: Option<Isolation>,
    /// BLAKE3 digest of the target's manifest, as it was copied.
    pub target: Option<String>,
    /// The contract's files in the end, and who wrote each.
    #[serde(default)]
    pub contract: Vec<ContractLine>,
    /// SHA-256 of files of the run that say what went in and what came out.
    pub files: BTreeMap<String, Digest>,
    /// The last accepted state.
    pub state: Option<StateLine>,
    /// How it ended.
    pub outcome: Ending,
    /// Who signs the receipt.
    pub signer: Option<SignerLine>,
}

/// A file of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContractLine {
    /// Its path.
    pub path: RelPath,
    /// Who wrote it: `human` (it is as it was in the target), `agent`, or `fallback` (this
    /// program, in place of an agent).
    pub by: String,
    /// SHA-256.
    pub sha256: Digest,
}

/// An accepted state of the tree.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StateLine {
    /// The checkpoint's number.
    pub checkpoint: u64,
    /// BLAKE3 digest of its difference from the base.
    pub digest: String,
}

/// How a run ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Ending {
    /// `DONE`, `VERIFIED`, `ERROR`, ….
    pub reason: String,
    /// The exit code.
    pub exit: u8,
    /// The last verification passed.
    pub verified: bool,
    /// One line about it.
    pub detail: String,
}

/// A key that signs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SignerLine {
    /// SHA-256 of the public key as `SubjectPublicKeyInfo` (RFC 8410), DER.
    pub keyid: Digest,
    /// That key, base64.
    pub public: String,
}

/// `receipt.json`: the receipt, and the record that holds it.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    #[serde(flatten)]
    receipt: Receipt,
    chain: End,
}

/// The end of a chain.
#[derive(Serialize, JsonSchema)]
struct End {
    /// Records, the closing one included.
    records: u64,
    /// SHA-256 of the closing record, its newline included.
    root: Digest,
}

/// The bytes of `receipt.json`: the receipt as the chain's last record holds it, and that
/// record's number and hash.
pub(super) fn document(receipt: &Value, records: u64, root: Digest) -> Vec<u8> {
    let mut whole = receipt.clone();
    // Plain values: encoding them never fails.
    whole["chain"] = serde_json::to_value(End { records, root }).unwrap_or_default();
    // Writing JSON to memory never fails.
    let mut bytes = serde_json::to_vec_pretty(&whole).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// What is signed: an in-toto Statement v1 about the receipt, its predicate a test result.
pub(super) fn statement(receipt: &Receipt, document: &[u8]) -> Vec<u8> {
    let mut subject = vec![json!({"name": RECEIPT, "digest": {"sha256": Digest::of(document)}})];
    if let Some(patch) = receipt.files.get("changes.patch") {
        subject.push(json!({"name": "changes.patch", "digest": {"sha256": patch}}));
    }
    let inputs = ["lock.json", "policy.json", "pipeline.yml"].into_iter();
    let configuration: Vec<Value> = inputs
        .filter_map(|name| Some(json!({"name": name, "digest": {"sha256": receipt.files.get(name)?}})))
        .collect();
    let result = if receipt.outcome.exit == 0 { "PASSED" } else { "FAILED" };
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {"result": result, "configuration": configuration},
    });
    // As above.
    serde_json::to_vec(&statement).unwrap_or_default()
}
