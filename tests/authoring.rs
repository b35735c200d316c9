//! Plugin authors' commands: from nothing to a tested, measured component, and every way in which that can fail.

#[path = "support/desk.rs"]
mod desk;

use anyhow::{Context, Result, ensure};
use desk::{Desk, Said};
use serde_json::Value;
use std::{fs, path::Path, process::Command};

/// A copy of the built component of a first-party plugin.
fn component(name: &str) -> String {
    salve_tests::plugins().join(format!("{name}.wasm")).display().to_string()
}

fn edit(path: &Path, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(path)?;
    ensure!(text.contains(from), "`{from}` is not in {}", path.display());
    Ok(fs::write(path, text.replace(from, to))?)
}

/// The code's own tests, as the project's README says.
fn unit_tests(language: &str, folder: &Path) -> Result<()> {
    let mut command = match language {
        "rust" => {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            // Macros are those that the plugin was compiled with.
            cargo.args(["test", "--quiet", "--release"]).envs(salve_tests::components::building());
            cargo
        }
        "go" => {
            let mut go = Command::new("go");
            go.args(["test", "./..."]);
            go
        }
        "js" => {
            // Linked, and nothing fetched: the SDK depends on nothing.
            let mut install = Command::new("npm");
            install.args(["install", "--offline", "--no-audit", "--no-fund"]).current_dir(folder);
            Said::of(&install.output()?).good();
            let mut npm = Command::new("npm");
            npm.arg("test");
            npm
        }
        "python" => {
            // Instead of a virtual environment, for which pip would fetch a build tool.
            let mut python = Command::new("python3");
            python.args(["-m", "unittest"]).env("PYTHONPATH", salve_tests::root().join("sdk/python/src"));
            python
        }
        other => anyhow::bail!("no language `{other}`"),
    };
    Said::of(&command.current_dir(folder).output()?).good();
    Ok(())
}

/// All that an author does, for one role in one language.
fn whole_way(language: &str, role: &str) -> Result<()> {
    let (call, outcome) = match role {
        "action" => ("plan", "planned"),
        "agent" => ("consult", "answered"),
        _ => ("observe", "observed"),
    };
    let desk = Desk::new()?;
    let name = format!("my-{role}");
    let folder = desk.new_project_in(language, &name, role)?;
    let request = folder.join("recorded/incident.json").display().to_string();

    let built = desk.salve(&["build", &name])?.good();
    let file = folder.join(format!("build/{name}.wasm"));
    let bytes = fs::read(&file)?;
    ensure!(built.out.contains("sha256 "), "{}", built.out);
    if language == "rust" {
        ensure!(bytes.len() < 300_000, "{} bytes", bytes.len());
        let left: Vec<_> =
            fs::read_dir(folder.join("build"))?.flatten().map(|entry| entry.file_name()).collect();
        ensure!(left == [file.file_name().context("no name")?], "{left:?}");
    }

    let checked = desk.salve(&["check", &name])?.good();
    let lines: Vec<_> = checked.out.lines().collect();
    ensure!(lines.len() <= 8 && checked.out.contains("no WASI"), "{}", checked.out);
    ensure!(lines.last() == Some(&"verdict  good: a host loads it"), "{}", checked.out);
    let checked = desk.salve(&["check", &file.display().to_string(), "--json"])?.good().json()?;
    let imports = checked["inspection"]["interfaces"]["imports"].to_string();
    ensure!(!imports.contains("process") && imports.contains("config") == (role == "action"), "{imports}");

    let tested = desk.salve(&["test", &name])?.good();
    ensure!(tested.out.contains("0 failed; unit tests of the code: "), "{}", tested.out);

    // A recording answers as the world did, without the world.
    let file = file.display().to_string();
    let case = folder.join("tests/recorded.json");
    let case_text = case.display().to_string();
    let asked = ["run", &file, "--call", call, "--request", &request, "--json"];
    let first = desk.salve(&[&asked[..], &["--record", &case_text]].concat())?.good();
    let result = first.json()?["result"].clone();
    ensure!(result["outcome"] == outcome, "{result}");
    ensure!(role == "detector" || first.err.contains(" → "), "host calls are shown: {}", first.err);
    let replayed = desk.salve(&["run", &file, "--replay", &case_text, "--json"])?.good();
    ensure!(replayed.json()?["result"] == result, "{}", replayed.out);
    let tested = desk.salve(&["test", &name, "--json"])?.good().json()?;
    let cases = tested["cases"].as_array().context("no cases")?;
    ensure!(cases.iter().any(|case| case["file"] == "recorded.json" && case["passed"] == true), "{tested}");

    let figures =
        desk.salve(&["bench", &file, "--replay", &case_text, "--calls", "200", "--seconds", "1", "--json"])?;
    let figures = figures.good().json()?;
    for (row, field) in [("instantiate_us", "p50"), ("call_us", "p99"), ("load_cached_us", "p50")] {
        ensure!(figures[row][field].as_f64().is_some_and(|us| us > 0.0), "{row}: {figures}");
    }
    ensure!(figures["fuel"].as_u64().is_some_and(|fuel| fuel > 1_000), "{figures}");
    ensure!(figures["memory_peak_bytes"].as_u64().is_some_and(|bytes| bytes >= 65_536), "{figures}");
    println!("{language} {role}: {figures}");

    unit_tests(language, &folder)?;
    ensure!(desk.names()? == [name], "something is left: {:?}", desk.names()?);
    Ok(())
}

