//! Signatures of plugins, in cosign's form, and the file that carries them beside a component.
//!
//! A signature is over a payload, the payload names the digest of an OCI manifest, the manifest names the digest of the
//! component. The file holds payload and manifest, so that the chain can be followed without a network; a registry
//! holds the same under the tag `sha256-DIGEST.sig`, where `cosign verify --key` finds it.
//!
//! What `cosign sign-blob` writes about the component itself is read, too, and never written.
//!
//! Source: cosign's "Signature Specification" (simple signing).

use crate::{
    Digest,
    artifact::{Artifact, ArtifactError, DOCUMENT_BYTES_MAX, ImageManifest},
    content_signature::ContentSignature,
    key::{KeyError, KeyId, PrivateKey},
    trust::Publisher,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use salve_model::text::escape;
use salve_plugins::Manifest;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Largest signature file that is read, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most signatures of one component.
pub(crate) const SIGNATURES_MAX: usize = 16;

const PAYLOAD_TYPE: &str = "cosign container image signature";

/// What stands beside a component in `NAME.wasm.sig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureFile {
    /// The OCI manifest, byte for byte.
    #[serde(with = "base64_text")]
    pub(crate) manifest: Vec<u8>,
    /// The manifest's configuration, byte for byte.
    #[serde(with = "base64_text")]
    pub(crate) config: Vec<u8>,
    pub(crate) signatures: Vec<Signature>,
    /// The component itself was signed: then the other fields are empty.
    #[serde(skip)]
    pub(crate) content: Option<ContentSignature>,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signature {
    /// What is signed, byte for byte.
    #[serde(with = "base64_text")]
    pub(crate) payload: Vec<u8>,
    #[serde(with = "base64_text")]
    pub(crate) signature: Vec<u8>,
    /// Whose, if the writer knew. For messages; the signature itself decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<KeyId>,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    critical: Critical,
    optional: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
struct Critical {
    identity: PayloadIdentity,
    image: PayloadImage,
    r#type: String,
}

#[derive(Serialize, Deserialize)]
struct PayloadIdentity {
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Serialize, Deserialize)]
struct PayloadImage {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: Digest,
}

/// Why a signature does not fit.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The file makes no sense.
    #[error("the signature file is damaged: {0}")]
    Form(String),
    /// What it wraps is no plugin.
    #[error("cannot follow the signature to the component")]
    Artifact(#[source] ArtifactError),
    /// It is for other content: one of both was changed or exchanged.
    #[error("the signature is for a component with digest {signed}, this one has {found}")]
    OtherComponent {
        /// What was signed.
        signed: Digest,
        /// What is there.
        found: Digest,
    },
    /// It names a known key and was not made by it, or its parts do not belong together.
    #[error("the signature does not fit the key of publisher `{publisher}`")]
    Forged {
        /// Whose key it names.
        publisher: String,
    },
    /// The payload is signed well and speaks of something else.
    #[error("the signed statement of publisher `{publisher}` is about another artifact")]
    OtherArtifact {
        /// Who signed.
        publisher: String,
    },
    /// No known key made it.
    #[error("the signature is by no known publisher{}", keys_named(keys))]
    UnknownKey {
        /// Keys that it names.
        keys: Vec<KeyId>,
    },
    /// The signature is over the component's bytes, and these cannot be read.
    #[error("cannot read the component: {0}")]
    Unread(String),
    /// The component cannot be wrapped.
    #[error("cannot sign this component")]
    Key(#[source] KeyError),
}

/// A component whose digest was found out before. Its bytes are asked for only if a signature is over them.
pub struct KnownComponent<'a> {
    /// Of its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size_bytes: u64,
    /// Reads them: those of this digest, or an error in words.
    pub bytes: &'a dyn Fn() -> Result<&'a [u8], String>,
}

impl<'a> KnownComponent<'a> {
    /// One that is in memory; `bytes` gives it again.
    #[must_use]
    pub fn of(component: &[u8], bytes: &'a dyn Fn() -> Result<&'a [u8], String>) -> Self {
        Self { digest: Digest::of(component), size_bytes: component.len() as u64, bytes }
    }
}

fn keys_named(keys: &[KeyId]) -> String {
    match keys {
        [] => String::new(),
        keys => format!(" (key {})", keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

impl SignatureError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownKey { .. } => {
                "If you trust its author, get the public key from them and name it: [[publisher]] name = \"…\", key = \
                 \"FILE.pub\"."
                    .into()
            }
            Self::OtherComponent { .. } => {
                "Fetch component and signature again, or sign again after each build.".into()
            }
            Self::Forged { .. } | Self::OtherArtifact { .. } => {
                "Do not use it; ask its publisher whether the file was changed on its way.".into()
            }
            Self::Form(_) | Self::Artifact(_) => "Fetch it again, or sign again.".into(),
            Self::Unread(_) => return None,
            Self::Key(error) => return error.hint(),
        })
    }
}

