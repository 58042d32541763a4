//! What people and scripts read, word for word: help, errors and their exit codes, from the real binary.
//!
//! `UPDATE_EXPECT=1 cargo test -p stockade --test snapshots` writes them anew.

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        process::{Command, Stdio},
    };

    use expect_test::{Expect, expect};

    /// Runs the binary in an empty folder and renders exit code, standard output and standard error.
    #[track_caller]
    fn check(arguments: &[&str], expected: Expect) {
        let dir = tempfile::tempdir().unwrap();
        check_in(dir.path(), arguments, expected);
    }

    #[track_caller]
    fn check_in(dir: &Path, arguments: &[&str], expected: Expect) {
        let output = Command::new(env!("CARGO_BIN_EXE_stockade"))
            .args(arguments)
            .current_dir(dir)
            .env_clear()
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let code = output.status.code().map_or("signal".to_owned(), |code| code.to_string());
        let rendered =
            format!("exit {code}\n--- stdout\n{}\n--- stderr\n{}\n", text(&output.stdout), text(&output.stderr));
        expected.assert_eq(&rendered);
    }

    #[test]
    fn a_folder_without_a_project_says_how_to_make_one() {
        check(&["log", "verify"], expect![[""]]);
        check(&["doctor", "--format", "json"], expect![[""]]);
    }

    #[test]
    fn usage_errors_exit_2_in_every_format() {
        check(&["nonsense", "--format", "json"], expect![[""]]);
        check(&["log", "verify", "--log", "x"], expect![[""]]);
        check(&["access", "key", "create", "--as", "me", "--principal", "x"], expect![[""]]);
    }

    #[test]
    fn nobody_is_asked_without_a_terminal() {
        check(&["init"], expect![[""]]);
    }

    #[test]
    fn a_mistake_in_the_configuration_is_shown_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let init = Command::new(env!("CARGO_BIN_EXE_stockade"))
            .args(["init", "--no-recovery", "--quiet", "--dir"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(init.success());
        std::fs::write(dir.path().join("stockade.toml"), "[limits]\ndaily_budget = \"many\"\n").unwrap();
        check_in(dir.path(), &["config", "check"], expect![[""]]);
        std::fs::write(dir.path().join("stockade.toml"), "[model.m]\nsource = \"s3:m\"\nenvironment = \"prod\"\n").unwrap();
        check_in(dir.path(), &["config", "check"], expect![[""]]);
        std::fs::write(dir.path().join("stockade.toml"), "").unwrap();
        std::fs::write(dir.path().join("policies/client.cedar"), "permit (principal, action == Action::\"fly\", resource);").unwrap();
        check_in(dir.path(), &["config", "check"], expect![[""]]);
    }

    #[test]
    fn the_verifier_keys_are_a_pair() {
        check(&["log", "verify", "--log", ".", "--key", "missing"], expect![[""]]);
    }
}
