//! Keys of the mark, and what is drawn from them: HMAC-SHA-256 as a pseudorandom function (NIST SP 800-108r1, counter mode).

use std::f64::consts::TAU;

use stockade_crypto::{DataKey, SecretBytes, hmac_sha256};

/// The secret behind all marks of one model. It outlives the model's versions, so that an input keeps its answer.
#[derive(Debug)]
pub struct MarkKey(SecretBytes);

/// One who gets answers, with a key of its own: a principal, or accounts that belong together.
#[derive(Debug)]
pub struct Bearer {
    pub(super) name: String,
    key: SecretBytes,
}

impl MarkKey {
    /// The key of the model with this name, from a data key that the key provider wraps.
    pub fn of_model(key: &DataKey, model: &str) -> Self {
        Self(derived(
            &key.to_secret(),
            "stockade/mark/model/1",
            model.as_bytes(),
        ))
    }

    /// The key of the bearer with this name.
    pub fn bearer(&self, name: &str) -> Bearer {
        Bearer {
            name: name.to_owned(),
            key: derived(&self.0, "stockade/mark/bearer/1", name.as_bytes()),
        }
    }

    /// Numbers that hide how inputs are cut into cells.
    pub(super) fn numbers(&self) -> Numbers {
        Numbers {
            key: derived(&self.0, "stockade/mark/form/1", &[]),
            counter: 0,
        }
    }
}

impl Bearer {
    /// The name that the key was derived for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// 32 bytes that nobody without the key can tell from random ones. `label` holds no NUL.
    pub(super) fn draw(&self, label: &str, message: &[u8]) -> [u8; 32] {
        hmac_sha256(&self.key, &labelled(label, message))
    }
}

fn derived(key: &SecretBytes, label: &str, context: &[u8]) -> SecretBytes {
    SecretBytes::new(hmac_sha256(key, &labelled(label, context)).to_vec())
}

fn labelled(label: &str, message: &[u8]) -> Vec<u8> {
    [label.as_bytes(), &[0], message].concat()
}

/// Four words of a draw.
pub(super) fn words(draw: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(draw.chunks_exact(8)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

/// Uniform in [0, 1).
pub(super) fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

/// A stream of numbers under a key.
pub(super) struct Numbers {
    key: SecretBytes,
    counter: u64,
}

impl Numbers {
    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        let draw = hmac_sha256(&self.key, &self.counter.to_be_bytes());
        self.counter += 1;
        unit(words(&draw)[0])
    }

    /// Standard normal (Box and Muller 1958).
    #[expect(clippy::cast_possible_truncation, reason = "single precision is meant")]
    pub(super) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        (radius * (TAU * self.unit()).cos()) as f32
    }
}
