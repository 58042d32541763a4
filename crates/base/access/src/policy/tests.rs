//! The default policies, the errors of bad ones, and attacks on evaluation.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};

use super::*;
use crate::{Environment, PrincipalKind};

fn principal(roles: &[&str], environment: Environment) -> Principal {
    Principal {
        id: "somebody".parse().unwrap(),
        kind: PrincipalKind::Workload,
        roles: roles
            .iter()
            .map(|role| role.parse().unwrap())
            .collect::<BTreeSet<_>>(),
        environment,
    }
}

fn model(environment: Environment) -> Resource {
    Resource::Model {
        name: "digits".to_owned(),
        environment,
    }
}

fn with_extra(file: &str, text: &str) -> Result<PolicySet, PolicyError> {
    let mut files: Vec<(String, String)> = default_policies()
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    files.push((file.to_owned(), text.to_owned()));
    PolicySet::parse(&files)
}

/// Every action with the resource it is for.
fn questions(environment: Environment) -> Vec<(Action, Resource)> {
    let resource = |action: &Action| match action {
        Action::ModelInfer
        | Action::ModelMetadata
        | Action::ModelConfig
        | Action::ModelStatistics
        | Action::ModelSeal
        | Action::ModelOpen => model(environment),
        Action::ModelList
        | Action::RepositoryIndex
        | Action::RepositoryControl
        | Action::ServerMetadata
        | Action::ServerSharedMemory
        | Action::ServerSettings
        | Action::ConfigRead
        | Action::MetricsRead => Resource::Server,
        Action::KeyCreate
        | Action::KeyList
        | Action::ClientList
        | Action::ClientRelease
        | Action::KeyRevoke
        | Action::KeyRotate
        | Action::PrincipalCreate
        | Action::PrincipalChange
        | Action::Erase => Resource::Access,
        Action::LogRead | Action::LogExport => Resource::Log,
        Action::BackupCreate | Action::BackupRestore => Resource::Backup,
    };
    Action::ALL
        .iter()
        .map(|action| (*action, resource(action)))
        .collect()
}

#[track_caller]
fn check_allowed(role: &str, own: Environment, of_model: Environment, expected: Expect) {
    let (set, who) = (PolicySet::defaults().unwrap(), principal(&[role], own));
    let allowed: Vec<&str> = questions(of_model)
        .into_iter()
        .filter(|(action, resource)| {
            let decision = set.authorize(&who, *action, resource);
            assert_eq!(decision.errors, [""; 0], "{action}");
            decision.allowed
        })
        .map(|(action, _)| action.name())
        .collect();
    expected.assert_eq(&allowed.join(" "));
}

#[test]
fn roles_are_those_that_policies_name_and_the_built_in() {
    let policies = [(
        "mine.cedar".to_owned(),
        "permit (principal in Role::\"scorer\", action == Action::\"model.infer\", resource);".to_owned(),
    )];
    let roles = PolicySet::parse(&policies).unwrap().roles();
    let expected = ["admin", "auditor", "client", "operator", "scorer"];
    assert!(roles.iter().eq(expected), "{roles:?}");
}

#[test]
fn each_default_role_may_do_just_this() {
    use Environment::{Dev, Prod, Test};
    check_allowed(
        "client",
        Prod,
        Prod,
        expect!["model.infer model.metadata model.list server.metadata"],
    );
    check_allowed(
        "client",
        Test,
        Test,
        expect!["model.infer model.metadata model.list server.metadata"],
    );
    check_allowed("client", Prod, Test, expect!["model.list server.metadata"]);
    check_allowed("client", Test, Prod, expect!["model.list server.metadata"]);
    check_allowed("client", Dev, Dev, expect!["model.list server.metadata"]);
    check_allowed(
        "operator",
        Prod,
        Dev,
        expect![
            "model.infer model.metadata model.list model.config model.statistics server.metadata repository.index model.seal key.list client.list client.release log.read config.read metrics.read backup.create"
        ],
    );
    check_allowed(
        "auditor",
        Prod,
        Prod,
        expect!["key.list client.list log.read log.export config.read"],
    );
    check_allowed(
        "admin",
        Dev,
        Prod,
        expect![
            "model.infer model.metadata model.list model.config model.statistics server.metadata repository.index model.seal model.open key.create key.list key.revoke key.rotate principal.create principal.change client.list client.release log.read log.export config.read metrics.read backup.create backup.restore subject.erase"
        ],
    );
    check_allowed("unknown-role", Prod, Prod, expect![""]);
}

