//! Whose names are short: the servers that `OWNER/REPO` and `hf:NAME` mean, and their keys.

use super::{Address, SourceError};
use crate::record::Secret;

/// Servers and keys, from variables that are customary for them.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// `GITHUB_SERVER_URL`, else `https://github.com`.
    pub github: Address,
    /// `GITHUB_API_URL`, else `https://api.github.com`.
    pub github_api: Address,
    /// `GITHUB_TOKEN`, `GH_TOKEN`.
    pub github_token: Option<Secret>,
    /// `HF_ENDPOINT`, else `https://huggingface.co`.
    pub hub: Address,
    /// `HF_TOKEN`, `HUGGINGFACE_TOKEN`, `HUGGINGFACEHUB_API_TOKEN`.
    pub hub_token: Option<Secret>,
}

/// The hub's other names.
const HUB_NAMES: [&str; 3] = ["huggingface.co", "www.huggingface.co", "hf.co"];
/// GitHub's other name.
const GITHUB_NAMES: [&str; 2] = ["github.com", "www.github.com"];

impl Endpoints {
    /// `variable` gives the value of one, where it is set and not blank.
    ///
    /// # Errors
    /// [`SourceError::Name`] for one that is no URL.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SourceError> {
        let server = |name: &str, default: &str| {
            let text = variable(name).unwrap_or_else(|| default.to_owned());
            Address::parse(text.trim()).map_err(|why| SourceError::Name {
                what: name.to_owned(),
                why,
            })
        };
        let first = |names: &[&str]| {
            let value = names.iter().find_map(|name| variable(name))?;
            Some(Secret::new(value.trim()))
        };
        Ok(Self {
            github: server("GITHUB_SERVER_URL", "https://github.com")?,
            github_api: server("GITHUB_API_URL", "https://api.github.com")?,
            github_token: first(&["GITHUB_TOKEN", "GH_TOKEN"]),
            hub: server("HF_ENDPOINT", "https://huggingface.co")?,
            hub_token: first(&["HF_TOKEN", "HUGGINGFACE_TOKEN", "HUGGINGFACEHUB_API_TOKEN"]),
        })
    }

    /// Whether an address is the hub's.
    pub fn is_hub(&self, address: &Address) -> bool {
        self.hub.origin() == address.origin() || is_one_of(address, &HUB_NAMES)
    }

    /// Whether an address is GitHub's.
    pub fn is_github(&self, address: &Address) -> bool {
        self.github.origin() == address.origin() || is_one_of(address, &GITHUB_NAMES)
    }

    /// Every key.
    pub fn secrets(&self) -> Vec<Secret> {
        let keys = [&self.github_token, &self.hub_token].into_iter().flatten().cloned();
        let servers = [&self.github, &self.github_api, &self.hub];
        keys.chain(servers.into_iter().flat_map(Address::secrets)).collect()
    }
}

fn is_one_of(address: &Address, names: &[&str]) -> bool {
    let host = address.url().host_str().unwrap_or_default();
    names.contains(&host) && address.url().port().is_none()
}
