//! The watermark in answers, from outside: models cloned through the answers, independent ones, forged claims, hostile files.

#[cfg(test)]
mod learner;
#[cfg(test)]
mod registry;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use stockade_crypto::DataKey;
    use stockade_model::{
        EngineChoice, Graph, Limits, NoExternalData, Session, Tensor, TensorData,
        mark::{
            AnswersFile, BadAnswers, BadClaim, Claim, Form, JudgeError, Judgement, MAX_CLAIM_BYTES, Mark,
            MarkKey, Marker, NotRegistered, Opening, Share, Whose, fuzz_mark_claim, judge, labels,
        },
    };

    use crate::{
        learner::{Images, Learner, images},
        registry::Registry,
    };

    const CLASSES: usize = 10;
    const BEARER: &str = "p-thief";
    const STOLEN: usize = 300;
    const ALPHA: f64 = 0.01;

    fn whose() -> Whose {
        Whose {
            model: "digits".into(),
            bearer: BEARER.into(),
            classes: CLASSES,
        }
    }

    fn victim() -> Session {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/digits/digits.onnx");
        let bytes = fs::read(path).unwrap();
        let graph = Graph::from_onnx(&bytes, &NoExternalData, &Limits::default()).unwrap();
        Session::load(&graph, &EngineChoice::Rten, 1).unwrap()
    }

    fn ask(model: &Session, row: &[f32]) -> Vec<f32> {
        let input = Tensor::new(vec![1, row.len()], TensorData::F32(row.to_vec())).unwrap();
        let mut outputs = model.run(vec![("pixels".to_owned(), input)]).unwrap();
        match outputs.remove(0).1.into_data() {
            TensorData::F32(scores) => scores,
            other => panic!("{other:?}"),
        }
    }

    fn label(scores: &[f32]) -> usize {
        (0..scores.len())
            .max_by(|a, b| scores[*a].total_cmp(&scores[*b]))
            .unwrap()
    }

    fn marker(sample: &Images) -> Marker {
        let key = MarkKey::of_model(&DataKey::from_bytes([11; 32]), "digits");
        let rows: Vec<f32> = sample.rows.concat();
        let form = Form::fit(&rows, 64, &key).unwrap();
        Marker::new(key, form, Share::new(0.1).unwrap())
    }

    /// Ten models made without the answers: other images, others for each model.
    fn independent(images: &Images) -> Vec<Learner> {
        (0..10)
            .map(|seed| {
                let kept = images.without_each(7, seed);
                Learner::fit(&kept.rows, &kept.labels, 0.02 + 0.01 * (seed % 4) as f64)
            })
            .collect()
    }

    fn judged(claim: &Claim, registry: &Registry, suspect: &Learner, null: &[Learner]) -> Judgement {
        let (checkpoint, verifiers) = registry.held();
        let registered = claim.registered(&checkpoint, &verifiers).unwrap();
        let of = |model: &Learner| {
            registered
                .marks()
                .iter()
                .map(|mark| model.label(&mark.input))
                .collect::<Vec<_>>()
        };
        let null: Vec<Vec<usize>> = null.iter().map(of).collect();
        judge(&registered, &of(suspect), &null, 20).unwrap()
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Control {
        Off,
        On,
    }

    /// What a thief gets and trains on, and what the gateway registers meanwhile.
    fn steal(control: Control) -> (Learner, Claim, Registry, Vec<Learner>) {
        let (asked, other) = images().split(STOLEN);
        let (marker, model) = (marker(&other), victim());
        let bearer = marker.bearer(BEARER);
        let mut openings: Vec<Opening> = Vec::new();
        let mut answers = Vec::new();
        for row in &asked.rows {
            let mut scores = ask(&model, row);
            if let Some(mark) = marker.mark(&bearer, row, &scores) {
                openings.push(marker.register(&bearer, openings.len() as u64, row, mark));
                if control == Control::On {
                    mark.apply(&mut scores);
                }
            }
            answers.push(label(&scores));
        }
        let registry = Registry::of(&whose(), &openings);
        let claim = registry.claim(&whose(), &openings);
        let clone = Learner::fit(&asked.rows, &answers, 0.03);
        (clone, claim, registry, independent(&other))
    }

    /// A model trained on marked answers is known as a clone, and one trained on the same answers without marks is not.
    #[test]
    fn attack_model_cloned_through_the_answers() {
        let claimed = |control| {
            let (clone, claim, registry, null) = steal(control);
            judged(&claim, &registry, &clone, &null)
        };
        let (off, on) = (claimed(Control::Off), claimed(Control::On));
        assert!(on.p_corrected < ALPHA, "{on:?}");
        assert!(off.p_corrected > 0.5, "{off:?}");
        assert!(on.counted >= 20 && on.null.len() == 10, "{on:?}");
    }

    /// Marks do not cost the clone's owner an accusation of others: each independent model, judged against the rest.
    #[test]
    fn independent_models_are_not_accused() {
        let (_, claim, registry, null) = steal(Control::On);
        for accused in 0..null.len() {
            let mut rest = null.clone();
            let suspect = rest.remove(accused);
            let judgement = judged(&claim, &registry, &suspect, &rest);
            assert!(judgement.p > 0.05, "{accused}: {judgement:?}");
        }
    }

    /// A false claim after Liu et al.: inputs moved towards another digit, on which models that nobody stole agree with the claimed label too.
    #[test]
    fn a_claim_of_transferable_examples_is_not_proved() {
        let (own, other) = images().split(STOLEN);
        let means = own.class_means(CLASSES);
        let openings: Vec<Opening> = (0..40)
            .map(|number| {
                let (row, honest) = (&own.rows[number], own.labels[number]);
                let marked = (honest + 1 + number % 9) % CLASSES;
                let moved = row
                    .iter()
                    .zip(means[marked].iter().zip(&means[honest]))
                    .map(|(value, (to, from))| (value + 1.1 * (to - from)).clamp(0.0, 16.0))
                    .collect();
                Opening {
                    number: number as u64,
                    honest,
                    marked,
                    nonce: [5; 32],
                    input: moved,
                }
            })
            .collect();
        let registry = Registry::of(&whose(), &openings);
        let claim = registry.claim(&whose(), &openings);
        let mut null = independent(&other);
        let judgement = judged(&claim, &registry, &null.remove(0), &null);
        assert!(
            judgement.suspect.marked * 10 > judgement.counted * 6,
            "the examples should transfer: {judgement:?}"
        );
        assert!(judgement.p > 0.1, "{judgement:?}");
    }

    /// What a forger would change after the fact.
    #[test]
    fn a_claim_that_was_not_registered_is_refused() {
        let (_, claim, registry, _) = steal(Control::On);
        let (checkpoint, verifiers) = registry.held();
        let refused = |claim: &Claim| claim.registered(&checkpoint, &verifiers).unwrap_err();
        let changed = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = serde_json::from_slice(&claim.to_json().unwrap()).unwrap();
            change(&mut value);
            Claim::parse(&serde_json::to_vec(&value).unwrap()).unwrap()
        };
        assert!(claim.registered(&checkpoint, &verifiers).is_ok());

        let relabelled = changed(&|value| {
            let honest = value["marks"][3]["opening"]["honest"].as_u64().unwrap();
            let marked = value["marks"][3]["opening"]["marked"].as_u64().unwrap();
            let other = (0..10)
                .find(|label| *label != honest && *label != marked)
                .unwrap();
            value["marks"][3]["opening"]["marked"] = other.into();
        });
        assert!(matches!(
            refused(&relabelled),
            NotRegistered::OtherMark { number: 3 }
        ));
        let someone_else = changed(&|value| value["whose"]["bearer"] = "p-other".into());
        assert!(matches!(
            refused(&someone_else),
            NotRegistered::OtherMark { number: 0 }
        ));
        let chosen = changed(&|value| drop(value["marks"].as_array_mut().unwrap().remove(2)));
        assert!(matches!(refused(&chosen), NotRegistered::Gap { expected: 2 }));
        let twice = changed(&|value| {
            let first = value["marks"][0].clone();
            value["marks"].as_array_mut().unwrap().push(first);
        });
        assert!(matches!(refused(&twice), NotRegistered::Gap { expected: 1 }));
        let borrowed = changed(&|value| value["marks"][1]["proof"] = value["marks"][0]["proof"].clone());
        assert!(matches!(
            refused(&borrowed),
            NotRegistered::OtherMark { number: 1 }
        ));
        let unproved = changed(&|value| value["marks"][0]["proof"] = "".into());
        assert!(matches!(
            refused(&unproved),
            NotRegistered::Proof { number: 0, .. }
        ));
        let (others_checkpoint, others_keys) = Registry::of(&whose(), &[]).held();
        assert!(matches!(
            claim.registered(&others_checkpoint, &others_keys),
            Err(NotRegistered::NotInLog { number: 0, .. })
        ));
        assert!(matches!(
            claim.registered(&others_checkpoint, &verifiers),
            Err(NotRegistered::Checkpoint(_))
        ));
        let earlier = registry.held_at(1);
        assert!(matches!(
            claim.registered(&earlier, &verifiers),
            Err(NotRegistered::OtherCheckpoint { number: 0 })
        ));
    }

    /// Hundred copies of one chance agreement are one agreement.
    #[test]
    fn near_copies_count_once() {
        let (own, _) = images().split(STOLEN);
        let openings: Vec<Opening> = (0..30_u8)
            .map(|number| {
                let mut input = own.rows[4].clone();
                input[usize::from(number)] += 0.5;
                Opening {
                    number: number.into(),
                    honest: 1,
                    marked: 2,
                    nonce: [number; 32],
                    input,
                }
            })
            .collect();
        let registry = Registry::of(&whose(), &openings);
        let claim = registry.claim(&whose(), &openings);
        let (checkpoint, verifiers) = registry.held();
        let registered = claim.registered(&checkpoint, &verifiers).unwrap();
        assert_eq!((registered.count(), registered.marks().len()), (30, 1));
        let judgement = judge(&registered, &[2], &vec![vec![1]; 8], 1).unwrap();
        assert!(judgement.p > 0.05, "{judgement:?}");
        assert_eq!(
            judge(&registered, &[2], &vec![vec![1]; 7], 1),
            Err(JudgeError::TooFewNullModels { given: 7 })
        );
        assert_eq!(
            judge(&registered, &[2, 2], &vec![vec![1]; 8], 1),
            Err(JudgeError::Answers { given: 2, marks: 1 })
        );
    }

    #[test]
    fn a_model_and_an_answers_file_are_asked_alike() {
        let (_, claim, registry, _) = steal(Control::On);
        let (checkpoint, verifiers) = registry.held();
        let registered = claim.registered(&checkpoint, &verifiers).unwrap();
        let asked = labels(&victim(), &registered).unwrap();
        let honest: Vec<usize> = registered.marks().iter().map(|mark| mark.honest).collect();
        assert_eq!(asked, honest);
        let file = |labels: &[usize]| {
            let text = serde_json::json!({ "format": "stockade-mark-answers/1", "labels": labels });
            AnswersFile::parse(text.to_string().as_bytes()).unwrap()
        };
        let all: Vec<usize> = (0..registered.count()).collect();
        let numbers: Vec<usize> = registered
            .marks()
            .iter()
            .map(|mark| usize::try_from(mark.number).unwrap())
            .collect();
        assert_eq!(file(&all).labels(&registered).unwrap(), numbers);
        assert!(matches!(
            file(&all[1..]).labels(&registered),
            Err(BadAnswers::Count { .. })
        ));
        assert!(AnswersFile::parse(b"{\"labels\":[1]}").is_err());
    }

    #[test]
    fn hostile_claims_are_refused_and_never_panic() {
        let (_, claim, _, _) = steal(Control::On);
        let good = claim.to_json().unwrap();
        assert_eq!(Claim::parse(&good).unwrap(), claim);
        assert!(matches!(
            Claim::parse(&vec![b' '; MAX_CLAIM_BYTES + 1]),
            Err(BadClaim::TooLarge { .. })
        ));
        assert!(matches!(
            Claim::new(whose(), Vec::new()),
            Err(BadClaim::Marks { found: 0 })
        ));
        let changed = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = serde_json::from_slice(&good).unwrap();
            change(&mut value);
            Claim::parse(&serde_json::to_vec(&value).unwrap()).unwrap_err()
        };
        let mark = |error| matches!(error, BadClaim::Mark { number: 1 });
        assert!(mark(changed(&|value| {
            value["marks"][1]["opening"]["marked"] = value["marks"][1]["opening"]["honest"].clone();
        })));
        assert!(mark(changed(
            &|value| value["marks"][1]["opening"]["honest"] = 10.into()
        )));
        assert!(mark(changed(
            &|value| value["marks"][1]["opening"]["input"] = "AAAAAA==".into()
        )));
        assert!(matches!(
            changed(&|value| value["format"] = "stockade-mark-claim/2".into()),
            BadClaim::Format
        ));
        assert!(matches!(
            changed(&|value| value["more"] = 1.into()),
            BadClaim::NotJson(_)
        ));
        assert!(matches!(
            changed(&|value| value["marks"][0]["opening"]["nonce"] = "AAAA".into()),
            BadClaim::NotJson(_)
        ));

        let small = {
            let mut value: serde_json::Value = serde_json::from_slice(&good).unwrap();
            value["marks"].as_array_mut().unwrap().truncate(1);
            serde_json::to_vec(&value).unwrap()
        };
        let mut state = 0x5eed_0001_u64;
        for _ in 0..500 {
            let mut bytes = small.clone();
            for _ in 0..3 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = usize::try_from(state % bytes.len() as u64).unwrap();
                bytes[at] = u8::try_from(state >> 32 & 0xff).unwrap();
            }
            fuzz_mark_claim(&bytes);
        }
        fuzz_mark_claim(&small);
        fuzz_mark_claim(br#"{"format":"stockade-mark-answers/1","labels":[1,2]}"#);
    }

    #[test]
    fn a_swap_outside_the_answer_changes_nothing() {
        let mut scores = [0.2, 0.8];
        Mark { honest: 1, marked: 2 }.apply(&mut scores);
        assert_eq!(scores, [0.2, 0.8]);
    }
}
