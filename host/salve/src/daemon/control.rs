//! Answers the command line over the control socket.

use super::Daemon;
use crate::control::{REQUEST_BYTES_MAX, Request, Response};
use anyhow::{Context, Result};
use salve_model::text::escape;
use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

/// A client that sends nothing for this long is let go.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// Binds the socket, readable and writable by Salve's user only. The ledger's lease has already shown that no other
/// daemon owns it, so a socket that is there is left from a crash.
///
/// # Errors
/// If the socket cannot be made.
pub fn bind(path: &Path) -> Result<UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot replace the control socket `{}`", path.display()));
        }
    }
    let listener = UnixListener::bind(path)
        .with_context(|| format!("cannot make the control socket `{}`", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until the daemon stops.
pub async fn serve(listener: UnixListener, daemon: Arc<Daemon>) {
    let mut stopping = daemon.stopping.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let daemon = daemon.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &daemon).await {
                        tracing::debug!(%error, "A control connection ended early.");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "Cannot accept a control connection.");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, daemon: &Daemon) -> Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(REQUEST_WITHIN, reader.read_line(&mut line)).await??;
    let response = match serde_json::from_str::<Request>(&line) {
        Ok(request) => respond(request, daemon).await,
        Err(error) => Response::Error(format!("the request makes no sense: {error}")),
    };
    let mut bytes = serde_json::to_vec(&response)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await?;
    Ok(())
}

async fn respond(request: Request, daemon: &Daemon) -> Response {
    match request {
        Request::Status => Response::Status(Box::new(daemon.status().await)),
        Request::Pause { by, reason } => match daemon.pause(by, reason).await {
            Ok(half_done) => Response::HalfDone(half_done),
            Err(error) => Response::Error(format!("{error:#}")),
        },
        Request::Resume { by } => match daemon.resume(by).await {
            Ok(()) => Response::Done("resumed".into()),
            Err(error) => Response::Error(format!("{error:#}")),
        },
        Request::Reload => match daemon.reload().await {
            Ok(()) => Response::Done("reloaded".into()),
            Err(error) => Response::Error(format!("{error:#}")),
        },
        Request::Incidents => {
            let mut incidents = daemon.questions.ask(|core| core.incidents()).await.unwrap_or_default();
            incidents.reverse();
            Response::Incidents(incidents)
        }
        Request::Incident { id } => {
            let incident = salve_model::incident::IncidentId(id.clone());
            match daemon.questions.ask(move |core| core.incident(&incident)).await.flatten() {
                Some(incident) => Response::Incident(Box::new(incident)),
                None => {
                    let id = escape(&id, 100);
                    Response::Error(format!(
                        "there is no incident `{id}` in memory\n\nhint: `salve ledger show --incident {id}` has older ones"
                    ))
                }
            }
        }
        Request::Approve { id, plan, by, approved } => match daemon.approve(id, plan, by, approved).await {
            Ok(done) => Response::Done(done),
            Err(why) => Response::Error(why),
        },
        Request::Acknowledge { id, by } => match daemon.acknowledge(id, by).await {
            Ok(done) => Response::Done(done),
            Err(why) => Response::Error(why),
        },
        Request::Undo { id, attempt, by } => match daemon.undo(id, attempt, by).await {
            Ok(done) => Response::Done(done),
            Err(why) => Response::Error(why),
        },
        Request::Erase { what, by, reason } => match daemon.erase(what, &by, &reason).await {
            Ok(done) => Response::Done(done),
            Err(why) => Response::Error(why),
        },
        Request::Plugins => Response::Plugins(daemon.plugin_statuses()),
        Request::Plugin(command) => match daemon.operate_plugin(command).await {
            Ok(done) => Response::Done(done),
            Err(why) => Response::Error(why),
        },
    }
}
