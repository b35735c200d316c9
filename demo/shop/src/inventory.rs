//! The warehouse: knows prices and reserves goods.

use crate::{
    ServiceArguments,
    failure::Failure,
    service::{self, Service, ServiceConfig},
};
use axum::{Json, extract::State, http::StatusCode, routing::post};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, sync::Arc};

/// `inventory.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    listen: SocketAddr,
    admin_listen: SocketAddr,
    workers: u32,
    queue_timeout_ms: u64,
    /// From where goods are sent: `north` or `south`.
    warehouse: String,
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

/// Warehouses and the shelves they have.
const WAREHOUSES: [(&str, u64); 2] = [("north", 4_000), ("south", 2_500)];

/// What the shop sells, with the net price of one in euros.
pub(crate) const ITEMS: [(&str, f64); 5] =
    [("kettle", 29.9), ("teapot", 18.5), ("tea", 6.4), ("cup", 9.0), ("tray", 14.2)];

/// What `checkout` asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReservationRequest {
    /// What.
    pub item: String,
    /// How many.
    pub quantity: u32,
}

/// What `checkout` gets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReservationAnswer {
    /// Net price of all of them.
    pub price_euros: f64,
    /// On which shelf they lie.
    pub shelf: u64,
}

/// Runs the service.
///
/// # Errors
/// See [`service::run`].
pub(crate) async fn run(arguments: ServiceArguments) -> anyhow::Result<()> {
    service::run::<Config>("inventory", arguments, "/reservations", || post(reserve)).await
}

async fn reserve(
    State(service): State<Arc<Service<Config>>>,
    Json(request): Json<ReservationRequest>,
) -> Result<Json<ReservationAnswer>, Failure> {
    service
        .work(|config| async move {
            let shelves = shelves(&config.warehouse)?;
            let price = price(&request.item)?;
            // Stock is looked up, then written back.
            service::wait_like_a_disk(2.0, 2.0).await;
            let shelf = nearest_shelf(&request.item, shelves);
            service::wait_like_a_disk(2.0, 2.0).await;
            Ok(Json(ReservationAnswer { price_euros: price * f64::from(request.quantity), shelf }))
        })
        .await
}

fn shelves(warehouse: &str) -> Result<u64, Failure> {
    WAREHOUSES.iter().find(|(name, _)| *name == warehouse).map(|(_, shelves)| *shelves).ok_or_else(|| {
        Failure::internal("unknown_warehouse", format!("no warehouse `{}`", warehouse.escape_debug()))
    })
}

fn price(item: &str) -> Result<f64, Failure> {
    ITEMS.iter().find(|(name, _)| *name == item).map(|(_, price)| *price).ok_or_else(|| Failure {
        status: StatusCode::NOT_FOUND,
        error_type: "unknown_item",
        message: format!("no item `{}`", item.escape_debug()),
    })
}

/// Looks at every shelf (FNV-1a of item and shelf): the processor's share of the work, some tens of microseconds.
fn nearest_shelf(item: &str, shelves: u64) -> u64 {
    (0..shelves)
        .min_by_key(|shelf| {
            item.bytes().chain(shelf.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a warehouse nobody knows is our own error, an item nobody knows is the caller's.
    #[test]
    fn tells_own_failures_from_the_callers() {
        assert_eq!(shelves("south").unwrap(), 2_500);
        assert_eq!(shelves("nroth").unwrap_err().status.as_u16(), 500);
        assert_eq!(price("tea").unwrap(), 6.4);
        assert_eq!(price("coffee").unwrap_err().status.as_u16(), 404);
    }

    /// Guarantees: the same item lies on the same shelf of the same warehouse, within its bounds.
    #[test]
    fn shelves_are_stable() {
        for (item, _) in ITEMS {
            let shelf = nearest_shelf(item, 2_500);
            assert!(shelf < 2_500);
            assert_eq!(shelf, nearest_shelf(item, 2_500));
        }
    }
}