/// Guarantees: an action goes the whole way, from `new` to measured, and its tests of all kinds pass as they are made.
#[test]
fn action_from_nothing() -> Result<()> {
    whole_way("rust", "action")
}

/// Guarantees: so does an agent.
#[test]
fn agent_from_nothing() -> Result<()> {
    whole_way("rust", "agent")
}

/// Guarantees: so does a detector.
#[test]
fn detector_from_nothing() -> Result<()> {
    whole_way("rust", "detector")
}

/// Guarantees: so do all roles in Go, and they give the same answers as those in Rust: the cases are the same.
#[test]
fn go_from_nothing() -> Result<()> {
    ["action", "agent", "detector"].into_iter().try_for_each(|role| whole_way("go", role))
}

/// Guarantees: so do all roles in JavaScript.
#[test]
fn javascript_from_nothing() -> Result<()> {
    ["action", "agent", "detector"].into_iter().try_for_each(|role| whole_way("js", role))
}

/// Guarantees: so does an action in Python. Each role by itself: a build takes long, and keeps one core busy.
#[test]
fn python_action_from_nothing() -> Result<()> {
    whole_way("python", "action")
}

/// Guarantees: so does an agent in Python.
#[test]
fn python_agent_from_nothing() -> Result<()> {
    whole_way("python", "agent")
}

/// Guarantees: so does a detector in Python.
#[test]
fn python_detector_from_nothing() -> Result<()> {
    whole_way("python", "detector")
}

/// The request of the templates, with `change` made to it.
fn request(desk: &Desk, change: impl FnOnce(&mut Value)) -> Result<String> {
    let path = salve_tests::root().join("host/authoring/templates/all/recorded/incident.json.in");
    let mut request: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    change(&mut request);
    let to = desk.path("request.json");
    fs::write(&to, request.to_string())?;
    Ok(to.display().to_string())
}

