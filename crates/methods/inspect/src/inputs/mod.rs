//! What an input must look like, and whether the model still says the same when the input is squeezed; both before an answer leaves.
//!
//! Start at [`Sample`]: real rows of the model's domain on which it was not trained, split in two by a key. One half teaches, the other
//! sets thresholds. From it come two values, which are kept as bytes or made anew at each start:
//!
//! - [`Envelope`] looks at the input alone: length, finite values, ranges, whole numbers, one-hot groups, constants, and how far it is from real rows;
//! - [`Disagreement`] compares the model's answer to the input with its answers to squeezed copies ([`SqueezerSpec`]). The module does not
//!   run the model: it hands out the copies, and takes the answers.
//!
//! # Guarantee
//! Each of the two refuses an honest row with probability at most the [`Alpha`] that it was made with (both together: their sum), if
//! that row and the sample's are exchangeable: drawn in the same way. [`Threshold`] says how.
//!
//! # Limits
//! - The guarantee is an average over honest rows. A client who only sends one odd kind of honest row may be refused more often.
//! - An attacker who knows the squeezers attacks the model and all squeezed copies at once and passes (He et al., *Adversarial example
//!   defenses: ensembles of weak defenses are not strong*, USENIX WOOT 2017). Squeezing raises the price of attacks that do not know of it.
//! - An input near real ones is inside the envelope, whatever it does to the model.

mod columns;
mod conformal;
mod disagreement;
mod envelope;
mod form;
mod oddness;
mod sample;
mod spectrum;
mod squeeze;
mod state;

pub use self::{
    columns::{Declared, DeclaredColumn},
    conformal::{Alpha, CalibrationError, InvalidAlpha, Threshold},
    disagreement::{Disagreement, Verdict},
    envelope::{Envelope, EnvelopeError, EnvelopeSpec, Refusal},
    form::{ChannelOrder, Form},
    sample::{Sample, SampleError},
    squeeze::{SqueezeError, SqueezerSpec, Squeezers},
    state::{StateError, fuzz_input_state},
};
