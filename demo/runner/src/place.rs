//! The folder, the ports and the files of one run: the shop's configurations and `salve.toml`.

use crate::fault::Service;
use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// Limit of each service's data memory.
pub(crate) const MEMORY_LIMIT_BYTES: u64 = 128 << 20;

/// Programs and plugins.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// The daemon.
    pub(crate) salve: PathBuf,
    /// The shop.
    pub(crate) shop: PathBuf,
    /// Folder of `*.wasm` components.
    pub(crate) plugins: PathBuf,
}

impl Programs {
    /// Checks that all of them are there.
    ///
    /// # Errors
    /// Names the first that is not, and how to make it.
    pub(crate) fn check(&self) -> Result<()> {
        for (what, path, found) in [
            ("the daemon", &self.salve, self.salve.is_file()),
            ("the shop", &self.shop, self.shop.is_file()),
            ("the plugins", &self.plugins, self.plugins.is_dir()),
        ] {
            anyhow::ensure!(
                found,
                "cannot find {what} at `{}`\n\nhint: `cargo xtask demo` builds everything first",
                path.display()
            );
        }
        Ok(())
    }
}

/// Ports of one service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// Requests.
    pub(crate) listen: SocketAddr,
    /// `/admin`.
    pub(crate) admin: SocketAddr,
}

/// Where one run lives.
#[derive(Debug)]
pub(crate) struct Place {
    /// Everything is below this folder.
    pub(crate) folder: PathBuf,
    /// By service.
    pub(crate) ports: BTreeMap<Service, Ports>,
    /// OTLP over gRPC.
    pub(crate) otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub(crate) otlp_http: SocketAddr,
    /// The daemon's liveness and readiness.
    pub(crate) health: SocketAddr,
    /// `/admin` of the load.
    pub(crate) load_admin: SocketAddr,
}

impl Place {
    /// Writes all files below `folder`. `act` or else only observe.
    ///
    /// # Errors
    /// If a file cannot be written or there is no free port.
    pub(crate) fn set_up(folder: &Path, programs: &Programs, act: bool) -> Result<Self> {
        let port = || -> Result<SocketAddr> {
            let [port] = salve_ports::free().context("cannot find free ports on loopback")?;
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        };
        let mut ports = BTreeMap::new();
        for service in Service::ALL {
            ports.insert(service, Ports { listen: port()?, admin: port()? });
        }
        let place = Self {
            folder: folder.to_owned(),
            ports,
            otlp_grpc: port()?,
            otlp_http: port()?,
            health: port()?,
            load_admin: port()?,
        };
        std::fs::create_dir_all(place.shop_folder())?;
        std::fs::create_dir_all(place.policy_folder())?;
        for service in Service::ALL {
            let path = place.config_path(service);
            std::fs::write(&path, place.shop_config(service))
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        // The policies of the demo, as they are in the source: a reader can open them and see why Salve acted.
        std::fs::write(place.policy_folder().join("shop.rhai"), include_str!("../../policies/shop.rhai"))?;
        std::fs::write(place.salve_toml(), place.salve_config(programs, act))
            .with_context(|| format!("cannot write `{}`", place.salve_toml().display()))?;
        Ok(place)
    }

    fn shop_folder(&self) -> PathBuf {
        self.folder.join("shop")
    }

    fn policy_folder(&self) -> PathBuf {
        self.folder.join("policies")
    }

    /// The daemon's configuration.
    pub(crate) fn salve_toml(&self) -> PathBuf {
        self.folder.join("salve.toml")
    }

    /// The daemon's control socket.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.folder.join("state/control.sock")
    }

    /// A service's configuration.
    pub(crate) fn config_path(&self, service: Service) -> PathBuf {
        self.shop_folder().join(service.config_file())
    }

    /// Where a process's output goes.
    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// What became of orders, by second.
    pub(crate) fn orders_path(&self) -> PathBuf {
        self.folder.join("orders.jsonl")
    }

