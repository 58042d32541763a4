//! Principals and API keys: the same operations as the command line's, under the caller's name.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use stockade_access::{KeyInfo, KeyPrefix, list_keys, plain_principals};
use stockade_evidence::{Control, Timestamp};
use stockade_protocol::ErrorCode;
use stockade_store::Secret;
use utoipa::ToSchema;

use super::AdminCall;
use crate::{
    answer::{Answer, Refusal},
    desk::{self, Desk, DeskAnswer, DeskAsk, KeyChange, KeyDone, KeyProblem},
};

/// The longest that an old key may live on after a rotation.
const GRACE_MAX_S: u64 = 30 * 86_400;

/// A principal, without anything personal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PrincipalView {
    /// Its id.
    id: String,
    /// `person` or `workload`.
    kind: String,
    /// Its roles.
    roles: Vec<String>,
    /// `dev`, `test` or `prod`.
    environment: String,
}

/// An API key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyView {
    /// Its public part.
    prefix: String,
    /// Whose it is.
    principal: String,
    /// When it was issued, RFC 3339.
    created: String,
    /// When it ends, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    /// When it was revoked, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
}

/// A new key. Its text is shown here and never again.
#[derive(Serialize, ToSchema)]
pub(super) struct IssuedKey {
    /// The whole key: a secret.
    key: String,
    /// What is kept of it.
    #[serde(flatten)]
    info: KeyView,
}

/// What to issue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateKey {
    /// Whose the key is to be.
    principal: String,
    /// Seconds until it ends; absent means never.
    #[serde(default)]
    expires_in_s: Option<u32>,
}

/// How to replace a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateKey {
    /// Seconds that the old key stays in force, at most 30 days.
    #[serde(default)]
    grace_s: u64,
}

#[utoipa::path(get, path = "/admin/v1/principals", tag = "access", security(("key" = [])),
    responses((status = 200, description = "Principals", body = Vec<PrincipalView>)))]
pub(super) async fn principals(call: &AdminCall<'_>) -> Result<Answer, Refusal> {
    let principals = plain_principals(&call.shared.keeper.handle())
        .await
        .map_err(|error| refuse(KeyProblem::from(&error)))?;
    let views: Vec<PrincipalView> = principals
        .iter()
        .map(|principal| PrincipalView {
            id: principal.id.to_string(),
            kind: principal.kind.as_str().to_owned(),
            roles: principal.roles.iter().map(ToString::to_string).collect(),
            environment: principal.environment.to_string(),
        })
        .collect();
    call.json(StatusCode::OK, &views)
}

#[utoipa::path(get, path = "/admin/v1/keys", tag = "access", security(("key" = [])),
    responses((status = 200, description = "API keys, without their secrets", body = Vec<KeyView>)))]
pub(super) async fn list(call: &AdminCall<'_>) -> Result<Answer, Refusal> {
    let keys = list_keys(&call.shared.keeper.handle())
        .await
        .map_err(|error| refuse(KeyProblem::from(&error)))?;
    call.json(StatusCode::OK, &keys.iter().map(view).collect::<Vec<_>>())
}

#[utoipa::path(post, path = "/admin/v1/keys", tag = "access", security(("key" = [])), request_body = CreateKey,
    responses((status = 201, description = "The new key, shown once", body = IssuedKey)))]
pub(super) async fn create(call: &AdminCall<'_>) -> Result<Answer, Refusal> {
    let asked: CreateKey = call.read()?;
    let principal = asked
        .principal
        .parse()
        .map_err(|_| Refusal::invalid("`principal` is not a principal id"))?;
    let change = KeyChange::Create {
        principal,
        expires_in_s: asked.expires_in_s,
    };
    issued(call, change).await
}

#[utoipa::path(delete, path = "/admin/v1/keys/{prefix}", tag = "access", security(("key" = [])),
    params(("prefix" = String, Path, description = "The key's public part")),
    responses((status = 200, description = "The key is revoked", body = KeyView)))]
pub(super) async fn revoke(call: &AdminCall<'_>) -> Result<Answer, Refusal> {
    let prefix = prefix(call)?;
    let done = changed(call, KeyChange::Revoke { prefix }).await?;
    call.json(StatusCode::OK, &view(&done.info))
}

