//! Checkpoints: exact bytes, round trips, and every single changed byte refused.

use stockade_crypto::{JournalKey, SecretBytes, SignatureAlgorithm, SigningKey};

use super::*;

pub(crate) fn log_keys() -> LogKeys {
    LogKeys {
        ed25519: SigningKey::generate(SignatureAlgorithm::Ed25519).unwrap(),
        ml_dsa_44: SigningKey::generate(SignatureAlgorithm::MlDsa44).unwrap(),
        journal: JournalKey::generate().unwrap(),
    }
}

pub(crate) fn verifier(name: &str, keys: &LogKeys) -> LogVerifier {
    LogVerifier {
        name: name.to_owned(),
        ed25519: keys.ed25519.verifying_key(),
        ml_dsa_44: keys.ml_dsa_44.verifying_key(),
    }
}

/// The head in the example of tlog-checkpoint.
fn example() -> Checkpoint {
    let root = STANDARD
        .decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
        .unwrap();
    Checkpoint {
        origin: "example.com/behind-the-sofa".to_owned(),
        size: 20_852_163,
        root: root.try_into().unwrap(),
    }
}

const NOW: Timestamp = Timestamp::from_unix_ms(1_679_315_147_999);

#[test]
fn body_is_the_example_of_the_specification() {
    let body = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    assert_eq!(example().body(), body);
    assert_eq!(Checkpoint::parse(body), Ok(example()));
}

#[test]
fn refuses_other_bodies() {
    let body = example().body();
    for changed in [
        body.replace("20852163", "020852163"),
        body.replace("20852163", "+20852163"),
        body.replace("20852163", ""),
        body.replace("q2I=", "q2J="),
        body.replace("CsUY", ""),
        body.replace("example.com", "example com"),
        body.replace("example.com/behind-the-sofa", ""),
        body.replace("example", &"x".repeat(250)),
        format!("{body}extension\n"),
        format!("{body}\n"),
        format!("\n{body}"),
        body.trim_end().to_owned(),
        String::new(),
    ] {
        assert_eq!(
            Checkpoint::parse(&changed),
            Err(MalformedCheckpoint),
            "{changed:?}"
        );
    }
}

#[test]
fn the_cosigned_message_has_the_layout_of_the_specification() {
    // tlog-cosignature, "ML-DSA-44 signed message", laid out by hand.
    let checkpoint = Checkpoint {
        origin: "a/b".to_owned(),
        size: 0x0102,
        root: [0xee; 32],
    };
    let expected = [
        hex::encode("subtree/v1\n\0"),
        "03612f62".to_owned(),
        "000000006418504b".to_owned(),
        "03612f62".to_owned(),
        "0000000000000000".to_owned(),
        "0000000000000102".to_owned(),
        "ee".repeat(32),
    ]
    .concat();
    assert_eq!(hex::encode(checkpoint.cosigned_message(1_679_315_019)), expected);
}

#[test]
fn signs_and_opens() {
    let keys = log_keys();
    let verifier = verifier("example.com/behind-the-sofa", &keys);
    let text = sign_checkpoint(&example(), &keys, NOW).unwrap();
    let former = self::verifier("example.com/behind-the-sofa", &log_keys());
    let opened = open_checkpoint(&text, &[former.clone(), verifier.clone()]).unwrap();
    assert_eq!(opened.checkpoint, example());
    assert_eq!(opened.cosigned_at, Timestamp::from_unix_ms(1_679_315_147_000));
    let kinds: Vec<_> = opened
        .signatures
        .iter()
        .map(|status| (status.kind, status.valid))
        .collect();
    assert_eq!(kinds, [("ed25519", true), ("ml-dsa-44", true)]);
    assert_eq!(open_checkpoint(&text, &[]), Err(NoteError::UnknownKeys));
    assert_eq!(
        open_checkpoint(&text, std::slice::from_ref(&former)),
        Err(NoteError::UnknownKeys)
    );
    for mixed in [
        LogVerifier {
            ed25519: former.ed25519.clone(),
            ..verifier.clone()
        },
        LogVerifier {
            ml_dsa_44: former.ml_dsa_44.clone(),
            ..verifier.clone()
        },
        LogVerifier {
            name: "other".to_owned(),
            ..verifier
        },
    ] {
        assert_eq!(open_checkpoint(&text, &[mixed]), Err(NoteError::UnknownKeys));
    }
}

