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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Basis, PrivateKey, PublicKey, SignatureFile, Trust,
        signature::tests::{component, publisher},
        signature_path,
    };

    /// A key pair that cosign 2.6.5 made (`cosign generate-key-pair`, password `test-only`), and its signatures of `hello` in
    /// each form: `cosign sign-blob --key … --tlog-upload=false` with `--output-signature`, `--bundle`, and `--bundle
    /// --new-bundle-format`. Test data: it signs nothing else.
    const PRIVATE: &str = include_str!("../tests/data/cosign-test-only.key");
    const PUBLIC: &str = include_str!("../tests/data/cosign-test-only.pub");
    const FORMS: [&[u8]; 3] = [
        include_bytes!("../tests/data/cosign-test-only.sig"),
        include_bytes!("../tests/data/cosign-test-only.old-bundle.json"),
        include_bytes!("../tests/data/cosign-test-only.bundle.json"),
    ];

    fn cosign() -> Publisher {
        Publisher { name: "cosign".into(), key: PublicKey::from_pem(PUBLIC).unwrap() }
    }

    /// Guarantees: keys of cosign are understood, under their password; so are its signatures of a file in each form, for the
    /// content that was signed and no other, by its key and no other; what was read is written so that it reads the same.
    #[test]
    fn understands_cosign() {
        let key = PrivateKey::from_pem(PRIVATE, Some(b"test-only")).unwrap();
        assert_eq!(key.public(), cosign().key);
        assert!(PrivateKey::from_pem(PRIVATE, Some(b"another")).is_err());
        let (_, stranger) = publisher("stranger");
        let both = [stranger.clone(), cosign()];
        for form in FORMS {
            let read = SignatureFile::parse(form).unwrap();
            assert!(read.is_over_content());
            assert_eq!(read.verify(b"hello", &both).unwrap().name, "cosign");
            assert!(read.verify(b"hullo", &both).is_err());
            let unknown = read.verify(b"hello", std::slice::from_ref(&stranger));
            assert!(matches!(unknown, Err(SignatureError::UnknownKey { .. })));
            assert_eq!(SignatureFile::parse(&read.to_bytes().unwrap()).unwrap(), read);
        }
        // This form says what was signed, so that a change is told from a strange key.
        let bundle = SignatureFile::parse(FORMS[2]).unwrap();
        assert!(matches!(bundle.verify(b"hullo", &both), Err(SignatureError::OtherComponent { .. })));
    }

    /// Guarantees: a component that was signed as a file loads as one signed by Salve does, and a changed one does not.
    #[test]
    fn a_signed_file_is_let_in() {
        let (key, ours) = publisher("ours");
        let (bytes, manifest) = component("probe", "0.1.0", "action");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.wasm");
        let signature = STANDARD.encode(key.sign(&bytes).unwrap());
        std::fs::write(signature_path(&path), signature).unwrap();
        let trust = Trust { publishers: vec![ours], ..Trust::default() };
        let identity = trust.admit(&bytes, &manifest, &path).unwrap();
        assert_eq!((identity.basis, identity.key), (Basis::Signed, Some(key.public().id())));
        let (newer, manifest) = component("probe", "0.1.1", "action");
        assert!(trust.admit(&newer, &manifest, &path).is_err());
    }

    /// Guarantees: what is no signature of a file is not taken for one.
    #[test]
    fn other_forms() {
        let other = String::from_utf8(FORMS[2].to_vec()).unwrap();
        for text in [
            "",
            "{}",
            "not base64!",
            r#"{"messageSignature":{"signature":""}}"#,
            r#"{"dsseEnvelope":{}}"#,
            &other.replace("SHA2_256", "SHA2_512"),
            &other.replace("LPJNul", "LPJ"),
        ] {
            assert_eq!(ContentSignature::parse(text.as_bytes()), None, "{text}");
        }
    }
}
