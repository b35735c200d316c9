//! Examples that act by HTTP, from fault to outcome: the real daemon, its HTTP broker with the grants of their READMEs, real
//! servers.

use anyhow::{Context, Result, ensure};
use axum::{
    Json, Router,
    extract::{Path as UrlPath, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use salve_tests::{components, daemon::Daemon, shop, world::Sender};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A daemon in mode `act` with this example, built from its folder, and this policy.
async fn daemon(example: &str, sdk: &str, more: &str, policy: &str) -> Result<Daemon> {
    let root = salve_tests::root();
    let component = components::built(&root.join("examples").join(example), &[&root.join("sdk").join(sdk)]);
    let mut daemon = shop::prepare("act", policy, more)?;
    std::fs::write(daemon.path("tracker.token"), format!("{TRACKER_TOKEN}\n"))?;
    std::fs::write(daemon.path(&format!("plugins/{example}.wasm")), component)?;
    daemon.start().await?;
    Ok(daemon)
}

fn is_over(daemon: &Daemon) -> Result<bool> {
    Ok(daemon
        .incidents()?
        .first()
        .is_some_and(|incident| !incident["outcome"].is_null() || incident["phase"]["escalated"].is_object()))
}

/// Writes in the ledger, each with its result: verb class, whether it takes back, state, status of the answer.
fn writes(daemon: &Daemon) -> Result<Vec<(String, bool, String, String)>> {
    ensure!(daemon.json(&["ledger", "verify", "--json"])?["first_bad"].is_null());
    let shown = String::from_utf8(daemon.salve(&["ledger", "show", "--json"])?.stdout)?;
    let entries: Vec<Value> = shown.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    entries
        .iter()
        .filter(|entry| entry["kind"] == "write_intent")
        .map(|intent| {
            let result = entries
                .iter()
                .find(|entry| entry["kind"] == "write_result" && entry["answers"] == intent["seq"])
                .with_context(|| format!("no result for {intent}"))?;
            Ok((
                text(&intent["payload"]["class"]),
                intent["payload"]["undo"] == true,
                text(&result["payload"]["state"]),
                text(&result["payload"]["receipt"]["extra"]["http.response.status_code"]),
            ))
        })
        .collect()
}

/// A real HAProxy over two servers, with a statistics page that takes orders. Stopped when dropped.
struct Balancer {
    process: Child,
    statistics: SocketAddr,
}

impl Balancer {
    fn start(folder: &Path) -> Result<Self> {
        let [port] = salve_ports::free()?;
        let statistics = SocketAddr::from(([127, 0, 0, 1], port));
        let configuration = folder.join("haproxy.cfg");
        // Nothing is balanced here: what is asked for is which servers would get sessions.
        let text = format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             backend shop\n  server a 127.0.0.1:9\n  server b 127.0.0.1:9\n\
             listen statistics\n  bind {statistics}\n  stats enable\n  stats uri /stats\n  stats admin if TRUE\n"
        );
        std::fs::write(&configuration, text)?;
        let process = Command::new(haproxy()?)
            .arg("-db")
            .arg("-f")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.join("haproxy.log"))?)
            .spawn()
            .context("cannot start HAProxy")?;
        let balancer = Self { process, statistics };
        let deadline = Instant::now() + Duration::from_secs(20);
        while server_status(statistics, "a").is_err() {
            ensure!(
                Instant::now() < deadline,
                "HAProxy does not answer: {}",
                std::fs::read_to_string(folder.join("haproxy.log"))?
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(balancer)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It has ended already if this fails.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn haproxy() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("haproxy"))
        .find(|program| program.is_file())
        .context("HAProxy is missing\n\nhint: `cargo xtask setup` installs it, or your package manager does")
}

/// What HAProxy says of a server of `shop`: for instance `no check`, `DRAIN`.
fn server_status(statistics: SocketAddr, server: &str) -> Result<String> {
    let mut stream = TcpStream::connect(statistics)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /stats;csv HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let header = page.lines().find(|line| line.starts_with("# ")).context("no statistics")?;
    let column = header.split(',').position(|name| name == "status").context("no status")?;
    let row = page.lines().find(|line| line.starts_with(&format!("shop,{server},"))).context("no server")?;
    Ok(row.split(',').nth(column).unwrap_or_default().to_owned())
}

/// Scenario: a replica behind HAProxy serves errors; the Go example is granted the balancer as its README says.
/// Guarantees: it drains that server of a real HAProxy through the real broker, by one call that is recorded as at most once;
/// the service recovers, and the other server still takes traffic.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_replica_is_drained() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let balancer = Balancer::start(folder.path())?;
    let statistics = balancer.statistics;
    let more = format!(
        r#"
[[target]]
id = "balancer"
select = {{ "service.name" = "haproxy" }}
http = {{ base_url = "http://{statistics}", address_ranges = ["loopback"] }}
[[grant]]
plugin = "drain-haproxy"
capability = "http"
verbs = ["get", "send"]
targets = ["balancer"]
http = {{ methods = ["GET", "POST"], paths = ["/stats", "/stats;csv"], headers = ["content-type"], safe_read = true }}
arguments.body = {{ pattern = "action=*&b=shop&s=*" }}
"#
    );
    let policy = r#"
fn decide(incident, findings, catalogue, history) {
    let cause = findings.hypotheses[0];
    [act("drain-haproxy", "balancer")
        .parameters(#{ backend: "shop", server: "a" })
        .reason(`${cause.suspect} is ${cause.mechanism}`)]
}
"#;
    let mut daemon = daemon("action-go", "go", &more, policy).await?;
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_broken = broken.clone();
    // Errors are seen for as long as the broken replica gets sessions.
    let _sender = Sender::start(daemon.otlp_http()?, move || {
        is_broken.load(std::sync::atomic::Ordering::Relaxed)
            && server_status(statistics, "a").is_ok_and(|status| !status.starts_with("DRAIN"))
    });
    shop::warm_up(&mut daemon, 20).await?;
    broken.store(true, std::sync::atomic::Ordering::Relaxed);
    daemon.wait("the incident is over", is_over).await?;
    let incident = daemon.incidents()?.remove(0);
    assert_eq!(incident["outcome"], "healed", "{incident:#}");
    assert_eq!(server_status(statistics, "a")?, "DRAIN");
    assert_eq!(server_status(statistics, "b")?, "no check");
    let expected = ("at-most-once".to_owned(), false, "applied".to_owned(), "303".to_owned());
    assert_eq!(writes(&daemon)?, [expected]);
    Ok(())
}

/// Tickets by key: body, and whether it is open.
type Tickets = Arc<Mutex<BTreeMap<String, (Value, bool)>>>;

fn tickets_of(tickets: &Tickets) -> BTreeMap<String, (Value, bool)> {
    tickets.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What the tracker wants to see in each request.
const TRACKER_TOKEN: &str = "Bearer only-for-the-tracker";

/// A tracker, as the example's README asks for: one ticket for a key, however often it is opened. Whoever has no token is refused.
async fn tracker() -> Result<(SocketAddr, Tickets)> {
    async fn look(
        State(tickets): State<Tickets>,
        UrlPath(key): UrlPath<String>,
    ) -> (StatusCode, Json<Value>) {
        match tickets_of(&tickets).get(&key) {
            Some((_, open)) => {
                (StatusCode::OK, Json(json!({ "state": if *open { "open" } else { "closed" } })))
            }
            None => (StatusCode::NOT_FOUND, Json(json!({}))),
        }
    }
    async fn open(
        State(tickets): State<Tickets>,
        headers: HeaderMap,
        Json(ticket): Json<Value>,
    ) -> StatusCode {
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
        if ticket["external_id"] != key {
            return StatusCode::UNPROCESSABLE_ENTITY;
        }
        let mut tickets = tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.insert(key.to_owned(), (ticket, true));
        StatusCode::CREATED
    }
    async fn close(State(tickets): State<Tickets>, UrlPath(key): UrlPath<String>) -> StatusCode {
        let mut tickets = tickets.lock().unwrap_or_else(PoisonError::into_inner);
        match tickets.get_mut(&key) {
            Some((_, open)) => {
                *open = false;
                StatusCode::NO_CONTENT
            }
            None => StatusCode::NOT_FOUND,
        }
    }
    async fn known(request: Request, next: Next) -> Response {
        let token = request.headers().get("authorization").and_then(|token| token.to_str().ok());
        if token == Some(TRACKER_TOKEN) {
            next.run(request).await
        } else {
            StatusCode::UNAUTHORIZED.into_response()
        }
    }
    let tickets = Tickets::default();
    let router = Router::new()
        .route("/api/tickets", post(open))
        .route("/api/tickets/{key}", get(look))
        .route("/api/tickets/{key}/close", post(close))
        .with_state(Arc::clone(&tickets))
        .layer(from_fn(known));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((address, tickets))
}

/// Scenario: a service stays broken, whatever tickets say; the JavaScript example is granted the tracker as its README says, with
/// calls that can be taken back.
/// Guarantees: one ticket is opened through the real broker, by a call with an idempotency key and the tracker's secret, which the call
/// that closes it carries, too, by another grant; since it heals nothing it is taken
/// back by the call that the plan states and no other: the ticket is closed, and people are called.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_opened_and_closed() -> Result<()> {
    let (address, tickets) = tracker().await?;
    let more = format!(
        r#"
[[secret]]
name = "tracker"
file = "@/tracker.token"
[[target]]
id = "tracker"
select = {{ "service.name" = "tracker" }}
http = {{ base_url = "http://{address}", address_ranges = ["loopback"] }}
[[grant]]
plugin = "open-ticket"
capability = "http"
verbs = ["get", "send"]
targets = ["tracker"]
may_send = true
http = {{ methods = ["GET", "POST"], paths = ["/api/tickets"], headers = ["content-type"], safe_read = true, keyed = true, reversible = true, secret = "tracker" }}
arguments.body = {{ pattern = '{{"description":"Salve sees *' }}
[[grant]]
plugin = "open-ticket"
capability = "http"
verbs = ["send"]
targets = ["tracker"]
may_send = true
http = {{ methods = ["POST"], paths = ["/api/tickets"], keyed = true, reversible = true, secret = "tracker" }}
"#
    );
    let policy = r#"
fn decide(incident, findings, catalogue, history) {
    let cause = findings.hypotheses[0];
    let template = #{
        external_id: "{key}",
        title: `${cause.suspect} needs a look`,
        description: `Salve sees that ${cause.suspect} is ${cause.mechanism} (incident {incident}).`,
    };
    [act("open-ticket", "tracker")
        .parameters(#{ template: template, close_on_undo: true })
        .reason(`${cause.suspect} is still unwell`)]
}
"#;
    let mut daemon = daemon("action-javascript", "js", &more, policy).await?;
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_broken = broken.clone();
    let _sender =
        Sender::start(daemon.otlp_http()?, move || is_broken.load(std::sync::atomic::Ordering::Relaxed));
    shop::warm_up(&mut daemon, 20).await?;
    broken.store(true, std::sync::atomic::Ordering::Relaxed);
    daemon.wait("the incident is over", is_over).await?;
    let incident = daemon.incidents()?.remove(0);
    assert!(incident["phase"]["escalated"].is_object(), "{incident:#}");
    assert_eq!(incident["attempts"][0]["outcome"], "not_healed", "{incident:#}");
    let tickets = tickets_of(&tickets);
    let (key, (ticket, is_open)) = tickets.first_key_value().context("no ticket")?;
    assert_eq!((tickets.len(), key.as_str(), *is_open), (1, "salve-inc-1-tracker", false));
    assert_eq!(ticket["title"], "worker needs a look");
    let write = |undo, status: &str| ("keyed".to_owned(), undo, "applied".to_owned(), status.to_owned());
    assert_eq!(writes(&daemon)?, [write(false, "201"), write(true, "204")]);
    Ok(())
}