#[test]
fn no_byte_can_change() {
    let keys = log_keys();
    let verifiers = [verifier("example.com/behind-the-sofa", &keys)];
    let text = sign_checkpoint(&example(), &keys, NOW).unwrap();
    for at in 0..text.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= flip;
            if let Ok(changed) = String::from_utf8(changed) {
                assert!(open_checkpoint(&changed, &verifiers).is_err(), "byte {at}");
            }
        }
        let mut cut = text.clone();
        if cut.is_char_boundary(at) {
            cut.truncate(at);
            assert!(open_checkpoint(&cut, &verifiers).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn both_lines_are_wanted_once_and_in_order() {
    let keys = log_keys();
    let verifiers = [verifier("example.com/behind-the-sofa", &keys)];
    let text = sign_checkpoint(&example(), &keys, NOW).unwrap();
    let (body, lines) = text.split_once("\n\n").unwrap();
    let (first, second) = lines.trim_end().split_once('\n').unwrap();
    let open = |lines: &[&str]| open_checkpoint(&format!("{body}\n\n{}\n", lines.join("\n")), &verifiers);
    assert!(open(&[first, second]).is_ok());
    assert_eq!(open(&[first]), Err(NoteError::SignatureCount { found: 1 }));
    assert_eq!(open(&[second]), Err(NoteError::SignatureCount { found: 1 }));
    assert_eq!(
        open(&[first, second, second]),
        Err(NoteError::SignatureCount { found: 3 })
    );
    assert_eq!(open(&[second, first]), Err(NoteError::UnknownKeys));
    assert_eq!(open(&[first, first]), Err(NoteError::UnknownKeys));
    // One of the two of another checkpoint.
    let other = sign_checkpoint(&Checkpoint { size: 7, ..example() }, &keys, NOW).unwrap();
    let (other_first, other_second) = other
        .split_once("\n\n")
        .unwrap()
        .1
        .trim_end()
        .split_once('\n')
        .unwrap();
    let invalid = |kind| Err(NoteError::InvalidSignature { kind });
    assert_eq!(open(&[other_first, second]), invalid(ED25519));
    assert_eq!(open(&[first, other_second]), invalid(ML_DSA_44));
    let both = format!("{body}\n\n{first}\n{other_second}\n");
    let statuses = inspect_checkpoint(&both, &verifiers).0;
    assert_eq!(
        statuses.iter().map(|status| status.valid).collect::<Vec<_>>(),
        [true, false]
    );
    let json = serde_json::to_value(&statuses[0]).unwrap();
    let id = hex::encode(verifiers[0].ids()[0]);
    let name = "example.com/behind-the-sofa";
    assert_eq!(
        json,
        serde_json::json!({"name": name, "key_id": id, "type": "ed25519", "valid": true})
    );
}

#[test]
fn refuses_to_sign_nonsense() {
    let keys = log_keys();
    let unnamed = Checkpoint {
        origin: "two words".to_owned(),
        ..example()
    };
    assert!(matches!(
        sign_checkpoint(&unnamed, &keys, NOW),
        Err(SignError::Origin(_))
    ));
    let before = Timestamp::from_unix_ms(-1);
    assert!(matches!(
        sign_checkpoint(&example(), &keys, before),
        Err(SignError::Clock { .. })
    ));
    let swapped = LogKeys {
        ed25519: keys.ml_dsa_44.clone(),
        ml_dsa_44: keys.ed25519.clone(),
        journal: keys.journal.clone(),
    };
    assert!(matches!(
        sign_checkpoint(&example(), &swapped, NOW),
        Err(SignError::Key { source: None, .. })
    ));
}

#[test]
fn verifier_keys_round_trip() {
    let (keys, former) = (log_keys(), log_keys());
    let verifiers = vec![
        verifier("a.example/log", &keys),
        verifier("a.example/log", &former),
    ];
    let lines: Vec<String> = verifiers.iter().flat_map(LogVerifier::to_vkeys).collect();
    assert_eq!(LogVerifier::from_vkeys(&lines.join("\n")).unwrap(), verifiers);
    assert_eq!(
        LogVerifier::from_vkeys(&format!("{}\r\n\r\n{}\r\n", lines[0], lines[1])).unwrap(),
        verifiers[..1]
    );
    for wrong in [vec![], vec![0], vec![1, 0], vec![0, 1, 2], vec![0, 0]] {
        let text: Vec<&str> = wrong.iter().map(|index: &usize| lines[*index].as_str()).collect();
        assert!(LogVerifier::from_vkeys(&text.join("\n")).is_err(), "{wrong:?}");
    }
    let other = verifier("b.example/log", &keys).to_vkeys();
    assert!(LogVerifier::from_vkeys(&[lines[0].as_str(), &other[1]].join("\n")).is_err());
}

/// RFC 8032 section 7.1, test 1: the Ed25519 line must be made by the key itself, over the text alone.
#[test]
fn the_ed25519_line_is_plain() {
    let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
    let ed25519 = SigningKey::from_seed(&SecretBytes::new(seed)).unwrap();
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    assert_eq!(hex::encode(ed25519.verifying_key().as_bytes()), public);
    let keys = LogKeys {
        ed25519: ed25519.clone(),
        ..log_keys()
    };
    let text = sign_checkpoint(&example(), &keys, NOW).unwrap();
    let note = parse_note(&text).unwrap();
    assert_eq!(
        note.signatures[0].signature,
        ed25519.sign(example().body().as_bytes()).unwrap()
    );
}
