//! Signatures over a component itself, as `cosign sign-blob` writes them: base64 alone, or a bundle in JSON.
//!
//! They say less than those of `salve plugin sign`: there is no statement about an artifact of a registry, so none can be pushed
//! with them.
//!
//! Source: cosign's `sign-blob`, and sigstore's protobuf specification of the bundle (`messageSignature`).

use crate::{Digest, signature::SignatureError, trust::Publisher};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// One signature over a component's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentSignature {
    signature: Vec<u8>,
    /// What was signed, if the file says so.
    digest: Option<Digest>,
}

/// What counts of a bundle: certificates and log entries are for signatures without keys.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message_signature: Option<Message>,
    /// Of cosign's own bundles, before sigstore had one for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64_signature: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message_digest: Option<MessageDigest>,
    signature: String,
}

#[derive(Serialize, Deserialize)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

/// Sigstore's word for SHA-256.
const SHA256: &str = "SHA2_256";

impl ContentSignature {
    /// Reads it; none if the bytes are nothing of the kind.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.trim();
        let decode = |text: &str| STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty());
        if !text.starts_with('{') {
            return Some(Self { signature: decode(text)?, digest: None });
        }
        let bundle: Bundle = serde_json::from_str(text).ok()?;
        if let Some(signature) = bundle.base64_signature {
            return Some(Self { signature: decode(&signature)?, digest: None });
        }
        let message = bundle.message_signature?;
        let digest = match message.message_digest {
            Some(digest) if digest.algorithm == SHA256 => Some(Digest::from_bytes(&decode(&digest.digest)?)?),
            Some(_) => return None,
            None => None,
        };
        Some(Self { signature: decode(&message.signature)?, digest })
    }

    /// In the same form.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, SignatureError> {
        let signature = STANDARD.encode(&self.signature);
        let Some(digest) = self.digest else { return Ok(format!("{signature}\n").into_bytes()) };
        let message_digest =
            Some(MessageDigest { algorithm: SHA256.into(), digest: STANDARD.encode(digest.bytes()) });
        let bundle =
            Bundle { message_signature: Some(Message { message_digest, signature }), base64_signature: None };
        serde_json::to_vec(&bundle).map_err(|error| SignatureError::Form(error.to_string()))
    }

    /// Which of these publishers has signed just this component.
    pub(crate) fn verify<'p>(
        &self,
        component: &[u8],
        publishers: &'p [Publisher],
    ) -> Result<&'p Publisher, SignatureError> {
        let found = Digest::of(component);
        if let Some(signed) = self.digest.filter(|signed| *signed != found) {
            return Err(SignatureError::OtherComponent { signed, found });
        }
        publishers
            .iter()
            .find(|publisher| publisher.key.verifies(component, &self.signature))
            .ok_or(SignatureError::UnknownKey { keys: Vec::new() })
    }
}
