//! Push and pull, against a real registry.

use crate::support::{Author, command, files, operator, pull, refused, text, with_input};
use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use salve_tests::{
    registry::{Registry, USER},
    world::client,
};
use serde_json::Value;

/// Scenario: a signed plugin is pushed, then pulled by tag, by digest, and on another machine by the lock file.
/// Guarantees: what arrives is what was sent; the lock file says what and from where; the layout is the one that other
/// tools read, and the signature lies where cosign looks.
#[tokio::test(flavor = "multi_thread")]
async fn by_tag_by_digest_and_locked() -> Result<()> {
    let (registry, author) = (Registry::start(false).await?, Author::new()?);
    let component = author.signed("probe", "1.0.0", "action")?;
    let reference = format!("{}/team/probe:1.0.0", registry.host());
    let pushed = author.push(&component, &reference)?;
    let manifest = pushed["manifest"].as_str().context("no digest")?;
    assert_eq!(pushed["signatures"], 1);

    let by_tag = operator(&author.publisher("ours"))?;
    let pulled = pull(&by_tag, &[&format!("oci://{reference}")])?;
    assert!(pulled.status.success(), "{}", text(&pulled));
    let said: Value = serde_json::from_slice(&pulled.stdout)?;
    assert_eq!((&said[0]["basis"], &said[0]["publisher"]), (&"signed".into(), &"ours".into()));
    assert_eq!(files(&by_tag)?, ["probe.wasm", "probe.wasm.sig", "salve-plugins.lock"]);
    let installed = by_tag.path("plugins/probe.wasm");
    assert_eq!(std::fs::read(&installed)?, std::fs::read(&component)?);
    let lock = std::fs::read_to_string(by_tag.path("plugins/salve-plugins.lock"))?;
    assert!(lock.contains(&format!("source = \"oci://{reference}@{manifest}\"")), "{lock}");
    let verified = by_tag.salve(&["plugin", "verify", installed.to_str().context("path")?])?;
    assert!(verified.status.success(), "{}", text(&verified));

    let by_digest = operator(&author.publisher("ours"))?;
    let pulled = pull(&by_digest, &[&format!("oci://{}/team/probe@{manifest}", registry.host())])?;
    assert!(pulled.status.success(), "{}", text(&pulled));

    // The tag moves on; the lock file does not.
    author.push(&author.signed("probe", "1.1.0", "action")?, &reference)?;
    let locked = operator(&author.publisher("ours"))?;
    std::fs::write(locked.path("plugins/salve-plugins.lock"), &lock)?;
    let pulled = pull(&locked, &["--locked"])?;
    assert!(pulled.status.success(), "{}", text(&pulled));
    assert_eq!(std::fs::read(locked.path("plugins/probe.wasm"))?, std::fs::read(&component)?);
    assert_eq!(std::fs::read_to_string(locked.path("plugins/salve-plugins.lock"))?, lock);

    // As other tools see it.
    let get = async |path: &str| -> Result<Value> {
        let accept = "application/vnd.oci.image.manifest.v1+json";
        let url = format!("http://{}/v2/team/probe/{path}", registry.host());
        let answer = client().get(url).header("accept", accept).send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    };
    let document = get(&format!("manifests/{manifest}")).await?;
    assert_eq!(document["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(document["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    let config =
        get(&format!("blobs/{}", document["config"]["digest"].as_str().context("no config")?)).await?;
    assert_eq!(config["layerDigests"][0], document["layers"][0]["digest"]);
    assert_eq!(config["component"]["exports"][0], "salve:plugin/act@0.1.0", "{config}");
    let signatures = get(&format!("manifests/{}.sig", manifest.replace(':', "-"))).await?;
    let layer = &signatures["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
    let payload = get(&format!("blobs/{}", layer["digest"].as_str().context("no payload")?)).await?;
    assert_eq!(payload["critical"]["image"]["docker-manifest-digest"], manifest);
    assert_eq!(payload["critical"]["type"], "cosign container image signature");
    let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().context("none")?;
    assert!(STANDARD.decode(signature).is_ok());
    Ok(())
}

/// Scenario: two publishers sign the same component and push it to one place.
/// Guarantees: the second signature does not replace the first; who trusts either can pull.
#[tokio::test(flavor = "multi_thread")]
async fn signatures_add_up() -> Result<()> {
    let (registry, one, two) = (Registry::start(false).await?, Author::new()?, Author::new()?);
    let reference = format!("{}/probe:1", registry.host());
    for (author, count) in [(&one, 1), (&two, 2), (&one, 3)] {
        let pushed = author.push(&author.signed("probe", "1.0.0", "action")?, &reference)?;
        assert_eq!(pushed["signatures"], count);
    }
    for author in [&one, &two] {
        let operator = operator(&author.publisher("trusted"))?;
        let pulled = pull(&operator, &[&format!("oci://{reference}")])?;
        assert!(pulled.status.success(), "{}", text(&pulled));
    }
    Ok(())
}

/// Scenario: a registry that asks who one is gets nothing, a wrong password, and the right one in each way.
/// Guarantees: the first two fail and say what to do; no password is on any output.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_asked_for() -> Result<()> {
    let (registry, author) = (Registry::start(true).await?, Author::new()?);
    let component = author.signed("probe", "1.0.0", "action")?;
    let reference = format!("{}/team/probe:1", registry.host());
    let push = |arguments: &[&str]| {
        let mut push = command(&["plugin", "push", "--plain-http"]);
        push.arg(&component).arg(&reference).args(arguments);
        push
    };
    refused(&push(&[]).output()?, &["asks for credentials", "--username"])?;
    let (name, password) = USER;
    let wrong = with_input(push(&["--username", name, "--password-stdin"]), "guessed\n")?;
    refused(&wrong, &["does not accept these credentials"])?;
    refused(&push(&["--username", name]).output()?, &["there is no password"])?;
    let right = with_input(push(&["--username", name, "--password-stdin"]), &format!("{password}\n"))?;
    assert!(right.status.success(), "{}", text(&right));

    let operator = operator(&author.publisher("ours"))?;
    let source = format!("oci://{reference}");
    refused(&pull(&operator, &[&source])?, &["asks for credentials"])?;
    assert!(files(&operator)?.is_empty());
    // As `docker login` leaves it.
    std::fs::create_dir(operator.path("docker"))?;
    let login = serde_json::json!({ "auths": { registry.host(): { "auth": STANDARD.encode(format!("{name}:{password}")) } } });
    std::fs::write(operator.path("docker/config.json"), login.to_string())?;
    let pulled = command(&["plugin", "pull", "--plain-http", &source])
        .env("SALVE_CONFIG", operator.path("salve.toml"))
        .env("DOCKER_CONFIG", operator.path("docker"))
        .output()?;
    assert!(pulled.status.success(), "{}", text(&pulled));
    let by_environment = command(&["plugin", "pull", "--plain-http", &source])
        .env("SALVE_CONFIG", operator.path("salve.toml"))
        .env("SALVE_REGISTRY_USERNAME", name)
        .env("SALVE_REGISTRY_PASSWORD", password)
        .output()?;
    assert!(by_environment.status.success(), "{}", text(&by_environment));
    for output in [wrong, right, pulled, by_environment] {
        assert!(!text(&output).contains(password) && !text(&output).contains("guessed"));
    }
    Ok(())
}

/// Scenario: somebody with access to the registry's disk changes the component, then the manifest, then exchanges the
/// signature for that of another version.
/// Guarantees: each is noticed, by tag and by digest; nothing is installed, nothing locked.
#[tokio::test(flavor = "multi_thread")]
async fn tampering_in_the_registry_is_noticed() -> Result<()> {
    let (registry, author) = (Registry::start(false).await?, Author::new()?);
    let reference = format!("{}/team/probe:1", registry.host());
    let pushed = author.push(&author.signed("probe", "1.0.0", "action")?, &reference)?;
    let digest = |key: &str| pushed[key].as_str().map(str::to_owned).context("no digest");
    let operator = operator(&author.publisher("ours"))?;
    let sources = [
        format!("oci://{reference}"),
        format!("oci://{}/team/probe@{}", registry.host(), digest("manifest")?),
    ];
    for stored in [registry.stored(&digest("component")?), registry.stored(&digest("manifest")?)] {
        let genuine = std::fs::read(&stored)?;
        let mut changed = genuine.clone();
        // A digit of a version or a byte of code: the length stays, and a manifest stays JSON.
        let at = genuine.windows(5).rposition(|window| window == b"1.0.0").context("no version in it")?;
        changed[at] = b'2';
        std::fs::write(&stored, changed)?;
        for source in &sources {
            refused(&pull(&operator, &[source])?, &["the content has digest"])?;
            assert!(files(&operator)?.is_empty());
        }
        std::fs::write(&stored, genuine)?;
    }

    let other = author
        .push(&author.signed("probe", "2.0.0", "action")?, &format!("{}/team/probe:2", registry.host()))?;
    let tag = |manifest: &Value| manifest.as_str().map(|digest| format!("{}.sig", digest.replace(':', "-")));
    let url = |tag: Option<String>| {
        format!("http://{}/v2/team/probe/manifests/{}", registry.host(), tag.unwrap_or_default())
    };
    let accept = "application/vnd.oci.image.manifest.v1+json";
    let signatures =
        client().get(url(tag(&other["manifest"]))).header("accept", accept).send().await?.bytes().await?;
    let put = client()
        .put(url(tag(&pushed["manifest"])))
        .header("content-type", accept)
        .body(signatures)
        .send()
        .await?;
    assert!(put.status().is_success());
    for source in &sources {
        refused(
            &pull(&operator, &[source])?,
            &["the signed statement of publisher `ours` is about another artifact"],
        )?;
        assert!(files(&operator)?.is_empty());
    }
    Ok(())
}

/// Scenario: pulls that the operator's trust does not cover, one after another, onto a plugin that is installed.
/// Guarantees: an unsigned one, another publisher's, an older one and one of another role are refused, each with its
/// reason; the installed files stay byte for byte.
#[tokio::test(flavor = "multi_thread")]
async fn trust_comes_before_installation() -> Result<()> {
    let (registry, ours, theirs) = (Registry::start(false).await?, Author::new()?, Author::new()?);
    let host = registry.host();
    let operator = operator(&format!("{}{}", ours.publisher("ours"), theirs.publisher("theirs")))?;
    ours.push(&ours.signed("probe", "1.1.0", "action")?, &format!("{host}/probe:good"))?;
    ours.push(&ours.component("other", "1.0.0", "action")?, &format!("{host}/other:unsigned"))?;
    let unsigned = ours.component("probe", "1.2.0", "action")?;
    let warned = ours.salve(
        &["plugin", "push", "--plain-http", unsigned.to_str().context("path")?],
        format!("{host}/probe:unsigned").as_ref(),
    )?;
    assert!(
        warned.status.success() && text(&warned).contains("warning: the plugin is not signed"),
        "{}",
        text(&warned)
    );
    theirs.push(&theirs.signed("probe", "1.2.0", "action")?, &format!("{host}/probe:theirs"))?;
    ours.push(&ours.signed("probe", "1.0.9", "action")?, &format!("{host}/probe:older"))?;
    ours.push(&ours.signed("probe", "1.3.0", "agent")?, &format!("{host}/probe:role"))?;

    let good = pull(&operator, &[&format!("oci://{host}/probe:good"), "--lowest", "1.1.0"])?;
    assert!(good.status.success(), "{}", text(&good));
    let all = |names: &[String]| -> Result<Vec<Vec<u8>>> {
        names.iter().map(|name| Ok(std::fs::read(operator.path(&format!("plugins/{name}")))?)).collect()
    };
    let names = files(&operator)?;
    let before = all(&names)?;
    for (tag, expected) in [
        ("probe:unsigned", "belongs to the publisher with key"),
        ("other:unsigned", "is not signed by a trusted publisher"),
        ("probe:theirs", "this plugin is signed by `theirs`"),
        ("probe:older", "has version 1.0.9, and nothing below 1.1.0 may load"),
        ("probe:role", "was of role action and is now of role agent"),
    ] {
        let output = pull(&operator, &[&format!("oci://{host}/{tag}")])?;
        refused(&output, &[expected])?;
        assert_eq!(output.status.code(), Some(2));
        assert_eq!((files(&operator)?, all(&names)?), (names.clone(), before.clone()), "{tag}");
    }
    Ok(())
}

/// Scenario: the registry is not there; then it is, and does not have what is asked for.
/// Guarantees: both end soon, say who did not answer or what is not there, and how often it was tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_down() -> Result<()> {
    let (mut registry, author) = (Registry::start(false).await?, Author::new()?);
    let operator = operator(&author.publisher("ours"))?;
    let reference = format!("{}/team/probe:1", registry.host());
    let source = format!("oci://{reference}");
    refused(&pull(&operator, &[&source])?, &["does not have it", "Check the name"])?;
    registry.stop()?;
    let begun = std::time::Instant::now();
    refused(&pull(&operator, &[&source])?, &["no answer from", "trying again (2 of 2)", "Is the server up"])?;
    let component = author.signed("probe", "1.0.0", "action")?;
    let push = author.salve(
        &["plugin", "push", "--plain-http", component.to_str().context("path")?],
        reference.as_ref(),
    )?;
    refused(&push, &["no answer from", "Is the server up"])?;
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    // Without the flag nothing is sent in the clear.
    let encrypted =
        command(&["plugin", "pull", &source]).env("SALVE_CONFIG", operator.path("salve.toml")).output()?;
    refused(&encrypted, &["no answer from", "--plain-http"])?;
    assert!(files(&operator)?.is_empty());
    Ok(())
}
