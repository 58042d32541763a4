//! What is normal: the model answers the rows of the reference and of the surveys once, and the detectors learn from it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use stockade_evidence::{Digest, Event};
use stockade_inspect::queries::{
    ClientClass, Detector, IndexSize, Limits, Query, Reference, ReferenceError, Survey, Tolerances, Watch,
    sequential::{FalseAlarms, InvalidFalseAlarms},
};
use tokio::time::Instant;

use super::{PRINCIPALS, QueryWatch, Ready, Rows, Seen, rows::Layout};
use crate::{
    config::{ClientConfig, Positive},
    models::{Engine, ServedModel},
    phases::{forward::Named, record},
    shared::Shared,
    snapshot::Snapshot,
    upstream::Trace,
};

/// Rows that a model is asked at once.
const BATCH: usize = 64;

/// A sample that a model cannot answer within this time is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pause before a model in another server is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// How many times as many rows as one client all clients of a model send, as far as its own alarms go.
const CLIENTS: f64 = 5.0;

/// Rows out of a sealed artifact.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The artifact's digest: what a record names.
    pub digest: Digest,
    /// The numbers, row by row.
    pub values: Vec<f32>,
    /// Numbers in a row.
    pub width: usize,
}

/// What one watch learns from.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Real rows of the model's domain.
    pub reference: Sample,
    /// Rows of honest clients, by role.
    pub surveys: BTreeMap<String, Sample>,
}

/// A model cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Its inputs are no rows of numbers, or its answers have no scores.
    #[error(
        "the queries of the model `{model}` cannot be watched: its inputs are not rows of numbers of one size, or no output holds scores\n\
         hint: remove `[model.{model}.extraction]`"
    )]
    Unwatchable {
        /// The model.
        model: String,
    },
    /// The sample has rows of another size.
    #[error(
        "the model `{model}` takes rows of {expected} numbers, and the sample `{digest}` has rows of {found}"
    )]
    Width {
        /// The model.
        model: String,
        /// What the model takes.
        expected: usize,
        /// What the sample has.
        found: usize,
        /// The sample.
        digest: Digest,
    },
    /// The model did not answer its sample.
    #[error("the model `{model}` does not answer the rows of its reference sample")]
    Unanswered {
        /// The model.
        model: String,
    },
    /// The sample says too little.
    #[error("the reference sample of the model `{model}` cannot be used")]
    Reference {
        /// The model.
        model: String,
        /// Why.
        source: ReferenceError,
    },
    /// Days and rows that give no number.
    #[error("`false_alarm_days` and `rows_per_day` of the model `{model}` are too large together")]
    FalseAlarms {
        /// The model.
        model: String,
        /// Why.
        source: InvalidFalseAlarms,
    },
    /// There is no key to hide the detectors' choices under, or no record of it.
    #[error("the watch over the model `{model}` cannot be recorded or keyed, so the model is not served")]
    Unrecorded {
        /// The model.
        model: String,
    },
}

/// Makes the watches ready whose models run here; those of other servers become ready when they are reached.
pub(crate) async fn prepare(shared: &Shared, live: &Snapshot) -> Result<(), WatchError> {
    for model in live.models() {
        match model.engine() {
            Engine::Embedded(_) => make_ready(shared, model).await?,
            Engine::Upstream(_) => {}
        }
    }
    Ok(())
}

