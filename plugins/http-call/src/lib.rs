//! Makes one HTTP call on each of its targets.
//!
//! ## What always holds
//! - the call that is made is the one in the plan: method, path, query, headers, body (by digest) and key
//! - an answer of status 400 or above is a failure, and the outcome says which
//! - with `keyed`, a repeat for the same incident and target carries the same idempotency key
//!
//! A call cannot be undone. Not here: hosts, secrets, and which paths are allowed (targets and grants).

use salve_plugin::prelude::*;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The action.
#[derive(Debug)]
pub struct HttpCall;

/// What a policy may say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// Absolute, without scheme and host.
    pub path: String,
    /// By name.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// By name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Sent as it is if it is a string, else as JSON.
    #[serde(default)]
    pub body: Option<serde_json::Value>,
    /// Send an idempotency key.
    #[serde(default = "yes")]
    pub keyed: bool,
    /// What the telemetry must show afterwards, besides the symptoms clearing.
    #[serde(default)]
    pub expect: Vec<Expect>,
}

fn yes() -> bool {
    true
}

impl Parameters {
    fn body(&self) -> Vec<u8> {
        match &self.body {
            None => Vec::new(),
            Some(serde_json::Value::String(text)) => text.clone().into_bytes(),
            Some(json) => json.to_string().into_bytes(),
        }
    }

    fn request(&self, incident: &str, target: &Target) -> http::Request {
        let pairs = |map: &BTreeMap<String, String>| map.clone().into_iter().collect();
        http::Request {
            query: pairs(&self.query),
            headers: pairs(&self.headers),
            body: self.body(),
            idempotency_key: self.keyed.then(|| format!("{incident}-{}", target.id)),
            ..http::request(target, &self.method, &self.path)
        }
    }
}

impl Action for HttpCall {
    type Parameters = Parameters;
    type Uses = http::Capability;

    fn plan(request: &Request<Parameters>) -> Result<Plan, Failure> {
        request.target()?;
        let parameters = &request.parameters;
        if !["POST", "PUT", "PATCH", "DELETE"].contains(&parameters.method.as_str()) {
            let method = &parameters.method;
            return Err(Failure::Invalid(format!(
                "`method` is `{method}`; it must be POST, PUT, PATCH or DELETE"
            )));
        }
        if !parameters.path.starts_with('/') {
            return Err(Failure::Invalid(format!("`path` is `{}`; it must begin with `/`", parameters.path)));
        }
        let ids: Vec<String> = request.targets.iter().map(|target| format!("`{}`", target.id)).collect();
        let steps = request
            .targets
            .iter()
            .map(|target| http::send_step(&parameters.request(&request.incident, target)));
        Ok(Plan::new(format!("{} {} on {}", parameters.method, parameters.path, ids.join(", ")))
            .steps(steps)
            .expect_all(&parameters.expect))
    }

    fn execute(request: &Request<Parameters>, plan: &Proposal) -> Result<Outcome, Failure> {
        execute_plan::<Self::Uses>(plan, &[&request.parameters.body()])
    }
}

salve_plugin::export_action!(HttpCall);

#[cfg(test)]
mod tests {
    use super::*;
    use salve_plugin::testing::{ActionTest, FakeHost};

    const DRAIN: &str = r#"{"method":"POST","path":"/admin/drain","query":{"wait":"1"},"headers":{"x-reason":"heal"},
        "body":{"worker":3}}"#;

    fn test(host: FakeHost, parameters: &str) -> ActionTest<HttpCall> {
        ActionTest::new(host, parameters, &["checkout"])
    }

    /// Scenario: a call with everything. Guarantees: the plan has its body by digest and its key; the call that is made
    /// has both as they were planned.
    #[test]
    fn makes_the_planned_call() {
        let test = test(FakeHost::new().answer("checkout", "/admin/drain", 202, ""), DRAIN);
        let plan = test.plan().unwrap();
        insta::assert_snapshot!(plan.steps[0].arguments, @r#"{"body-sha256":"f267f033e5b7b94faa48e22101db6830b22e23c18928b135fff22b641bbedbdb","headers":[["x-reason","heal"]],"idempotency-key":"inc-1-checkout","method":"POST","path":"/admin/drain","query":[["wait","1"]]}"#);
        assert!(test.execute(&plan).unwrap().done);
        let request = &test.host().requests()[0];
        assert_eq!(request.body, br#"{"worker":3}"#);
        assert_eq!(request.idempotency_key.as_deref(), Some("inc-1-checkout"));
    }

    /// Scenario: the server refuses. Guarantees: a failure with the status, and one call only.
    #[test]
    fn error_status_is_a_failure() {
        let test = test(FakeHost::new().answer("checkout", "/admin/drain", 503, ""), DRAIN);
        let plan = test.plan().unwrap();
        let Err(Failure::Failed(reason)) = test.execute(&plan) else { panic!("must fail") };
        assert_eq!(reason, "step 0, http.send on `checkout`: failed: the answer was status 503");
        assert_eq!(test.host().requests().len(), 1);
    }

    /// Scenario: text bodies, no body, no key. Guarantees: bytes go out as they came.
    #[test]
    fn bodies_and_keys() {
        for (parameters, body, key) in [
            (r#"{"method":"PUT","path":"/x","body":"plain","keyed":false}"#, "plain", None),
            (r#"{"method":"DELETE","path":"/x"}"#, "", Some("inc-1-checkout")),
        ] {
            let test = test(FakeHost::new().answer("checkout", "/x", 200, ""), parameters);
            let plan = test.plan().unwrap();
            assert!(test.execute(&plan).unwrap().done);
            let request = &test.host().requests()[0];
            assert_eq!((request.body.as_slice(), request.idempotency_key.as_deref()), (body.as_bytes(), key));
        }
    }

    /// Scenario: parameters that the contract's `send` has no place for. Guarantees: refused with a way out.
    #[test]
    fn refusals() {
        for parameters in
            [r#"{"method":"GET","path":"/x"}"#, r#"{"method":"POST","path":"x"}"#, r#"{"path":"/x"}"#]
        {
            assert!(
                matches!(test(FakeHost::new(), parameters).plan(), Err(Failure::Invalid(_))),
                "{parameters}"
            );
        }
    }
}