/// Guarantees: without `--apply` nothing changes, not even on paper; with it the write takes effect and can be taken back;
/// a request comes from standard input too.
#[test]
fn a_run_is_dry_unless_told() -> Result<()> {
    let desk = Desk::new()?;
    let file = component("set-config");
    let request = request(&desk, |request| {
        request["parameters"] = serde_json::json!({ "mode": "last-good", "key": "pool.size" });
    })?;
    let run = |call: &str, more: &[&str]| {
        desk.salve(&[&["run", &file, "--call", call, "--request", &request, "--json"], more].concat())
    };
    let applied = |said: Said| -> Result<Value> { Ok(said.good().json()?["result"]["receipts"][0].clone()) };
    let dry = applied(run("execute", &[])?)?;
    ensure!(dry["applied"] == false && dry["after"] == "value=16", "{dry}");
    let real = applied(run("execute", &["--apply"])?)?;
    ensure!(real["applied"] == true && real["before"] == "value=2" && real["after"] == "value=16", "{real}");
    let undone = applied(run("undo", &["--apply"])?)?;
    ensure!(undone["before"] == "value=16" && undone["after"] == "value=2", "{undone}");

    let mut piped = desk.command(&["run", &file, "--call", "plan", "--request", "-"]);
    let output = piped.stdin(fs::File::open(&request)?).output()?;
    let said = Said::of(&output).good();
    ensure!(said.out.contains("step: config set checkout"), "{}", said.all());
    ensure!(said.err.contains("config history checkout {\"key\":\"pool.size\"} → "), "{}", said.all());
    Ok(())
}

/// Guarantees: a call that is not in a recording is named, and the run fails; one that was refused in the recording is
/// refused again.
#[test]
fn replays_know_what_they_lack() -> Result<()> {
    let desk = Desk::new()?;
    let file = component("set-config");
    let request = request(&desk, |request| {
        request["parameters"] = serde_json::json!({ "mode": "last-good", "key": "pool.size" });
        request["world"]["failures"] = serde_json::json!({ "config.set": { "failed": "disk full" } });
    })?;
    let case = desk.path("case.json").display().to_string();
    let recorded = ["run", &file, "--call", "execute", "--request", &request, "--record", &case];
    desk.salve(&recorded)?.failed(1, &["disk full"]);
    desk.salve(&["run", &file, "--replay", &case])?.failed(1, &["disk full"]);
    desk.salve(&["run", &file, "--replay", &case, "--call", "plan"])?
        .failed(2, &["cannot replay `plan`", "config history checkout {\"key\":\"pool.size\"}", "hint: "]);
    Ok(())
}

/// Guarantees: real brokers answer reads from the real file, within the grants, and write nothing; the daemon's state is
/// left as it was.
#[test]
fn real_brokers_are_read_only() -> Result<()> {
    let desk = Desk::new()?;
    fs::write(desk.path("shop.toml"), "pool.size = 2\n")?;
    let config = format!(
        "state_directory = 'state'\n[[target]]\nid = 'checkout'\nselect = {{ 'service.name' = 'checkout' }}\n\
         config = {{ file = '{}', keys = ['pool.*'] }}\n\
         [[grant]]\nplugin = 'set-config'\ncapability = 'config'\nverbs = ['*']\ntargets = ['checkout']\n\
         arguments.value = {{ one_of = ['16'] }}\n",
        desk.path("shop.toml").display()
    );
    fs::write(desk.path("salve.toml"), config)?;
    let config = desk.path("salve.toml").display().to_string();
    let file = component("set-config");
    let asked = |value: &str| {
        request(&desk, |request| {
            request["parameters"] = serde_json::json!({ "key": "pool.size", "value": value });
            request["world"] = serde_json::json!({});
        })
    };
    let allowed = asked("16")?;
    let run = ["run", &file, "--call", "execute", "--request", &allowed, "--config", &config, "--json"];
    let receipt = desk.salve(&run)?.good().json()?["result"]["receipts"][0].clone();
    ensure!(receipt["applied"] == false && receipt["before"] == "value=2", "{receipt}");
    let denied = asked("99")?;
    desk.salve(&["run", &file, "--call", "plan", "--request", &denied, "--config", &config])?
        .failed(1, &["refused", "not granted"]);
    desk.salve(&[&run[..], &["--apply"]].concat())?.failed(2, &["--apply", "--config"]);
    ensure!(fs::read_to_string(desk.path("shop.toml"))? == "pool.size = 2\n", "the file was changed");
    ensure!(!desk.path("state").exists(), "the daemon's state was touched");
    Ok(())
}

