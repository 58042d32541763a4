//! `stockade access`: principals, API keys, and what policy says of them.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use stockade_access::{
    Access, Action, ChangeError, DnsName, Environment, ExternalIdentity, KeyInfo, NewKey, NewPrincipal,
    PrincipalId, PrincipalKind, Resource, Role, SpiffeId, bind_identity, create_key, create_principal,
    disable_principal, enable_principal, list_keys, list_principals, revoke_key, rotate_key, unbind_identity,
};
use stockade_evidence::{Actor, Timestamp};
use stockade_store::Handle;

use crate::{
    cli::Global,
    clock, config,
    failure::{Exit, Failing as _, Failure},
    output::{Output, columns},
    project::{self, Project},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// People and workloads
    #[command(subcommand)]
    Principal(PrincipalVerb),
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
pub(crate) enum PrincipalVerb {
    /// Enrol a principal
    #[command(
        after_help = "Example:\n  stockade access principal create scoring --role client --environment prod"
    )]
    Create {
        /// Its id: opaque is advised for a person
        id: PrincipalId,
        /// A role; repeat for several
        #[arg(long = "role", required = true)]
        roles: Vec<Role>,
        /// A person or a workload
        #[arg(long, value_enum, default_value_t = Kind::Workload)]
        kind: Kind,
        /// `dev`, `test` or `prod`
        #[arg(long, default_value = "prod")]
        environment: Environment,
        /// A person's name; kept encrypted, erased on request
        #[arg(long)]
        display_name: Option<String>,
        /// A person's e-mail address; kept encrypted, erased on request
        #[arg(long)]
        email: Option<String>,
        #[command(flatten)]
        identity: Named,
    },
    /// Let a principal identify itself in one more way; a running server takes it within a second
    #[command(
        after_help = "Example:\n  stockade access principal bind scoring --spiffe spiffe://example.org/scoring"
    )]
    Bind {
        /// The principal's id
        id: PrincipalId,
        #[command(flatten)]
        identity: Named,
    },
    /// Take a way to identify itself from a principal; a running server refuses it within a second
    Unbind {
        /// The principal's id
        id: PrincipalId,
        #[command(flatten)]
        identity: Named,
    },
    /// Shut a principal out, however it identifies itself; a running server refuses it within a second
    Disable {
        /// The principal's id
        id: PrincipalId,
    },
    /// Let a disabled principal in again
    Enable {
        /// The principal's id
        id: PrincipalId,
    },
    /// List principals
    List,
    /// Destroy a person's key, and with it every personal field of theirs
    Erase {
        /// The principal's id
        id: PrincipalId,
    },
}

/// Who a principal is elsewhere.
#[derive(Args, Clone, Debug)]
pub(crate) struct Named {
    /// The issuer of its tokens
    #[arg(long, value_name = "ISSUER", requires = "jwt_subject")]
    jwt_issuer: Option<String>,
    /// What its issuer's tokens call it; a person's is kept encrypted, erased on request
    #[arg(long, value_name = "SUBJECT", requires = "jwt_issuer")]
    jwt_subject: Option<String>,
    /// The SPIFFE ID in its client certificates
    #[arg(long, value_name = "URI", conflicts_with_all = ["jwt_issuer", "dns"])]
    spiffe: Option<SpiffeId>,
    /// The DNS name in its client certificates
    #[arg(long, value_name = "NAME", conflicts_with = "jwt_issuer")]
    dns: Option<DnsName>,
}

impl Named {
    fn identity(self) -> Result<Option<ExternalIdentity>, Failure> {
        let Self {
            jwt_issuer,
            jwt_subject,
            spiffe,
            dns,
        } = self;
        if let (Some(issuer), Some(subject)) = (jwt_issuer, jwt_subject) {
            return ExternalIdentity::jwt(&issuer, &subject)
                .map(Some)
                .exit(Exit::Usage);
        }
        Ok(spiffe
            .map(ExternalIdentity::Spiffe)
            .or_else(|| dns.map(ExternalIdentity::Dns)))
    }

