//! The Rust examples together, from fault to heal: a service burns its error budget, and the deployment that did it is rolled back. The real daemon, its
//! HTTP broker, real requests to a stand-in for the Kubernetes API.

#[allow(dead_code, unreachable_pub, reason = "the example's own tests use all of it")]
#[path = "../examples/rollback-deployment-rust/tests/api/mod.rs"]
mod api;

use anyhow::{Context, Result};
use api::{Cluster, DEPLOYMENT, REPLICA_SETS};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use salve_tests::{daemon::Daemon, shop, world::Sender};
use serde_json::Value;
use std::{
    net::SocketAddr,
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

const GOOD: &str = "shop:1.4";
const BAD: &str = "shop:1.5";

/// Rolls back whatever is suspected.
const POLICY: &str = r#"
fn decide(incident, findings, catalogue, history) {
    [#{ verdict: "act", action: "rollback-deployment", target: "deployment", parameters: #{}, priority: 10, reason: "it was just deployed" }]
}
"#;

type Shared = Arc<Mutex<Cluster>>;

fn lock(cluster: &Shared) -> MutexGuard<'_, Cluster> {
    cluster.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(
    State(cluster): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let url = reqwest::Url::parse(&format!("http://cluster{uri}"));
    let query: Vec<_> = url
        .iter()
        .flat_map(|url| url.query_pairs())
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (status, answer) = lock(&cluster).answer(method.as_str(), uri.path(), &query, content_type, &body);
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), answer)
}

/// Serves the cluster on loopback until the test ends.
async fn serve(cluster: &Shared) -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let router = Router::new().fallback(answer).with_state(Arc::clone(cluster));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// As the example's README says it, on this machine.
fn config(address: SocketAddr) -> String {
    format!(
        r#"
[[target]]
id = "deployment"
select = {{ "k8s.namespace.name" = "shop", "k8s.deployment.name" = "checkout" }}
http = {{ base_url = "http://{address}", address_ranges = ["loopback"] }}
[[grant]]
plugin = "rollback-deployment"
capability = "http"
verbs = ["get"]
targets = ["deployment"]
http = {{ methods = ["GET"], paths = ["{DEPLOYMENT}", "{REPLICA_SETS}"], safe_read = true }}
arguments."query.labelSelector" = {{ pattern = "app=checkout*" }}
[[grant]]
plugin = "rollback-deployment"
capability = "http"
verbs = ["send"]
targets = ["deployment"]
http = {{ methods = ["PATCH"], paths = ["{DEPLOYMENT}"], headers = ["content-type"], reversible = true }}
arguments.body = {{ pattern = '[{{"op":"test","path":"/spec/template",*{{"op":"replace","path":"/spec/template",*' }}
"#
    )
}

