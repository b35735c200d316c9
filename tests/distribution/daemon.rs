//! What a running daemon lets in.

use crate::support::{Author, component, digest, operator, text, trust};
use anyhow::{Context, Result};
use salve_tests::daemon::Daemon;
use serde_json::Value;
use std::path::Path;

/// Puts a file into the plugin folder as a careful user does: whole.
fn put(daemon: &Daemon, name: &str, content: &[u8]) -> Result<()> {
    let partial = daemon.path("plugins/partial");
    std::fs::write(&partial, content)?;
    Ok(std::fs::rename(partial, daemon.path("plugins").join(name))?)
}

/// Puts a component and its signature.
fn put_signed(daemon: &Daemon, name: &str, from: &Path) -> Result<()> {
    put(daemon, &format!("{name}.wasm.sig"), &std::fs::read(from.with_extension("wasm.sig"))?)?;
    put(daemon, &format!("{name}.wasm"), &std::fs::read(from)?)
}

/// What `salve plugin list` says about plugins of this name.
fn listed(daemon: &Daemon, name: &str) -> Result<Vec<Value>> {
    let plugins = daemon.json(&["plugin", "list", "--json"])?;
    Ok(plugins
        .as_array()
        .context("no list")?
        .iter()
        .filter(|plugin| plugin["name"] == name)
        .cloned()
        .collect())
}

/// Waits until the plugin is loaded in this version.
async fn loaded(daemon: &mut Daemon, name: &str, version: &str) -> Result<()> {
    let what = format!("`{name}` {version} is loaded");
    daemon
        .wait(&what, |daemon| {
            let plugins = listed(daemon, name)?;
            Ok(plugins.iter().any(|plugin| plugin["version"] == version && plugin["state"] != "refused"))
        })
        .await
}

/// Waits until a file is refused with these words.
async fn refused_with(daemon: &mut Daemon, name: &str, words: &str) -> Result<()> {
    let what = format!("`{name}` is refused: {words}");
    daemon
        .wait(&what, |daemon| {
            let plugins = listed(daemon, name)?;
            let said =
                |plugin: &Value| plugin["summary"].as_str().is_some_and(|summary| summary.contains(words));
            Ok(plugins.iter().any(|plugin| plugin["state"] == "refused" && said(plugin)))
        })
        .await
}

/// Scenario: an unsigned component is dropped into the folder of a running daemon; then it is signed where it is.
/// Guarantees: it does not load, and log, `plugin list` and `doctor` say why and what to do; with the signature it loads
/// without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn unsigned_is_refused_until_signed() -> Result<()> {
    let author = Author::new()?;
    let mut daemon = operator(&author.publisher("ours"))?;
    daemon.start().await?;
    put(&daemon, "probe.wasm", &component("probe", "1.0.0", "action")?)?;
    refused_with(&mut daemon, "probe", "is not signed by a trusted publisher").await?;
    let doctor = daemon.salve(&["doctor"])?;
    assert_eq!(doctor.status.code(), Some(1));
    let said = text(&doctor);
    assert!(
        said.contains("is not signed by a trusted publisher") && said.contains("salve plugin pin FILE"),
        "{said}"
    );
    assert!(daemon.log().contains("is not signed by a trusted publisher"));

    author.sign(&daemon.path("plugins/probe.wasm"))?;
    loaded(&mut daemon, "probe", "1.0.0").await?;
    assert!(!text(&daemon.salve(&["doctor"])?).contains("is not signed"));
    Ok(())
}

/// Scenario: a loaded plugin's file is replaced by another publisher's, by one of another role, by one with a signature
/// for something else; then by a genuine newer one.
/// Guarantees: each wrong one is refused with its reason and the old version goes on; the genuine one takes over.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_publisher_replaces_a_plugin() -> Result<()> {
    let (ours, theirs) = (Author::new()?, Author::new()?);
    let mut daemon = operator(&format!("{}{}", ours.publisher("ours"), theirs.publisher("theirs")))?;
    daemon.start().await?;
    let first = ours.signed("probe", "1.0.0", "action")?;
    put_signed(&daemon, "probe", &first)?;
    loaded(&mut daemon, "probe", "1.0.0").await?;
    let digests = |daemon: &Daemon| -> Result<Vec<Value>> {
        Ok(listed(daemon, "probe")?
            .iter()
            .filter(|plugin| plugin["state"] != "refused")
            .map(|plugin| plugin["digest"].clone())
            .collect())
    };
    let before = digests(&daemon)?;

    put_signed(&daemon, "probe", &theirs.signed("probe", "2.0.0", "action")?)?;
    refused_with(&mut daemon, "probe", "this plugin is signed by `theirs`").await?;
    assert_eq!(digests(&daemon)?, before);
    put_signed(&daemon, "probe", &ours.signed("probe", "2.0.0", "agent")?)?;
    refused_with(&mut daemon, "probe", "was of role action and is now of role agent").await?;
    assert_eq!(digests(&daemon)?, before);
    put(&daemon, "probe.wasm", &component("probe", "2.1.0", "action")?)?;
    refused_with(&mut daemon, "probe", "the signature is for a component with digest").await?;
    assert_eq!(digests(&daemon)?, before);

    put_signed(&daemon, "probe", &ours.signed("probe", "1.1.0", "action")?)?;
    loaded(&mut daemon, "probe", "1.1.0").await?;

    // After a restart the name is still its publisher's, although no lock file says so.
    daemon.signal(rustix::process::Signal::TERM)?;
    daemon.ended().await?;
    put_signed(&daemon, "probe", &theirs.signed("probe", "2.0.0", "action")?)?;
    daemon.start().await?;
    refused_with(&mut daemon, "probe", "this plugin is signed by `theirs`").await
}

