//! Where suspected clients stand: the steps that bind now, as rows of the log's projection, so that they survive a
//! restart and are undone by a command.

use std::collections::HashMap;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use stockade_access::PrincipalId;
use stockade_crypto::{RandomnessUnavailable, random_array};
use stockade_evidence::{Actor, Change, Control, Event, Record, RecordId, Subject, SubjectKind, Timestamp};
use stockade_store::{AppendError, Handle, ReadError, Station};

use crate::config::{ExtractionConfig, Step};

/// Whether a row of this id and content is a standing: what a worker may put.
pub(crate) fn is_standing(id: &str, value: &serde_json::Value) -> bool {
    Standing::deserialize(value)
        .is_ok_and(|standing| id == Standing::row_id(&standing.model, standing.principal.as_str()))
}

/// The kind of these rows.
pub const CLIENT_STANDING: &str = "client_standing";

const MS_PER_HOUR: i64 = 3_600_000;

/// What is done to one client of one model, and until when.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// The model.
    pub model: String,
    /// The client.
    pub principal: PrincipalId,
    /// The steps that bind, the latest one last.
    pub steps: Vec<Step>,
    /// How many of them bound before.
    pub earlier: usize,
    /// From when the others bind.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl Standing {
    /// Where a client stands after one more alarm. `None` where nothing changes: the ladder is empty, or the step before
    /// does not bind yet, so that several detectors of one deed are one step.
    pub(crate) fn after(
        config: &ExtractionConfig,
        (model, principal): (&str, &PrincipalId),
        now: Timestamp,
        before: Option<&Self>,
        random: u32,
    ) -> Option<Self> {
        let before = before.filter(|standing| !standing.is_over(now));
        if before.is_some_and(|standing| now < standing.from) {
            return None;
        }
        let taken = before.map_or(0, |standing| standing.steps.len());
        let steps = config.ladder.get(..config.ladder.len().min(taken + 1))?;
        // A random part of the time: modulo's bias is nothing here.
        let delay = random.checked_rem(config.act_within_ms).unwrap_or(0);
        let earlier = taken.min(steps.len());
        let from = if earlier == steps.len() {
            now
        } else {
            now.plus_ms(delay.into())
        };
        (!steps.is_empty()).then(|| Self {
            model: model.to_owned(),
            principal: principal.clone(),
            steps: steps.to_vec(),
            earlier,
            from,
            until: from.plus_ms(i64::from(config.step_hours.get()) * MS_PER_HOUR),
        })
    }

    /// The id of a client's row.
    pub fn row_id(model: &str, principal: &str) -> String {
        format!("{model}/{principal}")
    }

    /// The change that puts it in force.
    pub(crate) fn put(&self) -> Result<Change, serde_json::Error> {
        Ok(Change::Put {
            kind: CLIENT_STANDING.to_owned(),
            id: Self::row_id(&self.model, self.principal.as_str()),
            value: serde_json::to_value(self)?,
        })
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until <= now
    }

    /// The steps that bind now.
    pub fn binding(&self, now: Timestamp) -> &[Step] {
        let binding = if self.is_over(now) {
            0
        } else if self.from <= now {
            self.steps.len()
        } else {
            self.earlier
        };
        self.steps.get(..binding).unwrap_or_default()
    }
}

