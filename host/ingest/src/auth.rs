//! Who sends, and what that sender may say about itself.

use crate::config::TokenConfig;
use hyper::{HeaderMap, header::AUTHORIZATION};
use salve_model::{Tenant, pattern::matches};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use subtle::ConstantTimeEq;

/// The attribute values that a sender may assert: patterns by attribute, for instance
/// `{ "service.name" = ["checkout", "cart-*"] }`. Only telemetry whose attributes are allowed can select a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Assertions(pub BTreeMap<String, Vec<String>>);

impl Assertions {
    /// Whether the sender may say that `attribute` has `value`. An attribute that is not listed may not be asserted.
    ///
    /// Patterns are literal text with `*` for any run of characters, anchored at both ends.
    #[must_use]
    pub fn allows(&self, attribute: &str, value: &str) -> bool {
        self.0.get(attribute).is_some_and(|patterns| patterns.iter().any(|pattern| matches(pattern, value)))
    }
}

/// A sender that was recognised.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) tenant: Tenant,
    pub(crate) allowed: Option<Arc<Assertions>>,
}

/// The tokens that are known. Without any, everybody is the default tenant.
pub(crate) struct Senders(Vec<(Vec<u8>, Sender)>);

impl Senders {
    pub(crate) fn new(tokens: &[TokenConfig], texts: Vec<String>) -> Self {
        let senders = tokens.iter().zip(texts).map(|(token, text)| {
            let sender = Sender { tenant: token.tenant.clone(), allowed: token.assert.clone().map(Arc::new) };
            (text.into_bytes(), sender)
        });
        Self(senders.collect())
    }

    /// True if anybody may send.
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// The sender of a request, by `authorization: Bearer …`. Takes the same time for every wrong token of a length.
    pub(crate) fn recognise(&self, headers: &HeaderMap) -> Option<Sender> {
        if self.is_open() {
            return Some(Sender { tenant: Tenant::default(), allowed: None });
        }
        let header = headers.get(AUTHORIZATION)?.as_bytes();
        let (scheme, token) = header.split_at_checked("Bearer ".len())?;
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return None;
        }
        // All are compared, so that time does not tell which one was nearly right.
        self.0.iter().fold(None, |found, (known, sender)| {
            let equal = bool::from(known.as_slice().ct_eq(token));
            if equal { Some(sender.clone()) } else { found }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: patterns mean what the documentation says, at both ends and in the middle.
    #[test]
    fn patterns_match() {
        for (pattern, value, expected) in [
            ("checkout", "checkout", true),
            ("checkout", "checkout2", false),
            ("cart-*", "cart-", true),
            ("cart-*", "cart-eu", true),
            ("cart-*", "my-cart-eu", false),
            ("*-eu", "cart-eu", true),
            ("*-eu", "cart-eu-2", false),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "a--c--b", false),
            ("a*a", "a", false),
            ("a*b*b", "ab", false),
            ("*", "", true),
            ("**", "x", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, value), expected, "`{pattern}` on `{value}`");
        }
    }

    /// Guarantees: what is not listed may not be asserted.
    #[test]
    fn unlisted_attributes_are_not_allowed() {
        let assertions =
            Assertions(BTreeMap::from([("service.name".into(), vec!["cart".into(), "shop-*".into()])]));
        assert!(assertions.allows("service.name", "cart") && assertions.allows("service.name", "shop-1"));
        assert!(!assertions.allows("service.name", "pay") && !assertions.allows("host.name", "cart"));
    }

    /// Guarantees: only the exact token is recognised, with its own tenant and assertions.
    #[test]
    fn tokens_name_their_sender() {
        let token = |tenant: &str| TokenConfig { tenant: Tenant(tenant.into()), ..TokenConfig::default() };
        let senders =
            Senders::new(&[token("a"), token("b")], vec!["secret-of-a".into(), "secret-of-b".into()]);
        let tenant = |header: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]);
            senders.recognise(&headers).map(|sender| sender.tenant.0)
        };
        assert_eq!(tenant("Bearer secret-of-a").as_deref(), Some("a"));
        assert_eq!(tenant("bearer secret-of-b").as_deref(), Some("b"));
        for wrong in
            ["", "Bearer ", "Bearer secret-of-", "Bearer secret-of-ab", "Basic secret-of-a", "secret-of-a"]
        {
            assert_eq!(tenant(wrong), None, "{wrong}");
        }
        assert!(senders.recognise(&HeaderMap::new()).is_none());
    }
}
