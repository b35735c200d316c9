//! A stand-in for a Kubernetes API server and its deployment controller, as far as one deployment and its ReplicaSets go.
//!
//! Paths, forms and numbers are those of `apps/v1`; a JSON Patch is `test` and `replace` and compares texts as the API server does, by their
//! bytes in JSON. It has no I/O: tests put it behind a scripted host or a real server.

use serde_json::{Value, json};

/// One deployment called `checkout` in the namespace `shop`, whose only container is `app`.
#[derive(Debug)]
pub struct Cluster {
    /// As the API server shows it.
    pub deployment: Value,
    /// Its ReplicaSets, oldest first.
    pub sets: Vec<Value>,
    /// After a change, its pods become available so many looks at the deployment later; none: never.
    pub available_after: Option<u32>,
    /// Somebody deploys this image right before the next patch arrives.
    pub deployed_before_patch: Option<String>,
    looks: u32,
}

/// The deployment's path.
pub const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/checkout";
/// Its ReplicaSets' path.
pub const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/shop/replicasets";

const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const UID: &str = "0c0ffee0-0000-4000-8000-000000000001";

fn template(image: &str) -> Value {
    json!({
        "metadata": { "creationTimestamp": null, "labels": { "app": "checkout" } },
        "spec": {
            "containers": [{
                "name": "app",
                "image": image,
                "args": ["sh", "-c", "migrate && serve 2>&1 > /dev/stdout"],
                "env": [{ "name": "GREETING", "value": "grüß dich <\"you\">" }],
                "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
                "imagePullPolicy": "IfNotPresent"
            }],
            "terminationGracePeriodSeconds": 30
        }
    })
}

fn status(code: u16, reason: &str, message: &str) -> (u16, String) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code
    });
    (code, body.to_string())
}

impl Cluster {
    /// With these images rolled out one after the other, at these times.
    pub fn new(rollouts: &[(&str, &str)]) -> Self {
        let deployment = json!({
            "kind": "Deployment",
            "apiVersion": "apps/v1",
            "metadata": {
                "name": "checkout", "namespace": "shop", "uid": UID, "generation": 0,
                "annotations": { REVISION: "0", "kubernetes.io/change-cause": "a & b" }
            },
            "spec": {
                "replicas": 3,
                "selector": {
                    "matchLabels": { "app": "checkout" },
                    "matchExpressions": [{ "key": "tier", "operator": "NotIn", "values": ["test"] }]
                },
                "template": {}
            },
            "status": {}
        });
        let mut cluster = Self {
            deployment,
            sets: Vec::new(),
            available_after: Some(0),
            deployed_before_patch: None,
            looks: 0,
        };
        for (image, time) in rollouts {
            cluster.deploy(image, time);
        }
        cluster
    }

    /// As `kubectl set image` does it.
    pub fn deploy(&mut self, image: &str, time: &str) {
        self.replace_template(template(image), time);
    }

    /// As an autoscaler does it: a new generation, and the same template.
    pub fn scale(&mut self, replicas: u64) {
        self.deployment["spec"]["replicas"] = replicas.into();
        self.new_generation();
    }

    /// The image that the deployment asks for.
    pub fn image(&self) -> &str {
        self.deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
    }

    fn new_generation(&mut self) {
        let generation = self.deployment["metadata"]["generation"].as_u64().unwrap_or_default() + 1;
        self.deployment["metadata"]["generation"] = generation.into();
        self.looks = 0;
    }

