//! A private key under a password, in the form that sigstore's tools write and read: scrypt for the key, NaCl's
//! secretbox (XSalsa20, Poly1305) around the content, JSON around both.
//!
//! Source: the package `encrypted` of go-securesystemslib, which cosign uses.

use base64::{Engine, engine::general_purpose::STANDARD};
use crypto_secretbox::{
    KeyInit, XSalsa20Poly1305,
    aead::{Aead, generic_array::GenericArray},
};
use serde::{Deserialize, Serialize};

/// Cost of a guess: 2^16 rounds of 8 KiB blocks are 64 MiB and about 0.2 s.
const LOG_N: u8 = 16;
/// A file may ask for so much and no more: 256 MiB.
const LOG_N_MAX: u8 = 18;
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

#[derive(Serialize, Deserialize)]
struct Sealed {
    kdf: Derivation,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Derivation {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Why a sealed key stays closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is not written in this form.
    #[error("the encrypted key is damaged: {0}")]
    Form(String),
    /// The password is another one, or a bit has changed.
    #[error("the password does not open the key")]
    Password,
    /// No random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// Seals `content`.
pub(crate) fn seal(content: &[u8], password: &[u8]) -> Result<Vec<u8>, SealError> {
    let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
    getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut nonce)).map_err(|_| SealError::Random)?;
    let ciphertext = cipher(password, &salt, LOG_N, 8, 1)?
        .encrypt(GenericArray::from_slice(&nonce), content)
        .map_err(|_| SealError::Form("it cannot be encrypted".into()))?;
    let sealed = Sealed {
        kdf: Derivation {
            name: "scrypt".into(),
            params: Cost { n: 1 << LOG_N, r: 8, p: 1 },
            salt: STANDARD.encode(salt),
        },
        cipher: Cipher { name: "nacl/secretbox".into(), nonce: STANDARD.encode(nonce) },
        ciphertext: STANDARD.encode(ciphertext),
    };
    serde_json::to_vec(&sealed).map_err(|error| SealError::Form(error.to_string()))
}

/// Opens what [`seal`] or sigstore's tools have sealed.
pub(crate) fn open(sealed: &[u8], password: &[u8]) -> Result<Vec<u8>, SealError> {
    let form = |what: &str| SealError::Form(what.to_owned());
    let sealed: Sealed = serde_json::from_slice(sealed).map_err(|_| form("it is not the expected JSON"))?;
    if sealed.kdf.name != "scrypt" || sealed.cipher.name != "nacl/secretbox" {
        return Err(form("it is not sealed by scrypt and NaCl's secretbox"));
    }
    let Cost { n, r, p } = sealed.kdf.params;
    let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
    if !n.is_power_of_two()
        || !(10..=LOG_N_MAX).contains(&log_n)
        || !(1..=16).contains(&r)
        || !(1..=4).contains(&p)
    {
        return Err(form("its cost is out of bounds"));
    }
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| form("it is not base64"));
    let nonce = decode(&sealed.cipher.nonce)?;
    if nonce.len() != NONCE_BYTES {
        return Err(form("its nonce has the wrong length"));
    }
    cipher(password, &decode(&sealed.kdf.salt)?, log_n, r, p)?
        .decrypt(GenericArray::from_slice(&nonce), decode(&sealed.ciphertext)?.as_slice())
        .map_err(|_| SealError::Password)
}

fn cipher(password: &[u8], salt: &[u8], log_n: u8, r: u32, p: u32) -> Result<XSalsa20Poly1305, SealError> {
    let bounds = |_| SealError::Form("its cost is out of bounds".into());
    let params = scrypt::Params::new(log_n, r, p, 32).map_err(bounds)?;
    let mut key = [0; 32];
    scrypt::scrypt(password, salt, &params, &mut key)
        .map_err(|_| SealError::Form("its cost is out of bounds".into()))?;
    Ok(XSalsa20Poly1305::new(GenericArray::from_slice(&key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: only the password that sealed opens; every changed byte of the content is noticed.
    #[test]
    fn opens_by_the_password_alone() {
        let sealed = seal(b"the key", b"right").unwrap();
        assert_eq!(open(&sealed, b"right").unwrap(), b"the key");
        assert_eq!(open(&sealed, b"wrong"), Err(SealError::Password));
        let text = String::from_utf8(sealed).unwrap();
        assert!(!text.contains("the key"));
        let greedy = text.replace("\"N\":65536", "\"N\":1073741824");
        assert!(matches!(open(greedy.as_bytes(), b"right"), Err(SealError::Form(_))));
        let cut = &text.as_bytes()[..text.len() / 2];
        assert!(matches!(open(cut, b"right"), Err(SealError::Form(_))));
    }
}