#[utoipa::path(post, path = "/admin/v1/keys/{prefix}/rotate", tag = "access", security(("key" = [])),
    params(("prefix" = String, Path, description = "The old key's public part")), request_body = RotateKey,
    responses((status = 201, description = "The new key, shown once", body = IssuedKey)))]
pub(super) async fn rotate(call: &AdminCall<'_>) -> Result<Answer, Refusal> {
    let asked: RotateKey = call.read()?;
    if asked.grace_s > GRACE_MAX_S {
        return Err(Refusal::invalid("`grace_s` must be at most 30 days"));
    }
    let change = KeyChange::Rotate {
        prefix: prefix(call)?,
        grace: Duration::from_secs(asked.grace_s),
    };
    issued(call, change).await
}

/// Makes a change that issues a key, and shows the key.
async fn issued(call: &AdminCall<'_>, change: KeyChange) -> Result<Answer, Refusal> {
    let done = changed(call, change).await?;
    let key = done
        .key
        .as_ref()
        .and_then(|key| std::str::from_utf8(key.0.expose()).ok());
    let issued = IssuedKey {
        key: key.ok_or_else(Refusal::internal)?.to_owned(),
        info: view(&done.info),
    };
    call.json(StatusCode::CREATED, &issued)
}

/// Has a change made by whoever holds the keys, which checks the caller's API key itself.
async fn changed(call: &AdminCall<'_>, change: KeyChange) -> Result<KeyDone, Refusal> {
    let shared = call.shared;
    let presented = call
        .presented
        .as_ref()
        .ok_or_else(|| refuse(KeyProblem::Forbidden))?;
    let link = match &shared.desk {
        Desk::Here(_) => {
            let (handle, now) = (shared.keeper.handle(), shared.keeper.now());
            let changed = desk::change_keys(&shared.access, &handle, presented, change, now).await;
            return changed.map_err(refuse);
        }
        Desk::Keeper(link) => link,
    };
    let presented = Secret::copy_of(presented.0.expose());
    match link.ask(DeskAsk::Keys { presented, change }).await {
        DeskAnswer::Changed { done } => Ok(*done),
        DeskAnswer::NotChanged { problem } => Err(refuse(problem)),
        DeskAnswer::Authority { .. } | DeskAnswer::Leaf { .. } | DeskAnswer::Refused {} => {
            Err(Refusal::internal())
        }
    }
}

fn prefix(call: &AdminCall<'_>) -> Result<KeyPrefix, Refusal> {
    call.parameter
        .and_then(|text| text.parse().ok())
        .ok_or_else(no_such_key)
}

fn no_such_key() -> Refusal {
    Refusal::new(
        ErrorCode::NotFound,
        Control::AccessControl,
        "there is no such key",
    )
}

/// What a caller may know of a change that was not made.
fn refuse(problem: KeyProblem) -> Refusal {
    match problem {
        KeyProblem::Forbidden => Refusal::new(
            ErrorCode::Forbidden,
            Control::AccessControl,
            "keys are changed by a caller who presents an API key that may",
        ),
        KeyProblem::NoKey => no_such_key(),
        KeyProblem::NoPrincipal => Refusal::new(
            ErrorCode::NotFound,
            Control::AccessControl,
            "there is no such principal",
        ),
        KeyProblem::Ended => Refusal::invalid("the key is revoked or has expired"),
        KeyProblem::Replaced => Refusal::invalid("the key was rotated already"),
        KeyProblem::ExpiryPast => Refusal::invalid("the key would have ended already"),
        KeyProblem::GraceTooLong => Refusal::invalid("a rotated key may live on for 30 days at most"),
        KeyProblem::Unrecorded => Refusal::unrecorded(),
        KeyProblem::Failed => Refusal::internal(),
    }
}

fn view(info: &KeyInfo) -> KeyView {
    let text = |time: Timestamp| time.to_string();
    KeyView {
        prefix: info.prefix.to_string(),
        principal: info.principal.to_string(),
        created: text(info.created),
        expires: info.expires.map(text),
        revoked: info.revoked.map(text),
    }
}
