//! Making keys, signing, verifying: all of it without a network.

use crate::support::{Author, command, operator, refused, text, with_input};
use anyhow::Result;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

/// Scenario: a key pair with a password, and one without.
/// Guarantees: the private key is its owner's file alone and is never printed; leaving the password out has to be said;
/// existing keys are not overwritten; a wrong password signs nothing.
#[test]
fn private_keys_are_kept() -> Result<()> {
    let author = Author::new()?;
    let plain = std::fs::read_to_string(author.path("key.key"))?;
    assert!(plain.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert_eq!(std::fs::metadata(author.path("key.key"))?.permissions().mode() & 0o777, 0o600);

    let bare = author.salve(&["plugin", "keygen", "--out"], &author.path("bare"))?;
    refused(&bare, &["there is no password", "--unencrypted"])?;
    assert!(!author.path("bare.key").exists());

    let mut keygen = command(&["plugin", "keygen", "--password-stdin", "--out"]);
    keygen.arg(author.path("sealed"));
    let made = with_input(keygen, "correct horse\n")?;
    assert!(made.status.success(), "{}", text(&made));
    let sealed = std::fs::read_to_string(author.path("sealed.key"))?;
    assert!(sealed.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
    assert_eq!(std::fs::metadata(author.path("sealed.key"))?.permissions().mode() & 0o777, 0o600);
    for secret in plain.lines().chain(sealed.lines()).filter(|line| !line.starts_with("-----")) {
        assert!(!text(&made).contains(secret));
    }

    let again = author.salve(&["plugin", "keygen", "--unencrypted", "--out"], &author.path("key"))?;
    assert!(!again.status.success());
    assert_eq!(std::fs::read_to_string(author.path("key.key"))?, plain);

    let component = author.component("probe", "1.0.0", "action")?;
    let sign = |password: Option<&str>| -> Result<_> {
        let mut sign = command(&["plugin", "sign", "--key"]);
        sign.arg(author.path("sealed.key")).arg(&component);
        sign.envs(password.map(|password| ("SALVE_KEY_PASSWORD", password)));
        Ok(sign.output()?)
    };
    refused(&sign(None)?, &["is encrypted", "SALVE_KEY_PASSWORD"])?;
    refused(&sign(Some("wrong"))?, &["the password does not open the key"])?;
    assert!(!component.with_extension("wasm.sig").exists());
    let signed = sign(Some("correct horse"))?;
    assert!(signed.status.success(), "{}", text(&signed));
    Ok(())
}

/// Scenario: a component is verified by its publisher's key, by another's, after it was changed, and unsigned.
/// Guarantees: exit code 0 for the first alone, 1 for the others, with the reason on both channels' forms; no network and
/// no configuration is needed.
#[test]
fn verifies_offline() -> Result<()> {
    let (author, other) = (Author::new()?, Author::new()?);
    let component = author.signed("probe", "1.0.0", "action")?;
    let verify = |component: &std::path::Path, key: std::path::PathBuf, json: bool| -> Result<_> {
        let mut verify = command(&["plugin", "verify", "--key"]);
        verify.arg(key).arg(component).args(json.then_some("--json"));
        Ok(verify.output()?)
    };
    let good = verify(&component, author.path("key.pub"), true)?;
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
    let said: Value = serde_json::from_slice(&good.stdout)?;
    assert_eq!((&said["verified"], &said["identity"]["basis"]), (&true.into(), &"signed".into()));

    let strange = verify(&component, other.path("key.pub"), false)?;
    assert_eq!(strange.status.code(), Some(1));
    refused(&strange, &["is not signed by a trusted publisher", "by no known publisher"])?;

    let signature = component.with_extension("wasm.sig");
    let newer = author.component("probe", "1.1.0", "action")?;
    std::fs::copy(&signature, newer.with_extension("wasm.sig"))?;
    let changed = verify(&newer, author.path("key.pub"), true)?;
    assert_eq!(changed.status.code(), Some(1));
    let said: Value = serde_json::from_slice(&changed.stdout)?;
    assert_eq!(said["verified"], false);
    assert!(
        said["why"].as_str().is_some_and(|why| why.contains("the signature is for a component with digest")),
        "{said}"
    );

    std::fs::remove_file(&signature)?;
    refused(&verify(&component, author.path("key.pub"), false)?, &["is not signed by a trusted publisher"])?;
    // The halves mixed up, and a file that is no plugin.
    refused(&verify(&component, author.path("key.key"), false)?, &["no public key", "`PRIVATE KEY`"])?;
    assert_eq!(verify(&author.path("key.pub"), author.path("key.pub"), false)?.status.code(), Some(2));
    Ok(())
}

/// Scenario: configurations with publishers that cannot be used, and with development on for a target elsewhere.
/// Guarantees: each is refused before anything runs, and named.
#[test]
fn bad_publishers_are_refused() -> Result<()> {
    let author = Author::new()?;
    let ours = author.publisher("ours");
    for (config, expected) in [
        ("[[publisher]]\nname = \"a\"\nkey = \"nowhere.pub\"\n".to_owned(), "publisher `a`: cannot read"),
        (ours.replace("key.pub", "key.key"), "but `PRIVATE KEY`"),
        (format!("{ours}{ours}"), "[[publisher]] `ours` is there twice"),
        (format!("{ours}{}", ours.replace("ours", "theirs")), "`ours` has the same key"),
        (ours.replace("key =", "keys ="), "did you mean `key`"),
        (
            "dev = true\n[[target]]\nid = \"t\"\nhttp = { base_url = \"https://shop.example\" }\n".into(),
            "target `t`: plugins.dev = true",
        ),
        (
            "[[grant]]\nplugin = \"probe\"\ncapability = \"process\"\nverbs = []\ntargets = []\ndigest = \"x\"\n".into(),
            "grant `probe`: digest: a digest is",
        ),
    ] {
        let daemon = operator(&config)?;
        let doctor = daemon.salve(&["doctor"])?;
        assert_eq!(doctor.status.code(), Some(1));
        assert!(text(&doctor).contains(expected), "{expected}: {}", text(&doctor));
    }
    let local =
        operator("dev = true\n[[target]]\nid = \"t\"\nhttp = { base_url = \"http://127.0.0.1:1\" }\n")?;
    assert!(!text(&local.salve(&["doctor"])?).contains("must be on this machine"));
    Ok(())
}
