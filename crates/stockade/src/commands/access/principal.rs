//! `stockade access principal`: who may be somebody here, and by what.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use stockade_access::{
    Action, DnsName, Environment, ExternalIdentity, NewPrincipal, PrincipalId, PrincipalInfo, PrincipalKind,
    Resource, Role, SpiffeId, bind_identity, create_principal, disable_principal, enable_principal,
    list_principals, unbind_identity,
};
use stockade_store::Handle;

use super::changing;
use crate::{
    cli::Global,
    clock, config,
    failure::{Exit, Failing as _, Failure},
    output::{Output, columns},
    project::{self, Project},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
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

pub(super) async fn run(
    global: &Global,
    project: &Project,
    handle: &Handle,
    verb: Verb,
    output: &Output,
) -> Result<Exit, Failure> {
    let allowed = |action| project.actor(global, handle, action, &Resource::Access);
    match verb {
        Verb::Create {
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
        Verb::List => {
            allowed(Action::KeyList).await?;
            list(handle, output).await?;
        }
        Verb::Bind { id, identity } => {
            let actor = allowed(Action::PrincipalChange).await?;
            let identity = identity.required()?;
            let bound = bind_identity(handle, &actor, &id, &identity, clock::now()).await;
            bound.map_err(|error| changing(&error))?;
            output.result(&json!({ "principal": id, "bound": identity }), || {
                format!("{id} can identify itself in one more way")
            })?;
        }
        Verb::Unbind { id, identity } => {
            let actor = allowed(Action::PrincipalChange).await?;
            let identity = identity.required()?;
            let unbound = unbind_identity(handle, &actor, &id, &identity, clock::now()).await;
            unbound.map_err(|error| changing(&error))?;
            output.result(&json!({ "principal": id, "unbound": identity }), || {
                format!("{id} can identify itself in one way less")
            })?;
        }
        Verb::Disable { id } => {
            let actor = allowed(Action::PrincipalChange).await?;
            let disabled = disable_principal(handle, &actor, &id, clock::now()).await;
            disabled.map_err(|error| changing(&error))?;
            output.result(&json!({ "disabled": id }), || format!("{id} is shut out"))?;
        }
        Verb::Enable { id } => {
            let actor = allowed(Action::PrincipalChange).await?;
            let enabled = enable_principal(handle, &actor, &id, clock::now()).await;
            enabled.map_err(|error| changing(&error))?;
            output.result(&json!({ "enabled": id }), || format!("{id} is let in"))?;
        }
        Verb::Erase { id } => {
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

async fn list(handle: &Handle, output: &Output) -> Result<(), Failure> {
    let principals = list_principals(handle).await.exit(Exit::Failed)?;
    output.result(&json!({ "principals": principals }), || {
        let row = |info: &PrincipalInfo| {
            let roles: Vec<&str> = info.principal.roles.iter().map(Role::as_str).collect();
            vec![
                info.principal.id.to_string(),
                roles.join(","),
                info.principal.environment.to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = principals.iter().map(row).collect();
        columns(&["PRINCIPAL", "ROLES", "ENVIRONMENT"], &rows)
    })
}

async fn known(handle: &Handle, id: &PrincipalId) -> Result<(), Failure> {
    match handle.row("principal", id.as_str()).await.exit(Exit::Failed)? {
        Some(_) => Ok(()),
        None => Err(Failure::new(Exit::Usage, format!("there is no principal `{id}`"))
            .hint("`stockade access principal list` shows them")),
    }
}
