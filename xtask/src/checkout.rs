//! The checkout and the programs that run in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;

/// The root of the working tree.
pub(crate) struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// The checkout that this program was built from.
    pub(crate) fn find() -> Result<Self, Failure> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        root.map(|root| Self {
            root: root.to_owned(),
        })
        .ok_or_else(|| Failure::new("xtask lies in no checkout"))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Result<String, Failure> {
        let path = path.as_ref();
        fs::read_to_string(self.root.join(path)).map_err(Failure::of(path.display()))
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// A program that starts in the root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        command.args(arguments);
        command
    }

    /// The files of the project: those in git, and new ones that git does not ignore.
    pub(crate) fn files(&self) -> Result<Vec<String>, Failure> {
        let listing = output(
            self.command("git")
                .args(["ls-files", "-co", "--exclude-standard", "-z"]),
        )?;
        let mut files: Vec<String> = listing
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(str::to_owned)
            .collect();
        // A file that was removed and not yet committed is still in git's list.
        files.retain(|path| self.root.join(path).is_file());
        files.sort();
        Ok(files)
    }

    /// Cargo's own description of the workspace.
    pub(crate) fn metadata(&self) -> Result<serde_json::Value, Failure> {
        let text = output(&mut self.cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
        serde_json::from_str(&text).map_err(Failure::of("cargo metadata"))
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target(&self) -> Result<PathBuf, Failure> {
        let metadata = self.metadata()?;
        let target = metadata
            .get("target_directory")
            .and_then(serde_json::Value::as_str);
        target
            .map(PathBuf::from)
            .ok_or_else(|| Failure::new("cargo metadata names no target folder"))
    }
}

/// What a program prints, if it ends well.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let words = words(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(Failure::of(&words))?;
    if !output.status.success() {
        return Err(Failure(format!("`{words}` ended with {}", output.status)));
    }
    String::from_utf8(output.stdout).map_err(Failure::of(&words))
}

/// The command as a person would type it.
pub(crate) fn words(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let arguments = command
        .get_args()
        .map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program)
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}
