//! Personal fields through the keeper: seal, open, erase, rewrap.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use stockade_crypto::random_array;
use stockade_evidence::{Actor, Change, Event, Personal, Record, RecordId, Subject, SubjectKind, Timestamp};

use super::{ALGORITHM, ERASED_KEY, Kid, PersonalError, check, field_context};
use crate::{
    commit::{Appended, Commit},
    keeper::{Keeper, blocking},
};

impl Keeper {
    /// Seals a personal value under its subject's key.
    pub async fn seal_personal(
        &self,
        subject: &str,
        field: &str,
        value: &str,
    ) -> Result<Personal, PersonalError> {
        check(subject, field, value)?;
        let (subjects, keys) = (self.shared.subjects.clone(), self.shared.keys.clone());
        let name = subject.to_owned();
        let (kid, key) = blocking(move || subjects.key_for(&keys, &name)).await??;
        let sealed = key.seal(value.as_bytes(), &field_context(subject, field))?;
        Ok(Personal {
            alg: ALGORITHM.to_owned(),
            kid: kid.as_str().to_owned(),
            ct: STANDARD.encode(sealed),
        })
    }

    /// The value of a personal field; `None` once its subject was erased.
    pub async fn open_personal(
        &self,
        subject: &str,
        field: &str,
        personal: &Personal,
    ) -> Result<Option<String>, PersonalError> {
        check(subject, field, "")?;
        let kid = Kid::parse(&personal.kid).ok_or(PersonalError::NotAuthentic)?;
        if personal.alg != ALGORITHM {
            return Err(PersonalError::NotAuthentic);
        }
        if self.row(ERASED_KEY, kid.as_str()).await?.is_some() {
            return Ok(None);
        }
        let (subjects, keys) = (self.shared.subjects.clone(), self.shared.keys.clone());
        let name = subject.to_owned();
        let Some(key) = blocking(move || subjects.open(&keys, &name, &kid)).await?? else {
            return Ok(None);
        };
        let sealed = STANDARD
            .decode(&personal.ct)
            .map_err(|_| PersonalError::NotAuthentic)?;
        let value = key.open(&sealed, &field_context(subject, field))?;
        let text = std::str::from_utf8(value.expose()).map_err(|_| PersonalError::NotAuthentic)?;
        Ok(Some(text.to_owned()))
    }

    /// Erases a person: records it, then destroys every key of the subject.
    pub async fn erase_subject(
        &self,
        subject: &str,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Appended, PersonalError> {
        check(subject, "-", "")?;
        let (subjects, name) = (self.shared.subjects.clone(), subject.to_owned());
        let kids = blocking(move || subjects.keys_of(&name)).await??;
        let mut record = Record::new(now, RecordId::new(random_array()?), Event::SubjectErased, actor)
            .about(Subject::new(SubjectKind::Person, subject))
            .with("keys", kids.len());
        for kid in &kids {
            record = record.changing(erased(kid, subject));
        }
        let appended = if kids.is_empty() {
            self.append(record).await?
        } else {
            self.commit(Commit::new(record)).await?
        };
        self.destroy(kids).await?;
        Ok(appended)
    }

    /// Wraps every subject's key under the current root key, so that older ones can be retired; says how many.
    pub async fn rewrap_subjects(&self) -> Result<usize, PersonalError> {
        let (subjects, keys) = (self.shared.subjects.clone(), self.shared.keys.clone());
        blocking(move || subjects.rewrap(&keys)).await?
    }

    /// Erases keys that another log of the same folder names as erased; says how many were still there.
    pub(crate) async fn replay_erasures(
        &self,
        erased_keys: Vec<(Kid, String)>,
        now: Timestamp,
    ) -> Result<usize, PersonalError> {
        let mut count = 0;
        for (kid, subject) in erased_keys {
            if self.row(ERASED_KEY, kid.as_str()).await?.is_some() {
                continue;
            }
            let record = Record::new(
                now,
                RecordId::new(random_array()?),
                Event::SubjectErased,
                Actor::System {},
            )
            .about(Subject::new(SubjectKind::Person, subject.as_str()))
            .with("keys", 1)
            .changing(erased(&kid, &subject));
            self.append(record).await?;
            self.destroy(vec![kid]).await?;
            count += 1;
        }
        Ok(count)
    }

    async fn destroy(&self, kids: Vec<Kid>) -> Result<(), PersonalError> {
        let subjects = self.shared.subjects.clone();
        Ok(blocking(move || kids.iter().try_for_each(|kid| subjects.destroy(kid))).await??)
    }
}

fn erased(kid: &Kid, subject: &str) -> Change {
    Change::Put {
        kind: ERASED_KEY.to_owned(),
        id: kid.as_str().to_owned(),
        value: serde_json::json!({ "subject": subject }),
    }
}
