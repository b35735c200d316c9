//! Signature files, public and private keys, lock files. The first byte says which it is.
//!
//! What must hold: no panic; what is read can be written, and then reads the same; of what was changed, nothing verifies.

#![no_main]

use libfuzzer_sys::fuzz_target;
use salve_distribution::{
    Digest, LockEntry, LockError, LockFile, PrivateKey, PublicKey, Publisher, SignatureFile,
};
use salve_fuzz::{seeds, wasm};
use salve_plugins::Manifest;
use std::sync::OnceLock;

/// Made for this; it vouches for nothing else.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgAdwuS/xTDm5X0x8W
A4jpwIoROQCfPjbfKeClw1DAYFihRANCAAQSPG3JxAiF0WI3a9O7iYMQaLH6VmUo
NFqS73Ow0br5dhZCwY8V4HSY3DOVLnS/hrq2wVxwvS2LjUaf7Jj074DW
-----END PRIVATE KEY-----
";

struct Signed {
    component: Vec<u8>,
    publishers: [Publisher; 1],
    signature: SignatureFile,
}

/// A component that somebody has signed.
fn signed() -> &'static Signed {
    static SIGNED: OnceLock<Signed> = OnceLock::new();
    SIGNED.get_or_init(|| {
        let manifest = "name = 'a'\nversion = '0.1.0'\nrole = 'agent'\nsummary = 'S'\n";
        let manifest = Manifest::from_toml(manifest).expect("a manifest");
        let section = manifest.to_section().expect("a short manifest");
        let component = wasm::with_custom(&wasm::COMPONENT, "salve:manifest", &section);
        let key = PrivateKey::from_pem(KEY, None).expect("a key");
        let signature = SignatureFile::sign(&component, &manifest, &key).expect("a component can be signed");
        let publishers = [Publisher { name: "somebody".into(), key: key.public() }];
        signature.verify(&component, &publishers).expect("what was signed verifies");
        Signed { component, publishers, signature }
    })
}

fn make_seeds() -> Vec<Vec<u8>> {
    let Signed { component, publishers: [publisher], signature } = signed();
    let lock = format!(
        "format = 1\n[[plugin]]\nname = 'a'\nversion = '1.2.3'\nrole = 'action'\ndigest = '{digest}'\nprevious = ['{digest}']\n\
         publisher = '{}'\nsource = 'oci://localhost/a'\nlowest_version = '1.0.0'\n",
        publisher.key.id(),
        digest = Digest::of(component),
    );
    assert_eq!(lock_file(lock.as_bytes()).expect("a lock file").entries().count(), 1);
    let with = |which: u8, bytes: &[u8]| [&[which], bytes].concat();
    vec![
        with(0, &signature.to_bytes().expect("a signature file")),
        with(1, publisher.key.to_pem().as_bytes()),
        with(2, KEY.as_bytes()),
        with(3, lock.as_bytes()),
    ]
}

fn lock_file(bytes: &[u8]) -> Result<LockFile, LockError> {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let path = FOLDER.get_or_init(seeds::folder).path().join("salve-plugins.lock");
    std::fs::write(&path, bytes).expect("the file can be written");
    let read = LockFile::load(&path)?;
    // Another entry makes it be written.
    let entry = read.entries().next().cloned();
    if let Some(entry) = entry {
        LockFile::update(&path, |lock| {
            lock.insert(LockEntry { name: "another".into(), ..entry });
            Ok::<_, LockError>(())
        })
        .expect("what was read can be written");
        let again = LockFile::load(&path).expect("what was written can be read");
        assert!(read.entries().all(|entry| entry.name == "another" || again.get(&entry.name) == Some(entry)));
    }
    Ok(read)
}

fuzz_target!(init: seeds::write(make_seeds), |bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 4 {
        0 => {
            let Ok(read) = SignatureFile::parse(bytes) else { return };
            let Signed { component, publishers, signature } = signed();
            let written = read.to_bytes().expect("what was read can be written");
            assert_eq!(SignatureFile::parse(&written).ok().as_ref(), Some(&read));
            if read.verify(component, publishers).is_ok() {
                assert_eq!(read.manifest_digest(), signature.manifest_digest(), "another statement than was signed");
            }
        }
        1 => {
            let Ok(key) = PublicKey::from_pem(&String::from_utf8_lossy(bytes)) else { return };
            assert!(PublicKey::from_pem(&key.to_pem()).is_ok_and(|again| again == key));
            assert!(!key.verifies(b"nothing", b"nothing"));
        }
        2 => {
            let Ok(key) = PrivateKey::from_pem(&String::from_utf8_lossy(bytes), None) else { return };
            let signature = key.sign(b"something").expect("a key that was read signs");
            assert!(key.public().verifies(b"something", &signature));
        }
        _ => drop(lock_file(bytes)),
    }
});