    /// Where exporters send to.
    pub(crate) fn otlp_endpoint(&self) -> String {
        format!("http://{}", self.otlp_grpc)
    }

    fn listen(&self, service: Service) -> SocketAddr {
        self.ports[&service].listen
    }

    /// Where customers go.
    pub(crate) fn gateway_url(&self) -> String {
        format!("http://{}", self.listen(Service::Gateway))
    }

    fn shop_config(&self, service: Service) -> String {
        let Ports { listen, admin } = self.ports[&service];
        match service {
            Service::Gateway => format!(
                "# The front door of the shop. Read again when this file changes.\n\
                 listen = \"{listen}\"\n\
                 admin_listen = \"{admin}\"\n\
                 \n\
                 # Where orders are checked out, and how long that may take.\n\
                 checkout_url = \"http://{}\"\n\
                 checkout_timeout_ms = 800\n\
                 \n\
                 # Requests at one time, and how long another one waits for its turn.\n\
                 workers = 64\n\
                 queue_timeout_ms = 300\n\
                 \n\
                 # What customers pay in: EUR, USD, GBP or CHF.\n\
                 currency = \"EUR\"\n",
                self.listen(Service::Checkout)
            ),
            Service::Checkout => format!(
                "# The till of the shop. Read again when this file changes.\n\
                 listen: {listen}\n\
                 admin_listen: {admin}\n\
                 \n\
                 # Where goods are reserved, and how long that may take.\n\
                 inventory_url: http://{}\n\
                 inventory_timeout_ms: 500\n\
                 \n\
                 # Requests at one time, and how long another one waits for its turn.\n\
                 workers: 24\n\
                 queue_timeout_ms: 300\n\
                 \n\
                 # Which taxes apply: standard, reduced or export.\n\
                 tax_table: standard\n",
                self.listen(Service::Inventory)
            ),
            Service::Inventory => format!(
                "{{\n  \"listen\": \"{listen}\",\n  \"admin_listen\": \"{admin}\",\n  \"workers\": 24,\n  \
                 \"queue_timeout_ms\": 300,\n  \"warehouse\": \"north\"\n}}\n"
            ),
        }
    }

    fn salve_config(&self, programs: &Programs, act: bool) -> String {
        let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
        let mut text = include_str!("salve.toml.in")
            .replace("@MODE@", if act { "act" } else { "observe" })
            .replace("@GRPC@", &self.otlp_grpc.to_string())
            .replace("@HTTP@", &self.otlp_http.to_string())
            .replace("@HEALTH@", &self.health.to_string())
            .replace("@PLUGINS@", &quoted(&programs.plugins));
        for service in Service::ALL {
            let name = service.name();
            let config = quoted(&self.config_path(service));
            let keys = match service {
                Service::Gateway => r#"["currency", "checkout_timeout_ms", "workers", "queue_timeout_ms"]"#,
                Service::Checkout => {
                    r#"["tax_table", "inventory_timeout_ms", "workers", "queue_timeout_ms"]"#
                }
                Service::Inventory => r#"["warehouse", "workers", "queue_timeout_ms"]"#,
            };
            text.push_str(&format!(
                "\n[[process]]\nname = \"{name}\"\n\
                 command = [{}, \"{name}\", \"--config\", {config}, \"--otlp-endpoint\", \"{}\"]\n\
                 log_file = {}\nmemory_max_bytes = {MEMORY_LIMIT_BYTES}\nstop_grace_ms = 1000\nautostart = true\n\
                 \n[[target]]\nid = \"{name}\"\nselect = {{ \"service.name\" = \"{name}\" }}\nprocess = \"{name}\"\n\
                 config = {{ file = {config}, keys = {keys} }}\n",
                quoted(&programs.shop),
                self.otlp_endpoint(),
                quoted(&self.log_path(name)),
            ));
        }
        text
    }
}
