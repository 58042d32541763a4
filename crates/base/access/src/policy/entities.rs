//! One question as Cedar sees it: the principal under its roles, the resource under its environment.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema,
};

use crate::{Action, Environment, Principal, Resource};

/// The question does not fit the schema, such as an inference from the log. It is refused.
#[derive(Debug, thiserror::Error)]
#[error("the question does not fit the schema: {problem}")]
pub(super) struct BadQuestion {
    problem: String,
}

impl BadQuestion {
    #[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` calls")]
    fn new(problem: impl ToString) -> Self {
        Self {
            problem: problem.to_string(),
        }
    }
}

pub(super) fn build(
    who: &Principal,
    action: Action,
    what: &Resource,
    schema: &Schema,
) -> Result<(Request, Entities), BadQuestion> {
    let (principal, resource) = (principal(who)?, resource(what)?);
    let request = Request::new(
        principal.uid(),
        uid("Action", action.name())?,
        resource.uid(),
        Context::empty(),
        Some(schema),
    )
    .map_err(BadQuestion::new)?;
    // Entities are checked against the schema; roles and environments have no attributes and no parents, so they
    // need no entry.
    let entities = Entities::from_entities([principal, resource], Some(schema)).map_err(BadQuestion::new)?;
    Ok((request, entities))
}

fn principal(who: &Principal) -> Result<Entity, BadQuestion> {
    let kind = RestrictedExpression::new_string(who.kind.as_str().to_owned());
    let attributes = HashMap::from([("kind".to_owned(), kind), environment_attribute(who.environment)?]);
    let roles = who
        .roles
        .iter()
        .map(|role| uid("Role", role.as_str()))
        .collect::<Result<HashSet<_>, _>>()?;
    Entity::new(uid("Principal", who.id.as_str())?, attributes, roles).map_err(BadQuestion::new)
}

fn resource(what: &Resource) -> Result<Entity, BadQuestion> {
    let alone = |kind, id| Ok(Entity::new_no_attrs(uid(kind, id)?, HashSet::new()));
    match what {
        Resource::Server => alone("Server", "server"),
        Resource::Log => alone("Log", "log"),
        Resource::Access => alone("Access", "access"),
        Resource::Backup => alone("Backup", "backup"),
        Resource::Model { name, environment } => {
            let attributes = HashMap::from([environment_attribute(*environment)?]);
            let parents = HashSet::from([uid("Environment", environment.as_str())?]);
            Entity::new(uid("Model", name)?, attributes, parents).map_err(BadQuestion::new)
        }
    }
}

fn environment_attribute(environment: Environment) -> Result<(String, RestrictedExpression), BadQuestion> {
    let uid = uid("Environment", environment.as_str())?;
    Ok((
        "environment".to_owned(),
        RestrictedExpression::new_entity_uid(uid),
    ))
}

/// The id is taken as it is, never parsed, so a name cannot reach into another type.
fn uid(kind: &str, id: &str) -> Result<EntityUid, BadQuestion> {
    Ok(EntityUid::from_type_name_and_id(
        kind.parse::<EntityTypeName>().map_err(BadQuestion::new)?,
        EntityId::new(id),
    ))
}
