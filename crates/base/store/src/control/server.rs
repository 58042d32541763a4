//! The keeper's end of the control socket.

use std::{fs, io, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use stockade_crypto::{DataKey, KeyError, Passphrase};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    ControlError,
    address::SocketAddress,
    frame,
    message::{Request, Response, Secret},
};
use crate::{
    error::{CommitError, ReadError},
    keeper::Keeper,
    rows::RowsError,
};

/// Connections that are served at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may be silent, or take over one frame.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Rows in one answer, and the bytes after which it holds no more of them.
const PAGE_ROWS: u32 = 500;
const PAGE_BYTES: usize = 4 << 20;

impl Keeper {
    /// Serves the control socket until `shutdown`; requests in progress are answered first.
    pub async fn serve_control(&self, shutdown: impl Future) -> Result<(), ControlError> {
        let path = self.dir().control_socket();
        let owner = self.dir().owner()?;
        let address = SocketAddress::new(&path)?;
        // The lock is ours, so a socket that lies there is left over.
        remove(&path)?;
        let listener = UnixListener::bind(address.path())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let stop = CancellationToken::new();
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                _ = &mut shutdown => break,
                accepted = accept(&listener, &places) => match accepted {
                    Ok((stream, place)) => {
                        connections.spawn(serve(self.clone(), stream, place, owner, stop.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the control socket was not accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
        drop(listener);
        remove(&path)?;
        stop.cancel();
        connections.close();
        connections.wait().await;
        Ok(())
    }

    pub(super) async fn answer(&self, request: Request) -> Result<Response, CommitError> {
        Ok(match request {
            Request::Ping {} => Response::Pong {
                owner_pid: std::process::id(),
            },
            Request::Append { record } => Response::Appended {
                appended: self.append(*record).await?,
            },
            Request::AppendSoon { record } => Response::Appended {
                appended: self.append_soon(*record).await?,
            },
            Request::Checkpoint {} => Response::Checkpoint {
                checkpoint: self.checkpoint().await?,
            },
            Request::AdmittedSince { since } => self
                .admitted_since(since)
                .await
                .map_or_else(failed, |admitted| Response::Admitted { admitted }),
            Request::Commit { commit } => Response::Appended {
                appended: self.commit(*commit).await?,
            },
            Request::Integrated {} => {
                self.integrated().await?;
                Response::Done {}
            }
            Request::Row { kind, id } => Response::Row {
                row: self.row(&kind, &id).await?,
            },
            Request::Page { kind, after } => {
                let mut rows = self.page(&kind, &after, PAGE_ROWS).await?;
                let complete = rows.len() < PAGE_ROWS as usize;
                let cut = cut(&mut rows);
                Response::Page {
                    rows,
                    complete: complete && !cut,
                }
            }
            Request::CheckRows {} => Response::Checked {
                rows: self.check_rows().await?,
            },
            Request::SealPersonal {
                subject,
                field,
                value,
            } => match text(&value) {
                Some(value) => self
                    .seal_personal(&subject, &field, value)
                    .await
                    .map_or_else(failed, |personal| Response::Personal { personal }),
                None => Response::Failed {
                    message: "a personal value is not UTF-8".to_owned(),
                },
            },
            Request::OpenPersonal {
                subject,
                field,
                personal,
            } => self
                .open_personal(&subject, &field, &personal)
                .await
                .map_or_else(failed, |value| Response::Opened {
                    value: value.map(|value| Secret::copy_of(value.as_bytes())),
                }),
            Request::EraseSubject { subject, actor, now } => self
                .erase_subject(&subject, actor, now)
                .await
                .map_or_else(failed, |appended| Response::Appended { appended }),
            Request::WrapKey { key, context } => self.wrap(&key, &context),
            Request::UnwrapKey { wrapped, context } => match self.unwrap_key(&wrapped, context.0.expose()) {
                Ok(key) => Response::Key {
                    key: Secret(key.to_secret()),
                },
                Err(KeyError::NotAuthentic | KeyError::UnknownRoot { .. }) => Response::NotAuthentic {},
                Err(error) => failed(error),
            },
            Request::Now {} => Response::Time { now: self.now() },
            Request::Backup {
                into,
                passphrase,
                actor,
            } => self.answer_backup(into, passphrase, actor).await,
        })
    }

    fn wrap(&self, key: &Secret, context: &Secret) -> Response {
        match <[u8; 32]>::try_from(key.0.expose()) {
            Ok(bytes) => self
                .wrap_key(&DataKey::from_bytes(bytes), context.0.expose())
                .map_or_else(failed, |wrapped| Response::Wrapped { wrapped }),
            Err(_) => Response::Failed {
                message: "a data key has 32 bytes".to_owned(),
            },
        }
    }

    async fn answer_backup(
        &self,
        into: std::path::PathBuf,
        passphrase: Option<Secret>,
        actor: stockade_evidence::Actor,
    ) -> Response {
        let passphrase = match passphrase.as_ref().map(text) {
            None => None,
            Some(Some(text)) => match Passphrase::new(text.to_owned()) {
                Ok(passphrase) => Some(passphrase),
                Err(error) => return failed(error),
            },
            Some(None) => {
                return Response::Failed {
                    message: "the passphrase is not UTF-8".to_owned(),
                };
            }
        };
        let made = Box::pin(crate::backup::create_backup(
            self,
            &into,
            passphrase.as_ref(),
            actor,
        ))
        .await;
        made.map_or_else(failed, |report| Response::Backup { report })
    }
}

async fn accept(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn serve(
    keeper: Keeper,
    mut stream: UnixStream,
    _place: OwnedSemaphorePermit,
    owner: u32,
    stop: CancellationToken,
) {
    if let Err(error) = check_peer(&stream, owner) {
        tracing::warn!(%error, "a connection to the control socket was refused");
        return;
    }
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => return,
            request = timeout(SILENCE_MAX, frame::read::<Request>(&mut stream)) => request,
        };
        let response = match request {
            Ok(Ok(Some(request))) => Box::pin(keeper.answer(request))
                .await
                .unwrap_or_else(commit_failed),
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => {
                // After a malformed frame nothing says where the next one begins.
                let _ = timeout(SILENCE_MAX, frame::write(&mut stream, &failed(error))).await;
                return;
            }
        };
        match timeout(SILENCE_MAX, frame::write(&mut stream, &response)).await {
            Ok(Ok(())) => {}
            Ok(Err(ControlError::TooLarge)) => {
                let _ = timeout(
                    SILENCE_MAX,
                    frame::write(&mut stream, &failed(ControlError::TooLarge)),
                )
                .await;
            }
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// unix(7), SO_PEERCRED: the kernel's word for who is at the other end.
pub(crate) fn check_peer(stream: &UnixStream, owner: u32) -> Result<(), ControlError> {
    let found = stream.peer_cred()?.uid();
    if found == owner {
        Ok(())
    } else {
        Err(ControlError::Stranger { found, owner })
    }
}

fn failed(error: impl std::error::Error) -> Response {
    Response::Failed {
        message: error.to_string(),
    }
}

pub(super) fn commit_failed(error: CommitError) -> Response {
    match error {
        CommitError::Conflict { kind, id } => Response::Conflict { kind, id },
        CommitError::Read(ReadError::Rows(RowsError::Differs { kind, id })) => Response::Differs { kind, id },
        error @ (CommitError::Read(_) | CommitError::Append(_)) => failed(error),
    }
}

fn text(secret: &Secret) -> Option<&str> {
    std::str::from_utf8(secret.0.expose()).ok()
}

/// Drops the rows that do not fit into a frame; says whether there were any. One row always fits, since its entry did.
fn cut(rows: &mut Vec<crate::commit::Row>) -> bool {
    let mut bytes = 0usize;
    let fit = rows
        .iter()
        .take_while(|row| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(row.value.to_string().len());
            first || bytes <= PAGE_BYTES
        })
        .count();
    let cut = fit < rows.len();
    rows.truncate(fit);
    cut
}

fn remove(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_folders_owner_is_answered() {
        let (near, _far) = UnixStream::pair().unwrap();
        let me = rustix::process::getuid().as_raw();
        check_peer(&near, me).unwrap();
        let refused = check_peer(&near, me + 1).unwrap_err();
        assert!(matches!(refused, ControlError::Stranger { found, owner } if found == me && owner == me + 1));
    }
}
