//! The Kubernetes API, as far as it is needed: one deployment, its ReplicaSets, and how to ask for them.
//!
//! Reference: Kubernetes API, group `apps/v1`, kinds Deployment and ReplicaSet.

use salve_plugin::{error::explain, prelude::*};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;

/// Set by the deployment controller on each ReplicaSet; a template has no such label of its own.
const HASH_LABEL: &str = "pod-template-hash";

/// Longest text of the API server's that goes into a failure, in characters.
const MESSAGE_CHARS_MAX: usize = 200;

/// A deployment.
#[derive(Debug, Clone, Deserialize)]
pub struct Deployment {
    /// Name, generation and the like.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: DeploymentSpec,
    /// What is.
    #[serde(default)]
    pub status: DeploymentStatus,
}

/// What all objects have.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Unique in its namespace.
    pub name: String,
    /// Unique for ever.
    pub uid: String,
    /// Rises with each change of `spec`.
    #[serde(default)]
    pub generation: u64,
    /// Among them the revision.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339.
    #[serde(default)]
    pub creation_timestamp: String,
    /// For a ReplicaSet, its deployment.
    #[serde(default)]
    pub owner_references: Vec<Owner>,
}

/// Whose an object is.
#[derive(Debug, Clone, Deserialize)]
pub struct Owner {
    /// The owner's.
    pub uid: String,
}

/// What is wanted of a deployment.
#[derive(Debug, Clone, Deserialize)]
pub struct DeploymentSpec {
    /// How many pods.
    #[serde(default = "one")]
    pub replicas: u64,
    /// Changes are not rolled out for now.
    #[serde(default)]
    pub paused: bool,
    /// Which pods are its own.
    pub selector: Selector,
    /// What they are.
    pub template: Value,
}

fn one() -> u64 {
    1
}

/// Labels that objects must have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Expression>,
}

#[derive(Debug, Clone, Deserialize)]
struct Expression {
    key: String,
    operator: String,
    #[serde(default)]
    values: Vec<String>,
}

/// How far a deployment is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    /// The generation that the controller has seen.
    pub observed_generation: u64,
    /// Pods of any template.
    pub replicas: u64,
    /// Pods of the present template.
    pub updated_replicas: u64,
    /// Pods that serve.
    pub available_replicas: u64,
    /// `Progressing` and others.
    pub conditions: Vec<Condition>,
}

/// One thing that is so.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// For instance `Progressing`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For instance `ProgressDeadlineExceeded`.
    #[serde(default)]
    pub reason: String,
    /// RFC 3339.
    #[serde(default)]
    pub last_update_time: String,
}

/// One revision's pods.
#[derive(Debug, Clone, Deserialize)]
pub struct ReplicaSet {
    /// Name, revision and the like.
    pub metadata: Metadata,
    spec: ReplicaSetSpec,
}

#[derive(Debug, Clone, Deserialize)]
struct ReplicaSetSpec {
    template: Value,
}

#[derive(Debug, Deserialize)]
struct ReplicaSets {
    items: Vec<ReplicaSet>,
}

impl ReplicaSet {
    /// The template as the deployment had it: without the label that the controller has added.
    #[must_use]
    pub fn template(&self) -> Value {
        let mut template = self.spec.template.clone();
        if let Some(Value::Object(labels)) = template.pointer_mut("/metadata/labels") {
            labels.remove(HASH_LABEL);
        }
        template
    }
}

impl Selector {
    /// In the words of `labelSelector`.
    fn words(&self) -> String {
        let labels = self.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
        let expressions = self.match_expressions.iter().map(|Expression { key, operator, values }| {
            match operator.as_str() {
                "In" => format!("{key} in ({})", values.join(",")),
                "NotIn" => format!("{key} notin ({})", values.join(",")),
                "DoesNotExist" => format!("!{key}"),
                _ => key.clone(),
            }
        });
        labels.chain(expressions).collect::<Vec<_>>().join(",")
    }
}

