//! The other end: a command that asks the keeper of a running server.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use stockade_crypto::{DataKey, KeyError, Passphrase, WrappedKey};
use stockade_evidence::{Actor, Personal, Record, Timestamp};
use tokio::{net::UnixStream, sync::Mutex, time::timeout};

use super::{
    ControlError,
    address::SocketAddress,
    frame,
    message::{Request, Response, Secret},
    pipe::Pipe,
    server::check_peer,
};
use crate::{
    admitted::Admitted,
    backup::{BackupError, BackupReport},
    commit::{Appended, Commit, Row},
    error::{AppendError, CommitError, ReadError, Remote, WrapError},
    layout::StateDir,
    personal::PersonalError,
    rows::{ROWS_MAX, RowsError},
};

const CONNECT_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(60);
const BACKUP_MAX: Duration = Duration::from_secs(6 * 3600);

/// A connection to the keeper of a running server. Clones share it and take turns; a worker's asks many things at once.
#[derive(Clone, Debug)]
pub struct ControlClient {
    way: Way,
    owner_pid: u32,
}

#[derive(Clone, Debug)]
enum Way {
    Turns(Arc<Mutex<Option<UnixStream>>>),
    Pipe(Arc<Pipe>),
}

impl ControlClient {
    /// Connects; `None` where no server listens.
    pub async fn connect(dir: &StateDir) -> Result<Option<Self>, ControlError> {
        let path = dir.control_socket();
        if !path.exists() {
            return Ok(None);
        }
        let Some(mut stream) = reach(&path).await? else {
            return Ok(None);
        };
        check_peer(&stream, dir.owner()?)?;
        match exchange(&mut stream, &Request::Ping {}, CONNECT_MAX).await? {
            Response::Pong { owner_pid } => Ok(Some(Self {
                way: Way::Turns(Arc::new(Mutex::new(Some(stream)))),
                owner_pid,
            })),
            _ => Err(ControlError::Malformed),
        }
    }

    /// A worker's.
    pub(crate) fn over(pipe: Pipe) -> Self {
        Self {
            way: Way::Pipe(Arc::new(pipe)),
            owner_pid: std::os::unix::process::parent_id(),
        }
    }

    /// The process id of the server.
    pub const fn owner_pid(&self) -> u32 {
        self.owner_pid
    }

    pub(crate) async fn append(&self, record: Record) -> Result<Appended, AppendError> {
        let record = Box::new(record);
        self.appended(Request::Append { record }).await
    }

    pub(crate) async fn append_soon(&self, record: Record) -> Result<Appended, AppendError> {
        let record = Box::new(record);
        self.appended(Request::AppendSoon { record }).await
    }

    async fn appended(&self, request: Request) -> Result<Appended, AppendError> {
        match self.ask(request).await? {
            Response::Appended { appended } => Ok(appended),
            other => Err(unexpected(other).into()),
        }
    }

    pub(crate) async fn checkpoint(&self) -> Result<Option<String>, AppendError> {
        match self.ask(Request::Checkpoint {}).await? {
            Response::Checkpoint { checkpoint } => Ok(checkpoint),
            other => Err(unexpected(other).into()),
        }
    }

    pub(crate) async fn admitted_since(
        &self,
        since: Timestamp,
    ) -> Result<BTreeMap<String, Admitted>, ReadError> {
        match self.ask(Request::AdmittedSince { since }).await? {
            Response::Admitted { admitted } => Ok(admitted),
            other => Err(unexpected(other).into()),
        }
    }

    pub(crate) async fn commit(&self, commit: Commit) -> Result<Appended, CommitError> {
        let asked = self
            .ask(Request::Commit {
                commit: Box::new(commit),
            })
            .await;
        match asked.map_err(AppendError::from)? {
            Response::Appended { appended } => Ok(appended),
            Response::Conflict { kind, id } => Err(CommitError::Conflict { kind, id }),
            other => Err(AppendError::from(unexpected(other)).into()),
        }
    }

    pub(crate) async fn integrated(&self) -> Result<(), AppendError> {
        match self.ask(Request::Integrated {}).await? {
            Response::Done {} => Ok(()),
            other => Err(unexpected(other).into()),
        }
    }

    pub(crate) async fn row(&self, kind: &str, id: &str) -> Result<Option<Row>, ReadError> {
        match self
            .ask(Request::Row {
                kind: kind.to_owned(),
                id: id.to_owned(),
            })
            .await?
        {
            Response::Row { row } => Ok(row),
            other => Err(unexpected(other).into()),
        }
    }

    pub(crate) async fn rows(&self, kind: &str) -> Result<Vec<Row>, ReadError> {
        let mut all: Vec<Row> = Vec::new();
        loop {
            let after = all.last().map_or(String::new(), |row| row.id.clone());
            match self
                .ask(Request::Page {
                    kind: kind.to_owned(),
                    after,
                })
                .await?
            {
                Response::Page { rows, complete } => {
                    if rows.is_empty() && !complete {
                        return Err(Remote::from(ControlError::Malformed).into());
                    }
                    all.extend(rows);
                    if all.len() > ROWS_MAX {
                        return Err(RowsError::TooMany {
                            kind: kind.to_owned(),
                        }
                        .into());
                    }
                    if complete {
                        return Ok(all);
                    }
                }
                other => return Err(unexpected(other).into()),
            }
        }
    }

    pub(crate) async fn check_rows(&self) -> Result<usize, ReadError> {
        match self.ask(Request::CheckRows {}).await? {
            Response::Checked { rows } => Ok(rows),
            Response::Differs { kind, id } => Err(RowsError::Differs { kind, id }.into()),
            other => Err(unexpected(other).into()),
        }
    }

