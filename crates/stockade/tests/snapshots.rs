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
        let code = output
            .status
            .code()
            .map_or("signal".to_owned(), |code| code.to_string());
        let rendered = format!(
            "exit {code}\n--- stdout\n{}\n--- stderr\n{}\n",
            text(&output.stdout),
            text(&output.stderr)
        );
        expected.assert_eq(&rendered);
    }

    #[test]
    fn a_folder_without_a_project_says_how_to_make_one() {
        check(
            &["log", "verify"],
            expect![[r#"
            exit 2
            --- stdout

            --- stderr
            error: `.` is not a Stockade project
            hint: `stockade init --dir .` makes one, `stockade up --dir .` an example
        "#]],
        );
        check(
            &["doctor", "--format", "json"],
            expect![[r#"
            exit 2
            --- stdout
            {"error":"`.` is not a Stockade project","causes":[],"hint":"`stockade init --dir .` makes one, `stockade up --dir .` an example","exit":2}
            --- stderr
            error: `.` is not a Stockade project
            hint: `stockade init --dir .` makes one, `stockade up --dir .` an example
        "#]],
        );
    }

    #[test]
    fn usage_errors_exit_2_in_every_format() {
        check(
            &["nonsense", "--format", "json"],
            expect![[r#"
            exit 2
            --- stdout
            {"error":"unrecognized subcommand 'nonsense'","causes":[],"hint":"`stockade --help` shows what there is","exit":2}
            --- stderr
            error: unrecognized subcommand 'nonsense'
            hint: `stockade --help` shows what there is
        "#]],
        );
        check(
            &["log", "verify", "--log", "x"],
            expect![[r#"
            exit 2
            --- stdout

            --- stderr
            error: the following required arguments were not provided:
              --key <FILE>

            Usage: stockade log verify --log <PATH> --key <FILE>

            For more information, try '--help'.
        "#]],
        );
        check(
            &["access", "key", "create", "--as", "me", "--principal", "x"],
            expect![[r#"
            exit 2
            --- stdout

            --- stderr
            error: the following required arguments were not provided:
              --key-file <FILE>

            Usage: stockade access key create --principal <PRINCIPAL> --key-file <FILE> --as <NAME>

            For more information, try '--help'.
        "#]],
        );
    }

    #[test]
    fn nobody_is_asked_without_a_terminal() {
        check(
            &["init"],
            expect![[r#"
            exit 2
            --- stdout

            --- stderr
            error: no terminal to ask for a recovery passphrase
            hint: give it with --recovery-file FILE, or choose --no-recovery
        "#]],
        );
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
        std::fs::write(
            dir.path().join("stockade.toml"),
            "[limits]\ndaily_budget = \"many\"\n",
        )
        .unwrap();
        check_in(
            dir.path(),
            &["config", "check"],
            expect![[r#"
            exit 2
            --- stdout

            --- stderr
            error: invalid configuration in `./stockade.toml:2`: invalid type: string "many", expected u64
            hint: `stockade config schema` prints every setting with its meaning
              x this does not fit
               ,-[./stockade.toml:2:16]
             1 | [limits]
             2 | daily_budget = "many"
               :                ^^^|^^
               :                   `-- invalid type: string "many", expected u64
               `----
        "#]],
        );
        std::fs::write(
            dir.path().join("stockade.toml"),
            "[model.m]\nsource = \"s3:m\"\nenvironment = \"prod\"\n",
        )
        .unwrap();
        check_in(
            dir.path(),
            &["config", "check"],
            expect![[r#"
            exit 2
            --- stdout

            --- stderr
            error: model `m` has the source `s3:m`
            hint: write it as `vault:NAME@VERSION` or `upstream:NAME/MODEL`
        "#]],
        );
    }

    /// Not word for word: which action the hint suggests is the policy engine's choice, and differs from run to run.
    #[test]
    fn a_mistake_in_a_policy_names_its_file_line_and_a_cure() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("policies")).unwrap();
        let policy = "permit (principal, action == Action::\"fly\", resource);";
        std::fs::write(dir.path().join("policies/client.cedar"), policy).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_stockade"))
            .args(["config", "check", "--dir"])
            .arg(dir.path())
            .env_clear()
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8_lossy(&output.stderr);
        for part in [
            "policy file `client.cedar`, line 1",
            "unrecognized action `Action::\"fly\"`",
            "hint: did you mean",
        ] {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
    }

    #[test]
    fn the_verifier_keys_are_a_pair() {
        check(
            &["log", "verify", "--log", ".", "--key", "missing"],
            expect![[r#"
            exit 2
            --- stdout

            --- stderr
            error: cannot read `missing`: No such file or directory (os error 2)
        "#]],
        );
    }
}