/// Where the signature of a component is: its path and `.sig`.
#[must_use]
pub fn signature_path(component: &Path) -> PathBuf {
    let mut path = component.as_os_str().to_owned();
    path.push(".sig");
    PathBuf::from(path)
}

impl SignatureFile {
    /// Signs a component.
    ///
    /// # Errors
    /// [`SignatureError`]: it is no component, or the key does not sign.
    pub fn sign(component: &[u8], manifest: &Manifest, key: &PrivateKey) -> Result<Self, SignatureError> {
        let artifact = Artifact::of(component, manifest).map_err(SignatureError::Artifact)?;
        let payload = Payload {
            critical: Critical {
                identity: PayloadIdentity { docker_reference: manifest.name.0.clone() },
                image: PayloadImage { docker_manifest_digest: Digest::of(&artifact.manifest) },
                r#type: PAYLOAD_TYPE.into(),
            },
            optional: serde_json::Value::Null,
        };
        let payload =
            serde_json::to_vec(&payload).map_err(|error| SignatureError::Form(error.to_string()))?;
        let signature = key.sign(&payload).map_err(SignatureError::Key)?;
        let signature = Signature { payload, signature, key: Some(key.public().id()) };
        let Artifact { manifest, config } = artifact;
        Ok(Self { manifest, config, signatures: vec![signature], content: None })
    }

    /// Reads a signature file.
    ///
    /// # Errors
    /// [`SignatureError::Form`]
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let form = |what: String| SignatureError::Form(escape(&what, 200));
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(form(format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        if let Some(content) = ContentSignature::parse(bytes) {
            let content = Some(content);
            return Ok(Self { manifest: Vec::new(), config: Vec::new(), signatures: Vec::new(), content });
        }
        let file: Self = serde_json::from_slice(bytes).map_err(|error| form(error.to_string()))?;
        if file.signatures.is_empty() || file.signatures.len() > SIGNATURES_MAX {
            return Err(form(format!(
                "it has {} signatures, not 1 to {SIGNATURES_MAX}",
                file.signatures.len()
            )));
        }
        if file.manifest.len().max(file.config.len()) as u64 > DOCUMENT_BYTES_MAX {
            return Err(form(format!("its manifest is larger than {DOCUMENT_BYTES_MAX} bytes")));
        }
        Ok(file)
    }

    /// As it stands in the file.
    ///
    /// # Errors
    /// [`SignatureError::Form`]
    pub fn to_bytes(&self) -> Result<Vec<u8>, SignatureError> {
        if let Some(content) = &self.content {
            return content.to_bytes();
        }
        let mut bytes =
            serde_json::to_vec_pretty(self).map_err(|error| SignatureError::Form(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The component itself was signed, as by `cosign sign-blob`: there is nothing in it for a registry.
    #[must_use]
    pub fn is_over_content(&self) -> bool {
        self.content.is_some()
    }

    /// Digest of the OCI manifest: what the component is called in a registry.
    #[must_use]
    pub fn manifest_digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Which of these publishers has signed just this component.
    ///
    /// # Errors
    /// [`SignatureError`]; only [`SignatureError::UnknownKey`] is no sign of damage or fraud.
    pub fn verify<'p>(
        &self,
        component: &[u8],
        publishers: &'p [Publisher],
    ) -> Result<&'p Publisher, SignatureError> {
        self.verify_known(&KnownComponent::of(component, &|| Ok(component)), publishers)
    }

    /// As [`SignatureFile::verify`], of a component whose digest is known.
    pub(crate) fn verify_known<'p>(
        &self,
        component: &KnownComponent<'_>,
        publishers: &'p [Publisher],
    ) -> Result<&'p Publisher, SignatureError> {
        if let Some(content) = &self.content {
            return content.verify((component.bytes)().map_err(SignatureError::Unread)?, publishers);
        }
        let found = component.digest;
        let manifest = ImageManifest::parse(&self.manifest).map_err(SignatureError::Artifact)?;
        let layer = manifest.component().map_err(SignatureError::Artifact)?;
        if layer.digest != found || layer.size != component.size_bytes {
            return Err(SignatureError::OtherComponent { signed: layer.digest, found });
        }
        let mut problem = None;
        for signature in &self.signatures {
            let signer = publishers
                .iter()
                .find(|publisher| publisher.key.verifies(&signature.payload, &signature.signature));
            match signer {
                Some(publisher) if names(&signature.payload, self.manifest_digest()) => return Ok(publisher),
                Some(publisher) => {
                    problem = Some(SignatureError::OtherArtifact { publisher: publisher.name.clone() });
                }
                None => {
                    let claimed =
                        publishers.iter().find(|publisher| signature.key == Some(publisher.key.id()));
                    if let Some(publisher) = claimed {
                        problem = Some(SignatureError::Forged { publisher: publisher.name.clone() });
                    }
                }
            }
        }
        Err(problem.unwrap_or_else(|| SignatureError::UnknownKey {
            keys: self.signatures.iter().filter_map(|signature| signature.key).collect(),
        }))
    }
}

