//! A plugin as an OCI artifact: one manifest, one small configuration, one layer, which is the component.
//!
//! Sources: OCI image-spec 1.1 (manifest), CNCF TAG Runtime "Wasm OCI Artifact" (media types, configuration).

use crate::Digest;
use salve_plugins::{Manifest, pack};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const IMAGE_CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const WASM_CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
const WASM_LAYER_TYPE: &str = "application/wasm";

/// Largest manifest or configuration that is read, in bytes.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 256 << 10;
/// Most layers of a manifest that are looked at.
const LAYERS_MAX: usize = 64;

/// Names content by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(crate) fn of(media_type: &str, content: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(content),
            size: content.len() as u64,
            annotations: BTreeMap::new(),
        }
    }
}

/// A manifest, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageManifest {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Why something is no plugin's artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// It cannot be understood.
    #[error("the artifact's manifest makes no sense: {0}")]
    Form(String),
    /// It is an index, a container image or the like.
    #[error("the artifact holds no WebAssembly component: {0}")]
    OtherKind(String),
}

impl ImageManifest {
    /// Reads a manifest of any artifact.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| ArtifactError::Form(salve_model::text::escape(&error.to_string(), 200)))?;
        if manifest.layers.len() > LAYERS_MAX {
            return Err(ArtifactError::Form(format!("it has more than {LAYERS_MAX} layers")));
        }
        Ok(manifest)
    }

    /// The layer that is the component.
    pub(crate) fn component(&self) -> Result<&Descriptor, ArtifactError> {
        match self.layers.as_slice() {
            [layer] if layer.media_type == WASM_LAYER_TYPE => Ok(layer),
            [layer] => Err(ArtifactError::OtherKind(format!(
                "its layer is of type `{}`, not `{WASM_LAYER_TYPE}`",
                salve_model::text::escape(&layer.media_type, 100)
            ))),
            layers => Err(ArtifactError::OtherKind(format!("it has {} layers, not one", layers.len()))),
        }
    }
}

/// The documents around a component. Equal components give equal bytes, so that a signature that was made beside the
/// file is the one that a registry serves.
pub(crate) struct Artifact {
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WasmConfig<'a> {
    created: &'a str,
    architecture: &'a str,
    os: &'a str,
    layer_digests: [Digest; 1],
    component: WasmComponent,
}

#[derive(Serialize)]
struct WasmComponent {
    exports: Vec<String>,
    imports: Vec<String>,
}

impl Artifact {
    /// Wraps a component.
    pub(crate) fn of(component: &[u8], manifest: &Manifest) -> Result<Self, ArtifactError> {
        let form = |error: serde_json::Error| ArtifactError::Form(error.to_string());
        let interfaces =
            pack::inspect(component).map_err(|error| ArtifactError::Form(error.to_string()))?.interfaces;
        let layer = Descriptor::of(WASM_LAYER_TYPE, component);
        let config = serde_json::to_vec(&WasmConfig {
            // The layout asks for a time; the true one would make equal components differ.
            created: "1970-01-01T00:00:00Z",
            architecture: "wasm",
            // The layout's word for components, WASI or not.
            os: "wasip2",
            layer_digests: [layer.digest],
            component: WasmComponent { exports: interfaces.exports, imports: interfaces.imports },
        })
        .map_err(form)?;
        let annotations = [
            ("org.opencontainers.image.title", format!("{}.wasm", manifest.name)),
            ("org.opencontainers.image.version", manifest.version.clone()),
        ];
        let manifest = serde_json::to_vec(&ImageManifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.into(),
            config: Descriptor::of(WASM_CONFIG_TYPE, &config),
            layers: vec![layer],
            annotations: annotations.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        })
        .map_err(form)?;
        Ok(Self { config, manifest })
    }
}