    fn required(self) -> Result<ExternalIdentity, Failure> {
        self.identity()?.ok_or_else(|| {
            Failure::new(Exit::Usage, "no identity is named")
                .hint("`--jwt-issuer` and `--jwt-subject`, `--spiffe` or `--dns`")
        })
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// A human being
    Person,
    /// A program
    Workload,
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
        Verb::Principal(verb) => principal(global, &project, &handle, verb, output).await,
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

async fn principal(
    global: &Global,
    project: &Project,
    handle: &Handle,
    verb: PrincipalVerb,
    output: &Output,
) -> Result<Exit, Failure> {
    let allowed = |action| project.actor(global, handle, action, &Resource::Access);
    match verb {
        PrincipalVerb::Create {
            id,
            roles,
            kind,
            environment,
            display_name,
            email,
            identity,
        } => {
            let actor = allowed(Action::PrincipalCreate).await?;
            let known = project::read_policies(project.path())?.roles();
            roles
                .iter()
                .try_for_each(|role| config::check_role(role.as_str(), &known, "`--role`"))?;
            let kind = match kind {
                Kind::Person => PrincipalKind::Person,
                Kind::Workload => PrincipalKind::Workload,
            };
            let roles = roles.into_iter().collect();
            let new = NewPrincipal {
                id,
                kind,
                roles,
                environment,
                display_name,
                email,
                identity: identity.identity()?,
            };
            let made = create_principal(handle, &actor, new, clock::now())
                .await
                .map_err(|error| changing(&error))?;
            output.result(&made, || {
                format!(
                    "{} is enrolled; `stockade access key create --principal {}` issues a key",
                    made.id, made.id
                )
            })?;
        }
        PrincipalVerb::List => {
            allowed(Action::KeyList).await?;
            let principals = list_principals(handle).await.exit(Exit::Failed)?;
            output.result(&json!({ "principals": principals }), || {
                let rows: Vec<Vec<String>> = principals
                    .iter()
                    .map(|info| {
                        let roles: Vec<&str> = info.principal.roles.iter().map(Role::as_str).collect();
                        vec![
                            info.principal.id.to_string(),
                            roles.join(","),
                            info.principal.environment.to_string(),
                        ]
                    })
                    .collect();
                columns(&["PRINCIPAL", "ROLES", "ENVIRONMENT"], &rows)
            })?;
        }
        PrincipalVerb::Bind { id, identity } => {
            let actor = allowed(Action::PrincipalChange).await?;
            let identity = identity.required()?;
            let bound = bind_identity(handle, &actor, &id, &identity, clock::now()).await;
            bound.map_err(|error| changing(&error))?;
            output.result(&json!({ "principal": id, "bound": identity }), || {
                format!("{id} can identify itself in one more way")
            })?;
        }
        PrincipalVerb::Unbind { id, identity } => {
            let actor = allowed(Action::PrincipalChange).await?;
            let identity = identity.required()?;
            let unbound = unbind_identity(handle, &actor, &id, &identity, clock::now()).await;
            unbound.map_err(|error| changing(&error))?;
            output.result(&json!({ "principal": id, "unbound": identity }), || {
                format!("{id} can identify itself in one way less")
            })?;
        }
        PrincipalVerb::Disable { id } => {
            let actor = allowed(Action::PrincipalChange).await?;
            let disabled = disable_principal(handle, &actor, &id, clock::now()).await;
            disabled.map_err(|error| changing(&error))?;
            output.result(&json!({ "disabled": id }), || format!("{id} is shut out"))?;
        }
        PrincipalVerb::Enable { id } => {
            let actor = allowed(Action::PrincipalChange).await?;
            let enabled = enable_principal(handle, &actor, &id, clock::now()).await;
            enabled.map_err(|error| changing(&error))?;
            output.result(&json!({ "enabled": id }), || format!("{id} is let in"))?;
        }
        PrincipalVerb::Erase { id } => {
            let actor = allowed(Action::Erase).await?;
            known(handle, &id).await?;
            let appended = handle
                .erase_subject(id.as_str(), actor, clock::now())
                .await
                .exit(Exit::Failed)?;
            output.result(&appended, || {
                format!("the personal fields of {id} cannot be read any more")
            })?;
        }
    }
    Ok(Exit::Fine)
}

async fn known(handle: &Handle, id: &PrincipalId) -> Result<(), Failure> {
    match handle.row("principal", id.as_str()).await.exit(Exit::Failed)? {
        Some(_) => Ok(()),
        None => Err(Failure::new(Exit::Usage, format!("there is no principal `{id}`"))
            .hint("`stockade access principal list` shows them")),
    }
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
