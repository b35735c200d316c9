//! `--hold`: everything runs, and a person breaks it.

use crate::{
    fault::Service,
    place::Programs,
    run::{Options, now_ms, warm_up},
    shop::Shop,
    terminal::{Terminal, Tone},
    watch::Watch,
};
use anyhow::Result;
use std::{path::Path, time::Duration};

/// How often everything is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Warms up, says how to break things, and tells what Salve does until somebody ends it.
///
/// # Errors
/// If something does not start, or Salve ends.
pub(crate) async fn hold(
    folder: &Path,
    programs: &Programs,
    options: &Options,
    terminal: &mut Terminal,
) -> Result<bool> {
    let (mut shop, mut watch) = warm_up(folder, programs, options, terminal).await?;
    for line in instructions(&mut shop, programs).await {
        terminal.line(Tone::Plain, &line);
    }
    let zero = now_ms();
    loop {
        shop.check()?;
        look(&mut watch, terminal, zero).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(watch: &mut Watch, terminal: &mut Terminal, zero: u64) {
    // A person may have stopped Salve for a moment: that is no reason to end.
    if watch.look(terminal, zero).await.is_err() {
        terminal.footer(vec!["  Salve does not answer".to_owned()]);
    }
}

async fn instructions(shop: &mut Shop, programs: &Programs) -> Vec<String> {
    let mut lines = vec![String::new(), "Everything runs. Break it, and watch.".to_owned(), String::new()];
    for service in Service::ALL {
        let ports = shop.place.ports[&service];
        let pid =
            shop.victim(service).await.map_or_else(|_| "-".to_owned(), |victim| victim.pid().to_string());
        lines.push(format!(
            "  {:<10} pid {pid:<8} http://{}  admin http://{}  {}",
            service.name(),
            ports.listen,
            ports.admin,
            shop.place.config_path(service).display()
        ));
    }
    let salve = format!("{} --config {}", programs.salve.display(), shop.place.salve_toml().display());
    let (program, config) = salve.split_once(" --config ").unwrap_or((&salve, ""));
    let inventory = shop.place.ports[&Service::Inventory].admin;
    let file = shop.place.config_path(Service::Gateway);
    lines.extend([
        format!("  {:<10} pid {:<8} otlp http://{}  {}", "salve", shop.daemon_pid(), shop.place.otlp_grpc, config),
        format!("  {:<10} pid {:<8} admin http://{}  {}", "load", shop.load_pid(), shop.place.load_admin, shop.place.orders_path().display()),
        String::new(),
        "  kill -KILL PID                               a service dies".to_owned(),
        "  kill -STOP PID                               a service hangs".to_owned(),
        format!("  sed -i 's/EUR\"/EUX\"/' {}   a wrong setting", file.display()),
        format!("  curl -X POST http://{inventory}/admin/leak -H 'content-type: application/json' -d '{{\"bytes_per_second\":8388608}}'"),
        format!(
            "  curl -X PUT http://{}/admin/multiplier -H 'content-type: application/json' -d '{{\"multiplier\":2.5}}'",
            shop.place.load_admin
        ),
        String::new(),
        format!("  {program} incident list --config {config}"),
        format!("  {program} incident show inc-1 --config {config}"),
        format!("  {program} pause --config {config}"),
        String::new(),
        "Ctrl-C stops everything.".to_owned(),
        String::new(),
    ]);
    lines
}
