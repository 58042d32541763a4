//! Which external identities a principal has, and whether it is disabled. Each change is one record.
//!
//! INVARIANT: no two principals hold one identity. Every change of an identity replaces the one row `identities/all` and
//! expects it as it was when all principals were looked at, so of two changes at once one is tried again.

use serde_json::json;
use stockade_evidence::{Actor, Change, Event, Record, Timestamp};
use stockade_store::{Commit, Expect, Handle};

use crate::{
    ChangeError, ExternalIdentity, PrincipalId, PrincipalKind,
    change::{ATTEMPTS, IDENTITIES_MAX, committed},
    principals::{principal_record, put},
    rows::{IDENTITIES, PRINCIPAL, PrincipalRow, StoredIdentity, StoredSubject},
};

/// The one row of kind `identities`.
const ALL: &str = "all";

/// The name under which a person's subject is sealed.
pub const SUBJECT_FIELD: &str = "jwt_subject";

/// Binds an identity to a principal.
pub async fn bind_identity(
    handle: &Handle,
    actor: &Actor,
    id: &PrincipalId,
    identity: &ExternalIdentity,
    now: Timestamp,
) -> Result<(), ChangeError> {
    for _ in 0..ATTEMPTS {
        let (mut row, expect) = find(handle, id).await?;
        if row.identities.len() >= IDENTITIES_MAX {
            return Err(ChangeError::TooManyIdentities);
        }
        let guard = Guard::free(handle, identity).await?;
        row.identities.push(store(handle, id, row.kind, identity).await?);
        let record = principal_record(Event::PrincipalChanged, actor, id, now)?
            .with("change", "bound")
            .changing(put(id, &row)?);
        if committed(handle, Guard::bind(Some(guard), record)?.expecting(expect)).await? {
            return Ok(());
        }
    }
    Err(ChangeError::Contended)
}

/// Takes an identity away from a principal: it opens nothing any more.
pub async fn unbind_identity(
    handle: &Handle,
    actor: &Actor,
    id: &PrincipalId,
    identity: &ExternalIdentity,
    now: Timestamp,
) -> Result<(), ChangeError> {
    for _ in 0..ATTEMPTS {
        let (mut row, expect) = find(handle, id).await?;
        let mut kept = Vec::new();
        for stored in &row.identities {
            if open(handle, id, stored).await?.as_ref() != Some(identity) {
                kept.push(stored.clone());
            }
        }
        if kept.len() == row.identities.len() {
            return Err(ChangeError::NotBound { id: id.clone() });
        }
        row.identities = kept;
        let record = principal_record(Event::PrincipalChanged, actor, id, now)?
            .with("change", "unbound")
            .changing(put(id, &row)?);
        // Whoever binds the identity now expects this row, or the one before it.
        let commit = Guard::bind(Some(Guard::read(handle).await?), record)?.expecting(expect);
        if committed(handle, commit).await? {
            return Ok(());
        }
    }
    Err(ChangeError::Contended)
}

/// Shuts a principal out, however it identifies itself. One that is disabled stays as it is.
pub async fn disable_principal(
    handle: &Handle,
    actor: &Actor,
    id: &PrincipalId,
    now: Timestamp,
) -> Result<(), ChangeError> {
    set_disabled(handle, actor, id, Some(now), now).await
}

/// Lets a principal in again.
pub async fn enable_principal(
    handle: &Handle,
    actor: &Actor,
    id: &PrincipalId,
    now: Timestamp,
) -> Result<(), ChangeError> {
    set_disabled(handle, actor, id, None, now).await
}

async fn set_disabled(
    handle: &Handle,
    actor: &Actor,
    id: &PrincipalId,
    disabled: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), ChangeError> {
    let change = if disabled.is_some() { "disabled" } else { "enabled" };
    for _ in 0..ATTEMPTS {
        let (mut row, expect) = find(handle, id).await?;
        if row.disabled.is_some() == disabled.is_some() {
            return Ok(());
        }
        row.disabled = disabled;
        let record = principal_record(Event::PrincipalChanged, actor, id, now)?
            .with("change", change)
            .changing(put(id, &row)?);
        if committed(handle, Commit::new(record).expecting(expect)).await? {
            return Ok(());
        }
    }
    Err(ChangeError::Contended)
}

