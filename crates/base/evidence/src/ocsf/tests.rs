//! Leaves: the form, exact round trips, and everything that is refused.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Digest, SubjectKind, canonical::tests::any_value};

fn plain() -> Record {
    Record::new(
        Timestamp::from_unix_ms(1_795_000_000_123),
        RecordId::new([0xab; 16]),
        Event::RequestAdmitted,
        Actor::Principal {
            id: "alice".to_owned(),
        },
    )
}

fn full() -> Record {
    let mut subject = Subject::new(SubjectKind::Artifact, "digits");
    subject.version = Some(3);
    subject.digest = Some(Digest::sha256(b"model"));
    let mut record = plain()
        .about(subject)
        .under(Control::AccessControl)
        .deciding(Decision::Refused {
            code: "forbidden".to_owned(),
            policies: vec!["base.cedar#0".to_owned()],
        })
        .changing(Change::Put {
            kind: "api_key".to_owned(),
            id: "k".to_owned(),
            value: json!({"b": null, "a": 1}),
        })
        .changing(Change::Put {
            kind: "note".to_owned(),
            id: "n".to_owned(),
            value: Value::Null,
        })
        .changing(Change::Delete {
            kind: "api_key".to_owned(),
            id: "old".to_owned(),
        })
        .with("latency_us", 812)
        .with("\u{fb33}", 0.5)
        .with("😀", true);
    record.findings.push(Finding {
        control: Control::InputInspection,
        verdict: Verdict::Suspicious,
        rule: "range".to_owned(),
        message: "a value is out of range".to_owned(),
    });
    record
}

#[track_caller]
fn check(record: &Record, expect: Expect) {
    let leaf = record.to_leaf().unwrap();
    expect.assert_eq(std::str::from_utf8(&leaf).unwrap());
    assert_eq!(&Record::from_leaf(&leaf).unwrap(), record);
}

#[test]
fn leaves_are_canonical_ocsf() {
    check(
        &plain(),
        expect![[
            r#"{"activity_id":2,"actor":{"user":{"type_id":1,"uid":"alice"}},"category_uid":6,"class_uid":6003,"metadata":{"event_code":"request.admitted","product":{"name":"Stockade","vendor_name":"Stockade"},"uid":"abababababababababababababababab","version":"1.8.0"},"severity_id":1,"status_id":1,"time":1795000000123,"type_uid":600302,"unmapped":{}}"#
        ]],
    );
    check(
        &full(),
        expect![[
            r#"{"activity_id":2,"actor":{"user":{"type_id":1,"uid":"alice"}},"category_uid":6,"class_uid":6003,"metadata":{"event_code":"request.admitted","product":{"name":"Stockade","vendor_name":"Stockade"},"uid":"abababababababababababababababab","version":"1.8.0"},"severity_id":3,"status_id":2,"time":1795000000123,"type_uid":600302,"unmapped":{"changes":[{"id":"k","kind":"api_key","op":"put","value":{"a":1,"b":null}},{"id":"n","kind":"note","op":"put","value":null},{"id":"old","kind":"api_key","op":"delete"}],"control":"access_control","decision":{"code":"forbidden","outcome":"refused","policies":["base.cedar#0"]},"details":{"latency_us":812,"😀":true,"דּ":0.5},"findings":[{"control":"input_inspection","message":"a value is out of range","rule":"range","verdict":"suspicious"}],"subject":{"digest":"sha256:9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4","kind":"artifact","name":"digits","version":3}}}"#
        ]],
    );
    let value: Value = serde_json::from_slice(&full().to_leaf().unwrap()).unwrap();
    assert_eq!(crate::canonical_json(&value).unwrap(), full().to_leaf().unwrap());
}

#[test]
fn every_event_and_actor_round_trips() {
    let actors = [
        Actor::Principal { id: String::new() },
        Actor::Operator { uid: 1000 },
        Actor::System {},
        Actor::Unidentified {},
    ];
    for event in Event::ALL {
        for actor in &actors {
            let record = Record {
                event: *event,
                actor: actor.clone(),
                ..plain()
            };
            assert_eq!(Record::from_leaf(&record.to_leaf().unwrap()).unwrap(), record);
        }
    }
}