/// Scenario: a plugin runs; the operator raises its lowest version in the lock file, then takes its publisher's key out
/// of the configuration.
/// Guarantees: what is below, or no longer trusted, is unloaded while the daemon runs, and does not come back.
#[tokio::test(flavor = "multi_thread")]
async fn trust_can_be_taken_back() -> Result<()> {
    let author = Author::new()?;
    let mut daemon = operator(&author.publisher("ours"))?;
    let old = author.signed("probe", "1.0.0", "action")?;
    let pull = |daemon: &Daemon, path: &Path, more: &[&str]| -> Result<_> {
        let path = path.to_str().context("path")?;
        daemon.salve(&[&["plugin", "pull", path], more].concat())
    };
    assert!(pull(&daemon, &old, &[])?.status.success());
    daemon.start().await?;
    loaded(&mut daemon, "probe", "1.0.0").await?;

    let lock = daemon.path("plugins/salve-plugins.lock");
    let raised =
        std::fs::read_to_string(&lock)?.replace("lowest_version = \"1.0.0\"", "lowest_version = \"1.0.1\"");
    std::fs::write(&lock, raised)?;
    refused_with(&mut daemon, "probe", "nothing below 1.0.1 may load").await?;
    assert!(listed(&daemon, "probe")?.iter().all(|plugin| plugin["stage"] != "active"), "it is unloaded");

    let new = author.signed("probe", "1.1.0", "action")?;
    assert!(pull(&daemon, &new, &[])?.status.success());
    loaded(&mut daemon, "probe", "1.1.0").await?;
    let downgrade = pull(&daemon, &old, &[])?;
    assert!(
        !downgrade.status.success() && text(&downgrade).contains("nothing below 1.0.1"),
        "{}",
        text(&downgrade)
    );
    // Past the command line, too.
    put_signed(&daemon, "probe", &old)?;
    refused_with(&mut daemon, "probe", "nothing below 1.0.1 may load").await?;
    loaded(&mut daemon, "probe", "1.1.0").await?;

    put_signed(&daemon, "probe", &new)?;
    daemon
        .wait("nothing is refused", |daemon| {
            Ok(!listed(daemon, "probe")?.iter().any(|plugin| plugin["state"] == "refused"))
        })
        .await?;
    trust(&daemon, "")?;
    refused_with(&mut daemon, "probe", "is not signed by a trusted publisher").await?;
    assert!(listed(&daemon, "probe")?.iter().all(|plugin| plugin["stage"] != "active"), "it is unloaded");
    Ok(())
}

/// Scenario: unsigned content, named by a grant, by `salve plugin pin`, or let in by `dev = true`.
/// Guarantees: each lets in just what it says: a grant and a pin only this digest.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_can_name_unsigned_content() -> Result<()> {
    let (one, two) = (component("probe", "1.0.0", "action")?, component("probe", "1.0.1", "action")?);
    let named = digest(&one)?;
    let grant = format!(
        "[[grant]]\nplugin = \"probe\"\ncapability = \"process\"\nverbs = [\"status\"]\ntargets = [\"*\"]\ndigest = \"{named}\"\n"
    );
    let mut daemon = operator(&grant)?;
    daemon.start().await?;
    put(&daemon, "probe.wasm", &two)?;
    refused_with(&mut daemon, "probe", "its grants name another").await?;
    put(&daemon, "probe.wasm", &one)?;
    loaded(&mut daemon, "probe", "1.0.0").await?;

    // The grant goes, and with it the plugin.
    trust(&daemon, "")?;
    refused_with(&mut daemon, "probe", "is not signed by a trusted publisher").await?;
    let path = daemon.path("plugins/probe.wasm");
    let pinned = daemon.salve(&["plugin", "pin", path.to_str().context("path")?])?;
    assert!(pinned.status.success(), "{}", text(&pinned));
    loaded(&mut daemon, "probe", "1.0.0").await?;
    put(&daemon, "probe.wasm", &two)?;
    refused_with(&mut daemon, "probe", "is not signed by a trusted publisher").await?;
    loaded(&mut daemon, "probe", "1.0.0").await?;

    trust(&daemon, "dev = true\n")?;
    loaded(&mut daemon, "probe", "1.0.1").await?;
    let doctor = daemon.salve(&["doctor"])?;
    assert!(text(&doctor).contains("plugins.dev = true"), "{}", text(&doctor));
    Ok(())
}