    pub(crate) async fn seal_personal(
        &self,
        subject: &str,
        field: &str,
        value: &str,
    ) -> Result<Personal, PersonalError> {
        let (subject, field) = (subject.to_owned(), field.to_owned());
        let request = Request::SealPersonal {
            subject,
            field,
            value: Secret::copy_of(value.as_bytes()),
        };
        match self.ask(request).await? {
            Response::Personal { personal } => Ok(personal),
            other => Err(unexpected(other).into()),
        }
    }

    pub(crate) async fn open_personal(
        &self,
        subject: &str,
        field: &str,
        personal: &Personal,
    ) -> Result<Option<String>, PersonalError> {
        let (subject, field) = (subject.to_owned(), field.to_owned());
        match self
            .ask(Request::OpenPersonal {
                subject,
                field,
                personal: personal.clone(),
            })
            .await?
        {
            Response::Opened { value: None } => Ok(None),
            Response::Opened { value: Some(value) } => {
                let text = std::str::from_utf8(value.0.expose()).map_err(|_| PersonalError::NotAuthentic)?;
                Ok(Some(text.to_owned()))
            }
            other => Err(unexpected(other).into()),
        }
    }

    pub(crate) async fn erase_subject(
        &self,
        subject: &str,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Appended, PersonalError> {
        match self
            .ask(Request::EraseSubject {
                subject: subject.to_owned(),
                actor,
                now,
            })
            .await?
        {
            Response::Appended { appended } => Ok(appended),
            other => Err(unexpected(other).into()),
        }
    }

    pub(crate) async fn wrap_key(&self, key: &DataKey, context: &[u8]) -> Result<WrappedKey, WrapError> {
        let request = Request::WrapKey {
            key: Secret(key.to_secret()),
            context: Secret::copy_of(context),
        };
        match self.ask(request).await? {
            Response::Wrapped { wrapped } => Ok(wrapped),
            other => Err(unexpected(other).into()),
        }
    }

    pub(crate) async fn unwrap_key(
        &self,
        wrapped: &WrappedKey,
        context: &[u8],
    ) -> Result<DataKey, WrapError> {
        let request = Request::UnwrapKey {
            wrapped: wrapped.clone(),
            context: Secret::copy_of(context),
        };
        match self.ask(request).await? {
            Response::Key { key } => {
                let bytes = key
                    .0
                    .expose()
                    .try_into()
                    .map_err(|_| Remote::from(ControlError::Malformed))?;
                Ok(DataKey::from_bytes(bytes))
            }
            Response::NotAuthentic {} => Err(KeyError::NotAuthentic.into()),
            other => Err(unexpected(other).into()),
        }
    }

    pub(crate) async fn now(&self) -> Result<Timestamp, ReadError> {
        match self.ask(Request::Now {}).await? {
            Response::Time { now } => Ok(now),
            other => Err(unexpected(other).into()),
        }
    }

    pub(crate) async fn backup(
        &self,
        into: &Path,
        passphrase: Option<&Passphrase>,
        actor: Actor,
    ) -> Result<BackupReport, BackupError> {
        let passphrase = passphrase.map(|passphrase| Secret::copy_of(passphrase.expose().as_bytes()));
        let request = Request::Backup {
            into: std::path::absolute(into)?,
            passphrase,
            actor,
        };
        match self.ask_within(request, BACKUP_MAX).await? {
            Response::Backup { report } => Ok(report),
            other => Err(unexpected(other).into()),
        }
    }

    async fn ask(&self, request: Request) -> Result<Response, Remote> {
        self.ask_within(request, ANSWER_MAX).await
    }

    /// Where questions take turns, a connection is given up after a failure: what it would say next may belong to this one.
    async fn ask_within(&self, request: Request, limit: Duration) -> Result<Response, Remote> {
        let stream = match &self.way {
            Way::Turns(stream) => stream,
            Way::Pipe(pipe) => {
                let answer = timeout(limit, pipe.ask(request)).await;
                return Ok(answer.unwrap_or(Err(ControlError::TimedOut))?);
            }
        };
        let mut held = stream.lock().await;
        let mut stream = held
            .take()
            .ok_or(ControlError::Io(std::io::ErrorKind::NotConnected.into()))?;
        let response = exchange(&mut stream, &request, limit).await?;
        *held = Some(stream);
        Ok(response)
    }
}

async fn reach(path: &Path) -> Result<Option<UnixStream>, ControlError> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let address = SocketAddress::new(path)?;
    match timeout(CONNECT_MAX, UnixStream::connect(address.path())).await {
        Ok(Ok(stream)) => Ok(Some(stream)),
        // A socket without a listener was left by a process that ended badly.
        Ok(Err(error)) if matches!(error.kind(), ConnectionRefused | NotFound) => Ok(None),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(ControlError::TimedOut),
    }
}

async fn exchange(
    stream: &mut UnixStream,
    request: &Request,
    limit: Duration,
) -> Result<Response, ControlError> {
    let both = async {
        frame::write(stream, request).await?;
        frame::read(stream)
            .await?
            .ok_or(ControlError::Io(std::io::ErrorKind::UnexpectedEof.into()))
    };
    timeout(limit, both).await.unwrap_or(Err(ControlError::TimedOut))
}

fn unexpected(response: Response) -> Remote {
    match response {
        Response::Failed { message } => Remote::Answered { message },
        _ => Remote::Transport(ControlError::Malformed),
    }
}