/// A client was not released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Nothing is done about it.
    #[error(
        "nothing is done about `{principal}` at the model `{model}`\nhint: `stockade watch clients` shows about whom something is"
    )]
    NoStanding {
        /// The client.
        principal: PrincipalId,
        /// The model.
        model: String,
    },
    /// The store did not answer.
    #[error("the standing of the client could not be read")]
    Read(#[from] ReadError),
    /// There is no random name for the record.
    #[error(transparent)]
    Random(#[from] RandomnessUnavailable),
    /// The release could not be recorded.
    #[error("the release could not be recorded, so it does not bind")]
    Append(#[from] AppendError),
}

impl ReleaseError {
    /// Whether it was asked for wrongly.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::NoStanding { .. })
    }
}

/// Undoes what is done about a client of a model.
pub async fn release(
    handle: &Handle,
    actor: &Actor,
    model: &str,
    principal: &PrincipalId,
    now: Timestamp,
) -> Result<(), ReleaseError> {
    let id = Standing::row_id(model, principal.as_str());
    if handle.row(CLIENT_STANDING, &id).await?.is_none() {
        return Err(ReleaseError::NoStanding {
            principal: principal.clone(),
            model: model.to_owned(),
        });
    }
    let name = RecordId::new(random_array()?);
    let record = Record::new(now, name, Event::ClientReleased, actor.clone())
        .about(Subject::new(SubjectKind::Principal, principal.as_str()))
        .under(Control::ExtractionDetection)
        .with("model", model)
        .changing(Change::Delete {
            kind: CLIENT_STANDING.to_owned(),
            id,
        });
    handle.append(record).await?;
    Ok(())
}

/// Who stands where, as the rows say.
#[derive(Debug, Default)]
pub(crate) struct Standings(ArcSwap<HashMap<String, Standing>>);

/// The rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StandingsError {
    /// The store did not answer.
    #[error("the standings of clients could not be read")]
    Read(#[from] ReadError),
    /// A row is not what its kind holds.
    #[error("a client's standing is not what its row holds")]
    Row(#[from] serde_json::Error),
}

impl Standings {
    /// Reads the rows again. Where that fails, the former ones go on binding.
    pub(crate) async fn refresh(&self, station: &Station) -> Result<(), StandingsError> {
        let mut all = HashMap::new();
        for row in station.handle().rows(CLIENT_STANDING).await? {
            all.insert(row.id, serde_json::from_value(row.value)?);
        }
        self.0.store(all.into());
        Ok(())
    }

    /// Where this client of this model stands.
    pub(crate) fn of(&self, model: &str, who: &PrincipalId) -> Option<Standing> {
        let all = self.0.load();
        if all.is_empty() {
            return None;
        }
        all.get(&Standing::row_id(model, who.as_str())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ExtractionConfig {
        serde_json::from_value(serde_json::json!({
            "reference": "vault:r@1",
            "ladder": ["record", "coarser", "block"],
            "step_hours": 2,
            "act_within_ms": 1000,
        }))
        .unwrap()
    }

    fn after(now_ms: i64, before: Option<&Standing>, random: u32) -> Option<Standing> {
        let now = Timestamp::from_unix_ms(now_ms);
        Standing::after(&config(), ("m", &"p".parse().unwrap()), now, before, random)
    }

    #[test]
    fn each_alarm_is_a_step_and_a_step_keeps_what_the_earlier_ones_do() {
        let first = after(0, None, 0).unwrap();
        assert_eq!(first.steps, [Step::Record]);
        let second = after(10, Some(&first), 0).unwrap();
        assert_eq!(second.steps, [Step::Record, Step::Coarser]);
        let third = after(20, Some(&second), 0).unwrap();
        assert_eq!(third.steps, config().ladder);
        let again = after(30, Some(&third), 0).unwrap();
        assert_eq!(again.steps, config().ladder);
        assert!(again.until > third.until);
    }

    #[test]
    fn a_step_binds_later_than_its_alarm_and_not_for_ever() {
        let standing = after(0, None, 1700).unwrap();
        assert_eq!(standing.from.unix_ms(), 700);
        assert!(standing.binding(Timestamp::from_unix_ms(699)).is_empty());
        assert_eq!(standing.binding(Timestamp::from_unix_ms(700)), [Step::Record]);
        // A later alarm takes nothing back while its own step does not bind yet.
        let second = after(800, Some(&standing), 999).unwrap();
        let between = Timestamp::from_unix_ms(801);
        assert_eq!(second.binding(between), [Step::Record]);
        let third = after(3000, Some(&second), 999).unwrap();
        let last = after(6000, Some(&third), 999).unwrap();
        assert_eq!(last.binding(Timestamp::from_unix_ms(6000)), config().ladder);
        // Alarms of one deed, before the step binds.
        assert_eq!(after(699, Some(&standing), 0), None);
        let over = 700 + 2 * MS_PER_HOUR;
        assert!(standing.binding(Timestamp::from_unix_ms(over)).is_empty());
        assert_eq!(after(over, Some(&standing), 0).unwrap().steps, [Step::Record]);
    }
}