/// Whether a payload is a statement about the artifact with this manifest.
fn names(payload: &[u8], manifest: Digest) -> bool {
    serde_json::from_slice::<Payload>(payload).is_ok_and(|payload| {
        payload.critical.r#type == PAYLOAD_TYPE && payload.critical.image.docker_manifest_digest == manifest
    })
}

/// Bytes as base64 in JSON.
mod base64_text {
    use super::{Engine, STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::key::PrivateKey;
    use proptest::prelude::*;

    /// A publisher with a new key.
    pub(crate) fn publisher(name: &str) -> (PrivateKey, Publisher) {
        let key = PrivateKey::generate().unwrap();
        let publisher = Publisher { name: name.into(), key: key.public() };
        (key, publisher)
    }

    /// A component that the host admits, with this name and version.
    pub(crate) fn component(name: &str, version: &str, role: &str) -> (Vec<u8>, Manifest) {
        let module = wat::parse_str(match role {
            "agent" => include_str!("../../../tests/guests/agent-nonsense.wat"),
            _ => include_str!("../../../tests/guests/action-sleep.wat"),
        });
        let toml =
            format!("name = '{name}'\nversion = '{version}'\nrole = '{role}'\nsummary = 'For tests.'\n");
        let component = salve_plugins::pack::pack(&module.unwrap(), &toml).unwrap();
        let manifest = Manifest::of_component(&component).unwrap();
        (component, manifest)
    }

    /// Guarantees: a signature is found to be its publisher's after it was written and read, and nobody else's.
    #[test]
    fn signs_and_verifies() {
        let ((key, ours), (_, theirs)) = (publisher("ours"), publisher("theirs"));
        let (bytes, manifest) = component("probe", "0.1.0", "action");
        let file = SignatureFile::sign(&bytes, &manifest, &key).unwrap();
        let read = SignatureFile::parse(&file.to_bytes().unwrap()).unwrap();
        assert_eq!(read, file);
        let both = [theirs.clone(), ours];
        assert_eq!(read.verify(&bytes, &both).unwrap().name, "ours");
        let unknown = read.verify(&bytes, &[theirs]).unwrap_err();
        assert!(matches!(unknown, SignatureError::UnknownKey { .. }), "{unknown}");
        assert!(unknown.to_string().contains(&key.public().id().to_string()), "{unknown}");
    }

    /// Guarantees: each part that is exchanged for another genuine one is noticed, and the message says which.
    #[test]
    fn parts_belong_together() {
        let (key, ours) = publisher("ours");
        let ours = [ours];
        let (one, manifest) = component("probe", "0.1.0", "action");
        let (two, manifest_of_two) = component("probe", "0.2.0", "action");
        let of_one = SignatureFile::sign(&one, &manifest, &key).unwrap();
        let of_two = SignatureFile::sign(&two, &manifest_of_two, &key).unwrap();
        assert!(matches!(of_one.verify(&two, &ours), Err(SignatureError::OtherComponent { .. })));
        let spliced = SignatureFile { signatures: of_two.signatures.clone(), ..of_one.clone() };
        assert!(matches!(spliced.verify(&one, &ours), Err(SignatureError::OtherArtifact { .. })));
        let mut forged = of_one.clone();
        let last = forged.signatures[0].signature.last_mut().unwrap();
        *last ^= 1;
        assert!(matches!(forged.verify(&one, &ours), Err(SignatureError::Forged { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Guarantees: a component with any one bit changed is refused; so is a signature file with any byte changed,
        /// unless it says the same.
        #[test]
        fn any_change_is_noticed(at: prop::sample::Index, bit in 0..8_u32) {
            let (key, ours) = publisher("ours");
            let (bytes, manifest) = component("probe", "0.1.0", "action");
            let file = SignatureFile::sign(&bytes, &manifest, &key).unwrap();
            let mut changed = bytes.clone();
            *at.get_mut(&mut changed) ^= 1 << bit;
            prop_assert!(file.verify(&changed, std::slice::from_ref(&ours)).is_err());

            let mut text = file.to_bytes().unwrap();
            *at.get_mut(&mut text) ^= 1 << bit;
            if let Ok(read) = SignatureFile::parse(&text) {
                let same = read.manifest == file.manifest && read.signatures[0].payload == file.signatures[0].payload
                    && read.signatures[0].signature == file.signatures[0].signature;
                prop_assert_eq!(read.verify(&bytes, &[ours]).is_ok(), same);
            }
        }

        /// Guarantees: no bytes make reading a signature file panic.
        #[test]
        fn survives_noise(bytes: Vec<u8>) {
            drop(SignatureFile::parse(&bytes));
        }
    }
}
