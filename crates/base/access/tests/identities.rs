//! External identities against rows that a keeper holds: who is bound, who is not any more, and who never was.

#[cfg(test)]
#[expect(dead_code, reason = "the attack tests use all of it")]
mod project;

#[cfg(test)]
mod tests {
    use stockade_access::{
        Access, AuthenticationError, ChangeError, Environment, ExternalIdentity, NewKey, NewPrincipal,
        PolicySet, PrincipalId, PrincipalKind, bind_identity, create_key, create_principal,
        disable_principal, enable_principal, list_principals, unbind_identity,
    };
    use stockade_evidence::{Actor, Timestamp};
    use stockade_store::Handle;

    use crate::project::Project;

    const OPERATOR: Actor = Actor::Operator { uid: 1000 };
    const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

    fn spiffe(text: &str) -> ExternalIdentity {
        ExternalIdentity::Spiffe(text.parse().unwrap())
    }

    fn id(text: &str) -> PrincipalId {
        text.parse().unwrap()
    }

    async fn enrol(
        handle: &Handle,
        name: &str,
        kind: PrincipalKind,
        identity: Option<ExternalIdentity>,
    ) -> Result<(), ChangeError> {
        let new = NewPrincipal {
            id: id(name),
            kind,
            roles: ["client".parse().unwrap()].into(),
            environment: Environment::Prod,
            display_name: None,
            email: None,
            identity,
        };
        create_principal(handle, &OPERATOR, new, NOW).await.map(drop)
    }

    async fn bound(access: &Access, identity: &ExternalIdentity) -> Result<String, AuthenticationError> {
        access.refresh().await.unwrap();
        access.bound(identity).map(|principal| principal.id.to_string())
    }

    async fn access(project: &Project) -> Access {
        Access::new(project.handle.clone(), PolicySet::defaults().unwrap())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn only_bound_identities_are_somebody() {
        let project = Project::new().await;
        let (handle, access) = (&project.handle, access(&project).await);
        let (a, b) = (spiffe("spiffe://example.org/a"), spiffe("spiffe://example.org/b"));
        enrol(handle, "a", PrincipalKind::Workload, Some(a.clone()))
            .await
            .unwrap();
        assert_eq!(bound(&access, &a).await, Ok("a".to_owned()));
        assert_eq!(bound(&access, &b).await, Err(AuthenticationError::NotEnrolled));
        bind_identity(handle, &OPERATOR, &id("a"), &b, NOW).await.unwrap();
        assert_eq!(bound(&access, &b).await, Ok("a".to_owned()));
        assert_eq!(
            list_principals(handle).await.unwrap()[0].identities,
            [a.clone(), b.clone()]
        );
        unbind_identity(handle, &OPERATOR, &id("a"), &a, NOW)
            .await
            .unwrap();
        assert_eq!(bound(&access, &a).await, Err(AuthenticationError::NotEnrolled));
        let again = unbind_identity(handle, &OPERATOR, &id("a"), &a, NOW).await;
        assert!(matches!(again, Err(ChangeError::NotBound { .. })));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn attack_one_identity_for_two() {
        let project = Project::new().await;
        let handle = &project.handle;
        for name in ["a", "b", "c", "d"] {
            enrol(handle, name, PrincipalKind::Workload, None).await.unwrap();
        }
        let wanted = spiffe("spiffe://example.org/wanted");
        let ids = ["a", "b", "c", "d"].map(id);
        let [a, b, c, d] = ids
            .each_ref()
            .map(|id| bind_identity(handle, &OPERATOR, id, &wanted, NOW));
        let (a, b, c, d) = tokio::join!(a, b, c, d);
        let results = [a, b, c, d];
        assert_eq!(
            results.iter().filter(|result| result.is_ok()).count(),
            1,
            "{results:?}"
        );
        let late = enrol(handle, "late", PrincipalKind::Workload, Some(wanted.clone())).await;
        assert!(matches!(late, Err(ChangeError::IdentityTaken { .. })));
        assert!(bound(&access(&project).await, &wanted).await.is_ok());
    }

    #[tokio::test]
    async fn a_disabled_principal_is_shut_out_every_way() {
        let project = Project::new().await;
        let (handle, access) = (&project.handle, access(&project).await);
        let token = ExternalIdentity::jwt("https://issuer.example", "svc-1").unwrap();
        enrol(handle, "a", PrincipalKind::Workload, Some(token.clone()))
            .await
            .unwrap();
        let new = NewKey {
            principal: id("a"),
            expires_at: None,
        };
        let (key, _) = create_key(handle, &OPERATOR, new, NOW).await.unwrap();
        disable_principal(handle, &OPERATOR, &id("a"), NOW).await.unwrap();
        assert_eq!(bound(&access, &token).await, Err(AuthenticationError::Disabled));
        assert_eq!(
            access.authenticate(key.expose(), NOW).unwrap_err(),
            AuthenticationError::Disabled
        );
        assert_eq!(list_principals(handle).await.unwrap()[0].disabled, Some(NOW));
        enable_principal(handle, &OPERATOR, &id("a"), NOW).await.unwrap();
        assert_eq!(bound(&access, &token).await, Ok("a".to_owned()));
        assert!(access.authenticate(key.expose(), NOW).is_ok());
    }

    #[tokio::test]
    async fn a_persons_subject_is_in_no_file_and_erasure_ends_it() {
        const MARKER: &str = "marker-subject@example.org";
        let project = Project::new().await;
        let (handle, access) = (&project.handle, access(&project).await);
        let token = ExternalIdentity::jwt("https://issuer.example", MARKER).unwrap();
        enrol(handle, "p-1", PrincipalKind::Person, Some(token.clone()))
            .await
            .unwrap();
        assert_eq!(bound(&access, &token).await, Ok("p-1".to_owned()));
        project.assert_nowhere(MARKER).await;
        let taken = enrol(handle, "p-2", PrincipalKind::Person, Some(token.clone())).await;
        assert!(matches!(taken, Err(ChangeError::IdentityTaken { .. })));
        handle.erase_subject("p-1", OPERATOR, NOW).await.unwrap();
        assert_eq!(
            bound(&access, &token).await,
            Err(AuthenticationError::NotEnrolled)
        );
    }
}