#[test]
fn what_goes_around_the_gateway_needs_a_policy_that_names_it() {
    let allow =
        "permit (principal in Role::\"trainer\", action == Action::\"repository.control\", resource);";
    let set = with_extra("control.cedar", allow).unwrap();
    for (action, resource) in [
        (Action::RepositoryControl, Resource::Server),
        (Action::ServerSharedMemory, Resource::Server),
        (Action::ServerSettings, Resource::Server),
    ] {
        let may = |role: &str| {
            let who = principal(&[role], Environment::Prod);
            set.authorize(&who, action, &resource).allowed
        };
        assert!(!may("admin") && !may("operator") && !may("client"), "{action}");
        assert_eq!(may("trainer"), action == Action::RepositoryControl, "{action}");
    }
}

#[test]
fn attack_a_principal_named_like_a_role_gains_nothing() {
    let mut who = principal(&[], Environment::Prod);
    who.id = "admin".parse().unwrap();
    let decision = PolicySet::defaults()
        .unwrap()
        .authorize(&who, Action::KeyCreate, &Resource::Access);
    assert!(!decision.allowed);
}

#[test]
fn attack_a_model_name_cannot_speak_cedar() {
    let name = "x\" || true //::Environment::\"prod".to_owned();
    let what = Resource::Model {
        name,
        environment: Environment::Dev,
    };
    let who = principal(&["client"], Environment::Prod);
    let decision = PolicySet::defaults()
        .unwrap()
        .authorize(&who, Action::ModelInfer, &what);
    assert_eq!(
        decision,
        Authorization {
            allowed: false,
            policies: vec![],
            errors: vec![]
        }
    );
}

#[test]
fn the_deciding_policy_is_named() {
    let set = PolicySet::defaults().unwrap();
    let who = principal(&["admin", "client"], Environment::Prod);
    let decision = set.authorize(&who, Action::ModelInfer, &model(Environment::Prod));
    assert_eq!(
        decision.to_string(),
        "allowed by `admin.cedar#everything`, `client.cedar#use-models`"
    );
    let nobody = principal(&[], Environment::Prod);
    let decision = set.authorize(&nobody, Action::ModelInfer, &model(Environment::Prod));
    assert_eq!(decision.to_string(), "refused: no policy permits it");
}

#[test]
fn forbid_overrides_permit_and_is_named_by_its_place() {
    let forbid = "permit (principal in Role::\"x\", action, resource);\nforbid (principal, action == Action::\"model.infer\", resource == Model::\"digits\");";
    let set = with_extra("stop.cedar", forbid).unwrap();
    let who = principal(&["admin"], Environment::Prod);
    let decision = set.authorize(&who, Action::ModelInfer, &model(Environment::Prod));
    assert_eq!(decision.to_string(), "refused: forbidden by `stop.cedar#2`");
    assert!(
        set.authorize(&who, Action::ModelMetadata, &model(Environment::Prod))
            .allowed
    );
}

#[test]
fn attack_a_policy_that_fails_to_evaluate_refuses() {
    // Integer overflow is the error that strict validation cannot exclude. Cedar alone would skip the `forbid`.
    let overflow = "@id(\"overflow\") forbid (principal, action == Action::\"model.infer\", resource)\nwhen { 9223372036854775807 + (if principal.kind == \"workload\" then 1 else 0) == 0 };";
    let set = with_extra("late.cedar", overflow).unwrap();
    let who = principal(&["admin"], Environment::Prod);
    let decision = set.authorize(&who, Action::ModelInfer, &model(Environment::Prod));
    assert!(!decision.allowed);
    assert!(decision.errors[0].contains("late.cedar#overflow"), "{decision}");
    assert!(
        decision
            .to_string()
            .starts_with("refused: a policy failed to evaluate")
    );
    let person = Principal {
        kind: PrincipalKind::Person,
        ..who
    };
    assert!(
        set.authorize(&person, Action::ModelInfer, &model(Environment::Prod))
            .allowed
    );
}

#[test]
fn an_action_on_the_wrong_kind_of_resource_is_refused() {
    let who = principal(&["admin"], Environment::Prod);
    let decision = PolicySet::defaults()
        .unwrap()
        .authorize(&who, Action::ModelInfer, &Resource::Log);
    assert!(!decision.allowed && !decision.errors.is_empty());
}

#[track_caller]
fn check_refused(text: &str, expected: Expect) {
    expected.assert_eq(&with_extra("mine.cedar", text).unwrap_err().to_string());
}