fn changed(from: &str, to: &str) -> Vec<u8> {
    let leaf = String::from_utf8(full().to_leaf().unwrap()).unwrap();
    let changed = leaf.replacen(from, to, 1);
    assert_ne!(changed, leaf, "{from} is not there");
    changed.into_bytes()
}

#[test]
fn refuses_every_other_spelling() {
    for (from, to) in [
        ("{\"activity_id\"", " {\"activity_id\""),
        ("\"time\":", "\"time\": "),
        ("0.5", "5e-1"),
        ("0.5", "0.50"),
        ("812", "812.0"),
        ("alice", "\\u0061lice"),
        ("\"a\":1,\"b\":null", "\"b\":null,\"a\":1"),
        ("\"a\":1,", "\"a\":2,\"a\":1,"),
        ("}}}", "}}}\n"),
    ] {
        assert!(
            matches!(
                Record::from_leaf(&changed(from, to)),
                Err(LeafError::NotCanonical)
            ),
            "{from} to {to}"
        );
    }
}

#[test]
fn refuses_fields_that_do_not_follow() {
    for (from, to, expected) in [
        ("\"code\":\"forbidden\",", "", "unmapped.decision"),
        ("\"refused\"", "\"allowed\"", "unmapped.decision"),
        (",\"value\":null}", "}", "unmapped.changes"),
        ("\"put\"", "\"delete\"", "unmapped.changes"),
        ("\"class_uid\":6003", "\"class_uid\":6002", "class_uid"),
        ("\"activity_id\":2", "\"activity_id\":1", "activity_id"),
        ("\"category_uid\":6", "\"category_uid\":3", "category_uid"),
        ("600302", "600301", "type_uid"),
        ("1.8.0", "1.7.0", "metadata.version"),
        ("\"Stockade\"", "\"Other\"", "metadata.product"),
        ("\"severity_id\":3", "\"severity_id\":1", "severity_id"),
        ("\"status_id\":2", "\"status_id\":1", "status_id"),
        ("\"type_id\":1", "\"type_id\":3", "actor"),
        ("\"type_id\":1", "\"type_id\":2", "actor"),
        ("{\"user\"", "{\"app_name\":\"Stockade\",\"user\"", "actor"),
    ] {
        match Record::from_leaf(&changed(from, to)) {
            Err(LeafError::Disagrees { field }) => assert_eq!(field, expected),
            other => panic!("{from} to {to}: {other:?}"),
        }
    }
}

#[test]
fn refuses_other_json() {
    for (from, to) in [
        ("request.admitted", "request.unknown"),
        ("\"actor\":", "\"extra\":1,\"actor\":"),
        ("\"control\":", "\"extra\":1,\"control\":"),
        ("\"severity_id\":3", "\"severity_id\":3,\"severity_id\":3"),
        ("\"severity_id\":3,", ""),
        ("abab", "ABAB"),
        ("sha256:", "md5:"),
        ("}}}", "}}}{}"),
    ] {
        assert!(
            matches!(
                Record::from_leaf(&changed(from, to)),
                Err(LeafError::NotAnEvent(_))
            ),
            "{from} to {to}"
        );
    }
    let mut no_utf8 = full().to_leaf().unwrap();
    let alice = no_utf8.windows(5).position(|name| name == b"alice").unwrap();
    no_utf8[alice] = 0xff;
    assert!(matches!(
        Record::from_leaf(&no_utf8),
        Err(LeafError::NotAnEvent(_))
    ));
    let too_large = changed("812", "9007199254740992");
    assert!(matches!(
        Record::from_leaf(&too_large),
        Err(LeafError::Value(CanonicalError::IntegerTooLarge { .. }))
    ));
}

