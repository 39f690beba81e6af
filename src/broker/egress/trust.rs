//! Whom the door trusts where it speaks TLS itself: what this host trusts.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use rustls_platform_verifier::BuilderVerifierExt;

/// Made at its first use: reading a host's certificates takes a while.
pub(super) struct Trust {
    only: Vec<CertificateDer<'static>>,
    made: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Trust {
    /// These, or where there are none what this host trusts.
    pub fn of(only: Vec<CertificateDer<'static>>) -> Self {
        Self {
            only,
            made: OnceLock::new(),
        }
    }

    /// The settings of TLS clients.
    pub fn client(&self) -> Result<Arc<ClientConfig>, String> {
        let made = self.made.get_or_init(|| self.make().map_err(|why| why.to_string()));
        made.clone()
    }

    fn make(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = if self.only.is_empty() {
            builder.with_platform_verifier()?.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for certificate in &self.only {
                roots.add(certificate.clone())?;
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