/// Makes the watches ready that are not, for as long as the gateway runs.
pub(crate) async fn keep_ready(shared: Arc<Shared>, stop: tokio_util::sync::CancellationToken) {
    loop {
        let live = shared.live.load_full();
        for model in live.models().filter(|model| model.answers()) {
            let Some(made) = stop.run_until_cancelled(make_ready(&shared, model)).await else {
                return;
            };
            if let Err(error) = made {
                tracing::error!(model = model.name(), %error, "a model is not served: its watch is not ready");
            }
        }
        let pause = tokio::time::sleep(ASK_AGAIN);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn make_ready(shared: &Shared, model: &ServedModel) -> Result<(), WatchError> {
    let Some(watch) = model.watch().filter(|watch| !watch.is_ready()) else {
        return Ok(());
    };
    let name = || model.name().to_owned();
    let layout = Layout::new(model.signature()).ok_or_else(|| WatchError::Unwatchable { model: name() })?;
    let samples = &watch.samples;
    let mut answered = BTreeMap::new();
    for (role, sample) in &samples.surveys {
        answered.insert(role.as_str(), ask(model, &layout, sample).await?);
    }
    let reference = ask(model, &layout, &samples.reference).await?;
    let ready = tokio::task::block_in_place(|| fit(watch, layout, &reference, &answered, model.name()))?;
    let unrecorded = |_| WatchError::Unrecorded { model: name() };
    let fill = |record: stockade_evidence::Record| {
        record
            .with("reference", samples.reference.digest.to_string())
            .with("rows", reference.0.iter().len() as u64)
            .with("kinds", samples.surveys.keys().cloned().collect::<Vec<_>>())
    };
    let recorded = shared
        .recorder
        .system(Event::WatchStarted, model.subject(), fill)
        .await;
    recorded.map_err(unrecorded)?;
    // Whoever was first made the same.
    let _ = watch.ready.set(ready);
    Ok(())
}

/// The rows of a sample and the model's scores of them.
async fn ask(model: &ServedModel, layout: &Layout, sample: &Sample) -> Result<(Rows, Rows), WatchError> {
    let unanswered = || WatchError::Unanswered {
        model: model.name().to_owned(),
    };
    if sample.width != layout.width {
        return Err(WatchError::Width {
            model: model.name().to_owned(),
            expected: layout.width,
            found: sample.width,
            digest: sample.digest,
        });
    }
    let batch = layout.batch.unwrap_or(BATCH);
    // A model of a fixed number of rows is not asked the rest of a sample.
    let whole = batch * layout.width;
    let used = layout
        .batch
        .map_or(sample.values.len(), |_| sample.values.len() / whole * whole);
    let values = sample.values.get(..used).unwrap_or_default();
    let mut scores = Rows::default();
    for rows in values.chunks(whole) {
        let count = rows.len() / layout.width;
        let inputs = layout.inputs(rows).ok_or_else(unanswered)?;
        let outputs = run(model, inputs).await.ok_or_else(unanswered)?;
        let answer = layout.scores(&outputs, count).ok_or_else(unanswered)?;
        scores.width = answer.width;
        scores.values.extend(answer.values);
    }
    let rows = Rows {
        values: values.to_vec(),
        width: sample.width,
    };
    Ok((rows, scores))
}

async fn run(model: &ServedModel, inputs: Named) -> Option<Named> {
    match model.engine() {
        Engine::Embedded(session) => {
            let session = session.clone();
            let ran = tokio::task::spawn_blocking(move || session.run(inputs));
            ran.await.ok()?.ok()
        }
        Engine::Upstream(remote) => {
            let trace = Trace::own(record::fresh_id().ok()?);
            remote
                .infer(inputs, trace, Instant::now() + PATIENCE)
                .await
                .0
                .ok()
        }
    }
}

fn fit(
    watch: &QueryWatch,
    layout: Layout,
    (rows, scores): &(Rows, Rows),
    surveys: &BTreeMap<&str, (Rows, Rows)>,
    model: &str,
) -> Result<Ready, WatchError> {
    let model = || model.to_owned();
    let secret = watch
        .key()
        .ok_or_else(|| WatchError::Unrecorded { model: model() })?;
    let reference = Reference::fit(&rows.values, &scores.values, rows.width, scores.width, &secret).map_err(
        |source| WatchError::Reference {
            model: model(),
            source,
        },
    )?;
    let config = &watch.config;
    let budget = |rows_per_day: Positive, clients: f64| {
        FalseAlarms::new(config.false_alarm_days.get(), rows_per_day.get() * clients).map_err(|source| {
            WatchError::FalseAlarms {
                model: model(),
                source,
            }
        })
    };
    let limits = Limits {
        index: IndexSize::default(),
        principals: PRINCIPALS,
        model_false_alarms: budget(config.rows_per_day, CLIENTS)?,
    };
    let usual = ClientClass {
        tolerances: reference.tolerances().without(Detector::Pace),
        false_alarms: budget(config.rows_per_day, 1.0)?,
    };
    let mut kinds = BTreeMap::new();
    for (role, kind) in &config.clients {
        let rows_per_day = kind.rows_per_day.unwrap_or(config.rows_per_day);
        let class = ClientClass {
            tolerances: tolerances(
                &reference,
                kind,
                surveys.get(role.as_str()),
                &secret,
                &usual,
                limits,
            ),
            false_alarms: budget(rows_per_day, 1.0)?,
        };
        kinds.insert(role.clone(), class);
    }
    let seen = Seen {
        watch: Watch::new(&secret, &reference, limits),
        names: BTreeMap::new(),
    };
    Ok(Ready {
        layout,
        classes: scores.width,
        reference,
        usual,
        kinds,
        seen: seen.into(),
    })
}

/// What is tolerated of one kind of clients: what the reference says, raised to what the survey of such clients saw.
fn tolerances(
    reference: &Reference,
    kind: &ClientConfig,
    survey: Option<&(Rows, Rows)>,
    secret: &[u8; 32],
    usual: &ClientClass,
    limits: Limits,
) -> Tolerances {
    let mut tolerances = reference.tolerances();
    if let Some((rows, scores)) = survey {
        let mut seen = Survey::new(reference.classes());
        let mut watch = Watch::new(secret, reference, limits);
        for (index, (input, answer)) in rows.iter().zip(scores.iter()).enumerate() {
            let query = Query {
                principal: "survey",
                // A survey has no times.
                at: index as f64,
                input,
                answer,
            };
            let verdict = watch.observe(reference, usual, &query);
            seen.add(verdict.class, &verdict.hits);
        }
        tolerances = tolerances.raised_to(&seen, 1.0);
    }
    if kind.people {
        tolerances
    } else {
        tolerances.without(Detector::Pace)
    }
}
