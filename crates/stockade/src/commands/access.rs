//! `stockade access`: principals, API keys, and what policy says of them.

mod principal;

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};
use stockade_access::{
    Access, Action, ChangeError, KeyInfo, NewKey, PrincipalId, Resource, create_key, list_keys, revoke_key,
    rotate_key,
};
use stockade_evidence::{Actor, Timestamp};
use stockade_store::Handle;

use crate::{
    cli::Global,
    clock,
    failure::{Exit, Failing as _, Failure},
    output::{Output, columns},
    project::{self, Project},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// People and workloads
    #[command(subcommand)]
    Principal(principal::Verb),
    /// API keys
    #[command(subcommand)]
    Key(KeyVerb),
    /// Ask the policies, and name the one that decided; exit 0 if allowed, 1 if not
    #[command(
        after_help = "Example:\n  stockade access check --principal client --action model.infer --resource model:prod/digits"
    )]
    Check {
        /// The principal's id
        #[arg(long)]
        principal: PrincipalId,
        /// The action, such as `model.infer`
        #[arg(long)]
        action: Action,
        /// `server`, `log`, `access`, `backup` or `model:ENVIRONMENT/NAME`
        #[arg(long)]
        resource: Resource,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Issue a key; it is shown once, and only its hash is kept
    Create {
        /// Whose key it is
        #[arg(long)]
        principal: PrincipalId,
        /// Days until it expires; without it, it does not
        #[arg(long, value_name = "DAYS")]
        expires_in: Option<u32>,
    },
    /// List keys by their public prefix
    List,
    /// Revoke a key; a running server refuses it within a second
    Revoke {
        /// Its public prefix
        prefix: String,
    },
    /// Replace a key by a new one
    Rotate {
        /// Its public prefix
        prefix: String,
        /// Hours for which the old key still works
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        grace: u32,
    },
}

pub(crate) async fn run(global: &Global, verb: Verb, output: &Output) -> Result<Exit, Failure> {
    let project = Project::find(global, &[])?;
    let handle = project.handle().await?;
    let done = match verb {
        Verb::Principal(verb) => principal::run(global, &project, &handle, verb, output).await,
        Verb::Key(verb) => key(global, &project, &handle, verb, output).await,
        Verb::Check {
            principal,
            action,
            resource,
        } => {
            project
                .actor(global, &handle, Action::KeyList, &Resource::Access)
                .await?;
            check(&project, &handle, &principal, action, &resource, output).await
        }
    };
    handle.close().await.exit(Exit::Failed)?;
    done
}

/// A change that was asked for wrongly is a usage error, everything else a failure.
fn changing(error: &ChangeError) -> Failure {
    let exit = if error.is_usage() {
        Exit::Usage
    } else {
        Exit::Failed
    };
    Failure::from_error(exit, error)
}

async fn key(
    global: &Global,
    project: &Project,
    handle: &Handle,
    verb: KeyVerb,
    output: &Output,
) -> Result<Exit, Failure> {
    let allowed = |action| project.actor(global, handle, action, &Resource::Access);
    let now = clock::now();
    match verb {
        KeyVerb::Create {
            principal,
            expires_in,
        } => {
            let actor = allowed(Action::KeyCreate).await?;
            let expires_at = expires_in.map(|days| now.plus_ms(i64::from(days) * 86_400_000));
            let (secret, info) = create_key(
                handle,
                &actor,
                NewKey {
                    principal,
                    expires_at,
                },
                now,
            )
            .await
            .map_err(|error| changing(&error))?;
            show_once(output, secret.expose(), &info)
        }
        KeyVerb::List => {
            allowed(Action::KeyList).await?;
            let keys = list_keys(handle).await.exit(Exit::Failed)?;
            output.result(&json!({ "keys": keys }), || {
                let rows: Vec<Vec<String>> = keys.iter().map(|info| row(info, now)).collect();
                columns(&["PREFIX", "PRINCIPAL", "CREATED", "STATE"], &rows)
            })?;
            Ok(Exit::Fine)
        }
        KeyVerb::Revoke { prefix } => {
            let actor = allowed(Action::KeyRevoke).await?;
            revoke(handle, actor, &prefix, now).await?;
            output.result(&json!({ "revoked": prefix }), || format!("{prefix} is revoked"))?;
            Ok(Exit::Fine)
        }
        KeyVerb::Rotate { prefix, grace } => {
            let actor = allowed(Action::KeyRotate).await?;
            let grace = Duration::from_secs(u64::from(grace) * 3600);
            let prefix = prefix.parse().exit(Exit::Usage)?;
            let (secret, info) = rotate_key(handle, &actor, &prefix, grace, now)
                .await
                .map_err(|error| changing(&error))?;
            show_once(output, secret.expose(), &info)
        }
    }
}

async fn revoke(handle: &Handle, actor: Actor, prefix: &str, now: Timestamp) -> Result<(), Failure> {
    let prefix = prefix
        .parse()
        .exit_hint(Exit::Usage, "`stockade access key list` shows the prefixes")?;
    revoke_key(handle, &actor, &prefix, now)
        .await
        .map_err(|error| changing(&error))?;
    Ok(())
}

fn show_once(output: &Output, secret: &str, info: &KeyInfo) -> Result<Exit, Failure> {
    let mut value = serde_json::to_value(info).exit(Exit::Failed)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("key".to_owned(), Value::from(secret));
    }
    output.result(&value, || {
        format!("{secret}\nshown once, and never again; prefix {}", info.prefix)
    })?;
    Ok(Exit::Fine)
}

fn row(info: &KeyInfo, now: Timestamp) -> Vec<String> {
    let state = match (info.revoked, info.expires) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(at)) if !info.is_live(now) => format!("expired {at}"),
        (None, Some(at)) => format!("until {at}"),
        (None, None) => "live".to_owned(),
    };
    vec![
        info.prefix.to_string(),
        info.principal.to_string(),
        info.created.to_string(),
        state,
    ]
}

async fn check(
    project: &Project,
    handle: &Handle,
    principal: &PrincipalId,
    action: Action,
    resource: &Resource,
    output: &Output,
) -> Result<Exit, Failure> {
    let access = Access::new(handle.clone(), project::read_policies(project.path())?)
        .await
        .exit(Exit::Failed)?;
    let Some(who) = access.principal(principal) else {
        return Err(
            Failure::new(Exit::Usage, format!("there is no principal `{principal}`"))
                .hint("`stockade access principal list` shows them"),
        );
    };
    let authorization = access.authorize(&who, action, resource);
    output.result(&authorization, || {
        format!("{action} on {resource} is {authorization} for {principal}")
    })?;
    Ok(if authorization.allowed {
        Exit::Fine
    } else {
        Exit::Findings
    })
}
