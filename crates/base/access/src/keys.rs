//! Issuing, listing, revoking and rotating API keys. Each change is one record; the row follows from it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stockade_evidence::{Actor, Change, Event, Record, Subject, SubjectKind, Timestamp};
use stockade_store::{Commit, Expect, Handle};

use crate::{
    ApiKey, ChangeError, KeyPrefix, PrincipalId,
    change::{ATTEMPTS, committed, record},
    rows::{API_KEY, KeyRow, PRINCIPAL},
};

const GRACE_MAX: Duration = Duration::from_hours(30 * 24);

/// What is needed to issue a key.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Whose key.
    pub principal: PrincipalId,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
}

/// What may be shown of a key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyInfo {
    /// Its public part.
    pub prefix: KeyPrefix,
    /// Whose key.
    pub principal: PrincipalId,
    /// When it was issued.
    pub created: Timestamp,
    /// When it ends, if it does.
    pub expires: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
    /// The key in its place, after a rotation.
    pub replaced_by: Option<KeyPrefix>,
}

impl KeyInfo {
    fn new(prefix: KeyPrefix, row: KeyRow) -> Self {
        Self {
            prefix,
            principal: row.principal,
            created: row.created,
            expires: row.expires,
            revoked: row.revoked,
            replaced_by: row.replaced_by,
        }
    }

    /// Whether the key would be accepted at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| expires > now)
    }
}

/// Issues a key. Its text is in the answer and nowhere else.
pub async fn create_key(
    handle: &Handle,
    actor: &Actor,
    new: NewKey,
    now: Timestamp,
) -> Result<(ApiKey, KeyInfo), ChangeError> {
    if let Some(expires) = new.expires_at.filter(|expires| *expires <= now) {
        return Err(ChangeError::ExpiryPast { expires });
    }
    for _ in 0..ATTEMPTS {
        let owner = handle.row(PRINCIPAL, new.principal.as_str()).await?;
        let owner = owner.ok_or_else(|| ChangeError::NoPrincipal {
            id: new.principal.clone(),
        })?;
        let key = ApiKey::generate()?;
        let row = fresh_row(&key, &new.principal, new.expires_at, now);
        let record = key_record(Event::KeyCreated, actor, key.prefix(), &new.principal, now)?
            .changing(put(key.prefix(), &row)?);
        let commit = Commit::new(record)
            .expecting(absent(key.prefix()))
            .expecting(Expect::At {
                kind: PRINCIPAL.to_owned(),
                id: owner.id,
                log_index: owner.log_index,
            });
        if committed(handle, commit).await? {
            let info = KeyInfo::new(key.prefix().clone(), row);
            return Ok((key, info));
        }
    }
    Err(ChangeError::Contended)
}

/// All keys, by prefix.
pub async fn list_keys(handle: &Handle) -> Result<Vec<KeyInfo>, ChangeError> {
    let info = |row: stockade_store::Row| {
        let (prefix, row) = KeyRow::read(&row.id, row.value)?;
        Ok(KeyInfo::new(prefix, row))
    };
    handle.rows(API_KEY).await?.into_iter().map(info).collect()
}

/// Ends a key now. A key that was revoked before stays as it is.
pub async fn revoke_key(
    handle: &Handle,
    actor: &Actor,
    prefix: &KeyPrefix,
    now: Timestamp,
) -> Result<KeyInfo, ChangeError> {
    for _ in 0..ATTEMPTS {
        let (mut row, expect) = find(handle, prefix).await?;
        if row.revoked.is_some() {
            return Ok(KeyInfo::new(prefix.clone(), row));
        }
        row.revoked = Some(now);
        let record =
            key_record(Event::KeyRevoked, actor, prefix, &row.principal, now)?.changing(put(prefix, &row)?);
        if committed(handle, Commit::new(record).expecting(expect)).await? {
            return Ok(KeyInfo::new(prefix.clone(), row));
        }
    }
    Err(ChangeError::Contended)
}

/// Issues a key in the place of another, which ends after `grace`. The new one lives as long as the old one was to.
pub async fn rotate_key(
    handle: &Handle,
    actor: &Actor,
    prefix: &KeyPrefix,
    grace: Duration,
    now: Timestamp,
) -> Result<(ApiKey, KeyInfo), ChangeError> {
    let grace = Some(grace)
        .filter(|grace| *grace <= GRACE_MAX)
        .ok_or(ChangeError::GraceTooLong)?;
    let old_ends = now.plus_ms(i64::try_from(grace.as_millis()).map_err(|_| ChangeError::GraceTooLong)?);
    for _ in 0..ATTEMPTS {
        let (mut old, expect) = find(handle, prefix).await?;
        if !KeyInfo::new(prefix.clone(), old.clone()).is_live(now) {
            return Err(ChangeError::KeyEnded {
                prefix: prefix.clone(),
            });
        }
        if let Some(successor) = old.replaced_by {
            return Err(ChangeError::KeyReplaced {
                prefix: prefix.clone(),
                successor,
            });
        }
        let key = ApiKey::generate()?;
        let lifetime = |expires: Timestamp| expires.unix_ms().saturating_sub(old.created.unix_ms());
        let new = fresh_row(
            &key,
            &old.principal,
            old.expires.map(|expires| now.plus_ms(lifetime(expires))),
            now,
        );
        old.expires = Some(old.expires.map_or(old_ends, |expires| expires.min(old_ends)));
        old.replaced_by = Some(key.prefix().clone());
        let record = key_record(Event::KeyRotated, actor, prefix, &old.principal, now)?
            .with("successor", key.prefix().as_str())
            .changing(put(prefix, &old)?)
            .changing(put(key.prefix(), &new)?);
        let commit = Commit::new(record)
            .expecting(expect)
            .expecting(absent(key.prefix()));
        if committed(handle, commit).await? {
            let info = KeyInfo::new(key.prefix().clone(), new);
            return Ok((key, info));
        }
    }
    Err(ChangeError::Contended)
}

fn fresh_row(key: &ApiKey, principal: &PrincipalId, expires: Option<Timestamp>, now: Timestamp) -> KeyRow {
    KeyRow {
        principal: principal.clone(),
        hash: key.hash(),
        created: now,
        expires,
        revoked: None,
        replaced_by: None,
    }
}

async fn find(handle: &Handle, prefix: &KeyPrefix) -> Result<(KeyRow, Expect), ChangeError> {
    let row = handle.row(API_KEY, prefix.as_str()).await?;
    let row = row.ok_or_else(|| ChangeError::NoKey {
        prefix: prefix.clone(),
    })?;
    let expect = Expect::At {
        kind: row.kind,
        id: row.id.clone(),
        log_index: row.log_index,
    };
    Ok((KeyRow::read(&row.id, row.value)?.1, expect))
}

fn key_record(
    event: Event,
    actor: &Actor,
    prefix: &KeyPrefix,
    principal: &PrincipalId,
    now: Timestamp,
) -> Result<Record, ChangeError> {
    let subject = Subject::new(SubjectKind::ApiKey, prefix.as_str());
    Ok(record(event, actor, now)?
        .about(subject)
        .with("principal", principal.as_str()))
}

fn put(prefix: &KeyPrefix, row: &KeyRow) -> Result<Change, ChangeError> {
    Ok(Change::Put {
        kind: API_KEY.to_owned(),
        id: prefix.to_string(),
        value: serde_json::to_value(row)?,
    })
}

fn absent(prefix: &KeyPrefix) -> Expect {
    Expect::Absent {
        kind: API_KEY.to_owned(),
        id: prefix.to_string(),
    }
}
