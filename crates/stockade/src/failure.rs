//! How a command ends: an exit code, and for failures a message, its causes and a cure.

use std::{error::Error, fmt, process::ExitCode};

use miette::Diagnostic;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Fine,
    /// It found something, or policy refused.
    Findings,
    /// The arguments or the configuration are wrong.
    Usage,
    /// It could not be done.
    Failed,
    /// Content differs from what was signed, or could not be analysed completely.
    Broken,
}

impl Exit {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Findings => 1,
            Self::Usage => 2,
            Self::Failed => 3,
            Self::Broken => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    /// A diagnostic with source spans, where the mistake is in a file.
    pub(crate) report: Option<Box<dyn Diagnostic + Send + Sync>>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            report: None,
        }
    }

    /// A failure whose message and causes are an error's. A `hint:` line of any of them becomes the cure.
    pub(crate) fn from_error(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::new(exit, "");
        failure.message = failure.without_hint(&error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            let text = failure.without_hint(&cause.to_string());
            if !failure.message.ends_with(&text) && !failure.causes.contains(&text) {
                failure.causes.push(text);
            }
            source = cause.source();
        }
        failure
    }

    fn without_hint(&mut self, text: &str) -> String {
        let Some((message, hint)) = text.split_once("\nhint: ") else {
            return text.to_owned();
        };
        self.hint.get_or_insert_with(|| hint.to_owned());
        message.to_owned()
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn reporting(mut self, report: impl Diagnostic + Send + Sync + 'static) -> Self {
        self.report = Some(Box::new(report));
        self
    }

    /// The failure as scripts read it.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "error": self.message,
            "causes": self.causes,
            "hint": self.hint,
            "exit": self.exit.number(),
        })
    }

    /// The failure that another process of this program gave as JSON.
    pub(crate) fn from_json(told: &serde_json::Value) -> Self {
        let text = |value: &serde_json::Value| value.as_str().map(ToOwned::to_owned);
        let exit = told.get("exit").and_then(serde_json::Value::as_u64);
        let causes = told.get("causes").and_then(serde_json::Value::as_array);
        Self {
            exit: match exit {
                Some(1) => Exit::Findings,
                Some(2) => Exit::Usage,
                Some(4) => Exit::Broken,
                Some(_) | None => Exit::Failed,
            },
            message: told.get("error").and_then(text).unwrap_or_default(),
            causes: causes.into_iter().flatten().filter_map(text).collect(),
            hint: told.get("hint").and_then(text),
            report: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        for cause in &self.causes {
            write!(f, "\n  caused by: {cause}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Turns typed errors of the crates below into failures with an exit code.
pub(crate) trait Failing<T> {
    /// The error ends the command with this code.
    fn exit(self, exit: Exit) -> Result<T, Failure>;

    /// The error ends the command with this code, and this is the cure.
    fn exit_hint(self, exit: Exit, hint: &str) -> Result<T, Failure>;
}

impl<T, E: Error + 'static> Failing<T> for Result<T, E> {
    fn exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure::from_error(exit, &error))
    }

    fn exit_hint(self, exit: Exit, hint: &str) -> Result<T, Failure> {
        self.map_err(|error| {
            let failure = Failure::from_error(exit, &error);
            if failure.hint.is_some() {
                failure
            } else {
                failure.hint(hint)
            }
        })
    }
}
