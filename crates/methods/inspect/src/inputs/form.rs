//! What the numbers of a row stand for: columns of a table, pixels, or a waveform.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most numbers in a row.
pub(super) const MOST_INPUTS: usize = 1 << 18;

/// How to read one row of numbers; the batch dimension is not part of it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Form {
    /// Columns that mean different things.
    Table {
        /// How many.
        columns: usize,
    },
    /// Pixels, row by row.
    Image {
        /// Colours, 1 for grey.
        channels: usize,
        /// Rows of pixels.
        height: usize,
        /// Pixels in a row.
        width: usize,
        /// Whether colours are planes (ONNX from PyTorch) or lie side by side (from TensorFlow).
        #[serde(default)]
        order: ChannelOrder,
    },
    /// A waveform of one channel and fixed length.
    Audio {
        /// Samples in a row.
        samples: usize,
        /// Samples in a second.
        rate: u32,
    },
}

/// Where the colours of a pixel lie.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// One plane after the other.
    #[default]
    First,
    /// Side by side.
    Last,
}

impl Form {
    /// Numbers in a row; `None` for none at all, or more than 262,144.
    #[must_use]
    pub fn inputs(self) -> Option<usize> {
        let count = match self {
            Self::Table { columns } => Some(columns),
            Self::Image {
                channels,
                height,
                width,
                order: _,
            } => channels
                .checked_mul(height)
                .and_then(|each| each.checked_mul(width)),
            Self::Audio { samples, rate } => (rate > 0).then_some(samples),
        };
        count.filter(|count| (1..=MOST_INPUTS).contains(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_have_a_bounded_size() {
        let image = |channels, height, width| Form::Image {
            channels,
            height,
            width,
            order: ChannelOrder::First,
        };
        assert_eq!(image(3, 4, 5).inputs(), Some(60));
        assert_eq!(image(0, 4, 5).inputs(), None);
        assert_eq!(image(usize::MAX, 4, 5).inputs(), None);
        assert_eq!(image(1, 1024, 1024).inputs(), None);
        assert_eq!(Form::Table { columns: 7 }.inputs(), Some(7));
        assert_eq!(Form::Audio { samples: 7, rate: 0 }.inputs(), None);
    }
}
