//! Enrolment: principals as rows, their names and addresses as personal fields.

use std::collections::BTreeSet;

use stockade_evidence::{Actor, Change, Event, Personal, Subject, SubjectKind, Timestamp};
use stockade_store::{Commit, CommitError, Expect, Handle};

use crate::{
    ChangeError, Environment, Principal, PrincipalId, PrincipalKind, Role,
    change::record,
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
}

/// Enrols a principal. It has no key yet.
pub async fn create_principal(
    handle: &Handle,
    actor: &Actor,
    new: NewPrincipal,
    now: Timestamp,
) -> Result<Principal, ChangeError> {
    // Asked before anything is sealed, so that a taken id gets no personal key; the expectation below binds.
    if handle.row(PRINCIPAL, new.id.as_str()).await?.is_some() {
        return Err(ChangeError::PrincipalExists { id: new.id });
    }
    let row = PrincipalRow {
        kind: new.kind,
        roles: new.roles.clone(),
        environment: new.environment,
        created: now,
        display_name: seal(handle, &new.id, "display_name", new.display_name.as_deref()).await?,
        email: seal(handle, &new.id, "email", new.email.as_deref()).await?,
    };
    let id = new.id.to_string();
    let record = record(Event::PrincipalCreated, actor, now)?
        .about(Subject::new(SubjectKind::Principal, &id))
        .changing(Change::Put {
            kind: PRINCIPAL.to_owned(),
            id: id.clone(),
            value: serde_json::to_value(&row)?,
        });
    let commit = Commit::new(record).expecting(Expect::Absent {
        kind: PRINCIPAL.to_owned(),
        id,
    });
    match handle.commit(commit).await {
        Ok(_) => Ok(Principal {
            id: new.id,
            kind: new.kind,
            roles: new.roles,
            environment: new.environment,
        }),
        Err(CommitError::Conflict { .. }) => Err(ChangeError::PrincipalExists { id: new.id }),
        Err(error) => Err(ChangeError::Commit(error)),
    }
}

/// All principals, by id.
pub async fn list_principals(handle: &Handle) -> Result<Vec<PrincipalInfo>, ChangeError> {
    let mut all = Vec::new();
    for row in handle.rows(PRINCIPAL).await? {
        let (principal, row) = PrincipalRow::read(&row.id, row.value)?;
        all.push(PrincipalInfo {
            display_name: open(handle, &principal.id, "display_name", row.display_name.as_ref()).await?,
            email: open(handle, &principal.id, "email", row.email.as_ref()).await?,
            created: row.created,
            principal,
        });
    }
    Ok(all)
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
