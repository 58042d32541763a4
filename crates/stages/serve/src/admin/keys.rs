//! Principals and API keys: the same operations as the command line's, under the caller's name.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use stockade_access::{
    ChangeError, KeyInfo, KeyPrefix, NewKey, create_key, list_keys, list_principals, revoke_key, rotate_key,
};
use stockade_evidence::{Control, Timestamp};
use stockade_protocol::ErrorCode;
use stockade_store::Handle;
use utoipa::ToSchema;

use super::AdminCall;
use crate::answer::{Answer, Refusal};

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
    let principals = list_principals(&handle(call))
        .await
        .map_err(|error| refuse(&error))?;
    let views: Vec<PrincipalView> = principals
        .iter()
        .map(|info| &info.principal)
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
    let keys = list_keys(&handle(call)).await.map_err(|error| refuse(&error))?;
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
    let now = call.shared.keeper.now();
    let expires_at = asked
        .expires_in_s
        .map(|seconds| now.plus_ms(i64::from(seconds) * 1000));
    let new = NewKey {
        principal,
        expires_at,
    };
    let (key, info) = create_key(&handle(call), &call.actor(), new, now)
        .await
        .map_err(|error| refuse(&error))?;
    call.json(
        StatusCode::CREATED,
        &IssuedKey {
            key: key.expose().to_owned(),
            info: view(&info),
        },
    )
}

#[utoipa::path(delete, path = "/admin/v1/keys/{prefix}", tag = "access", security(("key" = [])),
    params(("prefix" = String, Path, description = "The key's public part")),
    responses((status = 200, description = "The key is revoked", body = KeyView)))]
pub(super) async fn revoke(call: &AdminCall<'_>) -> Result<Answer, Refusal> {
    let now = call.shared.keeper.now();
    let info = revoke_key(&handle(call), &call.actor(), &prefix(call)?, now)
        .await
        .map_err(|error| refuse(&error))?;
    call.json(StatusCode::OK, &view(&info))
}

#[utoipa::path(post, path = "/admin/v1/keys/{prefix}/rotate", tag = "access", security(("key" = [])),
    params(("prefix" = String, Path, description = "The old key's public part")), request_body = RotateKey,
    responses((status = 201, description = "The new key, shown once", body = IssuedKey)))]
pub(super) async fn rotate(call: &AdminCall<'_>) -> Result<Answer, Refusal> {
    let asked: RotateKey = call.read()?;
    if asked.grace_s > GRACE_MAX_S {
        return Err(Refusal::invalid("`grace_s` must be at most 30 days"));
    }
    let (grace, now) = (Duration::from_secs(asked.grace_s), call.shared.keeper.now());
    let rotated = rotate_key(&handle(call), &call.actor(), &prefix(call)?, grace, now).await;
    let (key, info) = rotated.map_err(|error| refuse(&error))?;
    call.json(
        StatusCode::CREATED,
        &IssuedKey {
            key: key.expose().to_owned(),
            info: view(&info),
        },
    )
}

fn handle(call: &AdminCall<'_>) -> Handle {
    Handle::Local(call.shared.keeper.clone())
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

/// What a caller may know of a failed change. Texts of `ChangeError` name what the caller sent, so none is passed on.
fn refuse(error: &ChangeError) -> Refusal {
    match error {
        ChangeError::NoKey { .. } => no_such_key(),
        ChangeError::NoPrincipal { .. } => Refusal::new(
            ErrorCode::NotFound,
            Control::AccessControl,
            "there is no such principal",
        ),
        ChangeError::PrincipalExists { .. } => Refusal::invalid("the principal exists already"),
        ChangeError::IdentityTaken { .. } => Refusal::invalid("the identity is bound already"),
        ChangeError::NotBound { .. } => Refusal::invalid("the identity is not bound to the principal"),
        ChangeError::TooManyIdentities => Refusal::invalid("the principal has too many identities"),
        ChangeError::KeyEnded { .. } => Refusal::invalid("the key is revoked or has expired"),
        ChangeError::KeyReplaced { .. } => Refusal::invalid("the key was rotated already"),
        ChangeError::ExpiryPast { .. } => Refusal::invalid("the key would have ended already"),
        ChangeError::GraceTooLong => Refusal::invalid("a rotated key may live on for 30 days at most"),
        ChangeError::PersonalText { .. } => Refusal::invalid("a personal field has an impossible value"),
        ChangeError::Commit(_) => Refusal::unrecorded(),
        ChangeError::Contended
        | ChangeError::Read(_)
        | ChangeError::Row(_)
        | ChangeError::Personal(_)
        | ChangeError::Json(_)
        | ChangeError::Randomness(_) => {
            tracing::error!(%error, "an admin call failed");
            Refusal::internal()
        }
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
