//! Keys as sigstore's tools have them: ECDSA on P-256 with SHA-256, in PEM.
//!
//! ## What always holds
//! - a private key is never printed: not by `Debug`, not in an error
//! - a key is named by its id, the SHA-256 of its public half as `SubjectPublicKeyInfo`

use crate::{digest::Digest, pem, sealed};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
    },
};
use serde::{Deserialize, Serialize};
use std::fmt;

pub use sealed::SealError;

/// `SubjectPublicKeyInfo` of a P-256 key up to its point (RFC 5480): algorithm ecPublicKey, curve secp256r1, bit string.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point.
const POINT_BYTES: usize = 65;

const PUBLIC: &str = "PUBLIC KEY";
const PRIVATE: &str = "PRIVATE KEY";
const SEALED: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// What cosign wrote before 2.0.
const SEALED_OLD: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No PEM, or of something else.
    #[error("this is no {expected} in PEM{}", found.as_ref().map(|label| format!(", but `{label}`")).unwrap_or_default())]
    Pem {
        /// What was to be read.
        expected: &'static str,
        /// The label that is there.
        found: Option<String>,
    },
    /// A key of another kind.
    #[error("the key is not ECDSA on the curve P-256")]
    Kind,
    /// It is encrypted, and no password was given.
    #[error("the private key is encrypted")]
    PasswordNeeded,
    /// The password does not open it, or it is damaged.
    #[error("cannot open the private key")]
    Sealed(#[source] SealError),
    /// The system gives no random numbers.
    #[error("cannot make a key: the system gives no random numbers")]
    Random,
    /// It cannot sign.
    #[error("cannot sign with this key")]
    Sign,
}

impl KeyError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Pem { found: Some(label), .. } if label.contains("PRIVATE") => {
                "Give the file that ends in `.pub`; keep the private key to yourself.".into()
            }
            Self::Pem { .. } | Self::Kind => {
                "Make a key pair by `salve plugin keygen` or `cosign generate-key-pair`.".into()
            }
            Self::PasswordNeeded | Self::Sealed(SealError::Password) => {
                "Give its password in SALVE_KEY_PASSWORD, or by --password-stdin.".into()
            }
            Self::Sealed(_) | Self::Random | Self::Sign => return None,
        })
    }
}

/// Names a public key: SHA-256 of its `SubjectPublicKeyInfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub Digest);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The half that everybody may know.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// `SubjectPublicKeyInfo`, whole.
    der: Vec<u8>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

impl PublicKey {
    /// Reads PEM as `cosign generate-key-pair` and `openssl ec -pubout` write it.
    ///
    /// # Errors
    /// [`KeyError`]: it is no public key, or one of another kind.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        match pem::decode(text) {
            Some((label, der)) if label == PUBLIC => {
                let point = der.strip_prefix(&P256_PREFIX).ok_or(KeyError::Kind)?;
                if point.len() == POINT_BYTES && point.first() == Some(&4) {
                    Ok(Self { der })
                } else {
                    Err(KeyError::Kind)
                }
            }
            other => Err(KeyError::Pem { expected: "public key", found: other.map(|(label, _)| label) }),
        }
    }

    /// As PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(PUBLIC, &self.der)
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(&self.der))
    }

    /// Whether the owner of the key has signed `message`. `signature` is in ASN.1, as cosign has it.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let point = self.der.strip_prefix(&P256_PREFIX).unwrap_or_default();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
    }
}

/// The half that its owner alone has.
pub struct PrivateKey {
    pkcs8: Vec<u8>,
    pair: EcdsaKeyPair,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public().id())
    }
}