    fn replace_template(&mut self, template: Value, time: &str) {
        if self.deployment["spec"]["template"] == template {
            return;
        }
        self.deployment["spec"]["template"] = template.clone();
        self.new_generation();
        let of = |set: &Value| {
            set["metadata"]["annotations"][REVISION].as_str().and_then(|number| number.parse().ok())
        };
        let revision = self.sets.iter().filter_map(of).max().unwrap_or(0_u64) + 1;
        self.deployment["metadata"]["annotations"][REVISION] = revision.to_string().into();
        let known = self.sets.iter_mut().find(|set| {
            let mut of_set = set["spec"]["template"].clone();
            if let Some(labels) = of_set["metadata"]["labels"].as_object_mut() {
                labels.remove("pod-template-hash");
            }
            of_set == template
        });
        match known {
            // What was there before gets a new number; the old one goes into its history.
            Some(set) => {
                let annotations = &mut set["metadata"]["annotations"];
                let old = annotations[REVISION].as_str().unwrap_or_default().to_owned();
                let history = match annotations[REVISION_HISTORY].as_str() {
                    Some(history) => format!("{history},{old}"),
                    None => old,
                };
                annotations[REVISION_HISTORY] = history.into();
                annotations[REVISION] = revision.to_string().into();
            }
            None => {
                let hash = format!("5d4f8c{revision}");
                let mut of_set = template;
                of_set["metadata"]["labels"]["pod-template-hash"] = hash.clone().into();
                self.sets.push(json!({
                    "metadata": {
                        "name": format!("checkout-{hash}"), "namespace": "shop", "uid": format!("uid-{hash}"),
                        "creationTimestamp": time, "annotations": { REVISION: revision.to_string() },
                        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout", "uid": UID, "controller": true }]
                    },
                    "spec": { "replicas": 3, "template": of_set }
                }));
            }
        }
    }

    /// Lets the controller work until somebody looks.
    fn look(&mut self) {
        let replicas = self.deployment["spec"]["replicas"].as_u64().unwrap_or_default();
        let done = self.available_after.is_some_and(|after| self.looks >= after);
        let observed = match self.looks {
            0 if !done => self.deployment["status"]["observedGeneration"].as_u64().unwrap_or_default(),
            _ => self.deployment["metadata"]["generation"].as_u64().unwrap_or_default(),
        };
        let updated = if done { replicas } else { replicas.min(self.looks.into()) };
        let conditions = self.deployment["status"]["conditions"].take();
        self.deployment["status"] = json!({
            "observedGeneration": observed,
            "replicas": if done { replicas } else { replicas + 1 },
            "updatedReplicas": updated,
            "availableReplicas": if done { replicas } else { 1 },
            "conditions": conditions.as_array().cloned().unwrap_or_default(),
        });
        self.looks += 1;
    }

    /// What the controller says once a rollout has taken too long.
    pub fn miss_deadline(&mut self, time: &str) {
        self.deployment["status"]["conditions"] = json!([{
            "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
            "lastUpdateTime": time, "lastTransitionTime": time
        }]);
    }

    /// Answers a request: status and body.
    pub fn answer(
        &mut self,
        method: &str,
        path: &str,
        query: &[(String, String)],
        content_type: &str,
        body: &[u8],
    ) -> (u16, String) {
        match (method, path) {
            ("GET", DEPLOYMENT) => {
                self.look();
                (200, self.deployment.to_string())
            }
            ("GET", REPLICA_SETS) => {
                let selector = [("labelSelector".to_owned(), "app=checkout,tier notin (test)".to_owned())];
                if query != selector {
                    return status(400, "BadRequest", "this stand-in knows one selector");
                }
                let list = json!({ "kind": "ReplicaSetList", "apiVersion": "apps/v1", "metadata": {}, "items": self.sets });
                (200, list.to_string())
            }
            ("PATCH", DEPLOYMENT) if content_type == "application/json-patch+json" => self.patch(body),
            ("PATCH", DEPLOYMENT) => {
                status(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
            }
            _ => status(404, "NotFound", "the server could not find the requested resource"),
        }
    }

    fn patch(&mut self, body: &[u8]) -> (u16, String) {
        let invalid =
            || status(422, "Invalid", "the server rejected our request due to an error in our request");
        // The server's own JSON has these characters escaped, and it compares bytes.
        let escaped = !body.iter().any(|byte| b"<>&".contains(byte));
        let Ok(Value::Array(operations)) = serde_json::from_slice(body) else { return invalid() };
        if let Some(image) = self.deployed_before_patch.take() {
            self.deploy(&image, "2026-01-01T00:00:30Z");
        }
        let mut patched = self.deployment.clone();
        for operation in &operations {
            let path = operation["path"].as_str().unwrap_or_default();
            let Some(place) = patched.pointer_mut(path) else { return invalid() };
            match operation["op"].as_str() {
                Some("test") if escaped && *place == operation["value"] => {}
                Some("replace") => *place = operation["value"].clone(),
                _ => return invalid(),
            }
        }
        let template = patched["spec"]["template"].take();
        self.replace_template(template, "2026-01-01T00:00:30Z");
        (200, self.deployment.to_string())
    }
}
