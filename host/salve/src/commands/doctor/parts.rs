//! What the parts of the daemon would refuse at the start, asked of the parts themselves: no second list of their rules.

use super::Check;
use crate::{config::Config, daemon, logging};
use salve_model::text::{chain, escape};
use std::path::Path;

/// One check for each thing that `salve run` would refuse, and for each secret that cannot be read; one that is good if there is
/// none. Starts nothing.
pub(super) fn refusals(config: &Config, config_path: &Path) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Err(error) = logging::filter(&config.log) {
        checks.push(Check::bad(
            "log",
            escape(&format!("{error:#}"), 300),
            "write for instance level = \"info\"",
        ));
    }
    if let Err(error) = salve_ingest::check(&config.otlp) {
        checks.push(Check::bad("otlp", chain(&error), error.hint()));
    }
    let listeners = [config.otlp.grpc_address, config.otlp.http_address, config.health.address];
    let brokers = daemon::brokers_config(config, config_path, &listeners);
    for wrong in salve_capabilities::problems(&brokers) {
        checks.push(Check::bad(
            "brokers",
            escape(&wrong.to_string(), 500),
            format!("correct it in `{}`: `salve run` and `salve reload` refuse it", config_path.display()),
        ));
    }
    for why in salve_capabilities::unreadable_secrets(&brokers) {
        checks.push(Check::warning(
            "secrets",
            escape(&why, 300),
            "calls that need it will fail; let Salve's user read the file, or set the variable where Salve runs",
        ));
    }
    if checks.is_empty() {
        let (targets, processes) = (config.targets.len(), config.processes.len());
        checks.push(Check::good("parts", format!("would take {targets} targets and {processes} processes")));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Verdict;

    /// Guarantees: each kind of thing that the daemon's parts refuse is found without starting them, with what to do; all at once.
    #[test]
    fn what_run_would_refuse_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("salve.toml");
        let found = |text: &str| {
            let text = text.replace('@', &folder.path().display().to_string());
            let state = format!("state_directory = '{}'\n", folder.path().join("state").display());
            refusals(&toml::from_str(&format!("{state}{text}")).unwrap(), &path)
        };
        let good = found("");
        assert!(good.len() == 1 && good[0].verdict == Verdict::Good, "{good:?}");
        let process = |more: &str| format!("[[process]]\nname = 'a'\nlog_file = '/tmp/a.log'\n{more}\n");
        let channel = |more: &str| format!("[[notify]]\nname = 'a'\n{more}\n");
        let grant = "[[grant]]\nplugin = 'p'\ncapability = 'http'\nverbs = ['get']\ntargets = ['*']\n\
                     http = { methods = ['GET'], paths = ['/'], secret = 's' }\n";
        for (text, says) in [
            ("[log]\nlevel = 'x=y=z'".to_owned(), "log.level"),
            ("[otlp]\nhttp_address = '0.0.0.0:4318'".to_owned(), "without TLS and a token"),
            ("[[otlp.tokens]]\ntoken_path = '@/none'".to_owned(), "cannot read the token"),
            (
                "[otlp.tls]\ncert_path = '@/none'\nkey_path = '@/none'".to_owned(),
                "cannot read the TLS certificate",
            ),
            ("[[target]]\nid = 'a'\nhttp = { base_url = 'checkout:80' }".to_owned(), "[[target]] `a`"),
            (
                "[[target]]\nid = 'a'\nhttp = { base_url = 'http://a', address_ranges = ['lan'] }".to_owned(),
                "`lan` is no range",
            ),
            (
                "[[target]]\nid = 'a'\nconfig = { file = '@/salve.toml', keys = ['*'] }".to_owned(),
                "one of Salve's own files",
            ),
            (process("command = ['sleep', '1']"), "no absolute path"),
            (process("command = ['/bin/sleep']\nstop_grace_ms = 60000"), "`stop_grace_ms` is above 20,000"),
            (channel("url = 'http://a'\ntemplate = '{'"), "[[notify]] `a`"),
            (channel("url = 'nowhere'\ntemplate = '{}'"), "is no URL"),
            (format!("[[secret]]\nname = 's'\nenv = 'X'\n{grant}"), "a secret belongs to one target"),
        ] {
            let checks = found(&text);
            let is_told = |check: &Check| {
                check.verdict == Verdict::Bad && check.found.contains(says) && check.hint.is_some()
            };
            assert!(checks.iter().any(is_told), "{says}: {checks:?}");
        }
        let secret = found("[[secret]]\nname = 's'\nfile = '@/none'");
        assert!(
            secret[0].verdict == Verdict::Warning && secret[0].found.contains("cannot read secret"),
            "{secret:?}"
        );
        let both =
            format!("{}{}", process("command = ['sleep']"), channel("url = 'nowhere'\ntemplate = '{}'"));
        assert_eq!(found(&both).len(), 2);
    }
}
