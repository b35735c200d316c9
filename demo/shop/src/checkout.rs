//! The till: has the goods reserved and adds taxes.

use crate::{
    ServiceArguments,
    failure::Failure,
    inventory::{ReservationAnswer, ReservationRequest},
    service::{self, Service, ServiceConfig},
};
use axum::{Json, extract::State, routing::post};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// `checkout.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    listen: SocketAddr,
    admin_listen: SocketAddr,
    /// Where `inventory` is.
    inventory_url: String,
    /// How long `inventory` may take.
    inventory_timeout_ms: u64,
    workers: u32,
    queue_timeout_ms: u64,
    /// Which taxes apply: `standard`, `reduced` or `export`.
    tax_table: String,
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

/// Share of the net price that is added as tax.
const TAX_TABLES: [(&str, f64); 3] = [("standard", 0.19), ("reduced", 0.07), ("export", 0.0)];

/// What `gateway` asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CheckoutRequest {
    /// What.
    pub item: String,
    /// How many.
    pub quantity: u32,
}

/// What `gateway` gets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CheckoutAnswer {
    /// To pay, taxes included.
    pub total_euros: f64,
}

/// Runs the service.
///
/// # Errors
/// See [`service::run`].
pub(crate) async fn run(arguments: ServiceArguments) -> anyhow::Result<()> {
    service::run::<Config>("checkout", arguments, "/checkout", || post(checkout)).await
}

async fn checkout(
    State(service): State<Arc<Service<Config>>>,
    Json(request): Json<CheckoutRequest>,
) -> Result<Json<CheckoutAnswer>, Failure> {
    let client = &service.client;
    service
        .work(|config| async move {
            let tax = tax(&config.tax_table)?;
            // The customer's basket comes from a store of its own.
            service::wait_like_a_disk(2.0, 2.0).await;
            let reservation = ReservationRequest { item: request.item, quantity: request.quantity };
            let timeout = Duration::from_millis(config.inventory_timeout_ms);
            let reserved: ReservationAnswer =
                client.post(&config.inventory_url, "/reservations", &reservation, timeout).await?;
            // The receipt is written down.
            service::wait_like_a_disk(2.0, 2.0).await;
            Ok(Json(CheckoutAnswer { total_euros: reserved.price_euros * (1.0 + tax) }))
        })
        .await
}

fn tax(table: &str) -> Result<f64, Failure> {
    TAX_TABLES.iter().find(|(name, _)| *name == table).map(|(_, tax)| *tax).ok_or_else(|| {
        Failure::internal("unknown_tax_table", format!("no tax table `{}`", table.escape_debug()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a tax table nobody knows is the till's own error.
    #[test]
    fn an_unknown_tax_table_is_our_own_failure() {
        assert_eq!(tax("reduced").unwrap(), 0.07);
        let failure = tax("standrad").unwrap_err();
        assert_eq!((failure.status.as_u16(), failure.to_string().as_str()), (500, "no tax table `standrad`"));
    }
}
