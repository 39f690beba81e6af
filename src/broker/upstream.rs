//! A real OpenAI-compatible endpoint.

use std::time::Duration;

use super::BrokerError;
use crate::record::Secret;

/// An endpoint, its key and a client for it.
pub(super) struct Endpoint {
    url: String,
    key: Option<Secret>,
    client: reqwest::Client,
}

impl Endpoint {
    /// # Errors
    /// When the base URL is no http or https URL.
    pub fn new(base_url: &str, key: Option<Secret>) -> Result<Self, BrokerError> {
        let base = base_url.trim_end_matches('/');
        let parsed = reqwest::Url::parse(base).map_err(|e| BrokerError::Config(format!("base URL `{base}`: {e}")))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(BrokerError::Config(format!(
                "base URL `{base}`: http or https is needed"
            )));
        }
        // Installing it twice is harmless: the first stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(120))
            .user_agent(concat!("opencode-fsm/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| BrokerError::Config(format!("HTTP client: {e}")))?;
        Ok(Self {
            url: format!("{base}/chat/completions"),
            key,
            client,
        })
    }

    /// Sends one request body; the key goes into its header here and nowhere else.
    pub async fn send(&self, body: Vec<u8>) -> Result<reqwest::Response, String> {
        let mut request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .body(body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }
        request.send().await.map_err(|e| {
            let mut text = e.without_url().to_string();
            if let Some(key) = &self.key {
                text = text.replace(key.expose(), "***");
            }
            text
        })
    }
}
