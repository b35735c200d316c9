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

/// The kind of a refused call's entry.
const REFUSAL: &str = r#""kind":"refusal""#;

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

/// The same call, refused: the ledger has the refusal with these words of its reason.
pub fn refused(
    name: &'static str,
    path: &str,
    why: &'static str,
    change: impl FnOnce(&mut ActionAttack),
) -> Attack {
    gets(name, path, false, |attack| {
        attack.ledger.extend([REFUSAL, why]);
        change(attack);
    })
}

/// The same call, which the server spoils: Salve refuses nothing, and the guest is told that it failed.
fn spoilt(name: &'static str, path: &str) -> Attack {
    gets(name, path, false, |_| {})
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
        refused("path-not-granted", "/admin", "not-granted", |_| {}),
        refused("path-beside", "/apix", "not-granted", |_| {}),
        refused("dot-segments", "/api/../admin", "has a dot segment", |_| {}),
        refused("encoded-dots", "/api/%2e%2e/admin", "hides a character", |_| {}),
        refused("encoded-slash", "/api/a%2f..%2fadmin", "hides a character", |_| {}),
        refused("host-in-path", "//FORBIDDEN/api", "has an empty segment", |_| {}),
        refused("user-in-path", "@FORBIDDEN/api", "does not begin with", |_| {}),
        refused(
            "split-request",
            "/api HTTP/1.1\r\nhost: elsewhere\r\n\r\nGET /admin",
            "a character that paths do not have",
            |_| {},
        ),
        refused("method-not-granted", "/api", "not-granted", |attack| {
            call(attack, "DELETE", "/api", None);
            attack.log = vec!["call 0 of http.send: no."];
        }),
        refused("header-not-granted", "/api", "not-granted", |attack| {
            call(attack, "GET", "/api", Some(("x-admin", "1".into())));
        }),
        refused("header-host", "/api", "header `host` is the host's", |attack| {
            call(attack, "GET", "/api", Some(("host", "elsewhere".into())))
        }),
        refused("header-split", "/api", "something other than visible ASCII", |attack| {
            call(attack, "GET", "/api", Some(("x-reason", "a\r\nx-admin: 1".into())));
        }),
        refused("no-http-grant", "/api", "not-granted", |attack| {
            attack.grants = vec![MAY_SET_POOL];
            // What the operator can paste.
            attack.ledger.push("[[grant]]");
        }),
        refused("reads-while-planning", "/api", "safe_read", |attack| {
            attack.guest.plan = std::mem::take(&mut attack.guest.execute);
            attack.ledger.retain(|words| *words != "next_remedy");
        }),
        refused("telemetry-sent-away", "/api/telemetry", "may_send = true", |attack| {
            // It could tell the server what it has read; its grant does not say that it may.
            attack.guest.execute.insert(0, Does::Telemetry(1));
            attack.log = vec!["call 1 of http.get: no."];
        }),
        gets("telemetry-sent-as-granted", "/api/granted", true, |attack| {
            attack.guest.execute.insert(0, Does::Telemetry(1));
            attack.log = vec!["call 1 of http.get: yes"];
            attack.grants = vec![MAY_SET_POOL, MAY_SEND];
        }),
        refused("message-not-granted", "/api", "not-granted", |attack| {
            attack.guest.capabilities.push(("notify", vec!["send"]));
            attack.guest.execute = vec![Does::Notify(attack.guest.name.into(), "free text to everybody")];
            attack.log = vec!["call 0 of notify.send: no."];
            attack.target = "notify = \"everybody\"\n";
            attack.more = "[[notify]]\nname = \"everybody\"\nurl = \"http://FORBIDDEN/\"\n\
                address_ranges = [\"loopback\"]\ntemplate = '{\"text\": \"{summary}\"}'\n";
        }),
    ]
}

/// Where a guest may try to get to.
fn addresses() -> Vec<Attack> {
    let at = |attack: &mut ActionAttack, target: &'static str| attack.target = target;
    vec![
        refused("loopback-not-named", "/api", "in none of the target's", |attack| {
            at(attack, "http = { base_url = \"http://FORBIDDEN\" }\n");
        }),
        refused("name-leads-home", "/api", "in none of the target's", |attack| {
            // A public name that its owner lets lead to loopback, as in DNS rebinding.
            at(attack, "http = { base_url = \"http://localhost:1\", address_ranges = [\"public\"] }\n");
        }),
        refused("salves-own-door", "/api", "one of Salve's own listeners", |attack| {
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
        spoilt("slow-drip", "/api/drip"),
        spoilt("slow-headers", "/api/slow-headers"),
        spoilt("endless-body", "/api/endless"),
        spoilt("endless-headers", "/api/headers"),
        spoilt("no-http-at-all", "/api/garbage"),
        gets("echoes-the-secret", "/api/echo", true, |attack| {
            attack.grants = vec![MAY_SET_POOL, MAY_GET_WITH_SECRET];
            attack.log.push("you said [secret]");
        }),
    ]
}
