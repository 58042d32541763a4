//! Samples for the watches over queries: arrays out of the vault.

use std::collections::BTreeMap;

use stockade_artifact::ArtifactRef;
use stockade_dataset::npy;
use stockade_model::ExternalData as _;
use stockade_serve::{ModelConfig, Sample, Samples};

use super::{Held, in_vault};
use crate::{
    failure::{Exit, Failing as _, Failure},
    worker::{Head, HeldFile, Purpose},
};

/// The most bytes of one sample.
const MAX_BYTES: u64 = 256 << 20;

/// What was found of each model's samples.
#[derive(Default)]
pub(super) struct Found(BTreeMap<String, BTreeMap<Option<String>, Sample>>);

impl Found {
    /// Reads a sample.
    pub(super) fn add(&mut self, head: &Head, held: &Held<'_>) -> Result<(), Failure> {
        let role = match &head.purpose {
            Purpose::Survey { role } => Some(role.clone()),
            Purpose::Reference {} | Purpose::Model { .. } => None,
        };
        let sample = read(head, held)?;
        self.0.entry(head.model.clone()).or_default().insert(role, sample);
        Ok(())
    }

    /// The samples of each model that has a reference.
    pub(super) fn complete(self) -> BTreeMap<String, Samples> {
        let complete = self.0.into_iter().filter_map(|(model, mut samples)| {
            // The one that belongs to no role.
            let reference = samples.remove(&None)?;
            let surveys = samples.into_iter();
            let surveys = surveys.filter_map(|(role, sample)| Some((role?, sample)));
            let surveys = surveys.collect();
            Some((model, Samples { reference, surveys }))
        });
        complete.collect()
    }
}

/// The artifacts that a model's watch learns from: the reference, and the survey of each role.
pub(super) fn sources(name: &str, configured: &ModelConfig) -> Result<Vec<(Purpose, ArtifactRef)>, Failure> {
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
    let mut sources = vec![(
        Purpose::Reference {},
        find("the reference", &extraction.reference)?,
    )];
    for (role, client) in &extraction.clients {
        if let Some(survey) = &client.survey {
            let purpose = Purpose::Survey { role: role.clone() };
            sources.push((purpose, find("a survey", survey)?));
        }
    }
    Ok(sources)
}

fn read(head: &Head, held: &Held<'_>) -> Result<Sample, Failure> {
    let artifact = || format!("a sample of the model `{}` ({})", head.model, head.digest);
    let is_array = |file: &&HeldFile| file.path.ends_with(".npy");
    let Some(file) = head.files.iter().find(is_array) else {
        let message = format!("{} holds no `.npy` file", artifact());
        return Err(Failure::new(Exit::Usage, message).hint("write one with `numpy.save`"));
    };
    let bytes = held.read(&file.path, 0, None, MAX_BYTES).exit(Exit::Failed)?;
    let array = npy::read(&bytes).exit(Exit::Usage)?;
    let [_, row @ ..] = array.shape.as_slice() else {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} is an array without rows", artifact()),
        ));
    };
    Ok(Sample {
        digest: head.digest,
        width: row.iter().product(),
        values: array.values,
    })
}