/// Where a deployment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    target: String,
    namespace: String,
    name: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Place {
    /// As the policy says, else as the target's attributes do.
    ///
    /// # Errors
    /// [`Failure::Invalid`] if neither names a deployment, or if a name is none.
    pub fn new(target: &Target, namespace: Option<&str>, name: Option<&str>) -> Result<Self, Failure> {
        let namespace = namespace.or_else(|| target.attribute("k8s.namespace.name")).unwrap_or("default");
        let Some(name) = name.or_else(|| target.attribute("k8s.deployment.name")) else {
            return Err(Failure::Invalid(format!(
                "which deployment? Give `deployment`, or let target `{}` select a `k8s.deployment.name`",
                target.id
            )));
        };
        for name in [namespace, name] {
            // RFC 1123, so that it can stand in a path as it is.
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
            let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
            let is_name = name.len() <= 253
                && name.bytes().all(plain)
                && edge(name.bytes().next())
                && edge(name.bytes().last());
            if !is_name {
                return Err(Failure::Invalid(format!("`{name}` is no name of Kubernetes")));
            }
        }
        Ok(Self { target: target.id.clone(), namespace: namespace.into(), name: name.into() })
    }

    /// A request about the deployment.
    #[must_use]
    pub fn request(&self, method: &str) -> http::Request {
        let Self { target, namespace, name } = self;
        http::request(target, method, &format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}"))
    }

    /// Reads the deployment.
    ///
    /// # Errors
    /// [`Failure::NotApplicable`] if there is none; [`Failure::Failed`] if it cannot be read.
    pub fn deployment(&self) -> Result<Deployment, Failure> {
        self.read(&http::get(&self.request("GET"))?, "get deployments")
    }

    /// The deployment in an answer of the API server's.
    ///
    /// # Errors
    /// As [`Place::deployment`].
    pub fn read<T: DeserializeOwned>(&self, answer: &http::Response, right: &str) -> Result<T, Failure> {
        match answer.status {
            200 => serde_json::from_slice(&answer.body).map_err(|error| {
                Failure::Failed(format!("what the API server says of `{self}` makes no sense: {error}"))
            }),
            404 => Err(Failure::NotApplicable(format!("there is no deployment `{self}`{}", message(answer)))),
            401 | 403 => Err(Failure::Failed(format!(
                "the API server answers {}; let a role of Salve's {right} in `{}`{}",
                answer.status,
                self.namespace,
                message(answer)
            ))),
            status => Err(Failure::Failed(format!(
                "the API server answers {status} for `{self}`{}",
                message(answer)
            ))),
        }
    }

    /// Reads the deployment's own ReplicaSets.
    ///
    /// # Errors
    /// [`Failure::Failed`] if they cannot be read.
    pub fn replica_sets(&self, deployment: &Deployment) -> Result<Vec<ReplicaSet>, Failure> {
        let path = format!("/apis/apps/v1/namespaces/{}/replicasets", self.namespace);
        let mut request = http::request(&self.target, "GET", &path);
        request.query = vec![("labelSelector".into(), deployment.spec.selector.words())];
        let list: ReplicaSets = self.read(&http::get(&request)?, "list replicasets")?;
        let own = |set: &ReplicaSet| {
            set.metadata.owner_references.iter().any(|owner| owner.uid == deployment.metadata.uid)
        };
        Ok(list.items.into_iter().filter(own).collect())
    }

    /// Reads the deployment while it is watched: none if the API server has no answer at the moment.
    ///
    /// # Errors
    /// [`Failure`] if asking again makes no sense.
    pub fn look(&self) -> Result<Option<Deployment>, Failure> {
        match http::get(&self.request("GET")) {
            Ok(answer) if answer.status >= 500 || answer.status == 429 => Ok(None),
            Ok(answer) => self.read(&answer, "get deployments").map(Some),
            Err(error @ CallError::Denied(_)) => Err(Failure::Failed(explain(&error))),
            Err(_) => Ok(None),
        }
    }
}

/// What the API server says in its `Status` objects.
#[must_use]
pub fn message(answer: &http::Response) -> String {
    let status: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Some(message) = status.get("message").and_then(Value::as_str) else { return String::new() };
    format!(": {}", message.chars().take(MESSAGE_CHARS_MAX).collect::<String>())
}
