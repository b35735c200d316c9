//! One write on its way: intent, effect, result.

use super::State;
use crate::{
    Intent, WriteOutcome,
    brokers::{Shared, words},
    http::client::{HttpBounds, HttpError, Outgoing},
    planning::{Checked, Effect, config_state, never, process_error, unit},
    process::ABSENT,
    registry::{Channel, Registry},
};
use salve_model::{
    Attributes, TargetId,
    call::{CallError, Denied, HttpRequest, HttpResponse, WriteAnswer},
    plan::{Receipt, WriteState},
    text::escape,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::OwnedMutexGuard;

/// A write that was answered.
#[derive(Default)]
struct Done {
    after: Option<String>,
    response: Option<HttpResponse>,
    extra: Attributes,
    /// The system behind the target says that it did not do it, and why.
    refused: Option<String>,
}

/// A write that did not, or of which nobody knows.
struct NotDone {
    state: WriteState,
    error: CallError,
}

impl NotDone {
    fn clean(error: CallError) -> Self {
        Self { state: WriteState::NotApplied, error }
    }
}

/// A write on its way: everything was checked.
pub(super) struct Run {
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Arc<Registry>,
    pub(super) state: OwnedMutexGuard<State>,
    pub(super) intent: Intent,
    pub(super) checked: Checked,
    pub(super) object: String,
    pub(super) secret: Option<String>,
    pub(super) body: Option<(HttpRequest, bool)>,
}

impl Run {
    pub(super) async fn carry_out(mut self) -> Result<WriteAnswer, CallError> {
        let journal = Arc::clone(&self.shared.journal);
        let id = journal.intent(self.intent.clone()).await.map_err(|error| {
            CallError::Failed(format!(
                "nothing was done, since the intent was not recorded: {}",
                words(&error)
            ))
        })?;
        // The ledger may have taken its time; the switch is looked at again right before the effect.
        let result = if self.shared.paused().is_some() {
            Err(NotDone::clean(CallError::Denied(Denied::KillSwitch)))
        } else if self.intent.dry_run {
            Ok(self.preview())
        } else {
            self.act().await
        };
        let (outcome, answer) = match result {
            Ok(done) => {
                let not_applied = match &done.refused {
                    Some(reason) => Some(reason.clone()),
                    None => self.intent.dry_run.then(|| "dry-run".to_owned()),
                };
                let receipt = Receipt {
                    call: id,
                    step: self.intent.step,
                    target: self.intent.call.target.clone(),
                    verb: self.intent.call.verb.clone(),
                    applied: not_applied.is_none(),
                    before: self.intent.before.clone(),
                    after: done.after.clone(),
                    extra: done.extra,
                };
                if done.refused.is_none() {
                    self.state.after.insert((self.object.clone(), part(&self.checked)), done.after);
                }
                self.state.summary.receipts.push(receipt.clone());
                let state = if receipt.applied { WriteState::Applied } else { WriteState::NotApplied };
                let outcome = WriteOutcome { state, receipt: Some(receipt.clone()), note: not_applied };
                (outcome, Ok(WriteAnswer { receipt, response: done.response }))
            }
            Err(NotDone { state, error }) => {
                self.state.summary.uncertain |= state == WriteState::Unknown;
                let note = Some(escape(&error.to_string(), 1_000));
                (WriteOutcome { state, receipt: None, note }, Err(error))
            }
        };
        if let Err(error) = journal.result(id, self.intent.tenant.clone(), outcome).await {
            // The world is as it is; after a restart, reconciliation finds the intent without a result.
            tracing::error!(incident = %self.intent.incident, error = words(&error), "a result could not be recorded");
        }
        answer
    }

    fn preview(&mut self) -> Done {
        let target = self.intent.call.target.clone();
        let mut done = Done::default();
        match &self.checked.effect {
            Effect::Process => {
                let runs = self.intent.call.verb != "stop";
                self.state.preview_runs.insert(target, runs);
                done.after = (!runs).then(|| ABSENT.to_owned());
            }
            Effect::Config { key, value } => {
                done.after = Some(config_state(value.as_deref()));
                self.state.preview_keys.insert((target, key.clone()), value.clone());
            }
            Effect::Http { .. } => {
                done.response = Some(HttpResponse { status: 200, ..HttpResponse::default() })
            }
            Effect::Notify { .. } => {}
        }
        done
    }

    async fn act(&self) -> Result<Done, NotDone> {
        let target = &self.intent.call.target;
        let plain = |after| Done { after: Some(after), ..Done::default() };
        match &self.checked.effect {
            Effect::Process => self.act_on_process(target).await.map(plain),
            Effect::Config { key, value } => {
                let (target, key, value) = (target.clone(), key.clone(), value.clone());
                let before = self.intent.before.clone();
                let set = move |shared: &Shared| {
                    shared.config.set(&target, &key, value.as_deref(), before.as_deref())
                };
                match self.shared.blocking(set).await {
                    Ok(Ok(after)) => Ok(plain(after)),
                    Ok(Err(now)) => {
                        Err(NotDone::clean(CallError::Denied(Denied::StateChanged(escape(&now, 500)))))
                    }
                    Err(error) => Err(NotDone::clean(error)),
                }
            }
            Effect::Http { .. } => {
                let Some((request, keyed)) = &self.body else {
                    return Err(NotDone::clean(CallError::Failed("there is no request".into())));
                };
                let mut request = request.clone();
                if let Some(key) = request.idempotency_key.clone().filter(|_| *keyed) {
                    request.headers.push(("idempotency-key".into(), key));
                }
                let sent = self.shared.send_request(&self.registry, &request, self.secret.clone()).await;
                Ok(answered(sent.map_err(http_not_done)?))
            }
            Effect::Notify { fields } => {
                let channel = self.registry.target(target).and_then(|target| target.channel.clone());
                let Some(channel) = channel else {
                    return Err(NotDone::clean(CallError::NotFound(format!(
                        "a channel behind target `{target}`"
                    ))));
                };
                let mut fields = fields.clone();
                fields.insert("incident".into(), self.intent.incident.0.clone());
                fields.insert("tenant".into(), self.intent.tenant.0.clone());
                fields.insert("plugin".into(), self.intent.plugin.0.clone());
                fields.insert("target".into(), target.0.clone());
                let status = self
                    .shared
                    .send_message(&self.registry, &channel, &fields)
                    .await
                    .map_err(http_not_done)?;
                let after = Some(format!("status={status}"));
                if (200..300).contains(&status) {
                    return Ok(Done { after, ..Done::default() });
                }
                let error = CallError::Failed(format!("channel `{}` answered {status}", channel.config.name));
                Err(NotDone { state: WriteState::NotApplied, error })
            }
        }
    }

    async fn act_on_process(&self, target: &TargetId) -> Result<String, NotDone> {
        let unit = unit(&self.registry, target).map_err(NotDone::clean)?;
        let supervisor = &self.shared.supervisor;
        let now = supervisor.state(unit).map_err(|error| NotDone::clean(process_error(error)))?;
        if self.intent.before.as_ref().is_some_and(|before| *before != now) {
            return Err(NotDone::clean(CallError::Denied(Denied::StateChanged(now))));
        }
        let result = match self.intent.call.verb.as_str() {
            "start" => supervisor.start(unit).await,
            "stop" => supervisor.stop(unit).await,
            _ => supervisor.restart(unit).await,
        };
        result.map_err(|error| {
            // A restart that stopped and could not start has changed the world, but not as the plan says: what is
            // true now can be asked at any time, so it is no unknown.
            NotDone::clean(process_error(error))
        })
    }
}

impl Shared {
    pub(super) async fn send_request(
        &self,
        registry: &Registry,
        request: &HttpRequest,
        secret: Option<String>,
    ) -> Result<HttpResponse, HttpError> {
        let target = registry.target(&request.target).and_then(|target| target.http.as_ref());
        let (origin, policy) =
            target.ok_or_else(|| HttpError::NotSent("the target has no HTTP server".into()))?;
        let secret = secret.map(|name| registry.secret(&name)).transpose().map_err(HttpError::NotSent)?;
        let outgoing = Outgoing {
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            secret,
        };
        self.http.send(origin, outgoing, &bounds(registry, policy)).await
    }

    /// Sends a message; gives the status.
    pub(crate) async fn send_message(
        &self,
        registry: &Registry,
        channel: &Channel,
        fields: &BTreeMap<String, String>,
    ) -> Result<u16, HttpError> {
        let secret = channel.config.secret.as_deref().map(|name| registry.secret(name)).transpose();
        let outgoing = Outgoing {
            method: "POST".into(),
            path: channel.path_and_query.clone(),
            query: Vec::new(),
            headers: vec![("content-type".into(), "application/json".into())],
            body: channel.template.render(fields).into_bytes(),
            secret: secret.map_err(HttpError::NotSent)?,
        };
        let response = self.http.send(&channel.origin, outgoing, &bounds(registry, &channel.policy)).await?;
        Ok(response.status)
    }
}

fn bounds<'a>(registry: &'a Registry, policy: &'a crate::http::address::AddressPolicy) -> HttpBounds<'a> {
    HttpBounds {
        policy,
        own: &registry.config.protected_addresses,
        body_max_bytes: registry.config.http_body_max_bytes,
        within: Duration::from_millis(registry.config.http_within_ms),
    }
}

pub(super) fn http_error(error: HttpError) -> CallError {
    match error {
        HttpError::TimedOut => CallError::TimedOut,
        HttpError::Refused(reason) => never(reason),
        HttpError::NotSent(reason) | HttpError::Unclear(reason) => CallError::Failed(escape(&reason, 1_000)),
    }
}

/// What a server's answer makes of a write.
fn answered(response: HttpResponse) -> Done {
    let status = response.status;
    let mut extra = Attributes::from([("http.response.status_code".into(), status.to_string())]);
    let refused = response.refusal();
    if let Some(reason) = &refused {
        extra.insert("refused".into(), reason.clone());
    }
    // What was refused has left no state.
    let after = refused.is_none().then(|| format!("status={status}"));
    Done { after, response: Some(response), extra, refused }
}

fn http_not_done(error: HttpError) -> NotDone {
    let state = match error {
        HttpError::Refused(_) | HttpError::NotSent(_) => WriteState::NotApplied,
        HttpError::Unclear(_) | HttpError::TimedOut => WriteState::Unknown,
    };
    NotDone { state, error: http_error(error) }
}
/// The part of an object that has a state of its own: a key of a file.
pub(super) fn part(checked: &Checked) -> Option<String> {
    match &checked.effect {
        Effect::Config { key, .. } => Some(key.clone()),
        _ => None,
    }
}
