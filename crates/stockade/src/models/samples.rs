//! Samples for the watches over queries: arrays out of the vault.

use std::collections::BTreeMap;

use stockade_artifact::{ArtifactRef, OpenedFile};
use stockade_crypto::SecretBytes;
use stockade_dataset::npy;
use stockade_evidence::Actor;
use stockade_serve::{ModelConfig, ModelSet, Sample, Samples};
use stockade_store::Handle;

use super::{failed, in_vault};
use crate::{
    clock,
    failure::{Exit, Failing as _, Failure},
    project::Project,
};

/// The most bytes of one sample.
const MAX_BYTES: u64 = 256 << 20;

/// What the detectors' choices are hidden under.
const PURPOSE: &str = "query watch";

/// The models with the samples that their watches learn from.
pub(super) async fn load(project: &Project, handle: &Handle, models: ModelSet) -> Result<ModelSet, Failure> {
    let mut all = BTreeMap::new();
    for (name, configured) in &project.loaded.root.model {
        let mut samples = BTreeMap::new();
        for (role, reference) in sources(name, configured)? {
            samples.insert(role, open(project, handle, &reference).await?);
        }
        // The one that belongs to no role is the reference.
        let Some(reference) = samples.remove(&None) else {
            continue;
        };
        let surveys = samples.into_iter();
        let surveys = surveys.filter_map(|(role, sample)| Some((role?, sample)));
        all.insert(
            name.clone(),
            Samples {
                reference,
                surveys: surveys.collect(),
            },
        );
    }
    let secret = match handle {
        Handle::Local(keeper) => keeper.keys().derived_secret(PURPOSE),
        // Who asks a server serves nothing: any secret checks as well.
        Handle::Remote(_) => SecretBytes::random(32).map_err(Into::into),
    };
    Ok(models.watching(all, secret.exit(Exit::Failed)?))
}

/// The artifacts that a model's watch learns from: the reference, and the survey of each role.
pub(super) fn sources(
    name: &str,
    configured: &ModelConfig,
) -> Result<Vec<(Option<String>, ArtifactRef)>, Failure> {
    let Some(extraction) = &configured.extraction else {
        return Ok(Vec::new());
    };
    let find = |what: &str, source: &str| {
        in_vault(
            &format!("{what} of the model `{name}`"),
            source,
            "write it as `vault:NAME@VERSION`",
        )
    };
    let mut sources = vec![(None, find("the reference", &extraction.reference)?)];
    for (role, client) in &extraction.clients {
        if let Some(survey) = &client.survey {
            sources.push((Some(role.clone()), find("a survey", survey)?));
        }
    }
    Ok(sources)
}

async fn open(project: &Project, handle: &Handle, reference: &ArtifactRef) -> Result<Sample, Failure> {
    let opened = project
        .vault(handle)?
        .read(&Actor::System {}, reference, clock::now())
        .await
        .map_err(|error| failed(&error))?;
    let is_array = |file: &&OpenedFile| file.entry().path.as_str().ends_with(".npy");
    let Some(file) = opened.files().iter().find(is_array) else {
        let message = format!("the artifact `{reference}` holds no `.npy` file");
        return Err(Failure::new(Exit::Usage, message).hint("write one with `numpy.save`"));
    };
    let bytes = file.read_whole(MAX_BYTES).map_err(|error| failed(&error))?;
    let array = npy::read(&bytes).exit(Exit::Usage)?;
    let [_, row @ ..] = array.shape.as_slice() else {
        return Err(Failure::new(
            Exit::Usage,
            format!("the array in `{reference}` has no rows"),
        ));
    };
    Ok(Sample {
        digest: opened.id(),
        width: row.iter().product(),
        values: array.values,
    })
}
