//! Mistakes in the configuration, shown where they are.

use std::path::Path;

use miette::{Diagnostic, NamedSource, SourceSpan};

use crate::failure::{Exit, Failure};

/// A mistake in `stockade.toml`, with its place.
#[derive(Debug, Diagnostic, thiserror::Error)]
#[error("this does not fit")]
struct MistakeInFile {
    #[source_code]
    source_code: NamedSource<String>,
    #[label("{message}")]
    span: Option<SourceSpan>,
    message: String,
}

/// A setting that no file shows.
#[derive(Debug, thiserror::Error)]
#[error("invalid configuration: {message}")]
pub(crate) struct InvalidSetting {
    message: String,
}

impl InvalidSetting {
    pub(crate) fn new(message: &str) -> Self {
        Self {
            message: one_line(message),
        }
    }
}

/// A failure that shows the line of the file.
pub(crate) fn in_file(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let message = one_line(error.message());
    let place = error.span().map_or_else(String::new, |span| {
        let before = text.get(..span.start).unwrap_or(text);
        format!(":{}", before.matches('\n').count() + 1)
    });
    let name = path.display().to_string();
    Failure::new(
        Exit::Usage,
        format!("invalid configuration in `{name}{place}`: {message}"),
    )
    .hint("`stockade config schema` prints every setting with its meaning")
    .reporting(MistakeInFile {
        source_code: NamedSource::new(name, text.to_owned()),
        span: error.span().map(SourceSpan::from),
        message,
    })
}

fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}
