//! Plugins in OCI registries: one artifact a plugin, its signatures under the tag that cosign uses.
//!
//! ## What always holds
//! - content is what its digest says, whoever stores it
//! - a signature that is pushed does not replace those of others

mod credentials;
mod reference;
mod registry;

pub use credentials::{Credentials, CredentialsError};
pub use reference::{Reference, ReferenceError};

use crate::{
    COMPONENT_BYTES_MAX, Digest, FetchError, FetchOptions, Fetched, SignatureFile, Source,
    artifact::{Artifact, DOCUMENT_BYTES_MAX, Descriptor, ImageManifest, MANIFEST_TYPE},
    http::Http,
    signature::{SIGNATURES_MAX, Signature},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use registry::Registry;
use salve_plugins::Manifest;
use serde::Serialize;
use std::collections::BTreeMap;

/// Media type of what is signed.
const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation of a payload that holds its signature, in base64.
const SIGNATURE_KEY: &str = "dev.cosignproject.cosign/signature";

/// Where cosign looks for the signatures of a manifest.
fn signature_tag(manifest: Digest) -> String {
    format!("sha256-{}.sig", manifest.hex())
}

/// Fetches the artifact and its signatures; all content is checked against its digest.
pub(crate) async fn fetch(
    reference: &Reference,
    http: &Http<'_>,
    options: &FetchOptions,
) -> Result<Fetched, FetchError> {
    let registry = Registry::new(http, reference, "pull", options)?;
    http.tell(&format!("fetches {reference}"));
    let what = format!("fetch `{reference}`");
    let bytes = registry.manifest(&what, &reference.version()).await?;
    let bytes =
        bytes.ok_or_else(|| FetchError::NotFound { what: what.clone(), host: reference.host.clone() })?;
    let artifact = |source| FetchError::Artifact { what: what.clone(), source };
    let manifest = ImageManifest::parse(&bytes).map_err(artifact)?;
    let layer = manifest.component().map_err(artifact)?;
    if layer.size > COMPONENT_BYTES_MAX {
        return Err(FetchError::TooLarge { what, limit_bytes: COMPONENT_BYTES_MAX });
    }
    http.tell(&format!("fetches the component ({} KiB)", layer.size.div_ceil(1024)));
    let component = registry.blob("fetch the component", layer.digest, COMPONENT_BYTES_MAX).await?;
    let config = registry.blob("fetch the configuration", manifest.config.digest, DOCUMENT_BYTES_MAX).await?;
    let digest = Digest::of(&bytes);
    let signatures = signatures(&registry, digest).await?;
    let signature = (!signatures.is_empty()).then(|| SignatureFile {
        manifest: bytes,
        config,
        signatures: signatures.into_iter().map(|(_, signature)| signature).collect(),
        content: None,
    });
    let source = Source::Oci(Reference { digest: Some(digest), ..reference.clone() });
    Ok(Fetched { bytes: component, signature, source })
}

/// Signatures of the artifact with this manifest, each with its entry in the signatures' own manifest.
async fn signatures(
    registry: &Registry<'_, '_>,
    manifest: Digest,
) -> Result<Vec<(Descriptor, Signature)>, FetchError> {
    let what = "fetch the signature";
    let Some(bytes) = registry.manifest(what, &signature_tag(manifest)).await? else { return Ok(Vec::new()) };
    let parsed =
        ImageManifest::parse(&bytes).map_err(|source| FetchError::Artifact { what: what.into(), source })?;
    let mut found = Vec::new();
    let layers = parsed.layers.into_iter().filter(|layer| layer.media_type == PAYLOAD_TYPE);
    for layer in layers.take(SIGNATURES_MAX) {
        let signature = layer.annotations.get(SIGNATURE_KEY).and_then(|text| STANDARD.decode(text).ok());
        // One that cannot be read is no signature; whether enough are there is decided by who trusts them.
        let Some(signature) = signature else { continue };
        let payload = registry.blob(what, layer.digest, DOCUMENT_BYTES_MAX).await?;
        found.push((layer, Signature { payload, signature, key: None }));
    }
    Ok(found)
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// The artifact, with tag and digest.
    pub reference: String,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Digest of the component.
    pub component: Digest,
    /// Signatures that are there now.
    pub signatures: usize,
}

/// Pushes a component, and its signatures if it has any.
///
/// # Errors
/// [`FetchError`] names what could not be sent. The tag moves last, so that nobody sees half of it.
pub async fn push(
    component: &[u8],
    manifest: &Manifest,
    signature: Option<&SignatureFile>,
    reference: &Reference,
    options: &FetchOptions,
    tell: &dyn Fn(&str),
) -> Result<Pushed, FetchError> {
    let http = Http::new(options, tell)?;
    let registry = Registry::new(&http, reference, "pull,push", options)?;
    let what = format!("push `{reference}`");
    let signature = signature.filter(|file| !file.is_over_content());
    let artifact = match signature {
        // Byte for byte what was signed.
        Some(file) => Artifact { config: file.config.clone(), manifest: file.manifest.clone() },
        None => Artifact::of(component, manifest)
            .map_err(|source| FetchError::Artifact { what: what.clone(), source })?,
    };
    let digest = Digest::of(&artifact.manifest);
    http.tell(&format!("pushes the component ({} KiB)", component.len().div_ceil(1024)));
    registry.push_blob("push the component", component).await?;
    registry.push_blob("push the configuration", &artifact.config).await?;
    registry.push_manifest(&what, &digest.to_string(), &artifact.manifest).await?;
    let mut signatures_now = 0;
    if let Some(file) = signature {
        http.tell("pushes the signature");
        signatures_now = push_signatures(&registry, digest, &file.signatures).await?;
    }
    let tag = reference.version();
    registry.push_manifest(&what, &tag, &artifact.manifest).await?;
    let pushed = Reference { tag: Some(tag), digest: Some(digest), ..reference.clone() };
    Ok(Pushed {
        reference: pushed.to_string(),
        manifest: digest,
        component: Digest::of(component),
        signatures: signatures_now,
    })
}

/// Adds signatures to those that are there.
async fn push_signatures(
    registry: &Registry<'_, '_>,
    manifest: Digest,
    new: &[Signature],
) -> Result<usize, FetchError> {
    let what = "push the signature";
    let mut layers: Vec<Descriptor> =
        signatures(registry, manifest).await?.into_iter().map(|(layer, _)| layer).collect();
    for signature in new {
        // One for each payload and signature: signing again replaces nothing and doubles nothing.
        let text = STANDARD.encode(&signature.signature);
        if layers.iter().any(|layer| layer.annotations.get(SIGNATURE_KEY) == Some(&text)) {
            continue;
        }
        if layers.len() >= SIGNATURES_MAX {
            layers.remove(0);
        }
        registry.push_blob(what, &signature.payload).await?;
        let annotations = BTreeMap::from([(SIGNATURE_KEY.to_owned(), text)]);
        layers.push(Descriptor { annotations, ..Descriptor::of(PAYLOAD_TYPE, &signature.payload) });
    }
    let config = registry::signature_config(&layers.iter().map(|layer| layer.digest).collect::<Vec<_>>());
    registry.push_blob(what, &config).await?;
    let count = layers.len();
    let document = ImageManifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE.into(),
        config: Descriptor::of(registry::SIGNATURE_CONFIG_TYPE, &config),
        layers,
        annotations: BTreeMap::new(),
    };
    let document = serde_json::to_vec(&document).map_err(|error| FetchError::Artifact {
        what: what.into(),
        source: crate::artifact::ArtifactError::Form(error.to_string()),
    })?;
    registry.push_manifest(what, &signature_tag(manifest), &document).await?;
    Ok(count)
}
