//! Whom we trust: the platform's certificate authorities, and those of a `ca_file` beside them.
//!
//! Reading the roots takes milliseconds and memory, so equal configurations are one value, shared by every thread for
//! as long as any client holds it. A changed `ca_file` makes a new one.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use thiserror::Error;

/// Why no TLS connection can be made at all.
#[derive(Debug, Error)]
pub enum TlsFault {
    #[error("The ca_file {} cannot be read: {source}.", path.display())]
    CaFileUnreadable { path: PathBuf, source: io::Error },
    #[error("The ca_file {} holds no usable PEM certificate: {reason}.", path.display())]
    CaFileInvalid { path: PathBuf, reason: String },
    #[error(
        "This system has no certificate authorities to trust: install its ca-certificates package or set ca_file \
         ({0})."
    )]
    NoRoots(String),
    #[error("TLS cannot be set up: {0}.")]
    Unusable(String),
}

/// The extra authorities' PEM text, not the file's path, since a file's content may change.
type Shared = HashMap<Vec<u8>, Weak<ClientConfig>>;

/// A memo of [`build`], which depends on nothing else but the platform's roots.
static SHARED: Mutex<Option<Shared>> = Mutex::new(None);

pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsFault> {
    let pem = match ca_file {
        None => Vec::new(),
        Some(path) => fs::read(path).map_err(|source| TlsFault::CaFileUnreadable { path: path.to_owned(), source })?,
    };
    let mut guard = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = guard.get_or_insert_default();
    if let Some(config) = shared.get(&pem).and_then(Weak::upgrade) {
        return Ok(config);
    }
    let config = Arc::new(build(extra_roots(ca_file, &pem)?)?);
    shared.retain(|_, config| config.strong_count() > 0);
    shared.insert(pem, Arc::downgrade(&config));
    Ok(config)
}

fn extra_roots(ca_file: Option<&Path>, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let Some(path) = ca_file else { return Ok(Vec::new()) };
    let invalid = |reason: String| TlsFault::CaFileInvalid { path: path.to_owned(), reason };
    let roots: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| invalid(error.to_string()))?;
    if roots.is_empty() {
        return Err(invalid("it has no CERTIFICATE block".to_owned()));
    }
    // Checked here because the verifier's own error would not name the file.
    for root in &roots {
        rustls::RootCertStore::empty().add(root.clone()).map_err(|error| invalid(error.to_string()))?;
    }
    Ok(roots)
}

fn build(extra_roots: Vec<CertificateDer<'static>>) -> Result<ClientConfig, TlsFault> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(extra_roots, provider.clone())
        .map_err(|error| TlsFault::NoRoots(error.to_string()))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsFault::Unusable(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // Over either, an answer has its connection to itself: `client::Pool` says why.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