async fn find(handle: &Handle, id: &PrincipalId) -> Result<(PrincipalRow, Expect), ChangeError> {
    let row = handle.row(PRINCIPAL, id.as_str()).await?;
    let row = row.ok_or_else(|| ChangeError::NoPrincipal { id: id.clone() })?;
    let expect = Expect::At {
        kind: row.kind,
        id: row.id.clone(),
        log_index: row.log_index,
    };
    Ok((PrincipalRow::read(&row.id, row.value)?.1, expect))
}

/// An identity as its row keeps it: a person's subject is sealed.
pub(crate) async fn store(
    handle: &Handle,
    id: &PrincipalId,
    kind: PrincipalKind,
    identity: &ExternalIdentity,
) -> Result<StoredIdentity, ChangeError> {
    Ok(match identity {
        ExternalIdentity::Spiffe(name) => StoredIdentity::Spiffe(name.clone()),
        ExternalIdentity::Dns(name) => StoredIdentity::Dns(name.clone()),
        ExternalIdentity::Jwt { issuer, subject } => StoredIdentity::Jwt {
            issuer: issuer.clone(),
            subject: match kind {
                PrincipalKind::Workload => StoredSubject::Plain(subject.clone()),
                PrincipalKind::Person => {
                    StoredSubject::Sealed(handle.seal_personal(id.as_str(), SUBJECT_FIELD, subject).await?)
                }
            },
        },
    })
}

/// An identity from its row; `None` once its person was erased.
async fn open(
    handle: &Handle,
    id: &PrincipalId,
    stored: &StoredIdentity,
) -> Result<Option<ExternalIdentity>, ChangeError> {
    Ok(match stored {
        StoredIdentity::Spiffe(name) => Some(ExternalIdentity::Spiffe(name.clone())),
        StoredIdentity::Dns(name) => Some(ExternalIdentity::Dns(name.clone())),
        StoredIdentity::Jwt { issuer, subject } => {
            let subject = match subject {
                StoredSubject::Plain(subject) => Some(subject.clone()),
                StoredSubject::Sealed(sealed) => {
                    handle.open_personal(id.as_str(), SUBJECT_FIELD, sealed).await?
                }
            };
            subject.and_then(|subject| ExternalIdentity::jwt(issuer, &subject).ok())
        }
    })
}

/// The identities of a row that can be read.
pub(crate) async fn opened(
    handle: &Handle,
    id: &PrincipalId,
    row: &PrincipalRow,
) -> Result<Vec<ExternalIdentity>, ChangeError> {
    let mut identities = Vec::new();
    for stored in &row.identities {
        identities.extend(open(handle, id, stored).await?);
    }
    Ok(identities)
}

/// The row `identities/all` as it was before all principals were looked at.
#[derive(Debug)]
pub(crate) struct Guard(Option<u64>);

impl Guard {
    async fn read(handle: &Handle) -> Result<Self, ChangeError> {
        let row = handle.row(IDENTITIES, ALL).await?;
        Ok(Self(row.map(|row| row.log_index)))
    }

    /// Looks at all principals: the identity must be nobody's.
    pub(crate) async fn free(handle: &Handle, identity: &ExternalIdentity) -> Result<Self, ChangeError> {
        let guard = Self::read(handle).await?;
        for row in handle.rows(PRINCIPAL).await? {
            let (principal, row) = PrincipalRow::read(&row.id, row.value)?;
            if opened(handle, &principal.id, &row).await?.contains(identity) {
                return Err(ChangeError::IdentityTaken { id: principal.id });
            }
        }
        Ok(guard)
    }

    /// The commit of a record, under the guard where there is one.
    pub(crate) fn bind(guard: Option<Self>, record: Record) -> Result<Commit, ChangeError> {
        let Some(Self(before)) = guard else {
            return Ok(Commit::new(record));
        };
        let (kind, id) = (IDENTITIES.to_owned(), ALL.to_owned());
        let expect = match before {
            None => Expect::Absent {
                kind: kind.clone(),
                id: id.clone(),
            },
            Some(log_index) => Expect::At {
                kind: kind.clone(),
                id: id.clone(),
                log_index,
            },
        };
        let changed = Change::Put {
            kind,
            id,
            value: json!({ "after": before }),
        };
        Ok(Commit::new(record.changing(changed)).expecting(expect))
    }
}