/// Scenario: an action calls a real server, whose answer is private, and is recorded.
/// Guarantees: neither what was sent nor what was answered is in the recording; replaying it says what is missing; with
/// `--with-bodies` it is there, and the replay does what the run did.
#[test]
fn recordings_leave_bodies_out() -> Result<()> {
    let desk = Desk::new()?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut request = [0; 4_096];
            // What it asks for does not matter.
            drop(std::io::Read::read(&mut socket, &mut request));
            let answer = "HTTP/1.1 200 OK\r\nx-private: s3cr3t\r\ncontent-length: 14\r\nconnection: close\r\n\r\nprivate s3cr3t";
            drop(std::io::Write::write_all(&mut socket, answer.as_bytes()));
        }
    });
    let example = salve_tests::root().join("examples/rollback-deployment-rust");
    fs::copy(component("rollback-deployment"), desk.path("a.wasm"))?;
    let config = format!(
        "state_directory = 'state'\n[plugins]\ndev = true\n[[target]]\nid = 'checkout-deployment'\n\
         select = {{ 'k8s.namespace.name' = 'shop', 'k8s.deployment.name' = 'checkout' }}\n\
         http = {{ base_url = 'http://{address}', address_ranges = ['loopback'] }}\n\
         [[grant]]\nplugin = 'rollback-deployment'\ncapability = 'http'\nverbs = ['get']\n\
         targets = ['checkout-deployment']\nhttp = {{ methods = ['GET'], paths = ['/apis'], safe_read = true }}\n"
    );
    fs::write(desk.path("salve.toml"), config)?;
    let [file, config, case] =
        ["a.wasm", "salve.toml", "case.json"].map(|name| desk.path(name).display().to_string());
    let request = example.join("recorded/incident.json").display().to_string();
    let run = ["run", &file, "--call", "plan", "--request", &request, "--config", &config, "--record", &case];
    // What the server says is no deployment.
    desk.salve(&run)?.failed(1, &["recorded in"]);
    let recording = fs::read_to_string(&case)?;
    ensure!(recording.contains("\"x-private\"") && recording.contains("left_out"), "{recording}");
    ensure!(!recording.contains("s3cr3t"), "{recording}");
    let replay = ["run", &file, "--replay", &case];
    desk.salve(&replay)?.failed(2, &["recorded without body and header values", "hint: ", "--with-bodies"]);

    desk.salve(&[&run[..], &["--with-bodies"]].concat())?.failed(1, &["recorded in"]);
    ensure!(fs::read_to_string(&case)?.contains("private s3cr3t"));
    desk.salve(&replay)?.failed(1, &["failed"]);
    desk.salve(&["run", &file, "--request", &request, "--record", &case, "--with-bodies"])?
        .failed(2, &["--config"]);
    Ok(())
}

