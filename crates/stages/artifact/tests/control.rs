//! Attack tests of controls 8 and 27: one body runs against a plain folder (control off) and against the vault (control on),
//! and the attack must work only the first time.

#[cfg(test)]
mod project;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use stockade_artifact::{SourceFile, Vault};
    use stockade_evidence::{Actor, DigestAlgorithm, Event, Timestamp};
    use stockade_store::{BlobError, Blobs};

    use crate::project::Project;

    const ACTOR: Actor = Actor::System {};
    const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

    /// Where models are kept, the latest of `digits` in `digits/VERSION/`.
    enum Keep {
        Plain(Blobs),
        Sealed(Vault),
    }

    impl Keep {
        fn plain(project: &Project) -> Self {
            Self::Plain(Blobs::folder(project.vault()).unwrap())
        }

        fn sealed(project: &Project) -> Self {
            Self::Sealed(Vault::new(
                Blobs::folder(project.vault()).unwrap(),
                project.handle.clone(),
            ))
        }

        async fn put(&self, project: &Project, version: u64, content: &[u8]) {
            match self {
                Self::Plain(blobs) => {
                    blobs
                        .put(&format!("digits/{version}/files/0"), content.to_vec())
                        .await
                        .unwrap();
                }
                Self::Sealed(vault) => {
                    let local = project.path().join("source");
                    fs::write(&local, content).unwrap();
                    let files = [SourceFile {
                        path_in_artifact: "model.onnx".parse().unwrap(),
                        local: local.clone(),
                    }];
                    let name = "digits".parse().unwrap();
                    let sealed = vault
                        .seal(&ACTOR, &name, &files, DigestAlgorithm::Sha256, NOW, None)
                        .await;
                    assert_eq!(sealed.unwrap().version, version);
                    fs::remove_file(local).unwrap();
                }
            }
        }

        /// What whoever serves the model gets.
        async fn get(&self, version: u64) -> Option<Vec<u8>> {
            match self {
                Self::Plain(blobs) => match blobs.get(&format!("digits/{version}/files/0")).await {
                    Ok(bytes) => Some(bytes.to_vec()),
                    Err(BlobError::NotFound { .. }) => None,
                    Err(error) => panic!("{error}"),
                },
                Self::Sealed(vault) => {
                    let reference = format!("digits@{version}").parse().unwrap();
                    let opened = vault.read(&ACTOR, &reference, NOW).await.ok()?;
                    opened.files()[0].read_whole(1 << 20).ok()
                }
            }
        }
    }

    /// Somebody carries the disk away and looks for a model's weights on it. How many files hold them?
    async fn stolen_weights(keep: fn(&Project) -> Keep) -> usize {
        let weights = b"0.113 -2.718 3.141 0.577 1.414 -1.618";
        let project = Project::new().await;
        keep(&project).put(&project, 1, weights).await;
        project.handle.integrated().await.unwrap();
        holding(project.path(), weights)
    }

    fn holding(folder: &Path, content: &[u8]) -> usize {
        let mut found = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found += holding(&path, content);
            } else if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                found += usize::from(bytes.windows(content.len()).any(|window| window == content));
            }
        }
        found
    }

    #[tokio::test]
    async fn attack_stolen_disk() {
        assert_eq!(stolen_weights(Keep::plain).await, 1);
        assert_eq!(stolen_weights(Keep::sealed).await, 0);
    }

    /// Somebody who may write the vault's files puts an old, vulnerable version in the place of the fixed one. How often of ten
    /// times is it served?
    async fn served_after_a_rollback(keep: fn(&Project) -> Keep) -> (usize, usize) {
        let project = Project::new().await;
        let keep = keep(&project);
        keep.put(&project, 1, b"vulnerable").await;
        keep.put(&project, 2, b"fixed").await;
        let folder = project.vault().join("digits");
        fs::remove_dir_all(folder.join("2")).unwrap();
        copy(&folder.join("1"), &folder.join("2"));
        let mut served = 0;
        for _ in 0..10 {
            served += usize::from(keep.get(2).await.is_some_and(|model| model == b"vulnerable"));
        }
        assert_eq!(
            keep.get(1).await.unwrap(),
            b"vulnerable",
            "the old version is still itself"
        );
        let refused = project
            .records()
            .await
            .iter()
            .filter(|record| record.event == Event::ArtifactRefused)
            .count();
        (served, refused)
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let (path, target) = entry
                .map(|entry| (entry.path(), to.join(entry.file_name())))
                .unwrap();
            if path.is_dir() {
                copy(&path, &target);
            } else {
                fs::copy(&path, &target).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn attack_rolled_back_model() {
        assert_eq!(served_after_a_rollback(Keep::plain).await, (10, 0));
        assert_eq!(served_after_a_rollback(Keep::sealed).await, (0, 10));
    }

    /// Somebody who may write the vault's files changes one byte of a model. How many of its bytes can be changed so that it is
    /// still served?
    async fn changes_that_are_served(keep: fn(&Project) -> Keep) -> usize {
        let project = Project::new().await;
        let keep = keep(&project);
        keep.put(&project, 1, &[7; 200]).await;
        let path = project.vault().join("digits/1/files/0");
        let original = fs::read(&path).unwrap();
        let mut served = 0;
        for place in 0..200 {
            let mut changed = original.clone();
            changed[place] ^= 1;
            fs::write(&path, changed).unwrap();
            served += usize::from(keep.get(1).await.is_some());
        }
        served
    }

    #[tokio::test]
    async fn attack_changed_weights() {
        assert_eq!(changes_that_are_served(Keep::plain).await, 200);
        assert_eq!(changes_that_are_served(Keep::sealed).await, 0);
    }
}