/// The shared configuration's detector of errors, and the example that takes its place.
const DETECTORS: [(&str, &str); 2] = [
    (r#"plugin = "holt-winters""#, r#"plugin = "burn-rate""#),
    (
        r#"parameters = { direction = "up", floor_absolute = 0.05, warmup_points = 8 }"#,
        r#"parameters = { objective = 0.99, rules = [{ long_ms = 10000, short_ms = 1000, burn_rate = 5 }] }"#,
    ),
];

/// A daemon that is warm on healthy spans, and a cluster to which the bad image is then deployed. Spans fail as long as `is_broken` says; that is
/// found by the example that watches error budgets.
async fn deployed(is_broken: impl Fn(&Cluster) -> bool + Send + 'static) -> Result<(Daemon, Sender, Shared)> {
    let cluster: Shared = Arc::new(Mutex::new(Cluster::new(&[(GOOD, "2025-11-03T08:00:00Z")])));
    let more = config(serve(&cluster).await?);
    let mut daemon = shop::prepare("act", POLICY, &more)?;
    let mut text = shop::config("act", &more);
    for (of_shop, of_example) in DETECTORS {
        anyhow::ensure!(text.contains(of_shop), "the shop's configuration has no `{of_shop}`");
        text = text.replace(of_shop, of_example);
    }
    daemon.configure(&text)?;
    for name in ["rollback-deployment", "burn-rate"] {
        daemon.add_plugin(name)?;
    }
    daemon.start().await?;
    let asked = Arc::clone(&cluster);
    let sender = Sender::start(daemon.otlp_http()?, move || is_broken(&lock(&asked)));
    shop::warm_up(&mut daemon, 20).await?;
    let now = Command::new("date").args(["-u", "+%FT%TZ"]).output().context("cannot start `date`")?;
    lock(&cluster).deploy(BAD, String::from_utf8(now.stdout)?.trim());
    Ok((daemon, sender, cluster))
}

async fn closed_or_escalated(daemon: &mut Daemon) -> Result<Value> {
    daemon
        .wait("the incident has an outcome, or is with people", |daemon| {
            Ok(daemon.incidents()?.first().is_some_and(|incident| {
                !incident["outcome"].is_null() || incident["phase"]["escalated"].is_object()
            }))
        })
        .await?;
    daemon.incidents()?.into_iter().next().context("there is no incident")
}

fn ledger(daemon: &Daemon) -> Result<Vec<Value>> {
    assert!(daemon.json(&["ledger", "verify", "--json"])?["first_bad"].is_null());
    let shown = String::from_utf8(daemon.salve(&["ledger", "show", "--json"])?.stdout)?;
    shown.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Scenario: a deployment gets an image whose requests fail.
/// Guarantees: Salve reads the deployment and its history over HTTP, puts the image of before back by one patch, waits for the pods, and sees the
/// service recover; the ledger has the patch with its way back.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_deployment_is_rolled_back() -> Result<()> {
    let (mut daemon, _sender, cluster) = deployed(|cluster| cluster.image() == BAD).await?;
    lock(&cluster).available_after = Some(2);
    let incident = closed_or_escalated(&mut daemon).await?;
    assert_eq!(incident["outcome"], "healed", "{incident:#}");
    let attempt = &incident["attempts"][0];
    assert_eq!(attempt["proposal"]["action"], "rollback-deployment");
    assert!(incident.to_string().contains("the error budget of 1 % burns"), "{incident:#}");
    assert_eq!(
        attempt["plan"]["summary"],
        "Roll `shop/checkout` back from revision 2 to 1: shop:1.4 instead of shop:1.5"
    );
    assert!(attempt["plan"]["steps"][0]["inverse"].is_string(), "{attempt:#}");
    assert_eq!(lock(&cluster).image(), GOOD);
    let writes = ledger(&daemon)?.into_iter().filter(|entry| entry["kind"] == "write_intent").count();
    assert_eq!(writes, 1);
    Ok(())
}

/// Scenario: the deployment is not the cause; requests go on failing after the rollback.
/// Guarantees: Salve sees that it did not help, puts the newer image back by the patch that the plan had stated, and calls people.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_does_not_help_is_undone() -> Result<()> {
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let (mut daemon, _sender, cluster) = deployed(move |_| is_broken.load(Ordering::Relaxed)).await?;
    broken.store(true, Ordering::Relaxed);
    let incident = closed_or_escalated(&mut daemon).await?;
    assert!(incident["phase"]["escalated"].is_object(), "{incident:#}");
    assert_eq!(incident["attempts"][0]["outcome"], "not_healed", "{incident:#}");
    let (image, generation) = {
        let cluster = lock(&cluster);
        (cluster.image().to_owned(), cluster.deployment["metadata"]["generation"].clone())
    };
    // Two deployments by hand, the rollback, and its undo.
    assert_eq!((image.as_str(), generation.as_u64()), (BAD, Some(4)));
    let entries = ledger(&daemon)?;
    let undone: Vec<_> = entries
        .iter()
        .filter(|entry| entry["kind"] == "write_intent")
        .map(|entry| entry["payload"]["undo"].as_bool())
        .collect();
    assert_eq!(undone, [Some(false), Some(true)]);
    Ok(())
}

/// Scenario: between Salve's look and its patch somebody deploys, so the API server refuses the patch (422).
/// Guarantees: the ledger says that it was not applied and why; nothing is taken back, and no patch follows; people are called.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_patch_was_not_applied() -> Result<()> {
    let (mut daemon, _sender, cluster) = deployed(|cluster| cluster.image() != GOOD).await?;
    lock(&cluster).deployed_before_patch = Some("shop:1.6".into());
    let incident = closed_or_escalated(&mut daemon).await?;
    assert!(incident["phase"]["escalated"].is_object(), "{incident:#}");
    let attempt = &incident["attempts"][0];
    assert_eq!(attempt["result"]["receipts"][0]["applied"], false, "{attempt:#}");
    assert!(
        attempt["result"]["note"].as_str().is_some_and(|note| note.contains("the API server did nothing"))
    );
    assert_eq!(lock(&cluster).image(), "shop:1.6");
    let entries = ledger(&daemon)?;
    let of = |kind: &str| entries.iter().filter(|entry| entry["kind"] == kind).collect::<Vec<_>>();
    let results = of("write_result");
    assert_eq!((of("write_intent").len(), results.len()), (1, 1));
    assert_eq!(results[0]["payload"]["state"], "not-applied", "{results:#?}");
    assert_eq!(results[0]["payload"]["note"], "the server refused it with status 422");
    Ok(())
}