/// Scenario: an action is run on paper and recorded; grants are proposed from the recording and pasted into the configuration.
/// Guarantees: what is proposed names just what was called, is enough for the same run by real brokers, and for no other value;
/// a recording of another plugin, or without calls, is refused.
#[test]
fn grants_from_a_recording() -> Result<()> {
    let desk = Desk::new()?;
    fs::write(desk.path("shop.toml"), "pool.size = 2\n")?;
    fs::create_dir(desk.path("plugins"))?;
    fs::copy(component("set-config"), desk.path("plugins/set-config.wasm"))?;
    let config = desk.path("salve.toml").display().to_string();
    let configure = |grants: &str| {
        let shop = desk.path("shop.toml");
        let target = format!(
            "state_directory = 'state'\n[plugins]\ndev = true\n[[target]]\nid = 'checkout'\n\
             select = {{ 'service.name' = 'checkout' }}\nconfig = {{ file = '{}', keys = ['*'] }}\n{grants}",
            shop.display()
        );
        fs::write(&config, target)
    };
    configure("")?;
    let asked = |value: &str| {
        request(&desk, |request| {
            request["parameters"] = serde_json::json!({ "key": "pool.size", "value": value });
        })
    };
    let file = component("set-config");
    let case = desk.path("case.json").display().to_string();
    let wanted = asked("16")?;
    desk.salve(&["run", &file, "--call", "execute", "--request", &wanted, "--record", &case])?.good();
    let real = |request: &str| {
        desk.salve(&["run", &file, "--call", "execute", "--request", request, "--config", &config, "--json"])
    };
    real(&wanted)?.failed(2, &["not granted"]);

    let propose = ["grants", "set-config", "--from-recording", &case, "--config", &config];
    let proposed = desk.salve(&propose)?.good();
    configure(&proposed.out)?;
    let receipt = real(&wanted)?.good().json()?["result"]["receipts"][0].clone();
    ensure!(receipt["applied"] == false && receipt["before"] == "value=2", "{receipt}");
    real(&asked("17")?)?.failed(2, &["not granted"]);
    let grants = desk.salve(&[&propose[..], &["--json"]].concat())?.good().json()?;
    ensure!(grants.as_array().is_some_and(|grants| grants.len() == 1), "{grants}");
    let (grant, recording) = (&grants[0], fs::read_to_string(&case)?);
    let verbs = grant["verbs"].as_array().context("no verbs")?;
    ensure!(verbs.len() >= 2 && verbs.iter().any(|verb| verb == "set"), "{grant}");
    for verb in verbs {
        let call = format!("\"config.{}\"", verb.as_str().unwrap_or_default());
        ensure!(recording.contains(&call), "{verb} was never called: {grant}");
    }
    ensure!(grant["targets"] == serde_json::json!(["checkout"]), "{grant}");
    ensure!(grant["arguments"]["key"]["one_of"] == serde_json::json!(["pool.size"]), "{grant}");
    ensure!(grant["arguments"]["value"]["one_of"] == serde_json::json!(["16"]), "{grant}");

    edit(Path::new(&case), "\"name\": \"set-config\"", "\"name\": \"another\"")?;
    desk.salve(&propose)?.failed(2, &["cannot read the recording", "of `another`, not of `set-config`"]);
    fs::write(&case, "{\"call\": \"plan\", \"request\": {}}")?;
    desk.salve(&propose)?.failed(2, &["no calls to the host", "hint: "]);
    Ok(())
}

/// Guarantees: a name that is no name, or is taken, makes nothing and touches nothing.
#[test]
fn names_that_cannot_be() -> Result<()> {
    let desk = Desk::new()?;
    let new = |name: &str, more: &[&str]| {
        desk.salve(&[&["new", name, "--role", "action", "--lang", "rust"], more].concat())
    };
    new("Restart", &[])?.failed(2, &["manifest key `name` is `Restart`", "lower-case ASCII"]);
    new("../up", &[])?.failed(2, &["manifest key `name`"]);
    new("test", &[])?.failed(2, &["reserved", "hint: "]);
    new("mine", &["--sdk", "/nowhere"])?.failed(2, &["cannot find the SDK for rust in `/nowhere`", "hint: "]);
    ensure!(desk.names()?.is_empty(), "{:?}", desk.names()?);
    fs::create_dir(desk.path("mine"))?;
    fs::write(desk.path("mine/work"), "x")?;
    new("mine", &[])?.failed(2, &["it is not empty", "hint: ", "--path"]);
    ensure!(desk.names()? == ["mine"] && fs::read_dir(desk.path("mine"))?.count() == 1, "something was left");
    Ok(())
}

/// Guarantees: code that does not fit the manifest's role, and code that does not compile, make no component and say why.
#[test]
fn code_that_does_not_fit() -> Result<()> {
    let desk = Desk::new()?;
    let folder = desk.new_project("mine", "agent")?;
    let manifest = folder.join("plugin.toml");
    edit(&manifest, "role = \"agent\"", "role = \"detector\"")?;
    desk.salve(&["build", "mine"])?.failed(2, &["cannot make a component", "hint: ", "`role`"]);
    edit(&manifest, "role = \"detector\"", "role = \"agent\"")?;
    edit(&folder.join("src/lib.rs"), "impl Agent for Suspect", "impl Agents for Suspect")?;
    desk.salve(&["build", "mine"])?.failed(2, &["cannot compile to WebAssembly", "Agents"]);
    ensure!(!folder.join("build/mine.wasm").exists(), "half made");
    Ok(())
}