impl PrivateKey {
    /// A new one.
    ///
    /// # Errors
    /// [`KeyError::Random`]
    pub fn generate() -> Result<Self, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Random)?;
        Self::from_pkcs8(document.as_ref().to_vec())
    }

    fn from_pkcs8(pkcs8: Vec<u8>) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &SystemRandom::new())
            .map_err(|_| KeyError::Kind)?;
        Ok(Self { pkcs8, pair })
    }

    /// Reads PEM: plain PKCS #8, or encrypted as cosign does.
    ///
    /// # Errors
    /// [`KeyError`]: it is no private key, needs a password, or another one.
    pub fn from_pem(text: &str, password: Option<&[u8]>) -> Result<Self, KeyError> {
        match pem::decode(text) {
            Some((label, pkcs8)) if label == PRIVATE => Self::from_pkcs8(pkcs8),
            Some((label, sealed)) if label == SEALED || label == SEALED_OLD => {
                let password = password.ok_or(KeyError::PasswordNeeded)?;
                Self::from_pkcs8(sealed::open(&sealed, password).map_err(KeyError::Sealed)?)
            }
            other => Err(KeyError::Pem { expected: "private key", found: other.map(|(label, _)| label) }),
        }
    }

    /// As PEM, encrypted if there is a password.
    ///
    /// # Errors
    /// If it cannot be encrypted.
    pub fn to_pem(&self, password: Option<&[u8]>) -> Result<String, KeyError> {
        Ok(match password {
            None => pem::encode(PRIVATE, &self.pkcs8),
            Some(password) => {
                pem::encode(SEALED, &sealed::seal(&self.pkcs8, password).map_err(KeyError::Sealed)?)
            }
        })
    }

    /// The other half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey { der: [P256_PREFIX.as_slice(), self.pair.public_key().as_ref()].concat() }
    }

    /// Signs, in ASN.1.
    ///
    /// # Errors
    /// [`KeyError::Sign`]
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Sign)?;
        Ok(signature.as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key pair that OpenSSL made (`openssl ecparam -name prime256v1 -genkey | openssl pkcs8 -topk8 -nocrypt`), and
    /// its signature of `hello`. Test data: it signs nothing else.
    const OPENSSL_PRIVATE: &str = include_str!("../tests/data/openssl-test-only.key");
    const OPENSSL_PUBLIC: &str = include_str!("../tests/data/openssl-test-only.pub");
    const OPENSSL_SIGNATURE: &[u8] = include_bytes!("../tests/data/openssl-test-only.sig");

    /// Guarantees: keys and signatures of OpenSSL, and so of everything that follows the standards, are understood.
    #[test]
    fn understands_openssl() {
        let public = PublicKey::from_pem(OPENSSL_PUBLIC).unwrap();
        let private = PrivateKey::from_pem(OPENSSL_PRIVATE, None).unwrap();
        assert_eq!(private.public(), public);
        assert!(public.verifies(b"hello", OPENSSL_SIGNATURE));
        assert!(!public.verifies(b"hullo", OPENSSL_SIGNATURE));
        assert_eq!(public.to_pem(), OPENSSL_PUBLIC);
    }

    /// Guarantees: a key is read back from both forms; the wrong password and no password have errors of their own.
    #[test]
    fn round_trip() {
        let key = PrivateKey::generate().unwrap();
        for password in [None, Some(b"pass".as_slice())] {
            let pem = key.to_pem(password).unwrap();
            let read = PrivateKey::from_pem(&pem, password).unwrap();
            assert!(key.public().verifies(b"m", &read.sign(b"m").unwrap()));
        }
        let sealed = key.to_pem(Some(b"pass")).unwrap();
        assert!(sealed.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
        assert!(matches!(PrivateKey::from_pem(&sealed, None), Err(KeyError::PasswordNeeded)));
        let wrong = PrivateKey::from_pem(&sealed, Some(b"x")).unwrap_err();
        assert!(wrong.hint().is_some_and(|hint| hint.contains("SALVE_KEY_PASSWORD")));
    }

    /// Guarantees: nothing of the private half is in what `Debug` prints.
    #[test]
    fn debug_tells_no_secret() {
        let key = PrivateKey::generate().unwrap();
        let secret = pem::encode("", &key.pkcs8);
        let line = secret.lines().nth(1).unwrap().to_owned();
        assert!(!format!("{key:?}").contains(&line));
        assert_eq!(format!("{key:?}"), format!("PrivateKey(of {})", key.public().id()));
    }

    /// Guarantees: other keys and other text are refused, with a way out where a person mixed up the halves.
    #[test]
    fn refuses_other_keys() {
        let private = PrivateKey::generate().unwrap().to_pem(None).unwrap();
        let mixed_up = PublicKey::from_pem(&private).unwrap_err();
        assert_eq!(mixed_up.to_string(), "this is no public key in PEM, but `PRIVATE KEY`");
        assert!(mixed_up.hint().is_some_and(|hint| hint.contains(".pub")));
        let other = pem::encode(PUBLIC, &[0x30; 91]);
        assert!(matches!(PublicKey::from_pem(&other), Err(KeyError::Kind)));
        assert!(PublicKey::from_pem("").is_err());
    }
}
