//! The front door: takes orders, has them checked out, answers in the shop's currency.

use crate::{
    ServiceArguments,
    checkout::{CheckoutAnswer, CheckoutRequest},
    failure::Failure,
    service::{self, Service, ServiceConfig},
};
use axum::{Json, extract::State, routing::post};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// `gateway.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    listen: SocketAddr,
    admin_listen: SocketAddr,
    /// Where `checkout` is.
    checkout_url: String,
    /// How long `checkout` may take.
    checkout_timeout_ms: u64,
    workers: u32,
    queue_timeout_ms: u64,
    /// The currency that customers pay in, by ISO 4217.
    currency: String,
}

impl ServiceConfig for Config {
    fn listen(&self) -> SocketAddr {
        self.listen
    }
    fn admin_listen(&self) -> SocketAddr {
        self.admin_listen
    }
    fn workers(&self) -> u32 {
        self.workers
    }
    fn queue_timeout_ms(&self) -> u64 {
        self.queue_timeout_ms
    }
}

/// Currencies that the shop sells in, and how many of each make a euro.
const EXCHANGE_RATES: [(&str, f64); 4] = [("EUR", 1.0), ("USD", 1.08), ("GBP", 0.85), ("CHF", 0.95)];

/// What a customer sends.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// What.
    pub item: String,
    /// How many.
    pub quantity: u32,
}

/// What a customer gets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OrderAnswer {
    /// To pay, taxes included.
    pub total: f64,
    /// In which currency.
    pub currency: String,
}

/// Runs the service.
///
/// # Errors
/// See [`service::run`].
pub(crate) async fn run(arguments: ServiceArguments) -> anyhow::Result<()> {
    service::run::<Config>("gateway", arguments, "/orders", || post(order)).await
}

async fn order(
    State(service): State<Arc<Service<Config>>>,
    Json(order): Json<Order>,
) -> Result<Json<OrderAnswer>, Failure> {
    let client = &service.client;
    service
        .work(|config| async move {
            let rate = exchange_rate(&config.currency)?;
            let request = CheckoutRequest { item: order.item, quantity: order.quantity };
            let timeout = Duration::from_millis(config.checkout_timeout_ms);
            let answer: CheckoutAnswer =
                client.post(&config.checkout_url, "/checkout", &request, timeout).await?;
            Ok(Json(OrderAnswer { total: answer.total_euros * rate, currency: config.currency.clone() }))
        })
        .await
}

fn exchange_rate(currency: &str) -> Result<f64, Failure> {
    EXCHANGE_RATES.iter().find(|(code, _)| *code == currency).map(|(_, rate)| *rate).ok_or_else(|| {
        Failure::internal(
            "unknown_currency",
            format!("no exchange rate for currency `{}`", currency.escape_debug()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a currency nobody knows is the gateway's own error, not the customer's and not the callee's.
    #[test]
    fn an_unknown_currency_is_our_own_failure() {
        assert_eq!(exchange_rate("EUR").unwrap(), 1.0);
        let failure = exchange_rate("EUX").unwrap_err();
        assert_eq!((failure.status.as_u16(), failure.error_type), (500, "unknown_currency"));
        assert_eq!(failure.to_string(), "no exchange rate for currency `EUX`");
    }
}
