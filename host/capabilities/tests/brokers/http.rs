//! HTTP calls, against real servers on loopback.

use crate::{
    bench::{Bench, grant, id, plan, planned, raw, spec, target},
    server::server,
};
use axum::http::Method;
use salve_capabilities::{
    Brokers, BrokersConfig, ChannelConfig, HttpTarget, Phase, Resolver, SecretConfig, SessionSpec,
};
use salve_model::{
    PluginName, Tenant,
    call::{BoxFuture, CallError, Denied, HttpRequest, HttpResponse, Read, ReadAnswer, Session, Write},
    grant::{Bound, Grant, HttpGrant},
    plan::{VerbClass, WriteState},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

/// Answers with these addresses, whatever is asked.
struct Fixed(Mutex<Vec<Vec<IpAddr>>>);

impl Resolver for Fixed {
    fn resolve(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Box::pin(async move { Ok(answer) })
    }
}

fn resolver(answers: &[&[&str]]) -> Arc<Fixed> {
    let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
    Arc::new(Fixed(Mutex::new(answers.iter().map(parse).collect())))
}

fn http_grant() -> Grant {
    let mut granted = grant("call", "http", &["*"], "api");
    granted.http = Some(HttpGrant {
        methods: vec!["GET".into(), "POST".into()],
        paths: vec!["/api".into()],
        headers: vec!["x-reason".into(), "content-type".into()],
        safe_read: true,
        keyed: false,
        reversible: false,
        secret: None,
    });
    granted
}

fn bench(base_url: String) -> Bench {
    let mut bench = Bench::new();
    let mut api = target("api");
    api.http = Some(HttpTarget { base_url, address_ranges: vec!["loopback".into()] });
    bench.config.targets.push(api);
    bench.config.grants.push(http_grant());
    bench.config.http_within_ms = 5_000;
    bench.config.http_body_max_bytes = 10_000;
    bench
}

fn request(method: &str, path: &str) -> HttpRequest {
    HttpRequest {
        target: id("api"),
        method: method.into(),
        path: path.into(),
        query: Vec::new(),
        headers: Vec::new(),
        body: Vec::new(),
        idempotency_key: None,
    }
}

async fn get(brokers: &Brokers, path: &str) -> Result<HttpResponse, CallError> {
    let session = brokers.session(spec(&plan("call", Vec::new()), Phase::Execute));
    match session.read(Read::HttpGet(request("GET", path))).await? {
        ReadAnswer::Http(response) => Ok(response),
        other => panic!("{other:?}"),
    }
}

/// The step that licenses a request.
fn step(request: &HttpRequest) -> salve_capabilities::RawStep {
    use sha2::Digest;
    let digest: String =
        sha2::Sha256::digest(&request.body).iter().map(|byte| format!("{byte:02x}")).collect();
    let arguments = serde_json::json!({
        "method": request.method, "path": request.path, "query": request.query, "headers": request.headers,
        "body-sha256": digest, "idempotency-key": request.idempotency_key,
    });
    raw("http", "send", "api", &arguments.to_string())
}

fn failed(result: Result<HttpResponse, CallError>) -> String {
    match result {
        Err(CallError::Failed(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn never(result: Result<HttpResponse, CallError>) -> String {
    match result {
        Err(CallError::Denied(Denied::Never(reason))) => reason,
        other => panic!("{other:?}"),
    }
}

/// Why calls were refused, as the journal has it.
fn refusals(bench: &Bench) -> Vec<Denied> {
    bench.journal.refusals.lock().unwrap().iter().map(|refusal| refusal.denied.clone()).collect()
}

/// Guarantees: what is granted goes out as it stands; status and body come back; the receipt says that it cannot be taken
/// back and is at most once.
#[tokio::test]
async fn sends_what_is_granted() {
    let (address, log) = server().await;
    let mut bench = bench(format!("http://{address}"));
    let any = Bound { pattern: Some("*".into()), ..Bound::default() };
    bench.config.grants[0].arguments.insert("body".into(), any.clone());
    bench.config.grants[0].arguments.insert("query.depth".into(), any);
    let brokers = bench.brokers();
    let mut post = request("POST", "/api/flush");
    post.query = vec![("depth".into(), "a b&c".into())];
    post.headers = vec![("x-reason".into(), "incident".into())];
    post.body = b"{}".to_vec();
    let made = planned(&brokers, "call", vec![step(&post)]).await.unwrap();
    assert_eq!((made.steps[0].class, &made.steps[0].inverse), (VerbClass::AtMostOnce, &None));
    let answer = crate::bench::execute(&brokers, &made).write(Write::HttpSend(post.clone())).await.unwrap();
    assert_eq!(answer.response.unwrap().status, 200);
    assert_eq!(answer.receipt.after.as_deref(), Some("status=200"));
    let seen = log.lock().unwrap()[0].clone();
    assert_eq!((seen.method, seen.uri.as_str()), (Method::POST, "/api/flush?depth=a+b%26c"));
    assert_eq!(seen.headers["x-reason"], "incident");
    assert_eq!(seen.headers["host"], address.to_string().as_str());
    assert_eq!(&seen.body[..], b"{}");
    // Another body is another call.
    post.body = b"{\"all\":true}".to_vec();
    let error = crate::bench::execute(&brokers, &made).write(Write::HttpSend(post)).await.unwrap_err();
    assert!(matches!(error, CallError::Denied(Denied::NotInPlan(_))), "{error}");
}

/// Guarantees: methods, paths, headers, query parameters and bodies that no grant covers are refused before anything is
/// sent.
#[tokio::test]
async fn refuses_what_is_not_granted() {
    let (address, log) = server().await;
    let bench = bench(format!("http://{address}"));
    let brokers = bench.brokers();
    let with = |change: &dyn Fn(&mut HttpRequest)| {
        let mut request = request("POST", "/api/flush");
        change(&mut request);
        request
    };
    for refused in [
        with(&|request| request.method = "DELETE".into()),
        with(&|request| request.path = "/admin".into()),
        with(&|request| request.path = "/apix".into()),
        with(&|request| request.headers = vec![("x-other".into(), "1".into())]),
        with(&|request| request.query = vec![("q".into(), "free text".into())]),
        with(&|request| request.body = b"free text".to_vec()),
    ] {
        let error = planned(&brokers, "call", vec![step(&refused)]).await.unwrap_err();
        assert!(matches!(error, CallError::Denied(Denied::NotGranted(_))), "{refused:?}: {error}");
    }
    for tricky in ["/api/../admin", "/api/%2e%2e/admin", "/api/a%2fb", "/api\r\nHost: x", "//evil/api"] {
        let error = planned(&brokers, "call", vec![step(&request("POST", tricky))]).await.unwrap_err();
        assert!(matches!(error, CallError::Denied(Denied::Never(_))), "{tricky}: {error}");
        let why = never(get(&brokers, tricky).await);
        assert_eq!(refusals(&bench).last(), Some(&Denied::Never(why)), "{tricky}");
    }
    // A flood of words is cut before it is recorded.
    assert!(get(&brokers, &format!("/{}\u{202e}", "x".repeat(1 << 20))).await.is_err());
    let recorded = bench.journal.refusals.lock().unwrap().last().unwrap().call.arguments.clone();
    assert!(recorded.len() < 5_000 && !recorded.contains('\u{202e}'), "{recorded}");
    assert!(log.lock().unwrap().is_empty());
}

/// Guarantees: redirects come back as they are, and are not followed.
#[tokio::test]
async fn follows_no_redirect() {
    let (address, log) = server().await;
    let brokers = bench(format!("http://{address}")).brokers();
    assert_eq!(get(&brokers, "/api/moved").await.unwrap().status, 302);
    assert_eq!(log.lock().unwrap().len(), 1);
}

/// Guarantees: answers are bounded in size and time, and are not unpacked.
#[tokio::test]
async fn answers_are_bounded() {
    let (address, _) = server().await;
    let mut bench = bench(format!("http://{address}"));
    bench.config.http_within_ms = 300;
    let brokers = bench.brokers();
    assert!(failed(get(&brokers, "/api/large").await).contains("larger than 10000 bytes"));
    assert_eq!(get(&brokers, "/api/slow").await, Err(CallError::TimedOut));
    assert_eq!(get(&brokers, "/api/packed").await.unwrap().body, [0x1f, 0x8b, 8, 0]);
}

/// Guarantees: an answer that drips byte by byte ends with the time limit, not with the server's patience.
#[tokio::test]
async fn a_slow_drip_ends() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 1_024];
        let _count = socket.read(&mut request).await.unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
        while socket.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut bench = bench(format!("http://{address}"));
    bench.config.http_within_ms = 300;
    let started = std::time::Instant::now();
    assert_eq!(get(&bench.brokers(), "/api").await, Err(CallError::TimedOut));
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Scenario: while a call is under way whose answer does not come, somebody makes the pause file by hand.
/// Guarantees: the call ends within its bound, which cannot be set to 30 s or more; the next write does not start, at once.
#[tokio::test]
async fn a_pause_during_a_call() {
    let (address, log) = server().await;
    let mut slow = bench(format!("http://{address}"));
    slow.config.http_within_ms = 300;
    let brokers = slow.brokers();
    let post = request("POST", "/api/slow");
    let made = planned(&brokers, "call", vec![step(&post), step(&post)]).await.unwrap();
    let session = crate::bench::execute(&brokers, &made);
    let pause = async {
        while log.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        std::fs::write(&slow.config.pause_file, "").unwrap();
        std::time::Instant::now()
    };
    let (answer, paused) = tokio::join!(session.write(Write::HttpSend(post.clone())), pause);
    assert_eq!(answer, Err(CallError::TimedOut));
    assert!(paused.elapsed() < Duration::from_secs(5));
    let asked = std::time::Instant::now();
    assert_eq!(session.write(Write::HttpSend(post)).await, Err(CallError::Denied(Denied::KillSwitch)));
    assert!(asked.elapsed() < Duration::from_millis(100) && log.lock().unwrap().len() == 1);
}

/// Guarantees: a write whose answer did not come is unknown, recorded so, and makes the run uncertain; one that could not
/// be sent is not.
#[tokio::test]
async fn no_answer_is_unknown() {
    let (address, _) = server().await;
    let mut slow = bench(format!("http://{address}"));
    slow.config.http_within_ms = 300;
    let brokers = slow.brokers();
    let post = request("POST", "/api/slow");
    let made = planned(&brokers, "call", vec![step(&post)]).await.unwrap();
    let session = crate::bench::execute(&brokers, &made);
    assert_eq!(session.write(Write::HttpSend(post)).await, Err(CallError::TimedOut));
    assert!(session.finish().await.uncertain);
    assert_eq!(slow.result(1).state, WriteState::Unknown);

    // Nobody listens there any more.
    let [free] = salve_ports::free().unwrap();
    let gone = bench(format!("http://127.0.0.1:{free}"));
    let brokers = gone.brokers();
    let post = request("POST", "/api/x");
    let made = planned(&brokers, "call", vec![step(&post)]).await.unwrap();
    let session = crate::bench::execute(&brokers, &made);
    assert!(matches!(session.write(Write::HttpSend(post)).await, Err(CallError::Failed(_))));
    assert!(!session.finish().await.uncertain);
    assert_eq!(gone.result(1).state, WriteState::NotApplied);
    // Nobody refused anything.
    assert!(matches!(get(&brokers, "/api").await, Err(CallError::Failed(_))));
    assert_eq!((refusals(&slow), refusals(&gone)), (vec![], vec![]));
}

/// Guarantees: a name that leads, or later comes to lead, to a forbidden address is not dialled, even if one of its
/// addresses is fine; each time is recorded as a refusal.
#[tokio::test]
async fn dns_cannot_rebind() {
    let (address, log) = server().await;
    let bench = bench(format!("http://api.example:{}", address.port()));
    let rebinding =
        resolver(&[&["127.0.0.1"], &["169.254.169.254"], &["10.0.0.1"], &["127.0.0.1", "10.0.0.1"]]);
    let brokers = bench.brokers_with(rebinding);
    assert_eq!(get(&brokers, "/api").await.unwrap().status, 200);
    assert_eq!(log.lock().unwrap()[0].headers["host"], format!("api.example:{}", address.port()).as_str());
    assert!(never(get(&brokers, "/api").await).contains("link-local"));
    assert!(never(get(&brokers, "/api").await).contains("address_ranges"));
    assert!(never(get(&brokers, "/api").await).contains("10.0.0.1"));
    assert_eq!(log.lock().unwrap().len(), 1);
    assert_eq!(refusals(&bench).len(), 3);
}

/// Guarantees: loopback needs its name; Salve's own listeners are refused whatever is named.
#[tokio::test]
async fn loopback_by_name_and_never_salve() {
    let (address, log) = server().await;
    let base = format!("http://{address}");
    let mut public = bench(base.clone());
    public.config.targets[0].http.as_mut().unwrap().address_ranges.clear();
    assert!(never(get(&public.brokers(), "/api").await).contains("address_ranges"));
    let mut own = bench(base);
    own.config.protected_addresses = vec![SocketAddr::new("0.0.0.0".parse().unwrap(), address.port())];
    assert!(never(get(&own.brokers(), "/api").await).contains("Salve's own"));
    assert!(log.lock().unwrap().is_empty());
}

/// Guarantees: the host adds the secret, and removes it from what comes back; a plugin cannot set the header itself.
#[tokio::test]
async fn secrets_stay_with_the_host() {
    let (address, log) = server().await;
    let mut bench = bench(format!("http://{address}"));
    std::fs::write(bench.path("token"), "Bearer s3cr3t\n").unwrap();
    bench.config.secrets =
        vec![SecretConfig { name: "api".into(), file: Some(bench.path("token")), env: None }];
    bench.config.grants[0].http.as_mut().unwrap().secret = Some("api".into());
    bench.config.grants[0].http.as_mut().unwrap().headers.push("authorization".into());
    let brokers = bench.brokers();
    let response = get(&brokers, "/api/echo").await.unwrap();
    assert_eq!(log.lock().unwrap()[0].headers["authorization"], "Bearer s3cr3t");
    assert_eq!(String::from_utf8(response.body.clone()).unwrap(), "you said [secret]!");
    assert!(!format!("{response:?}").contains("s3cr3t"));
    let mut forged = request("POST", "/api");
    forged.headers = vec![("authorization".into(), "x".into())];
    assert!(planned(&brokers, "call", vec![step(&forged)]).await.is_err());
}

/// Guarantees: a secret does not go over plain HTTP to anything but loopback.
#[tokio::test]
async fn secrets_need_tls() {
    let mut bench = bench("http://api.example:9".into());
    bench.config.targets[0].http.as_mut().unwrap().address_ranges = vec!["private".into()];
    with_secret(&mut bench);
    let brokers = bench.brokers_with(resolver(&[&["10.255.255.1"]]));
    assert!(never(get(&brokers, "/api").await).contains("needs https"));
}

/// The first grant uses the secret `api`.
fn with_secret(bench: &mut Bench) {
    std::fs::write(bench.path("token"), "Bearer s3cr3t").unwrap();
    bench.config.secrets =
        vec![SecretConfig { name: "api".into(), file: Some(bench.path("token")), env: None }];
    bench.config.grants[0].http.as_mut().unwrap().secret = Some("api".into());
}

/// Guarantees: two grants of one plugin on one target share a secret, and a call under either carries it; another plugin,
/// another tenant, another target, all targets or a channel cannot have it, too.
#[tokio::test]
async fn a_secret_has_one_plugin_and_one_target() {
    let (address, log) = server().await;
    let mut bench = bench(format!("http://{address}"));
    with_secret(&mut bench);
    let mut second = bench.config.grants[0].clone();
    second.http.as_mut().unwrap().paths = vec!["/more".into()];
    bench.config.grants.push(second);
    let brokers = bench.brokers();
    for path in ["/api", "/more"] {
        get(&brokers, path).await.unwrap();
    }
    let sent: Vec<_> = log.lock().unwrap().iter().map(|seen| seen.headers["authorization"].clone()).collect();
    assert_eq!(sent, ["Bearer s3cr3t", "Bearer s3cr3t"]);

    let refused = |change: &dyn Fn(&mut BrokersConfig)| {
        let mut config = bench.config.clone();
        change(&mut config);
        let error = Brokers::new(config, bench.journal.clone()).err().unwrap();
        std::error::Error::source(&error).unwrap().to_string()
    };
    let other = target("other");
    type Change<'a> = &'a dyn Fn(&mut BrokersConfig);
    let cases: [(Change<'_>, &str); 5] = [
        (&|config| config.grants[1].plugin = PluginName("thief".into()), "`thief`"),
        (&|config| config.grants[1].tenant = Tenant("acme".into()), "of one tenant"),
        (&|config| config.grants[1].targets = vec![other.id.clone()], "`api`, `other`"),
        (&|config| config.grants[0].targets.push(other.id.clone()), "`api`, `other`"),
        (&|config| config.grants[1].targets = vec![id("*")], "`*`"),
    ];
    for (change, words) in cases {
        let said = refused(change);
        assert!(
            said.contains("[[secret]] `api`") && said.contains("belongs to one") && said.contains(words),
            "{said}"
        );
        assert!(said.contains("give each its own [[secret]]"), "{said}");
    }
    let channel = refused(&|config| {
        config.channels.push(ChannelConfig {
            name: "pager".into(),
            url: "https://pager.example".into(),
            template: "{}".into(),
            secret: Some("api".into()),
            address_ranges: Vec::new(),
        });
    });
    assert!(channel.contains("a channel and a grant"), "{channel}");
}

/// Guarantees: planning and dry-runs make only GETs that the grant calls safe; a dry-run sends nothing.
#[tokio::test]
async fn planning_reads_only_what_is_safe() {
    let (address, log) = server().await;
    let mut bench = bench(format!("http://{address}"));
    bench.config.grants[0].http.as_mut().unwrap().safe_read = false;
    let brokers = bench.brokers();
    let post = request("POST", "/api/flush");
    let made = planned(&brokers, "call", vec![step(&post)]).await.unwrap();
    for spec in [spec(&made, Phase::Plan), SessionSpec { dry_run: true, ..spec(&made, Phase::Execute) }] {
        let error = brokers.session(spec).read(Read::HttpGet(request("GET", "/api"))).await.unwrap_err();
        let CallError::Denied(Denied::NotGranted(toml)) = error else { panic!("{error}") };
        assert!(toml.contains("safe_read = true"), "{toml}");
    }
    let session = brokers.session(SessionSpec { dry_run: true, ..spec(&made, Phase::Execute) });
    let answer = session.write(Write::HttpSend(post)).await.unwrap();
    assert_eq!((answer.receipt.applied, answer.response.unwrap().status), (false, 200));
    assert!(log.lock().unwrap().is_empty());
    assert_eq!(get(&brokers, "/api").await.unwrap().status, 200);
}

/// Guarantees: the key of a keyed call is sent, and only where the grant says so.
#[tokio::test]
async fn idempotency_keys() {
    let (address, log) = server().await;
    let mut bench = bench(format!("http://{address}"));
    bench.config.grants[0].http.as_mut().unwrap().keyed = true;
    let mut post = request("POST", "/api/order");
    post.idempotency_key = Some("inc-1.0".into());
    let brokers = bench.brokers();
    let made = planned(&brokers, "call", vec![step(&post)]).await.unwrap();
    assert_eq!(made.steps[0].class, VerbClass::Keyed);
    crate::bench::execute(&brokers, &made).write(Write::HttpSend(post)).await.unwrap();
    assert_eq!(log.lock().unwrap()[0].headers["idempotency-key"], "inc-1.0");
}

/// Scenario: a plugin states how its call is taken back. Guarantees: refused unless the grant says that calls are reversible;
/// then `undo` makes just that call, once; a way back that no grant covers is refused with the plan.
#[tokio::test]
async fn a_granted_way_back() {
    let (address, log) = server().await;
    let mut bench = bench(format!("http://{address}"));
    let (open, close) = (request("POST", "/api/tickets"), request("POST", "/api/tickets/7/close"));
    let back = |close: &HttpRequest| salve_capabilities::RawStep {
        inverse: Some(step(close).arguments),
        ..step(&open)
    };
    let refused = planned(&bench.brokers(), "call", vec![back(&close)]).await.unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("its inverse is none") && refused.contains("`reversible = true`"), "{refused}");

    bench.config.grants[0].http.as_mut().unwrap().reversible = true;
    let brokers = bench.brokers();
    let elsewhere = planned(&brokers, "call", vec![back(&request("POST", "/admin"))]).await.unwrap_err();
    assert!(matches!(elsewhere, CallError::Denied(Denied::NotGranted(_))), "{elsewhere}");
    let made = planned(&brokers, "call", vec![back(&close)]).await.unwrap();
    let session = crate::bench::execute(&brokers, &made);
    let receipt = session.write(Write::HttpSend(open)).await.unwrap().receipt;
    session.finish().await;
    let undo = crate::bench::undo(&brokers, &made, vec![receipt]);
    let other = undo.write(Write::HttpSend(request("POST", "/api/tickets/8/close"))).await.unwrap_err();
    assert!(matches!(other, CallError::Denied(Denied::NotInPlan(_))), "{other}");
    undo.write(Write::HttpSend(close.clone())).await.unwrap();
    let again = undo.write(Write::HttpSend(close)).await.unwrap_err();
    assert!(matches!(again, CallError::Denied(Denied::NotInPlan(_))), "{again}");
    let paths: Vec<_> = log.lock().unwrap().iter().map(|seen| seen.uri.clone()).collect();
    assert_eq!(paths, ["/api/tickets", "/api/tickets/7/close"]);
}

/// Scenario: a server answers a write by an error. Guarantees: what the server refused was not applied: the receipt says so and
/// why, the ledger has it, and there is nothing to take back; the answer reaches the plugin whole. Where the server may have
/// done it, it counts as applied.
#[tokio::test]
async fn a_refused_write_was_not_applied() {
    let (address, log) = server().await;
    let mut bench = bench(format!("http://{address}"));
    bench.config.grants[0].http.as_mut().unwrap().reversible = true;
    let brokers = bench.brokers();
    let back = request("POST", "/api/back");
    let mut number = 0;
    for (status, refused) in [
        (200, false),
        (302, false),
        (400, true),
        (401, true),
        (403, true),
        (404, true),
        (408, false),
        (409, false),
        (412, true),
        (422, true),
        (425, false),
        (429, false),
        (499, true),
        (500, false),
        (503, false),
    ] {
        let post = request("POST", &format!("/api/status/{status}"));
        let raw = salve_capabilities::RawStep { inverse: Some(step(&back).arguments), ..step(&post) };
        let made = planned(&brokers, "call", vec![raw]).await.unwrap();
        let session = crate::bench::execute(&brokers, &made);
        let answer = session.write(Write::HttpSend(post)).await.unwrap();
        number += 1;
        let response = answer.response.unwrap();
        assert_eq!((response.status, response.body.as_slice()), (status, &b"why"[..]));
        assert_eq!(answer.receipt.applied, !refused, "{status}");
        let summary = session.finish().await;
        assert_eq!((summary.receipts, summary.uncertain), (vec![answer.receipt.clone()], false));
        let outcome = bench.result(number);
        assert_eq!(outcome.receipt.as_ref(), Some(&answer.receipt));
        if refused {
            let why = format!("the server refused it with status {status}");
            assert_eq!((outcome.state, outcome.note.as_ref()), (WriteState::NotApplied, Some(&why)));
            assert_eq!(answer.receipt.extra.get("refused"), Some(&why));
            assert_eq!(answer.receipt.after, None);
        } else {
            assert_eq!((outcome.state, outcome.note), (WriteState::Applied, None), "{status}");
            assert_eq!(answer.receipt.after, Some(format!("status={status}")));
        }
        let undo = crate::bench::undo(&brokers, &made, vec![answer.receipt]);
        let undone = undo.write(Write::HttpSend(back.clone())).await;
        if refused {
            assert!(matches!(&undone, Err(CallError::Denied(Denied::NotInPlan(_)))), "{status}: {undone:?}");
        } else {
            number += 1;
            assert!(undone.unwrap().receipt.applied);
        }
        undo.finish().await;
    }
    assert_eq!(log.lock().unwrap().iter().filter(|seen| seen.uri == "/api/back").count(), 8);
}

/// Scenario: the server refuses the way back. Guarantees: nobody takes the step for taken back.
#[tokio::test]
async fn a_refused_way_back_is_none() {
    let (address, _log) = server().await;
    let mut bench = bench(format!("http://{address}"));
    bench.config.grants[0].http.as_mut().unwrap().reversible = true;
    let brokers = bench.brokers();
    let (open, close) = (request("POST", "/api/tickets"), request("POST", "/api/status/422"));
    let raw = salve_capabilities::RawStep { inverse: Some(step(&close).arguments), ..step(&open) };
    let made = planned(&brokers, "call", vec![raw]).await.unwrap();
    let session = crate::bench::execute(&brokers, &made);
    let receipt = session.write(Write::HttpSend(open)).await.unwrap().receipt;
    session.finish().await;
    let undo = crate::bench::undo(&brokers, &made, vec![receipt]);
    undo.write(Write::HttpSend(close)).await.unwrap();
    let summary = undo.finish().await;
    assert!(!summary.receipts[0].applied && !summary.uncertain);
    assert_eq!(bench.result(2).state, WriteState::NotApplied);
}
