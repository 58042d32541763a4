//! A watermark in the answers of a served model: DAWN (Szyller et al., *Dynamic Adversarial Watermarking of Neural Networks*, ACM MM 2021, arXiv:1906.00830).
//!
//! A tiny keyed share of the answers is wrong on purpose. Whoever trains a model on the answers trains it on the wrong ones too, and a model that repeats them was
//! trained on those answers. Start at [`Marker::mark`] where answers leave, [`Marker::register`] for what the log and the sealed store keep of a marked one, [`Claim`] for what
//! is shown in a dispute, and [`judge`] for the probability that a model made without these answers would agree as often.
//!
//! | step | what holds |
//! |---|---|
//! | which answers | HMAC-SHA-256 under a key of each bearer, over the cell of the input ([`Form`]): near copies of an input get the same answer, and two bearers get different marks |
//! | which label | keyed and never the model's own; two scores change places, so the answer keeps its values and its form |
//! | registered | a commitment under a secret nonce, in the log before any dispute; its opening stays sealed |
//! | claimed | every mark of the bearer from the first on, each with the proof that it was in the log when somebody else held the checkpoint |
//! | judged | against at least 8 models that were made without the answers, corrected for how many were accused |
//!
//! # Cost
//! Each bearer gets a share of wrong answers, [`Share`], that no honest client can tell from right ones. Who asks for one input again and again may always get the wrong one.
//!
//! # Limits
//! - Who has two accounts and asks both the same sees where they differ, and drops it. Give one bearer's name to accounts that belong together.
//! - A clone that did not learn the wrong answers by heart carries no mark: few queries, strong regularisation, or an outlier filter before training.
//! - A claimant who can make inputs on which models like the suspect err together, and unlike the null models, can claim it: null models must be made as the suspect is said to have been made, and be
//!   chosen by whoever judges (Liu et al., *False Claims against Model Ownership Resolution*, USENIX Security 2024).

mod claim;
mod form;
mod judge;
mod keyed;
mod marker;
mod suspect;
mod tail;

pub use self::{
    claim::{BadClaim, Claim, ClaimedMark, MAX_CLAIM_BYTES, NotRegistered, Registered, fuzz_mark_claim},
    form::{Cell, Form, TooFewRows},
    judge::{Agreement, JudgeError, Judgement, LEAST_NULL_MODELS, judge},
    keyed::{Bearer, MarkKey},
    marker::{InvalidShare, Mark, Marker, Opening, Share, Whose},
    suspect::{AnswersFile, AskError, BadAnswers, labels},
};