#[test]
fn bad_policies_are_refused_with_file_line_and_cure() {
    check_refused(
        "permit (principal, action, resource)",
        expect![[r#"
        policy file `mine.cedar`, line 1: unexpected end of input
        hint: a policy is `permit (principal, action, resource);`, with conditions before the `;`"#]],
    );
    check_refused(
        "permit (\n  principal,\n  acton,\n  resource\n);",
        expect![[r#"
        policy file `mine.cedar`, line 3: found an invalid variable in the policy scope: acton
        hint: policy scopes must contain a `principal`, `action`, and `resource` element in that order"#]],
    );
    check_refused(
        "\n\npermit (principal, action == Action::\"model.infr\", resource);",
        expect![[r#"
        policy file `mine.cedar`, line 3: policy `mine.cedar#1`: unrecognized action `Action::"model.infr"`
        hint: did you mean `Action::"model.infer"`?"#]],
    );
    check_refused(
        "permit (principal, action, resource in Environment::\"prd\");",
        expect![[r#"
        policy file `mine.cedar`, line 1: policy `mine.cedar#1`: for policy `mine.cedar#1`: entity `Environment::"prd"` is of an enumerated entity type, but `"prd"` is not declared as a valid eid
        hint: valid entity eids: "dev", "test", "prod""#]],
    );
    check_refused(
        "permit (principal in Rolle::\"client\", action, resource);",
        expect![[r#"
        policy file `mine.cedar`, line 1: policy `mine.cedar#1`: unrecognized entity type `Rolle`
        hint: did you mean `Role`?"#]],
    );
    check_refused(
        "permit (principal, action, resource)\nwhen {\n  principal.team == \"red\" };",
        expect![[r#"
        policy file `mine.cedar`, line 3: policy `mine.cedar#1`: attribute `team` on entity type `Principal` not found
        hint: did you mean `kind`?"#]],
    );
    check_refused(
        "permit (principal, action == Action::\"log.read\", resource is Model);",
        expect![[r#"
        policy file `mine.cedar`, line 1: policy `mine.cedar#1`: unable to find an applicable action given the policy scope constraints
        hint: the names that policies can use are listed in the guide to policies"#]],
    );
    check_refused(
        "permit (principal == ?principal, action, resource);",
        expect![[r#"
        policy file `mine.cedar`: templates are not supported
        hint: write `principal in Role::"..."` where the template has `?principal`"#]],
    );
    check_refused(
        "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);",
        expect![[r#"
            policy file `mine.cedar`: a second policy is named `mine.cedar#a`
            hint: give each policy of a file its own `@id("...")`, and each file its own name"#]],
    );
}

#[test]
fn sizes_are_bounded() {
    let long = "//".repeat(1 << 20);
    assert!(matches!(
        with_extra("long.cedar", &long).unwrap_err(),
        PolicyError::TooMany
    ));
    let many = "permit (principal, action, resource);".repeat(1001);
    assert!(matches!(
        with_extra("many.cedar", &many).unwrap_err(),
        PolicyError::TooMany
    ));
    assert!(matches!(PolicySet::parse(&[]).unwrap_err(), PolicyError::Empty));
    let empty = [("empty.cedar".to_owned(), "// nothing\n".to_owned())];
    assert!(matches!(
        PolicySet::parse(&empty).unwrap_err(),
        PolicyError::Empty
    ));
}

#[test]
fn the_digest_follows_content_not_order() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let (a, b) = (
        file("a.cedar", "permit (principal, action, resource);"),
        file("b.cedar", "// b"),
    );
    let digest = |files: &[(String, String)]| PolicySet::parse(files).unwrap().digest();
    assert_eq!(digest(&[a.clone(), b.clone()]), digest(&[b.clone(), a.clone()]));
    assert_ne!(digest(&[a.clone(), b]), digest(&[a, file("b.cedar", "// c")]));
}

#[test]
fn attack_deep_nesting_is_an_error_and_not_a_crash() {
    let check = |open: &str, close: &str, depth: usize| {
        let condition = format!("{}true{}", open.repeat(depth), close.repeat(depth));
        let set = with_extra(
            "deep.cedar",
            &format!("permit (principal, action, resource) when {{ {condition} }};"),
        )?;
        let who = principal(&["admin"], Environment::Prod);
        Ok::<_, PolicyError>(set.authorize(&who, Action::ModelInfer, &model(Environment::Prod)))
    };
    for (open, close) in [("(", ")"), ("if true then ", " else false")] {
        assert!(check(open, close, 90).unwrap().allowed);
        for depth in [200, 5000] {
            assert!(matches!(
                check(open, close, depth),
                Err(PolicyError::Nested { .. })
            ));
        }
    }
    assert!(matches!(check("[", "]", 5000), Err(PolicyError::Nested { .. })));
    // A long chain is read; where it is too deep to evaluate, it refuses.
    let decision = check("true && ", "", 30_000).unwrap();
    assert!(decision.allowed || !decision.errors.is_empty());
    assert!(check("!", "", 5000).is_err());
}
