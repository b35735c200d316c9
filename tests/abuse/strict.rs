//! Where unsigned plugins do not load: attacks that a daemon with `dev = true` refuses already in its configuration. What may
//! load all the same is named by its digest in a grant.

use crate::{arena::Arena, attack::Attack, loading, network, trust};

/// What lets an action make GETs, with a secret that the host adds.
const MAY_GET_WITH_SECRET: &str = "capability = \"http\"\nverbs = [\"get\"]\n\
    http = { methods = [\"GET\"], paths = [\"/api\"], secret = \"kept\" }\n";

/// Every attack on a daemon that is not for development.
pub fn attacks() -> Vec<Attack> {
    let at = |name, target: &'static str, why| {
        network::refused(name, "/api", why, move |attack| attack.target = target)
    };
    vec![
        at(
            "metadata",
            "http = { base_url = \"http://169.254.169.254\", address_ranges = [\"private\", \"169.254.0.0/16\"] }\n",
            "which Salve never calls",
        ),
        at(
            "metadata-in-ipv6",
            "http = { base_url = \"http://[::ffff:169.254.169.254]\", address_ranges = [\"0.0.0.0/0\", \"::/0\"] }\n",
            "which Salve never calls",
        ),
        at(
            "link-local",
            "http = { base_url = \"http://[fe80::1]\", address_ranges = [\"private\", \"::/0\"] }\n",
            "which Salve never calls",
        ),
        network::refused("secret-without-tls", "/api", "it needs https, or loopback", |attack| {
            attack.grants = vec![crate::attack::MAY_SET_POOL, MAY_GET_WITH_SECRET];
            attack.target =
                "http = { base_url = \"http://10.255.255.1:9\", address_ranges = [\"private\"] }\n";
        }),
        Attack::free("identity::unsigned", |arena: &Arena| {
            const NAME: &str = "zz-unsigned";
            arena.drop_plugin(NAME, &trust::agent(NAME, "0.1.0")?)?;
            loading::is_refused(arena, NAME, "is not signed by a trusted publisher")
        }),
    ]
}
