//! The contract for scripts: `up`, the ready file, the errors, the log's verification.

#[cfg(test)]
mod support;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        path::Path,
        time::{Duration, Instant},
    };

    use serde_json::Value;

    use crate::support::{Answer, SEVEN, Server, files, json, label, run, stockade};

    #[test]
    fn up_answers_protects_and_continues() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine.txt"), "kept").unwrap();
        let server = Server::up(dir.path());
        for (field, file) in [
            ("ca_cert", 0o644),
            ("client_key_file", 0o600),
            ("admin_key_file", 0o600),
        ] {
            let path = Path::new(server.ready[field].as_str().unwrap());
            assert!(path.is_absolute(), "{field}");
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o777,
                file,
                "{field}"
            );
        }
        assert_eq!(
            fs::metadata(&server.ready_file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(server.ready["model"], "digits");
        assert!(!server.gateway().ends_with('/') && server.gateway().starts_with("https://127.0.0.1:"));

        let answer = server.infer(SEVEN);
        assert_eq!(label(&answer), 7);
        assert!(
            answer.headers.to_lowercase().contains("x-request-id:"),
            "{}",
            answer.headers
        );

        let key = server.key("client");
        let ready_file = server.ready_file.clone();
        assert_eq!(server.stop(), Some(0));
        assert!(!ready_file.exists());

        let again = Server::up(dir.path());
        assert_eq!(
            again.key("client"),
            key,
            "the same folder continues with the same key"
        );
        assert_eq!(label(&again.infer(SEVEN)), 7);
        assert_eq!(again.stop(), Some(0));

        let verified = json(dir.path(), &["log", "verify"]);
        assert_eq!(verified["ok"], true, "{verified}");
        assert!(verified["records_checked"].as_u64().unwrap() > 5);
        assert_eq!(verified["records_checked"], verified["size"]);
        assert_eq!(verified["others"], Value::Array(Vec::new()));
        let kinds: Vec<&str> = verified["checkpoint_signatures"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["ed25519", "ml-dsa-44"]);
        assert_eq!(fs::read_to_string(dir.path().join("mine.txt")).unwrap(), "kept");
    }

    #[test]
    fn errors_have_a_status_a_code_and_a_request_id() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let url = format!("{}/v2/models/digits/infer", server.gateway());
        let client = server.key("client");
        let last = if client.ends_with('A') { 'B' } else { 'A' };
        let wrong = format!("{}{last}", client.strip_suffix(|_: char| true).unwrap());
        let deep = format!("{{\"inputs\":{}", "[".repeat(100_000));
        let large = vec![b' '; 64 << 20];
        let nan = br#"{"inputs":[{"name":"pixels","shape":[1,64],"datatype":"FP32","data":[NaN]}]}"#;
        let shape = br#"{"inputs":[{"name":"pixels","shape":[1,63],"datatype":"FP32","data":[1]}]}"#;
        let refused = |url: &str, key: Option<&str>, body: &[u8], status: u16, code: &str| {
            let answer = server.curl(url, key, Some(body));
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (status, code),
                "{answer:?}"
            );
            assert!(!answer.json()["request_id"].as_str().unwrap().is_empty());
            assert!(!answer.json()["error"].as_str().unwrap().is_empty());
        };
        refused(&url, None, SEVEN, 401, "unauthenticated");
        refused(&url, Some(&wrong), SEVEN, 401, "unauthenticated");
        refused(&url, Some(&client), b"{", 400, "invalid_request");
        refused(&url, Some(&client), nan, 400, "invalid_request");
        refused(&url, Some(&client), shape, 400, "invalid_request");
        refused(&url, Some(&client), deep.as_bytes(), 400, "invalid_request");
        refused(&url, Some(&client), &large, 413, "body_too_large");
        refused(
            &url.replace("digits", "other"),
            Some(&client),
            SEVEN,
            404,
            "not_found",
        );
        assert_eq!(label(&server.infer(SEVEN)), 7, "and it still works");
    }

    #[test]
    fn every_identified_answer_has_its_own_durable_record() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        for path in ["/v2", "/v2/models/digits", "/v2/models/digits/ready"] {
            assert_eq!(server.get(path).status, 200, "{path}");
        }
        assert_eq!(label(&server.infer(SEVEN)), 7);
        server.kill();
        // What was durable at the kill is integrated when the state is opened again.
        assert_eq!(Server::up(dir.path()).stop(), Some(0));
        let shown = json(dir.path(), &["log", "show", "--event", "request.admitted"]);
        assert_eq!(shown["records"].as_array().unwrap().len(), 4, "{shown}");
    }

    #[test]
    fn a_second_server_on_the_folder_exits_2_and_names_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let second = run(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
        assert_eq!(second.status.code(), Some(2));
        let stderr = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(stderr.contains(&server.pid().to_string()), "{stderr}");
        assert_eq!(label(&server.infer(SEVEN)), 7);
    }

    #[test]
    fn a_revoked_key_is_refused_within_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let made = json(dir.path(), &["access", "key", "create", "--principal", "client"]);
        let key = made["key"].as_str().unwrap().to_owned();
        let url = format!("{}/v2/models/digits/infer", server.gateway());
        assert_eq!(server.curl(&url, Some(&key), Some(SEVEN)).status, 200);
        json(
            dir.path(),
            &["access", "key", "revoke", made["prefix"].as_str().unwrap()],
        );
        let revoked = Instant::now();
        while server.curl(&url, Some(&key), Some(SEVEN)).status == 200 {
            assert!(revoked.elapsed() < Duration::from_secs(1), "still accepted");
        }
        assert_eq!(
            server.curl(&url, Some(&key), Some(SEVEN)).code(),
            "unauthenticated"
        );
        assert_eq!(server.infer(SEVEN).status, 200, "the other key still works");
    }

    #[test]
    fn twenty_writers_work_beside_a_server_under_load() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let stop = std::sync::atomic::AtomicBool::new(false);
        let served = std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut served = 0_u32;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    assert_eq!(server.infer(SEVEN).status, 200);
                    served += 1;
                }
                served
            });
            let writers: Vec<_> = (0..20)
                .map(|n| {
                    let dir = dir.path();
                    scope.spawn(move || {
                        let name = format!("writer-{n}");
                        json(dir, &["access", "principal", "create", &name, "--role", "client"]);
                        json(dir, &["access", "key", "create", "--principal", &name]);
                    })
                })
                .collect();
            for writer in writers {
                writer.join().unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            load.join().unwrap()
        });
        assert!(served > 0);
        let listed = json(dir.path(), &["access", "key", "list"]);
        assert_eq!(listed["keys"].as_array().unwrap().len(), 22, "{listed}");
        assert_eq!(server.stop(), Some(0));
        assert_eq!(json(dir.path(), &["log", "verify"])["ok"], true);
    }

    #[test]
    fn the_admin_listener_alone_has_metrics_and_wants_an_admin() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        assert_eq!(server.infer(SEVEN).status, 200);
        let metrics = format!("{}/metrics", server.admin());
        let answer = server.curl(&metrics, Some(&server.key("admin")), None);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            String::from_utf8_lossy(&answer.body).contains("stockade_"),
            "{answer:?}"
        );
        assert_eq!(server.curl(&metrics, None, None).status, 401);
        assert!(matches!(
            server.curl(&metrics, Some(&server.key("client")), None).status,
            403 | 404
        ));
        assert_eq!(server.get("/metrics").status, 404, "not on the gateway");
        for url in [server.gateway(), server.admin()] {
            for path in ["/livez", "/readyz"] {
                assert_eq!(
                    server.curl(&format!("{url}{path}"), None, None).status,
                    200,
                    "{url}{path}"
                );
            }
        }
    }

    #[test]
    fn a_bad_reload_keeps_the_old_configuration_and_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let config = dir.path().join("stockade.toml");
        let good = fs::read_to_string(&config).unwrap();
        fs::write(&config, good.clone() + "\nnonsense = 1\n").unwrap();
        until("the log says that it was refused", || {
            server.log().contains("stay in force")
        });
        assert_eq!(server.infer(SEVEN).status, 200);
        let labels_only = "\n[model.digits.output.client]\nlabels_only = true\n";
        fs::write(&config, good + labels_only).unwrap();
        until("the new output policy holds", || {
            server.infer(SEVEN).json()["outputs"][0]["name"] == "label"
        });
        let policy = dir.path().join("policies/client.cedar");
        fs::write(
            &policy,
            "permit (principal in Role::\"nobody\", action, resource);",
        )
        .unwrap();
        until("the client may not see the model", || {
            server.infer(SEVEN).status == 404
        });
        assert_eq!(server.stop(), Some(0));
        let events = json(dir.path(), &["log", "show", "--event", "config.refused"]);
        assert!(!events["records"].as_array().unwrap().is_empty(), "{events}");
    }

    #[test]
    fn a_check_finds_what_would_silently_do_something_else() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Server::up(dir.path()).stop(), Some(0));
        let config = dir.path().join("stockade.toml");
        let good = fs::read_to_string(&config).unwrap();
        let check = |over: &str, exit: i32, text: &str| {
            fs::write(&config, good.clone() + over).unwrap();
            for command in [&["config", "check", "--models"][..], &["serve"]] {
                if exit == 0 && command == ["serve"] {
                    continue;
                }
                let output = run(dir.path(), command);
                let said = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(exit), "{command:?}: {said}");
                assert!(said.contains(text), "{command:?}: {said}");
            }
        };
        check("", 0, "");
        let role = "\n[model.digits.output.clint]\ntop_k = 1\n";
        check(role, 2, "did you mean `client`?");
        let hidden = "\n[model.digits.output.client]\nhidden = [\"probabilitys\"]\n";
        check(hidden, 2, "has no output `probabilitys`");
        let absent = "\n[model.other]\nsource = \"vault:other@1\"\nenvironment = \"prod\"\n";
        check(absent, 2, "other");
        check(
            "\n[evidence]\nanchor = \"/nowhere/anchor\"\n",
            2,
            "whose folder does not exist",
        );
        fs::write(&config, good).unwrap();
        let create = ["access", "principal", "create", "a", "--role", "clint"];
        let refused = run(dir.path(), &create);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(
            said.contains("did you mean `client`?") && said.contains("`auditor`"),
            "{said}"
        );
    }

    #[test]
    fn a_file_with_a_mistake_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        json(dir.path(), &["init", "--no-recovery"]);
        let config = dir.path().join("stockade.toml");
        for (mistake, said) in [
            ("listen = \n", "stockade.toml"),
            ("[evidence]\nanchor = \"anchor.txt\"\n", "write an absolute path"),
        ] {
            fs::write(&config, mistake).unwrap();
            let output = run(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{stderr}");
            assert!(stderr.contains(said), "{stderr}");
            assert_eq!(fs::read_to_string(&config).unwrap(), mistake);
        }
    }

    #[test]
    fn checking_the_configuration_leaves_no_mark_and_takes_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        assert_eq!(server.stop(), Some(0));
        let state = |dir: &Path| -> Vec<(std::path::PathBuf, Vec<u8>)> {
            let read = |path: std::path::PathBuf| (path.clone(), fs::read(path).unwrap());
            files(&dir.join(".stockade/log")).into_iter().map(read).collect()
        };
        let before = state(dir.path());
        assert_eq!(json(dir.path(), &["config", "check"])["models_checked"], false);
        assert_eq!(state(dir.path()), before);
        let other = "\n[model.other]\nsource = \"vault:other@1\"\nenvironment = \"prod\"\n";
        let config = dir.path().join("stockade.toml");
        fs::write(&config, fs::read_to_string(&config).unwrap() + other).unwrap();
        let output = run(dir.path(), &["config", "check"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }

    #[test]
    fn a_restored_copy_leaves_the_anchor_to_the_project_that_was_backed_up() {
        let temp = tempfile::tempdir().unwrap();
        let (live, anchor) = (temp.path().join("live"), temp.path().join("anchor"));
        json(&live, &["init", "--no-recovery"]);
        let config = live.join("stockade.toml");
        fs::write(
            &config,
            format!("[evidence]\nanchor = \"{}\"\n", anchor.display()),
        )
        .unwrap();
        let at = |name: &str| temp.path().join(name).display().to_string();
        fs::write(temp.path().join("pass"), "correct horse battery\n").unwrap();
        json(
            &live,
            &["backup", "create", &at("monday"), "--with-keys", &at("pass")],
        );
        let anchored = fs::read(&anchor).unwrap();
        let restore = |name: &str, more: &[&str]| {
            let keys = at("pass");
            let arguments = ["backup", "restore", &at("monday"), "--keys", &keys].map(str::to_owned);
            let arguments: Vec<&str> = arguments
                .iter()
                .map(String::as_str)
                .chain(more.iter().copied())
                .collect();
            json(&temp.path().join(name), &arguments)
        };
        assert_eq!(restore("copy", &[])["anchor_left"], anchor.display().to_string());
        assert_eq!(fs::read(&anchor).unwrap(), anchored);
        json(&live, &["access", "principal", "create", "a", "--role", "client"]);
        let taken = restore("next", &["--take-anchor"]);
        assert_eq!(taken["anchor_left"], Value::Null);
        json(
            &temp.path().join("next"),
            &["access", "principal", "create", "b", "--role", "client"],
        );
        let now = fs::read_to_string(&anchor).unwrap();
        assert!(now.starts_with(taken["origin"].as_str().unwrap()), "{now}");
    }

    #[track_caller]
    fn until(what: &str, mut happened: impl FnMut() -> bool) {
        let started = Instant::now();
        while !happened() {
            assert!(started.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn any_changed_byte_of_the_log_is_found_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        assert_eq!(label(&server.infer(SEVEN)), 7);
        assert_eq!(server.stop(), Some(0));
        let log = dir.path().join(".stockade/log");
        let key = dir.path().join("log.vkey");
        let keys = run(dir.path(), &["log", "key"]);
        fs::write(&key, &keys.stdout).unwrap();
        assert_eq!(String::from_utf8_lossy(&keys.stdout).lines().count(), 2);
        for file in files(&log) {
            let good = fs::read(&file).unwrap();
            let step = (good.len() / 40).max(1);
            for at in (0..good.len()).step_by(step) {
                let mut bad = good.clone();
                bad[at] ^= 1;
                fs::write(&file, &bad).unwrap();
                let output = stockade()
                    .args(["log", "verify", "--format", "json", "--log"])
                    .arg(&log)
                    .arg("--key")
                    .arg(&key)
                    .output()
                    .unwrap();
                let name = file.strip_prefix(&log).unwrap().display().to_string();
                let found: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(output.status.code(), Some(4), "{name} at {at}: {found}");
                let named = found["problems"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|p| p["file"] == name.as_str());
                assert!(named, "{name} at {at}: {found}");
            }
            fs::write(&file, &good).unwrap();
        }
        assert_eq!(json(dir.path(), &["log", "verify"])["ok"], true);
    }

    #[test]
    fn any_changed_byte_of_the_vault_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Server::up(dir.path()).stop(), Some(0));
        let out = dir.path().join("out");
        let vault = dir.path().join(".stockade/vault");
        for file in files(&vault) {
            let good = fs::read(&file).unwrap();
            let step = (good.len() / 25).max(1);
            for at in (0..good.len()).step_by(step) {
                let mut bad = good.clone();
                bad[at] ^= 1;
                fs::write(&file, &bad).unwrap();
                let output = run(
                    dir.path(),
                    &["model", "open", "digits@1", "--out", out.to_str().unwrap()],
                );
                let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(
                    output.status.code(),
                    Some(4),
                    "{} at {at}: {stderr}",
                    file.display()
                );
                assert!(
                    stderr.contains(file.file_name().unwrap().to_str().unwrap()),
                    "{} at {at}: {stderr}",
                    file.display()
                );
                assert!(!out.exists());
            }
            fs::write(&file, &good).unwrap();
        }
        json(
            dir.path(),
            &["model", "open", "digits@1", "--out", out.to_str().unwrap()],
        );
    }

    #[test]
    fn a_spent_budget_stays_spent_after_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Server::up(dir.path()).stop(), Some(0));
        let config = dir.path().join("stockade.toml");
        let text = fs::read_to_string(&config).unwrap() + "\n[limits]\ndaily_budget = 3\n";
        fs::write(&config, text).unwrap();
        let server = Server::up(dir.path());
        for _ in 0..3 {
            assert_eq!(server.infer(SEVEN).status, 200);
        }
        let spent = server.infer(SEVEN);
        assert_eq!((spent.status, spent.code().as_str()), (429, "budget_spent"));
        assert!(
            spent.headers.to_lowercase().contains("retry-after:"),
            "{}",
            spent.headers
        );
        server.kill();
        let server = Server::up(dir.path());
        assert_eq!(server.infer(SEVEN).code(), "budget_spent");
        let (passphrase, backup) = (dir.path().join("passphrase"), dir.path().join("backup"));
        fs::write(&passphrase, "correct horse battery\n").unwrap();
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
        let [passphrase, backup] = [&passphrase, &backup].map(|path| path.to_str().unwrap());
        json(
            dir.path(),
            &["backup", "create", backup, "--with-keys", passphrase],
        );
        assert_eq!(server.stop(), Some(0));

        json(dir.path(), &["log", "recover"]);
        let server = Server::up(dir.path());
        assert_eq!(server.infer(SEVEN).code(), "budget_spent", "after a new origin");
        assert_eq!(server.stop(), Some(0));

        let restored = tempfile::tempdir().unwrap();
        json(
            restored.path(),
            &["backup", "restore", backup, "--keys", passphrase],
        );
        fs::create_dir(restored.path().join("keys")).unwrap();
        for name in ["admin.key", "client.key"] {
            fs::copy(
                dir.path().join("keys").join(name),
                restored.path().join("keys").join(name),
            )
            .unwrap();
        }
        let server = Server::up(restored.path());
        assert_eq!(server.infer(SEVEN).code(), "budget_spent", "after a restore");
    }

    #[test]
    fn a_row_edited_beside_a_server_revives_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let doctor = || {
            let output = run(dir.path(), &["doctor"]);
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        };
        let (code, says) = doctor();
        assert!(
            code == Some(0) && says.contains("rows agree with the log"),
            "{says}"
        );
        let made = json(dir.path(), &["access", "key", "create", "--principal", "client"]);
        let (key, prefix) = (made["key"].as_str().unwrap(), made["prefix"].as_str().unwrap());
        json(dir.path(), &["access", "key", "revoke", prefix]);
        let edit = "UPDATE rows SET value = json_remove(value, '$.revoked') WHERE kind = 'api_key'";
        sql(&dir.path().join(".stockade/records.db"), edit);
        let (code, says) = doctor();
        assert!(code == Some(4) && says.contains("differs from the log"), "{says}");
        let refused = run(
            dir.path(),
            &["access", "principal", "create", "other", "--role", "client"],
        );
        assert!(
            !refused.status.success(),
            "a command decides nothing from such rows either"
        );
        let url = format!("{}/v2/models/digits/infer", server.gateway());
        assert_eq!(server.curl(&url, Some(key), Some(SEVEN)).status, 401);
        assert_eq!(server.stop(), Some(0));
        assert_eq!(
            json(dir.path(), &["log", "show", "--event", "projection.differs"])["records"][0]["record"]["event"],
            "projection.differs"
        );
        assert_eq!(run(dir.path(), &["doctor"]).status.code(), Some(4));
        json(dir.path(), &["doctor", "--rebuild"]);
        let server = Server::up(dir.path());
        assert_eq!(server.infer(SEVEN).status, 200);
        let url = format!("{}/v2/models/digits/infer", server.gateway());
        assert_eq!(
            server.curl(&url, Some(key), Some(SEVEN)).status,
            401,
            "still revoked"
        );
    }

    /// Runs SQL on a database, behind everybody's back.
    fn sql(database: &Path, statement: &'static str) {
        use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let options = SqliteConnectOptions::new().filename(database);
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let done = sqlx::query(statement).execute(&mut connection).await.unwrap();
            assert!(done.rows_affected() > 0);
            connection.close().await.unwrap();
        });
    }

    #[test]
    fn a_backup_is_verified_with_a_key_or_not_at_all() {
        let house = tempfile::tempdir().unwrap();
        let dir = house.path().join("project");
        json(&dir, &["init", "--no-recovery"]);
        let keys = |name: &str| {
            let file = house.path().join(name);
            fs::write(&file, run(&dir, &["log", "key"]).stdout).unwrap();
            file.to_str().unwrap().to_owned()
        };
        let (before, backup) = (keys("before.vkey"), house.path().join("backup"));
        let backup = backup.to_str().unwrap();
        json(&dir, &["backup", "create", backup]);
        json(&dir, &["keys", "rotate", "log"]);
        let after = keys("after.vkey");
        assert_eq!(json(&dir, &["backup", "verify", backup])["signature"], "valid");
        let elsewhere = house.path().join("elsewhere");
        let verify = |more: &[&str]| {
            run(&elsewhere, &[&["backup", "verify", backup], more].concat())
                .status
                .code()
        };
        assert_eq!(verify(&["--key", &before]), Some(0));
        assert_eq!(verify(&["--key", &after]), Some(4), "another key signed it");
        assert_eq!(verify(&[]), Some(2));
    }

    #[test]
    fn a_marker_sent_on_every_path_is_found_nowhere() {
        const MARKER: &str = "MARKER7f3a9c51e2";
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let client = server.key("client");
        let base = server.gateway().to_owned();
        let infer = format!("{base}/v2/models/digits/infer");
        let with_id =
            String::from_utf8(SEVEN.to_vec())
                .unwrap()
                .replacen('{', &format!("{{\"id\":\"{MARKER}\","), 1);
        #[track_caller]
        fn answered(answer: &Answer, status: u16) {
            assert_eq!(answer.status, status, "{answer:?}");
        }
        answered(&server.curl(&infer, Some(&client), Some(with_id.as_bytes())), 200);
        let named = String::from_utf8(SEVEN.to_vec())
            .unwrap()
            .replace("pixels", MARKER);
        answered(&server.curl(&infer, Some(&client), Some(named.as_bytes())), 400);
        answered(&server.curl(&infer, Some(MARKER), Some(SEVEN)), 401);
        let like_a_key = format!("stk_{MARKER}");
        answered(&server.curl(&infer, Some(&like_a_key), Some(SEVEN)), 401);
        for path in [
            format!("{base}/v2/models/{MARKER}/infer"),
            format!("{base}/{MARKER}"),
            format!("{infer}?user={MARKER}"),
        ] {
            server.curl(&path, Some(&client), Some(SEVEN));
        }
        server.curl(&infer, Some(&client), Some(MARKER.as_bytes()));
        let log = server.log();
        assert_eq!(server.stop(), Some(0));
        assert!(!log.contains(MARKER), "{log}");
        for file in files(&dir.path().join(".stockade")) {
            let bytes = fs::read(&file).unwrap();
            assert!(
                !bytes
                    .windows(MARKER.len())
                    .any(|window| window == MARKER.as_bytes()),
                "{}",
                file.display()
            );
        }
    }
}
