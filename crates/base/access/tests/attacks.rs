//! Attacks on authentication and authorisation, against rows that a keeper holds.

#[cfg(test)]
mod project;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        path::PathBuf,
        time::{Duration, Instant},
    };

    use stockade_access::{
        Access, Acting, ActingError, Action, ApiKey, AuthenticationError, ChangeError, Claim, Environment,
        Forbidden, NewKey, NewPrincipal, PolicySet, Principal, PrincipalKind, RefreshError, Resource,
        create_key, create_principal, default_policies, list_keys, list_principals, revoke_key, rotate_key,
    };
    use stockade_evidence::{Actor, Change, Event, Record, RecordId, Timestamp};
    use stockade_store::{Commit, Handle, ReadError};

    use crate::project::Project;

    const OPERATOR: Actor = Actor::Operator { uid: 1000 };
    const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
    const HOUR: i64 = 3_600_000;

    struct Fixture {
        project: Project,
        access: Access,
    }

    impl Fixture {
        async fn new() -> Self {
            let project = Project::new().await;
            let access = Access::new(project.handle.clone(), PolicySet::defaults().unwrap())
                .await
                .unwrap();
            Self { project, access }
        }

        fn handle(&self) -> &Handle {
            &self.project.handle
        }

        async fn enrol(&self, id: &str, role: &str) -> Principal {
            create_principal(self.handle(), &OPERATOR, new(id, role), NOW)
                .await
                .unwrap()
        }

        async fn key(&self, id: &str, expires_at: Option<Timestamp>) -> ApiKey {
            let new = NewKey {
                principal: id.parse().unwrap(),
                expires_at,
            };
            let (key, _) = create_key(self.handle(), &OPERATOR, new, NOW).await.unwrap();
            self.access.refresh().await.unwrap();
            key
        }

        #[track_caller]
        fn check(&self, presented: &str, at: Timestamp, expected: Result<&str, AuthenticationError>) {
            let found = self
                .access
                .authenticate(presented, at)
                .map(|found| found.principal.id.to_string());
            assert_eq!(found.as_deref().map_err(|error| *error), expected);
        }
    }

    fn new(id: &str, role: &str) -> NewPrincipal {
        NewPrincipal {
            id: id.parse().unwrap(),
            kind: PrincipalKind::Workload,
            roles: [role.parse().unwrap()].into(),
            environment: Environment::Prod,
            display_name: None,
            email: None,
            identity: None,
        }
    }

    fn model(environment: Environment) -> Resource {
        Resource::Model {
            name: "digits".to_owned(),
            environment,
        }
    }

    #[tokio::test]
    async fn a_key_identifies_its_principal_and_only_as_a_whole() {
        let fixture = Fixture::new().await;
        let alice = fixture.enrol("alice", "client").await;
        let key = fixture.key("alice", None).await;
        let identity = fixture.access.authenticate(key.expose(), NOW).unwrap();
        assert_eq!(
            (
                identity.principal.clone(),
                identity.key_prefix().unwrap().to_owned()
            ),
            (alice, key.prefix().to_string())
        );

        for place in 0..key.expose().len() {
            let mut forged = key.expose().as_bytes().to_vec();
            forged[place] = if forged[place] == b'a' { b'b' } else { b'a' };
            let forged = String::from_utf8(forged).unwrap();
            let error = fixture.access.authenticate(&forged, NOW).unwrap_err();
            assert!(matches!(
                error,
                AuthenticationError::Unknown | AuthenticationError::Malformed(_)
            ));
            assert!(!error.to_string().contains(&forged));
        }
    }

    #[tokio::test]
    async fn anothers_prefix_with_ones_own_secret_is_nobody() {
        let fixture = Fixture::new().await;
        fixture.enrol("alice", "admin").await;
        fixture.enrol("mallory", "client").await;
        let (alice, mallory) = (
            fixture.key("alice", None).await,
            fixture.key("mallory", None).await,
        );
        let secret = mallory.expose().rsplit_once(mallory.prefix().as_str()).unwrap().1;
        let crossed = format!("stk_{}{secret}", alice.prefix());
        fixture.check(&crossed, NOW, Err(AuthenticationError::Unknown));
        fixture.check(
            ApiKey::generate().unwrap().expose(),
            NOW,
            Err(AuthenticationError::Unknown),
        );
    }

    #[tokio::test]
    async fn a_revoked_key_ends_with_the_next_refresh_and_stays_ended() {
        let fixture = Fixture::new().await;
        fixture.enrol("alice", "client").await;
        let key = fixture.key("alice", None).await;
        fixture.check(key.expose(), NOW, Ok("alice"));
        let revoked = revoke_key(fixture.handle(), &OPERATOR, key.prefix(), NOW)
            .await
            .unwrap();
        fixture.access.refresh().await.unwrap();
        fixture.check(key.expose(), NOW, Err(AuthenticationError::Revoked));

        let again = revoke_key(fixture.handle(), &OPERATOR, key.prefix(), NOW.plus_ms(HOUR))
            .await
            .unwrap();
        assert_eq!(again, revoked);
        let rotated = rotate_key(fixture.handle(), &OPERATOR, key.prefix(), Duration::ZERO, NOW).await;
        assert!(matches!(rotated.unwrap_err(), ChangeError::KeyEnded { .. }));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_revocation_binds_within_a_second_of_its_record() {
        let fixture = Fixture::new().await;
        fixture.enrol("alice", "client").await;
        let key = fixture.key("alice", None).await;
        let Handle::Local(keeper) = fixture.handle().clone() else {
            panic!("the project owns its folder")
        };
        let revoked = async {
            revoke_key(fixture.handle(), &OPERATOR, key.prefix(), NOW)
                .await
                .unwrap();
            let since = Instant::now();
            while fixture.access.authenticate(key.expose(), NOW).is_ok() {
                assert!(since.elapsed() < Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = fixture.access.follow(keeper.changes()) => panic!("the keeper is there"),
            () = revoked => {}
        }
        fixture.check(key.expose(), NOW, Err(AuthenticationError::Revoked));
    }

    #[tokio::test]
    async fn while_the_rows_cannot_be_read_no_key_is_accepted() {
        let fixture = Fixture::new().await;
        fixture.enrol("alice", "client").await;
        let key = fixture.key("alice", None).await;
        let row = |change| {
            let record =
                Record::new(NOW, RecordId::new([1; 16]), Event::KeyCreated, OPERATOR).changing(change);
            fixture.handle().commit(Commit::new(record))
        };
        let (kind, id) = ("api_key".to_owned(), "aaaaaaaa".to_owned());
        let value = serde_json::json!({"principal": "../alice"});
        row(Change::Put {
            kind: kind.clone(),
            id: id.clone(),
            value,
        })
        .await
        .unwrap();
        assert!(
            fixture
                .access
                .refresh()
                .await
                .unwrap_err()
                .to_string()
                .contains("`api_key` `aaaaaaaa`")
        );
        fixture.check(key.expose(), NOW, Err(AuthenticationError::Stale));
        row(Change::Delete { kind, id }).await.unwrap();
        fixture.access.refresh().await.unwrap();
        fixture.check(key.expose(), NOW, Ok("alice"));
    }

    #[tokio::test]
    async fn while_a_row_differs_from_the_log_no_key_is_accepted() {
        let fixture = Fixture::new().await;
        fixture.enrol("alice", "client").await;
        let key = fixture.key("alice", None).await;
        let edit = |statement| fixture.project.sql(statement);
        edit("UPDATE rows SET value = json_set(value, '$.roles[0]', 'admin') WHERE kind = 'principal'").await;
        let refused = fixture.access.refresh().await.unwrap_err();
        assert!(
            matches!(refused, RefreshError::Read(ReadError::Rows(_))),
            "{refused}"
        );
        fixture.check(key.expose(), NOW, Err(AuthenticationError::Stale));
        edit("UPDATE rows SET value = json_set(value, '$.roles[0]', 'client') WHERE kind = 'principal'")
            .await;
        fixture.access.refresh().await.unwrap();
        fixture.check(key.expose(), NOW, Ok("alice"));
    }

    #[tokio::test]
    async fn an_expired_key_is_refused_and_a_clock_set_back_does_not_revive_it() {
        let fixture = Fixture::new().await;
        fixture.enrol("alice", "client").await;
        let key = fixture.key("alice", Some(NOW.plus_ms(HOUR))).await;
        fixture.check(key.expose(), NOW.plus_ms(HOUR - 1), Ok("alice"));
        fixture.check(key.expose(), NOW.plus_ms(HOUR), Err(AuthenticationError::Expired));
        fixture.check(key.expose(), NOW, Err(AuthenticationError::Expired));

        let past = NewKey {
            principal: "alice".parse().unwrap(),
            expires_at: Some(NOW),
        };
        let error = create_key(fixture.handle(), &OPERATOR, past, NOW)
            .await
            .unwrap_err();
        assert!(matches!(error, ChangeError::ExpiryPast { .. }));
    }

    #[tokio::test]
    async fn only_the_holder_of_the_whole_key_learns_that_it_has_ended() {
        let fixture = Fixture::new().await;
        fixture.enrol("alice", "client").await;
        let key = fixture.key("alice", None).await;
        revoke_key(fixture.handle(), &OPERATOR, key.prefix(), NOW)
            .await
            .unwrap();
        fixture.access.refresh().await.unwrap();
        let guess = format!("stk_{}_{}", key.prefix(), "A".repeat(43));
        fixture.check(&guess, NOW, Err(AuthenticationError::Unknown));
    }

    #[tokio::test]
    async fn rotation_lets_both_keys_live_for_the_grace_period() {
        let fixture = Fixture::new().await;
        fixture.enrol("alice", "client").await;
        let old = fixture.key("alice", Some(NOW.plus_ms(10 * HOUR))).await;
        let later = NOW.plus_ms(HOUR);
        let grace = Duration::from_hours(2);
        let (new, info) = rotate_key(fixture.handle(), &OPERATOR, old.prefix(), grace, later)
            .await
            .unwrap();
        fixture.access.refresh().await.unwrap();
        assert_eq!(
            info.expires,
            Some(later.plus_ms(10 * HOUR)),
            "the successor lives as long"
        );
        fixture.check(old.expose(), later.plus_ms(2 * HOUR - 1), Ok("alice"));
        fixture.check(new.expose(), later, Ok("alice"));
        fixture.check(
            old.expose(),
            later.plus_ms(2 * HOUR),
            Err(AuthenticationError::Expired),
        );
        fixture.check(new.expose(), later.plus_ms(2 * HOUR), Ok("alice"));

        let again = rotate_key(fixture.handle(), &OPERATOR, old.prefix(), grace, later)
            .await
            .unwrap_err();
        assert!(matches!(again, ChangeError::KeyReplaced { successor, .. } if successor == info.prefix));
        let long = Duration::from_hours(24 * 31);
        let long = rotate_key(fixture.handle(), &OPERATOR, new.prefix(), long, later)
            .await
            .unwrap_err();
        assert!(matches!(long, ChangeError::GraceTooLong));
    }

    #[tokio::test]
    async fn a_rotation_and_a_revocation_at_once_leave_the_old_key_revoked_or_refused() {
        let fixture = Fixture::new().await;
        fixture.enrol("alice", "client").await;
        let key = fixture.key("alice", None).await;
        let (rotated, revoked) = tokio::join!(
            rotate_key(
                fixture.handle(),
                &OPERATOR,
                key.prefix(),
                Duration::from_hours(1),
                NOW
            ),
            revoke_key(fixture.handle(), &OPERATOR, key.prefix(), NOW),
        );
        assert!(revoked.unwrap().revoked.is_some());
        assert!(rotated.is_ok() || matches!(rotated.unwrap_err(), ChangeError::KeyEnded { .. }));
        fixture.access.refresh().await.unwrap();
        fixture.check(key.expose(), NOW, Err(AuthenticationError::Revoked));
    }

    #[tokio::test]
    async fn keys_are_for_enrolled_principals_and_ids_are_taken_once() {
        let fixture = Fixture::new().await;
        let new_key = NewKey {
            principal: "ghost".parse().unwrap(),
            expires_at: None,
        };
        let error = create_key(fixture.handle(), &OPERATOR, new_key, NOW)
            .await
            .unwrap_err();
        assert!(matches!(error, ChangeError::NoPrincipal { .. }));
        fixture.enrol("alice", "client").await;
        let error = create_principal(fixture.handle(), &OPERATOR, new("alice", "admin"), NOW)
            .await
            .unwrap_err();
        assert!(matches!(error, ChangeError::PrincipalExists { .. }));
        let error = revoke_key(fixture.handle(), &OPERATOR, &"aaaaaaaa".parse().unwrap(), NOW)
            .await
            .unwrap_err();
        assert!(matches!(error, ChangeError::NoKey { .. }));
    }

    #[tokio::test]
    async fn neither_rows_nor_records_hold_a_key_or_a_name_in_plaintext() {
        let fixture = Fixture::new().await;
        let person = NewPrincipal {
            kind: PrincipalKind::Person,
            display_name: Some("Marker Name".to_owned()),
            email: Some("marker@example.org".to_owned()),
            ..new("p-1", "client")
        };
        create_principal(fixture.handle(), &OPERATOR, person, NOW)
            .await
            .unwrap();
        let key = fixture.key("p-1", None).await;
        let listed = list_principals(fixture.handle()).await.unwrap();
        assert_eq!(listed[0].display_name.as_deref(), Some("Marker Name"));
        assert_eq!(listed[0].email.as_deref(), Some("marker@example.org"));
        assert_eq!(
            list_keys(fixture.handle()).await.unwrap()[0].prefix,
            *key.prefix()
        );
        let secret = key.expose().rsplit_once('_').unwrap().1;
        for marker in ["Marker Name", "marker@example.org", key.expose(), secret] {
            fixture.project.assert_nowhere(marker).await;
        }
    }

    #[tokio::test]
    async fn personal_texts_are_bounded() {
        let fixture = Fixture::new().await;
        for bad in ["", "a\nb", &"x".repeat(257)] {
            let person = NewPrincipal {
                display_name: Some(bad.to_owned()),
                ..new("p-1", "client")
            };
            let error = create_principal(fixture.handle(), &OPERATOR, person, NOW)
                .await
                .unwrap_err();
            assert!(matches!(
                error,
                ChangeError::PersonalText {
                    field: "display_name"
                }
            ));
        }
    }

    #[tokio::test]
    async fn roles_and_environments_bind_and_policies_swap_at_once() {
        let fixture = Fixture::new().await;
        let alice = fixture.enrol("alice", "client").await;
        let nobody = fixture.enrol("nobody", "no-such-role").await;
        let may =
            |who: &Principal, action, what: &Resource| fixture.access.authorize(who, action, what).allowed;
        for _ in 0..2 {
            // The second round is answered from memory.
            assert!(may(&alice, Action::ModelInfer, &model(Environment::Prod)));
            assert!(!may(&alice, Action::ModelInfer, &model(Environment::Test)));
            assert!(!may(&alice, Action::ModelOpen, &model(Environment::Prod)));
            assert!(!may(&alice, Action::KeyCreate, &Resource::Access));
            assert!(!may(&nobody, Action::ServerMetadata, &Resource::Server));
        }
        let mut files: Vec<(String, String)> = default_policies()
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        files.push((
            "stop.cedar".to_owned(),
            "@id(\"stop\") forbid (principal, action, resource);".to_owned(),
        ));
        fixture.access.replace_policies(PolicySet::parse(&files).unwrap());
        let decision = fixture
            .access
            .authorize(&alice, Action::ModelInfer, &model(Environment::Prod));
        assert_eq!(
            (decision.allowed, decision.policies),
            (false, vec!["stop.cedar#stop".to_owned()])
        );
    }

    #[tokio::test]
    async fn who_runs_a_command_is_verified() {
        let fixture = Fixture::new().await;
        fixture.enrol("alice", "client").await;
        fixture.enrol("bob", "admin").await;
        let (alice, bob) = (fixture.key("alice", None).await, fixture.key("bob", None).await);
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode: u32| -> PathBuf {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let alices = file("alice", &format!("{}\n", alice.expose()), 0o600);
        let bobs = file("bob", bob.expose(), 0o600);
        let open = file("open", bob.expose(), 0o640);
        let huge = file("huge", &"x".repeat(1 << 20), 0o600);
        let resolve = |name, key_file, uid| {
            Acting::resolve(
                &fixture.access,
                Claim {
                    name,
                    key_file,
                    uid,
                    folder_owner: 1000,
                },
                NOW,
            )
        };
        assert_eq!(resolve(None, None, 1000).unwrap(), Acting::Operator { uid: 1000 });
        assert!(matches!(
            resolve(None, None, 0),
            Err(ActingError::NotTheOwner { uid: 0 })
        ));
        assert!(matches!(
            resolve(Some("bob"), None, 1000),
            Err(ActingError::HalfAClaim)
        ));
        assert!(matches!(
            resolve(None, Some(&*bobs), 1000),
            Err(ActingError::HalfAClaim)
        ));
        assert!(matches!(
            resolve(Some("bob"), Some(&*alices), 1000),
            Err(ActingError::OtherPrincipal)
        ));
        assert!(matches!(
            resolve(Some("bob"), Some(&*open), 1000),
            Err(ActingError::KeyFileOpen { .. })
        ));
        assert!(matches!(
            resolve(Some("bob"), Some(&*huge), 1000),
            Err(ActingError::Authentication(_))
        ));
        assert!(matches!(
            resolve(Some("bob"), Some(folder.path()), 1),
            Err(ActingError::KeyFileOpen { .. } | ActingError::KeyFile { .. })
        ));

        let acting = resolve(Some("alice"), Some(&*alices), 1000).unwrap();
        assert_eq!(
            acting.actor(),
            Actor::Principal {
                id: "alice".to_owned()
            }
        );
        let refused = acting
            .require(
                &fixture.access,
                fixture.handle(),
                Action::KeyCreate,
                &Resource::Access,
                NOW,
            )
            .await
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`key.create` on `access` is refused: no policy permits it"
        );
        assert!(matches!(refused, Forbidden::Refused { .. }));
        let acting = resolve(Some("bob"), Some(&*bobs), 1000).unwrap();
        acting
            .require(
                &fixture.access,
                fixture.handle(),
                Action::KeyCreate,
                &Resource::Access,
                NOW,
            )
            .await
            .unwrap();
    }
}
