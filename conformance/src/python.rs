//! Python environments of the counterparts: made once under cargo's target folder, shared by all tests.
//!
//! An environment is complete or it is made again: a marker file is written last, and a file lock keeps tests that
//! run at the same time from making it twice.

use std::{
    collections::hash_map::DefaultHasher,
    fs::{self, File},
    hash::{Hash, Hasher},
    io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Oldest Python that is tried.
const OLDEST: (u32, u32) = (3, 9);

/// The Python executable of an environment that has `requirements` (the text of a requirements file) installed.
pub fn environment(name: &str, requirements: &str) -> Result<PathBuf, PythonError> {
    let version = version()?;
    let mut hasher = DefaultHasher::new();
    (&version, requirements).hash(&mut hasher);
    let folder = target_folder()?.join("python");
    let home = folder.join(format!("{name}-{:016x}", hasher.finish()));
    let python = home.join("bin").join("python");

    fs::create_dir_all(&folder).map_err(PythonError::io(&folder))?;
    let lock_path = folder.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).map_err(PythonError::io(&lock_path))?;
    lock.lock().map_err(PythonError::io(&lock_path))?;
    let marker = home.join("complete");
    if !marker.exists() {
        make(&home, &python, requirements)?;
        fs::write(&marker, &version).map_err(PythonError::io(&marker))?;
    }
    Ok(python)
}

/// Runs a program to its end; its standard error becomes part of the error.
pub fn run(command: &mut Command) -> Result<Output, PythonError> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|source| PythonError::NotStarted {
        command: shown.clone(),
        source,
    })?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(PythonError::Failed {
            command: shown,
            status: output.status.to_string(),
            stderr,
        });
    }
    Ok(output)
}

fn make(home: &Path, python: &Path, requirements: &str) -> Result<(), PythonError> {
    if home.exists() {
        fs::remove_dir_all(home).map_err(PythonError::io(home))?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(home))?;
    let file = home.join("requirements.txt");
    fs::write(&file, requirements).map_err(PythonError::io(&file))?;
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--quiet",
        "-r",
    ])
    .arg(&file);
    run(&mut pip)?;
    Ok(())
}

fn version() -> Result<String, PythonError> {
    let output = run(Command::new("python3").args(["-c", "import sys; print(*sys.version_info[:2])"]))?;
    let found = String::from_utf8_lossy(&output.stdout).trim().replace(' ', ".");
    let numbers = found
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    if numbers.is_none_or(|numbers: (u32, u32)| numbers < OLDEST) {
        return Err(PythonError::TooOld { found });
    }
    Ok(found)
}

/// Cargo's target folder: the one above the running test that carries cargo's cache tag.
fn target_folder() -> Result<PathBuf, PythonError> {
    let test = std::env::current_exe().map_err(PythonError::io(Path::new("the running test")))?;
    let tagged = test
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists());
    Ok(tagged.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        Path::to_path_buf,
    ))
}

/// Why there is no Python environment, or why a program in it failed.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// The program could not be started.
    #[error(
        "could not start {command}\nhint: Python 3.9 or newer must be on the PATH as `python3` (Debian: python3-venv)"
    )]
    NotStarted {
        /// What was to run.
        command: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The program ended with an error.
    #[error("{command} failed ({status}):\n{stderr}")]
    Failed {
        /// What ran.
        command: String,
        /// How it ended.
        status: String,
        /// What it said.
        stderr: String,
    },
    /// The Python on the PATH is too old.
    #[error("`python3` is {found}; 3.9 or newer is needed")]
    TooOld {
        /// Its version.
        found: String,
    },
    /// A file of the environment could not be used.
    #[error("`{}` could not be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl PythonError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_made_once_and_runs() {
        let first = environment("empty", "").unwrap();
        let made = fs::metadata(first.parent().unwrap()).unwrap().modified().unwrap();
        let again = environment("empty", "").unwrap();
        assert_eq!(first, again);
        assert_eq!(
            made,
            fs::metadata(again.parent().unwrap()).unwrap().modified().unwrap()
        );
        run(Command::new(&first).args(["-c", "import sys; assert sys.prefix != sys.base_prefix"])).unwrap();
    }

    #[test]
    fn what_pip_says_is_shown() {
        let error = environment("broken", "this is not a requirement\n").unwrap_err();
        assert!(error.to_string().contains("Invalid requirement"), "{error}");
    }
}
