//! Senders of telemetry and others who knock at open ports. What `bad_input.rs` shows for a quiet daemon holds under attack too.

use crate::{
    arena::{Arena, FOREIGN, SENDER, STRANGER, export, export_as, gauge},
    attack::Attack,
};
use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use salve_tests::world::{attribute, client};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

fn connect(arena: &Arena) -> Result<TcpStream> {
    let stream = TcpStream::connect(arena.otlp.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Posts a body as OTLP with a token and gives the status; a connection that is closed early counts as 413.
fn post(arena: &Arena, token: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<u16> {
    arena.block_on(async {
        let url = format!("{}/v1/metrics", arena.otlp);
        let mut request = client().post(url).bearer_auth(token).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(request.send().await.map_or(413, |response| response.status().as_u16()))
    })
}

/// An export that says that a service is sick.
fn sick(service: &str) -> Vec<u8> {
    ExportMetricsServiceRequest { resource_metrics: vec![gauge(service, "abuse.level", &[("", 1_000.0)])] }
        .encode_to_vec()
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

fn status(
    name: &'static str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: fn() -> Result<Vec<u8>>,
) -> Attack {
    Attack::free(&format!("sender::{name}"), move |arena: &Arena| {
        for _ in 0..20 {
            let got = post(arena, SENDER, headers, body()?)?;
            ensure!(got == status, "status {got}");
        }
        Ok(())
    })
}

/// Another tenant's `control` is sick. It has an incident of its own, which finds neither target nor grant, though the policy
/// names them; this tenant's `control` is healed as ever.
fn another_tenants_names(arena: &Arena) -> Result<()> {
    let client = client();
    let send = |level: f64| {
        let resource_metrics = vec![gauge("control", "abuse.level", &[("", level)])];
        let body = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        let refused = arena.block_on(export_as(FOREIGN, &client, &arena.otlp, body))?;
        ensure!(refused == 0, "{refused} points refused");
        Ok(())
    };
    let incident = || {
        let list = arena.daemon.json(&["incident", "list", "--tenant", "foreign", "--json"])?;
        Ok::<_, anyhow::Error>(list.as_array().into_iter().flatten().next().cloned())
    };
    let mut sent = 0;
    arena.wait("the foreign detector is warm", || {
        sent += 1;
        send(1.0).map(|()| sent > 30)
    })?;
    let mut found = None;
    arena.wait("the foreign incident is given up", || {
        send(1_000.0)?;
        found = incident()?;
        Ok(found.as_ref().is_some_and(|incident| incident["phase"] == "escalated"))
    })?;
    let found = found.context("no incident")?;
    ensure!(found["attempts"] == 0 && found["tenant"] == "foreign", "{found:#}");
    let ledger = arena.ledger_of(found["id"].as_str().unwrap_or_default())?;
    ensure!(!ledger.contains("write_intent") && ledger.contains(r#""tenant":"foreign""#), "{ledger}");
    ensure!(!ledger.contains(r#""tenant":"default""#), "an entry of another tenant's:\n{ledger}");
    arena.control_goes_on()?;
    arena.wait("the foreign incident is closed", || {
        send(1.0)?;
        Ok(incident()?.is_some_and(|incident| !incident["closed"].is_null()))
    })
}

/// Every attack over OTLP.
pub fn attacks() -> Vec<Attack> {
    vec![
        status("garbage", 400, &[PROTOBUF], || Ok(vec![0xff; 10_000])),
        status("compressed-bomb", 413, &[PROTOBUF, ("content-encoding", "gzip")], || {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            for _ in 0..64 {
                encoder.write_all(&vec![0; 1 << 20])?;
            }
            Ok(encoder.finish()?)
        }),
        status("too-large", 413, &[PROTOBUF], || Ok(vec![0; 20_000_000])),
        status("deep-json", 400, &[("content-type", "application/json")], || Ok(b"[".repeat(1_000_000))),
        Attack::free("sender::token-nobody-has", |arena: &Arena| {
            for token in ["", "x", &SENDER[1..], &format!("{SENDER}x")] {
                let got = post(arena, token, &[PROTOBUF], sick("control"))?;
                ensure!(got == 401, "token `{token}`: status {got}");
            }
            Ok(())
        }),
        Attack::free("sender::speaks-of-others", |arena: &Arena| {
            // Of a service that is a target, of nobody's, and of their own.
            for (service, refused) in [("control", 1), ("nobody", 1), ("stranger-1", 0)] {
                let got = arena.block_on(export_as(STRANGER, &client(), &arena.otlp, sick(service)))?;
                ensure!(got == refused, "{got} points about {service} refused");
            }
            Ok(())
        }),
        Attack::free("sender::another-tenants-names", another_tenants_names),
        Attack::free("sender::idle-connections", |arena: &Arena| {
            let held: Vec<TcpStream> = (0..300).map(|_| connect(arena)).collect::<Result<_>>()?;
            arena.control_goes_on()?;
            drop(held);
            Ok(())
        }),
        Attack::free("sender::half-a-request", |arena: &Arena| {
            // Headers that never end: the server hangs up in its own time.
            let mut stream = connect(arena)?;
            stream.write_all(b"POST /v1/metrics HTTP/1.1\r\nhost: x\r\n")?;
            let mut answer = Vec::new();
            _ = stream.read_to_end(&mut answer).context("the server did not hang up")?;
            Ok(())
        }),
        Attack::free("sender::not-http", |arena: &Arena| {
            let mut stream = connect(arena)?;
            stream.write_all(&[0x16, 3, 1, 0xff, 0xff].repeat(1_000))?;
            let mut answer = Vec::new();
            // Closed with or without a word, but closed.
            drop(stream.read_to_end(&mut answer));
            ensure!(!answer.starts_with(b"HTTP/1.1 200"));
            Ok(())
        }),
        Attack::free("sender::many-label-values", |arena: &Arena| {
            let ids: Vec<String> = (0..20_000).map(|id| format!("abuse-{id}")).collect();
            let values: Vec<(&str, f64)> = ids.iter().map(|id| (id.as_str(), 1.0)).collect();
            let request = ExportMetricsServiceRequest {
                resource_metrics: vec![gauge("flood", "abuse.flood", &values)],
            };
            arena.block_on(async { export(&client(), &arena.otlp, request.encode_to_vec()).await.map(drop) })
        }),
        Attack::free("sender::nonsense-numbers", |arena: &Arena| {
            let values = [("a", f64::NAN), ("b", f64::INFINITY), ("c", -f64::INFINITY), ("d", 1.0)];
            let request =
                ExportMetricsServiceRequest { resource_metrics: vec![gauge("odd", "abuse.odd", &values)] };
            let refused = arena.block_on(export(&client(), &arena.otlp, request.encode_to_vec()))?;
            ensure!(refused == 3, "{refused} refused");
            Ok(())
        }),
        Attack::free("sender::escapes-in-names", |arena: &Arena| {
            let name = "a\u{1b}[2J\u{202e}\n../../etc/passwd";
            let mut resource = gauge(name, name, &[("\u{1b}]0;owned\u{7}", 1.0)]);
            if let Some(resource) = &mut resource.resource {
                resource.attributes.push(attribute("host.name", &"x".repeat(100_000)));
            }
            let request = ExportMetricsServiceRequest { resource_metrics: vec![resource] };
            arena.block_on(export(&client(), &arena.otlp, request.encode_to_vec()))?;
            let shown = arena.daemon.salve(&["status"])?;
            ensure!(!String::from_utf8_lossy(&shown.stdout).contains(['\u{1b}', '\u{202e}', '\u{7}']));
            Ok(())
        }),
    ]
}
