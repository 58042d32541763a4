//! The fuzz entries on a small corpus, with seeded mutations: what a fuzzer would find first.

#[cfg(test)]
mod tests {
    use stockade_crypto::{JournalKey, LogKeys, SignatureAlgorithm, SigningKey};
    use stockade_evidence::{
        Actor, Change, Checkpoint, Decision, Event, LogProof, LogVerifier, Record, RecordId, Timestamp,
        encode_entries, fuzz_bundle, fuzz_checkpoint, fuzz_leaf, fuzz_proof, sign_checkpoint,
    };

    /// xorshift64 (Marsaglia 2003), seeded: the same mutations in every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % bound as u64).unwrap()
        }
    }

    fn mutated(seed: &[u8], random: &mut Random) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len() + 1);
            let other = random.below(seed.len() + 1);
            match random.below(5) {
                0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
                1 => bytes.truncate(at),
                2 => bytes.insert(at, u8::try_from(random.below(256)).unwrap()),
                3 => bytes
                    .splice(at..at, seed[other..].iter().copied().take(40))
                    .for_each(drop),
                _ => bytes
                    .drain(at..(at + 1 + random.below(9)).min(bytes.len()).max(at))
                    .for_each(drop),
            }
        }
        bytes
    }

    fn check(entry: fn(&[u8]), corpus: &[Vec<u8>]) {
        let mut random = Random(0x5eed_0001);
        entry(&[]);
        for seed in corpus {
            entry(seed);
            for _ in 0..3000 {
                entry(&mutated(seed, &mut random));
            }
        }
    }

    fn leaves() -> Vec<Vec<u8>> {
        let time = Timestamp::from_unix_ms(1_795_000_000_000);
        let record = |event, actor| Record::new(time, RecordId::new([5; 16]), event, actor);
        let value = serde_json::json!({"list": [1, 2.5, null, true], "text": "é\n\"\\", "deep": [[[[{}]]]]});
        let plain = record(Event::GatewayStarted, Actor::System {});
        let full = record(Event::KeyCreated, Actor::Operator { uid: 0 })
            .deciding(Decision::Refused {
                code: "forbidden".to_owned(),
                policies: vec!["a#1".to_owned()],
            })
            .changing(Change::Put {
                kind: "k".to_owned(),
                id: "i".to_owned(),
                value,
            })
            .with("n", 1e-7);
        vec![plain.to_leaf().unwrap(), full.to_leaf().unwrap()]
    }

    fn checkpoint() -> (String, LogVerifier) {
        let keys = LogKeys {
            ed25519: SigningKey::generate(SignatureAlgorithm::Ed25519).unwrap(),
            ml_dsa_44: SigningKey::generate(SignatureAlgorithm::MlDsa44).unwrap(),
            journal: JournalKey::generate().unwrap(),
        };
        let head = Checkpoint {
            origin: "a.example/log".to_owned(),
            size: 12,
            root: [9; 32],
        };
        let verifier = LogVerifier {
            name: head.origin.clone(),
            ed25519: keys.ed25519.verifying_key(),
            ml_dsa_44: keys.ml_dsa_44.verifying_key(),
        };
        (
            sign_checkpoint(&head, &keys, Timestamp::from_unix_ms(0)).unwrap(),
            verifier,
        )
    }

    #[test]
    fn leaves_do_not_panic() {
        check(fuzz_leaf, &leaves());
    }

    #[test]
    fn bundles_do_not_panic() {
        let leaves = leaves();
        check(
            fuzz_bundle,
            &[encode_entries(leaves.iter().map(Vec::as_slice)).unwrap()],
        );
    }

    #[test]
    fn checkpoints_do_not_panic() {
        let (text, verifier) = checkpoint();
        check(
            fuzz_checkpoint,
            &[text.into_bytes(), verifier.to_vkeys().join("\n").into_bytes()],
        );
    }

    #[test]
    fn proofs_do_not_panic() {
        let (checkpoint, _) = checkpoint();
        let proof = LogProof {
            index: 3,
            path: vec![[1; 32]; 4],
            checkpoint,
            extra: Some(vec![0; 9]),
        };
        check(fuzz_proof, &[proof.to_text().into_bytes()]);
    }
}