/// Scenario: plugins that are signed, signed by a stranger, unsigned, pinned and let in for development lie in the folder.
/// Guarantees: `plugin grants` says of each who vouches for it, as loading finds it, in at most eight lines, without a daemon.
#[test]
fn grants_say_whose_a_plugin_is() -> Result<()> {
    let (author, stranger) = (Author::new()?, Author::new()?);
    let publishers = author.publisher("ours");
    let daemon = operator(&publishers)?;
    put_signed(&daemon, "signed", &author.signed("signed", "1.0.0", "action")?)?;
    put_signed(&daemon, "strange", &stranger.signed("strange", "1.0.0", "action")?)?;
    let (pinned, named) = (component("pinned", "1.0.0", "action")?, component("named", "1.0.0", "action")?);
    put(&daemon, "pinned.wasm", &pinned)?;
    put(&daemon, "named.wasm", &named)?;
    let who = |name: &str, words: &str| -> Result<()> {
        let said = text(&daemon.salve(&["plugin", "grants", name])?);
        let first = said.lines().next().unwrap_or_default();
        assert!(first.starts_with("who ") && first.contains(words) && said.lines().count() <= 8, "{said}");
        Ok(())
    };
    who("signed", "signed by ours (key ")?;
    let json = daemon.json(&["plugin", "grants", "signed", "--json"])?;
    assert_eq!(
        (&json["identity"]["publisher"], &json["identity"]["basis"]),
        (&"ours".into(), &"signed".into())
    );
    who("strange", "MAY NOT LOAD: plugin `strange` is not signed by a trusted publisher")?;
    who("pinned", "MAY NOT LOAD: plugin `pinned` is not signed by a trusted publisher")?;
    let path = daemon.path("plugins/pinned.wasm");
    let done = daemon.salve(&["plugin", "pin", path.to_str().context("path")?])?;
    assert!(done.status.success(), "{}", text(&done));
    who("pinned", "not signed; the lock file names its digest")?;
    let grant = format!(
        "[[grant]]\nplugin = \"named\"\ncapability = \"process\"\nverbs = [\"status\"]\ntargets = [\"*\"]\ndigest = \"{}\"\n",
        digest(&named)?
    );
    trust(&daemon, &format!("{publishers}{grant}"))?;
    who("named", "not signed; a grant names its digest")?;
    trust(&daemon, &format!("dev = true\n{publishers}"))?;
    who("named", "not signed; let in by plugins.dev")
}

/// Scenario: the lock file is damaged while a plugin runs.
/// Guarantees: what runs goes on, nothing new loads, and the status names the file; corrected, all is as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_lock_file_lets_nothing_new_in() -> Result<()> {
    let author = Author::new()?;
    let mut daemon = operator(&author.publisher("ours"))?;
    put_signed(&daemon, "probe", &author.signed("probe", "1.0.0", "action")?)?;
    daemon.start().await?;
    loaded(&mut daemon, "probe", "1.0.0").await?;
    put(&daemon, "salve-plugins.lock", b"format = 1\nplugins = []\n")?;
    put_signed(&daemon, "other", &author.signed("other", "1.0.0", "action")?)?;
    refused_with(&mut daemon, "other", "salve-plugins.lock` makes no sense").await?;
    loaded(&mut daemon, "probe", "1.0.0").await?;
    std::fs::remove_file(daemon.path("plugins/salve-plugins.lock"))?;
    daemon.salve(&["reload"])?;
    loaded(&mut daemon, "other", "1.0.0").await
}

/// Scenario: after a plugin has loaded, its signature's file is lost; then the copy that the daemon keeps is damaged.
/// Guarantees: the copy is as good as the file, since it is verified at each load; a damaged one is worth nothing.
#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_kept_for_a_way_back() -> Result<()> {
    let author = Author::new()?;
    let mut daemon = operator(&author.publisher("ours"))?;
    put_signed(&daemon, "probe", &author.signed("probe", "1.0.0", "action")?)?;
    daemon.start().await?;
    loaded(&mut daemon, "probe", "1.0.0").await?;
    std::fs::remove_file(daemon.path("plugins/probe.wasm.sig"))?;
    restart(&mut daemon).await?;
    loaded(&mut daemon, "probe", "1.0.0").await?;

    let kept: Vec<_> = std::fs::read_dir(daemon.path("state/signatures"))?.collect::<Result<_, _>>()?;
    assert_eq!(kept.len(), 1);
    std::fs::write(kept[0].path(), "{}")?;
    restart(&mut daemon).await?;
    refused_with(&mut daemon, "probe", "belongs to the publisher with key").await
}

async fn restart(daemon: &mut Daemon) -> Result<()> {
    daemon.signal(rustix::process::Signal::TERM)?;
    daemon.ended().await?;
    daemon.start().await
}