#[test]
fn bounds_size_depth_and_numbers() {
    let sized = |length: usize| plain().with("pad", "x".repeat(length));
    let room = MAX_ENTRY - sized(0).to_leaf().unwrap().len();
    let largest = sized(room).to_leaf().unwrap();
    assert_eq!(largest.len(), MAX_ENTRY);
    assert_eq!(Record::from_leaf(&largest).unwrap(), sized(room));
    assert!(
        matches!(sized(room + 1).to_leaf(), Err(LeafError::TooLarge { length }) if length == MAX_ENTRY + 1)
    );
    assert!(matches!(
        Record::from_leaf(&[b' '; MAX_ENTRY + 1]),
        Err(LeafError::TooLarge { .. })
    ));

    let nested = |depth: usize| (0..depth).fold(Value::Null, |inner, _| json!([inner]));
    assert!(plain().with("deep", nested(32)).to_leaf().is_ok());
    assert!(matches!(
        plain().with("deep", nested(33)).to_leaf(),
        Err(LeafError::Value(CanonicalError::TooDeep))
    ));
    let very_deep = [b"{\"actor\":".as_slice(), &[b'['; 60_000]].concat();
    assert!(Record::from_leaf(&very_deep).is_err());

    let mut record = full();
    record.subject.as_mut().unwrap().version = Some(1 << 53);
    assert!(matches!(
        record.to_leaf(),
        Err(LeafError::Value(CanonicalError::IntegerTooLarge { .. }))
    ));
    let record = Record {
        time: Timestamp::from_unix_ms(i64::MIN),
        ..plain()
    };
    assert!(matches!(
        record.to_leaf(),
        Err(LeafError::Value(CanonicalError::IntegerTooLarge { .. }))
    ));
}

fn any_record() -> impl Strategy<Value = Record> {
    let events = prop::sample::select(Event::ALL);
    let actor = prop_oneof![
        any::<String>().prop_map(|id| Actor::Principal { id }),
        any::<u32>().prop_map(|uid| Actor::Operator { uid }),
        Just(Actor::System {}),
        Just(Actor::Unidentified {}),
    ];
    let subject = (any::<String>(), prop::option::of(0..=MAX_INTEGER), any::<bool>()).prop_map(
        |(name, version, digest)| {
            let digest = digest.then(|| Digest::blake3(name.as_bytes()));
            Subject {
                kind: SubjectKind::Artifact,
                name,
                version,
                digest,
            }
        },
    );
    let decision =
        (any::<String>(), any::<Vec<String>>(), any::<bool>()).prop_map(|(code, policies, allowed)| {
            if allowed {
                Decision::Allowed { policies }
            } else {
                Decision::Refused { code, policies }
            }
        });
    let change =
        (any::<String>(), any::<String>(), prop::option::of(any_value())).prop_map(|(kind, id, value)| {
            match value {
                Some(value) => Change::Put { kind, id, value },
                None => Change::Delete { kind, id },
            }
        });
    let details = prop::collection::btree_map(any::<String>(), any_value(), 0..4);
    (
        (
            -253_402_300_799_000..=253_402_300_799_000_i64,
            any::<[u8; 16]>(),
            events,
            actor,
        ),
        (
            prop::option::of(subject),
            prop::option::of(prop::sample::select(Control::ALL)),
            prop::option::of(decision),
        ),
        (prop::collection::vec(change, 0..3), details),
    )
        .prop_map(
            |((time, id, event, actor), (subject, control, decision), (changes, details))| Record {
                subject,
                control,
                decision,
                changes,
                details,
                ..Record::new(Timestamp::from_unix_ms(time), RecordId::new(id), event, actor)
            },
        )
}

proptest! {
    #[test]
    fn any_record_round_trips(record in any_record()) {
        let leaf = record.to_leaf().unwrap();
        let again = Record::from_leaf(&leaf).unwrap();
        prop_assert_eq!(again.to_leaf().unwrap(), leaf.clone());
        let value: Value = serde_json::from_slice(&leaf).unwrap();
        prop_assert_eq!(serde_json_canonicalizer::to_vec(&value).unwrap(), leaf);
    }
}
