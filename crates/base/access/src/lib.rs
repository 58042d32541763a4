//! Who may do what: principals, API keys, roles, Cedar policies, environments.
//!
//! A [`Principal`] is a person or a workload in a set of [`Role`]s and one [`Environment`]. It proves itself with an
//! API key, of which only a hash is kept, or with an [`ExternalIdentity`] that it was bound to: the subject of a
//! [`Token`], or the name in a client certificate. What it may do is decided by Cedar policies ([`PolicySet`]), validated
//! against one schema when they are loaded; nothing is allowed that no policy permits, and a policy that fails to
//! evaluate refuses.
//!
//! Start at [`Access`], the live view that the gateway asks. [`create_principal`], [`create_key`], [`revoke_key`] and
//! [`rotate_key`], [`bind_identity`] and [`disable_principal`] with their opposites change the rows behind it, one record each.

mod acting;
mod action;
mod api_key;
mod authenticate;
mod bindings;
mod change;
mod external;
mod keys;
mod live;
mod policy;
mod principal;
mod principals;
mod remember;
mod rows;
mod token;

pub use crate::{
    acting::{Acting, ActingError, Claim, Forbidden},
    action::{Action, Resource, UnknownAction, UnknownResource},
    api_key::{ApiKey, KeyPrefix, MalformedKey},
    authenticate::{AuthenticationError, Identity, Proof},
    bindings::{SUBJECT_FIELD, bind_identity, disable_principal, enable_principal, unbind_identity},
    change::ChangeError,
    external::{DnsName, ExternalIdentity, InvalidIdentity, SpiffeId},
    keys::{KeyInfo, NewKey, create_key, list_keys, revoke_key, rotate_key},
    live::{Access, RefreshError, RowSource},
    policy::{Authorization, PolicyError, PolicySet, default_policies},
    principal::{
        Environment, InvalidPrincipalId, InvalidRole, Principal, PrincipalId, PrincipalKind, Role,
        UnknownEnvironment,
    },
    principals::{NewPrincipal, PrincipalInfo, create_principal, list_principals, plain_principals},
    rows::{API_KEY, BadRow, PRINCIPAL},
    token::{
        BadKeySet, KeySet, TOKEN_MAX, Token, TokenAlgorithm, TokenError, TokenRules, UnknownTokenAlgorithm,
        fuzz_jwks, fuzz_token,
    },
};
