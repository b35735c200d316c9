//! Talks to the shop's admin ports.

use anyhow::{Context, Result};
use serde::{Deserialize, de::DeserializeOwned};
use std::{net::SocketAddr, time::Duration};

/// The shop is on this machine: it answers at once or it hangs.
const TIMEOUT: Duration = Duration::from_millis(500);

/// How a service is.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ServiceStatus {
    /// Process id.
    pub(crate) pid: u32,
}

/// An HTTP client for admin ports.
#[derive(Debug, Clone)]
pub(crate) struct Admin(reqwest::Client);

impl Admin {
    /// Makes a client.
    ///
    /// # Errors
    /// If TLS cannot be set up. Admin ports speak plain HTTP, but the library asks for it.
    pub(crate) fn new() -> Result<Self> {
        // Fails only if it was installed before, which is just as well.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self(client))
    }

    /// Asks a service how it is.
    ///
    /// # Errors
    /// If it does not answer in half a second.
    pub(crate) async fn service(&self, admin: SocketAddr) -> Result<ServiceStatus> {
        self.send(self.0.get(format!("http://{admin}/admin/status"))).await
    }

    /// Lets a service leak.
    ///
    /// # Errors
    /// If it does not answer in half a second.
    pub(crate) async fn leak(&self, admin: SocketAddr, bytes_per_second: u64) -> Result<()> {
        let body = serde_json::json!({ "bytes_per_second": bytes_per_second });
        let _status: serde_json::Value =
            self.send(self.0.post(format!("http://{admin}/admin/leak")).json(&body)).await?;
        Ok(())
    }

    /// Sets how many times as many customers as usual there are.
    ///
    /// # Errors
    /// If the load does not answer in half a second.
    pub(crate) async fn multiplier(&self, admin: SocketAddr, multiplier: f64) -> Result<()> {
        let body = serde_json::json!({ "multiplier": multiplier });
        let _status: serde_json::Value =
            self.send(self.0.put(format!("http://{admin}/admin/multiplier")).json(&body)).await?;
        Ok(())
    }

    async fn send<A: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<A> {
        let response = request.send().await.context("an admin port of the shop does not answer")?;
        let response = response.error_for_status().context("an admin port of the shop refuses")?;
        response.json().await.context("an admin port of the shop answers something else")
    }
}
