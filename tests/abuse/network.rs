//! Actions that reach out, and servers that answer badly.

use crate::{
    attack::{ActionAttack, Attack, MAY_SET_POOL},
    guest::{Action, Does, set_step},
};

/// Lets an action make GETs below `/api` of its target.
const MAY_GET: &str = "capability = \"http\"\nverbs = [\"get\"]\nhttp = { methods = [\"GET\"], paths = [\"/api\"], headers = [\"x-reason\"] }\n";
/// The same, for one that reads telemetry.
const MAY_SEND: &str = "capability = \"http\"\nverbs = [\"get\"]\nmay_send = true\nhttp = { methods = [\"GET\"], paths = [\"/api\"] }\n";
/// The same, with a secret that the host adds.
const MAY_GET_WITH_SECRET: &str = "capability = \"http\"\nverbs = [\"get\"]\n\
    http = { methods = [\"GET\"], paths = [\"/api\"], secret = \"kept\" }\n";
/// The nasty server, as its operator gave it.
const NASTY: &str = "http = { base_url = \"http://NASTY\", address_ranges = [\"loopback\"] }\n";

/// Plans to set its victim's pool, and makes a GET instead; `answered`: whether it may get an answer.
fn gets(name: &'static str, path: &str, answered: bool, change: impl FnOnce(&mut ActionAttack)) -> Attack {
    let mut attack = ActionAttack {
        guest: Action {
            name,
            capabilities: vec![("config", vec!["set"]), ("http", vec!["get", "send"])],
            steps: vec![set_step(name, "pool_size", "16")],
            execute: vec![Does::Http(name.into(), "GET", path.into(), None)],
            ..Action::default()
        },
        grants: vec![MAY_SET_POOL, MAY_GET],
        target: NASTY,
        ledger: vec!["next_remedy"],
        log: vec![if answered { "call 0 of http.get: yes" } else { "call 0 of http.get: no." }],
        ..ActionAttack::default()
    };
    change(&mut attack);
    Attack::action("network", attack)
}

fn refused(name: &'static str, path: &str, change: impl FnOnce(&mut ActionAttack)) -> Attack {
    gets(name, path, false, change)
}

/// The method, path or header of the one call.
fn call(attack: &mut ActionAttack, method: &'static str, path: &str, header: Option<(&'static str, String)>) {
    attack.guest.execute = vec![Does::Http(attack.guest.name.into(), method, path.into(), header)];
}

/// Every attack over HTTP.
pub fn attacks() -> Vec<Attack> {
    let mut attacks = requests();
    attacks.extend(addresses());
    attacks.extend(answers());
    attacks
}

/// What a guest may try to say.
fn requests() -> Vec<Attack> {
    vec![
        refused("path-not-granted", "/admin", |attack| attack.ledger.push("not-granted")),
        refused("path-beside", "/apix", |attack| attack.ledger.push("not-granted")),
        refused("dot-segments", "/api/../admin", |_| {}),
        refused("encoded-dots", "/api/%2e%2e/admin", |_| {}),
        refused("encoded-slash", "/api/a%2f..%2fadmin", |_| {}),
        refused("host-in-path", "//FORBIDDEN/api", |_| {}),
        refused("split-request", "/api HTTP/1.1\r\nhost: elsewhere\r\n\r\nGET /admin", |_| {}),
        refused("method-not-granted", "/api", |attack| {
            call(attack, "DELETE", "/api", None);
            attack.log = vec!["call 0 of http.send: no."];
        }),
        refused("header-not-granted", "/api", |attack| {
            call(attack, "GET", "/api", Some(("x-admin", "1".into())));
            attack.ledger.push("not-granted");
        }),
        refused("header-host", "/api", |attack| {
            call(attack, "GET", "/api", Some(("host", "elsewhere".into())))
        }),
        refused("header-split", "/api", |attack| {
            call(attack, "GET", "/api", Some(("x-reason", "a\r\nx-admin: 1".into())));
        }),
        refused("no-http-grant", "/api", |attack| {
            attack.grants = vec![MAY_SET_POOL];
            attack.ledger.push("not-granted");
        }),
        refused("reads-while-planning", "/api", |attack| {
            attack.guest.plan = std::mem::take(&mut attack.guest.execute);
            attack.ledger = vec!["safe_read"];
        }),
        refused("telemetry-sent-away", "/api/telemetry", |attack| {
            // It could tell the server what it has read; its grant does not say that it may.
            attack.guest.execute.insert(0, Does::Telemetry(1));
            attack.log = vec!["call 1 of http.get: no."];
            attack.ledger.push("may_send = true");
        }),
        gets("telemetry-sent-as-granted", "/api/granted", true, |attack| {
            attack.guest.execute.insert(0, Does::Telemetry(1));
            attack.log = vec!["call 1 of http.get: yes"];
            attack.grants = vec![MAY_SET_POOL, MAY_SEND];
        }),
        refused("message-not-granted", "/api", |attack| {
            attack.guest.capabilities.push(("notify", vec!["send"]));
            attack.guest.execute = vec![Does::Notify(attack.guest.name.into(), "free text to everybody")];
            attack.log = vec!["call 0 of notify.send: no."];
        }),
    ]
}

/// Where a guest may try to get to.
fn addresses() -> Vec<Attack> {
    let at = |attack: &mut ActionAttack, target: &'static str| attack.target = target;
    vec![
        refused("loopback-not-named", "/api", |attack| {
            at(attack, "http = { base_url = \"http://FORBIDDEN\" }\n");
        }),
        refused("name-leads-home", "/api", |attack| {
            // A public name that its owner lets lead to loopback, as in DNS rebinding.
            at(attack, "http = { base_url = \"http://localhost:1\", address_ranges = [\"public\"] }\n");
        }),
        refused("salves-own-door", "/api", |attack| {
            at(
                attack,
                "http = { base_url = \"http://127.0.0.1:OWN_HEALTH\", address_ranges = [\"loopback\"] }\n",
            );
        }),
    ]
}

/// What a server may try to answer.
fn answers() -> Vec<Attack> {
    vec![
        gets("redirect", "/api/redirect", true, |_| {}),
        gets("decompression-bomb", "/api/bomb", true, |_| {}),
        refused("slow-drip", "/api/drip", |_| {}),
        refused("slow-headers", "/api/slow-headers", |_| {}),
        refused("endless-body", "/api/endless", |_| {}),
        refused("endless-headers", "/api/headers", |_| {}),
        refused("no-http-at-all", "/api/garbage", |_| {}),
        gets("echoes-the-secret", "/api/echo", true, |attack| {
            attack.grants = vec![MAY_SET_POOL, MAY_GET_WITH_SECRET];
            attack.log.push("you said [secret]");
        }),
    ]
}
