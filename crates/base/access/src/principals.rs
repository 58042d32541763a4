//! Enrolment: principals as rows, their names and addresses as personal fields.

use std::collections::BTreeSet;

use stockade_evidence::{Actor, Change, Event, Personal, Record, Subject, SubjectKind, Timestamp};
use stockade_store::{Expect, Handle};

use crate::{
    ChangeError, Environment, ExternalIdentity, Principal, PrincipalId, PrincipalKind, Role,
    bindings::{self, Guard},
    change::{ATTEMPTS, committed, record},
    rows::{PRINCIPAL, PrincipalRow},
};

/// Longest display name and e-mail address, in bytes.
const PERSONAL_MAX: usize = 256;

/// What is needed to enrol somebody or something.
#[derive(Clone, Debug)]
pub struct NewPrincipal {
    /// The id: opaque, for a person.
    pub id: PrincipalId,
    /// A person or a workload.
    pub kind: PrincipalKind,
    /// What it may be.
    pub roles: BTreeSet<Role>,
    /// Where it belongs.
    pub environment: Environment,
    /// A person's name: kept under a key that erasure destroys.
    pub display_name: Option<String>,
    /// A person's e-mail address: kept as the name is.
    pub email: Option<String>,
    /// Who it is elsewhere.
    pub identity: Option<ExternalIdentity>,
}

/// A principal with its readable personal fields. They are `None` where there are none, and after erasure.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PrincipalInfo {
    /// Who it is.
    #[serde(flatten)]
    pub principal: Principal,
    /// When it was enrolled.
    pub created: Timestamp,
    /// A person's name.
    pub display_name: Option<String>,
    /// A person's e-mail address.
    pub email: Option<String>,
    /// Who it is elsewhere.
    pub identities: Vec<ExternalIdentity>,
    /// When it was disabled, if it is.
    pub disabled: Option<Timestamp>,
}

/// Enrols a principal. It has no key yet.
pub async fn create_principal(
    handle: &Handle,
    actor: &Actor,
    new: NewPrincipal,
    now: Timestamp,
) -> Result<Principal, ChangeError> {
    let mut row: Option<PrincipalRow> = None;
    for _ in 0..ATTEMPTS {
        // Asked before anything is sealed, so that a taken id gets no personal key; the expectation below binds.
        if handle.row(PRINCIPAL, new.id.as_str()).await?.is_some() {
            return Err(ChangeError::PrincipalExists { id: new.id });
        }
        let guard = match &new.identity {
            Some(identity) => Some(Guard::free(handle, identity).await?),
            None => None,
        };
        let row = match &row {
            Some(row) => row,
            None => row.insert(sealed(handle, &new, now).await?),
        };
        let record =
            principal_record(Event::PrincipalCreated, actor, &new.id, now)?.changing(put(&new.id, row)?);
        let commit = Guard::bind(guard, record)?.expecting(Expect::Absent {
            kind: PRINCIPAL.to_owned(),
            id: new.id.to_string(),
        });
        if committed(handle, commit).await? {
            return Ok(Principal {
                id: new.id,
                kind: new.kind,
                roles: new.roles,
                environment: new.environment,
            });
        }
    }
    Err(ChangeError::Contended)
}

/// The row of a new principal, its personal fields sealed.
async fn sealed(handle: &Handle, new: &NewPrincipal, now: Timestamp) -> Result<PrincipalRow, ChangeError> {
    let identities = match &new.identity {
        Some(identity) => vec![bindings::store(handle, &new.id, new.kind, identity).await?],
        None => Vec::new(),
    };
    Ok(PrincipalRow {
        kind: new.kind,
        roles: new.roles.clone(),
        environment: new.environment,
        created: now,
        display_name: seal(handle, &new.id, "display_name", new.display_name.as_deref()).await?,
        email: seal(handle, &new.id, "email", new.email.as_deref()).await?,
        identities,
        disabled: None,
    })
}

/// The start of a record about a principal.
pub(crate) fn principal_record(
    event: Event,
    actor: &Actor,
    id: &PrincipalId,
    now: Timestamp,
) -> Result<Record, ChangeError> {
    Ok(record(event, actor, now)?.about(Subject::new(SubjectKind::Principal, id.as_str())))
}

/// The change that puts a principal's row in place.
pub(crate) fn put(id: &PrincipalId, row: &PrincipalRow) -> Result<Change, ChangeError> {
    Ok(Change::Put {
        kind: PRINCIPAL.to_owned(),
        id: id.to_string(),
        value: serde_json::to_value(row)?,
    })
}

/// All principals, by id.
pub async fn list_principals(handle: &Handle) -> Result<Vec<PrincipalInfo>, ChangeError> {
    let mut all = Vec::new();
    for row in handle.rows(PRINCIPAL).await? {
        let (principal, row) = PrincipalRow::read(&row.id, row.value)?;
        all.push(PrincipalInfo {
            display_name: open(handle, &principal.id, "display_name", row.display_name.as_ref()).await?,
            email: open(handle, &principal.id, "email", row.email.as_ref()).await?,
            identities: bindings::opened(handle, &principal.id, &row).await?,
            created: row.created,
            disabled: row.disabled,
            principal,
        });
    }
    Ok(all)
}

/// All principals by id, with nothing personal.
pub async fn plain_principals(handle: &Handle) -> Result<Vec<Principal>, ChangeError> {
    let rows = handle.rows(PRINCIPAL).await?;
    let read = |row: stockade_store::Row| Ok(PrincipalRow::read(&row.id, row.value)?.0);
    rows.into_iter().map(read).collect()
}

async fn seal(
    handle: &Handle,
    id: &PrincipalId,
    field: &'static str,
    value: Option<&str>,
) -> Result<Option<Personal>, ChangeError> {
    let Some(value) = value else { return Ok(None) };
    if value.is_empty() || value.len() > PERSONAL_MAX || value.chars().any(char::is_control) {
        return Err(ChangeError::PersonalText { field });
    }
    Ok(Some(handle.seal_personal(id.as_str(), field, value).await?))
}

async fn open(
    handle: &Handle,
    id: &PrincipalId,
    field: &str,
    personal: Option<&Personal>,
) -> Result<Option<String>, ChangeError> {
    let Some(personal) = personal else {
        return Ok(None);
    };
    Ok(handle.open_personal(id.as_str(), field, personal).await?)
}
