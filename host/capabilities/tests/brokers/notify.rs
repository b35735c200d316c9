//! Messages to people, through a real server on loopback.

use crate::{
    bench::{Bench, grant, heal, id, raw, target},
    server::server,
};
use salve_capabilities::{Brokers, BrokersConfig, ChannelConfig};
use salve_model::{
    call::{CallError, Denied, Write},
    plan::VerbClass,
};

fn channel(bench: &mut Bench, url: String) {
    bench.config.channels = vec![ChannelConfig {
        name: "ops".into(),
        url,
        template: r#"{"text": "{summary} ({incident}, {plugin}, {target})"}"#.into(),
        secret: None,
        address_ranges: vec!["loopback".into()],
    }];
    let mut people = target("people");
    people.notify = Some("ops".into());
    bench.config.targets.push(people);
    bench.config.grants.push(grant("tell", "notify", &["send"], "people"));
}

async fn tell(brokers: &Brokers, summary: &str) -> Result<salve_model::call::WriteAnswer, CallError> {
    let fields = vec![("summary".to_owned(), summary.to_owned()), ("plugin".to_owned(), "forged".to_owned())];
    let step = raw("notify", "send", "people", &serde_json::json!({ "fields": fields }).to_string());
    heal(brokers, "tell", step, Write::Notify { target: id("people"), fields }).await
}

/// Guarantees: a message is the operator's template; what a plugin writes stays inside of its string, on one line, and
/// cannot pass for the host's fields.
#[tokio::test]
async fn messages_are_the_operators() {
    let (address, log) = server().await;
    let mut bench = Bench::new();
    channel(&mut bench, format!("http://{address}/hook?room=1"));
    let brokers = bench.brokers();
    let answer = tell(&brokers, "down\", \"admin\": \"true\n\u{202e}x").await.unwrap();
    assert_eq!(answer.receipt.after.as_deref(), Some("status=200"));
    let seen = log.lock().unwrap()[0].clone();
    assert_eq!(seen.uri, "/hook?room=1");
    assert_eq!(
        String::from_utf8(seen.body.to_vec()).unwrap(),
        r#"{"text": "down\", \"admin\": \"true\\n\\u{202e}x (inc-1, tell, people)"}"#
    );
    assert_eq!(bench.journal.intents.lock().unwrap()[0].class, VerbClass::AtMostOnce);
    brokers.announce("ops", &[("summary".into(), "help".into())]).await.unwrap();
    assert_eq!(log.lock().unwrap().len(), 2);
}

/// Guarantees: a channel that answers with an error is a failure, and Salve's own API is no channel.
#[tokio::test]
async fn channels_that_fail() {
    let (address, log) = server().await;
    let mut broken = Bench::new();
    channel(&mut broken, format!("http://{address}/api/broken"));
    assert!(
        matches!(tell(&broken.brokers(), "x").await, Err(CallError::Failed(reason)) if reason.contains("500"))
    );
    let mut own = Bench::new();
    channel(&mut own, format!("http://{address}/hook"));
    own.config = BrokersConfig { protected_addresses: vec![address], ..own.config.clone() };
    assert!(
        matches!(tell(&own.brokers(), "x").await, Err(CallError::Denied(Denied::Never(reason))) if reason.contains("own"))
    );
    assert_eq!(log.lock().unwrap().len(), 1);
}