/// Guarantees: a manifest with an unknown key is refused by every command that reads it, with the nearest known one.
#[test]
fn a_manifest_with_an_unknown_key() -> Result<()> {
    let desk = Desk::new()?;
    let folder = desk.new_project("mine", "detector")?;
    edit(&folder.join("plugin.toml"), "summary =", "sumary =")?;
    for command in ["build", "check", "test"] {
        desk.salve(&[command, "mine"])?
            .failed(2, &["plugin.toml", "unknown key `sumary`; did you mean `summary`?"]);
    }
    desk.salve(&["build", "elsewhere"])?.failed(2, &["cannot read `", "hint: ", "salve plugin new"]);
    Ok(())
}

/// Guarantees: a request that makes no sense is refused with its place and a way out, before the plugin is called.
#[test]
fn requests_that_make_no_sense() -> Result<()> {
    let desk = Desk::new()?;
    let file = component("set-config");
    let run =
        |request: &str, more: &[&str]| desk.salve(&[&["run", &file, "--request", request], more].concat());
    let misspelt = request(&desk, |request| request["incidnet"] = Value::Null)?;
    run(&misspelt, &[])?.failed(
        2,
        &["cannot understand the request", "unknown field `incidnet`", "line 1", "Did you mean `incident`"],
    );
    fs::write(desk.path("cut.json"), "{\"incident\": {")?;
    run(&desk.path("cut.json").display().to_string(), &[])?
        .failed(2, &["cannot understand the request", "EOF"]);
    run(&desk.path("none.json").display().to_string(), &[])?.failed(2, &["cannot read `", "none.json"]);
    let good = request(&desk, |_| {})?;
    run(&good, &["--call", "observe"])?
        .failed(2, &["cannot call `observe`: `set-config` is a plugin of role action", "--call plan"]);
    run(&good, &["--parameters", "{\"kee\":1}"])?.failed(1, &["refused", "kee"]);
    run(&good, &["--parameters", "{"])?.failed(2, &["cannot read `--parameters`"]);
    let not_a_component = desk.path("text.wasm");
    fs::write(&not_a_component, "text")?;
    desk.salve(&["run", &not_a_component.display().to_string(), "--request", &good])?
        .failed(2, &["cannot load the component", "not a WebAssembly component"]);
    desk.salve(&["check", &not_a_component.display().to_string()])?
        .failed(2, &["not a WebAssembly component"]);
    Ok(())
}

/// Guarantees: a case that does not fit fails the run and says where; `--update` makes it fit and touches no other.
#[test]
fn cases_that_do_not_fit() -> Result<()> {
    let desk = Desk::new()?;
    let folder = desk.new_project("mine", "agent")?;
    let case = folder.join("tests/consult.json");
    edit(&case, "\"config-change\"", "\"magic\"")?;
    desk.salve(&["test", "mine"])?.failed(
        1,
        &[
            "FAIL  consult.json",
            "hypotheses[0].mechanism is \"config-change\", expected \"magic\"",
            "--update",
        ],
    );
    desk.salve(&["test", "mine", "--update"])?.good();
    let updated = fs::read_to_string(&case)?;
    ensure!(updated.contains("\"config-change\"") && updated.contains("\"$length\""), "{updated}");
    desk.salve(&["test", "mine"])?.good();
    fs::write(&case, "{\"call\": \"consult\", \"request\": \"../nowhere.json\", \"expect\": {}}")?;
    desk.salve(&["test", "mine"])?.failed(1, &["FAIL  consult.json", "nowhere.json"]);
    fs::remove_file(&case)?;
    desk.salve(&["test", "mine"])?.failed(1, &["there are no cases"]);
    Ok(())
}
