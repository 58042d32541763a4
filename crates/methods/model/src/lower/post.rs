//! What classifiers and regressors do to raw scores at the end.

use crate::{
    error::ImportError,
    graph::{Attribute, Node},
    lower::Lowering,
};

/// The post-transforms of ai.onnx.ml; PROBIT is refused by name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Post {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
}

impl Post {
    pub(super) fn of(node: &Node) -> Result<Self, ImportError> {
        match node.text("post_transform", "NONE")?.as_str() {
            "NONE" => Ok(Self::None),
            "SOFTMAX" => Ok(Self::Softmax),
            "LOGISTIC" => Ok(Self::Logistic),
            "SOFTMAX_ZERO" => Ok(Self::SoftmaxZero),
            other => Err(node.unsupported(format!("its post-transform `{other}` is not supported"))),
        }
    }

    /// Transforms scores [N, columns].
    pub(super) fn apply(
        self,
        low: &mut Lowering<'_>,
        node: &Node,
        scores: &str,
        columns: usize,
    ) -> Result<String, ImportError> {
        match self {
            Self::None => Ok(scores.to_owned()),
            Self::Logistic => Ok(low.out.op("Sigmoid", &[scores], [])),
            Self::Softmax | Self::SoftmaxZero if columns == 1 => {
                Err(node.unsupported("SOFTMAX of a single score"))
            }
            Self::Softmax => Ok(low.out.op("Softmax", &[scores], [("axis", Attribute::Int(-1))])),
            Self::SoftmaxZero => Ok(softmax_zero(low, scores)),
        }
    }
}

/// Softmax in which a score of 0 keeps a probability of 0.
fn softmax_zero(low: &mut Lowering<'_>, scores: &str) -> String {
    let axis = low.out.i64("axis", &[1], &[-1]);
    let zero = low.out.f32("zero", &[], &[0.0]);
    // ONNX Runtime counts sizes up to this as 0.
    let tiny = low.out.f32("tiny", &[], &[1e-7]);
    let keep = || [("keepdims", Attribute::Int(1))];
    let size = low.out.op("Abs", &[scores], []);
    let counts = low.out.op("Greater", &[&size, &tiny], []);
    let top = low.out.op("ReduceMax", &[scores, &axis], keep());
    let shifted = low.out.op("Sub", &[scores, &top], []);
    let powers = low.out.op("Exp", &[&shifted], []);
    let powers = low.out.op("Where", &[&counts, &powers, &zero], []);
    let sum = low.out.op("ReduceSum", &[&powers, &axis], keep());
    low.out.op("Div", &[&powers, &sum], [])
}

/// Two columns from the one score of a binary model.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Complement {
    /// `1 - s` and `s`: the score is a probability.
    Probability,
    /// `-s` and `s`, or the logistic function of both: the score is a margin.
    Margin,
}

impl Complement {
    /// Transforms scores [N, 1] to [N, 2].
    pub(super) fn apply(self, low: &mut Lowering<'_>, post: Post, score: &str) -> String {
        let other = match self {
            Self::Probability => {
                let one = low.out.f32("one", &[], &[1.0]);
                low.out.op("Sub", &[&one, score], [])
            }
            Self::Margin => low.out.op("Neg", &[score], []),
        };
        let both = low
            .out
            .op("Concat", &[&other, score], [("axis", Attribute::Int(1))]);
        match (self, post) {
            (Self::Margin, Post::Logistic) => low.out.op("Sigmoid", &[&both], []),
            (Self::Margin, Post::None | Post::Softmax | Post::SoftmaxZero) | (Self::Probability, _) => both,
        }
    }
}
