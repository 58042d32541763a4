//! `log verify` on a project's own logs: what a rollback, a lost folder, a forged retention or a stolen former key look
//! like, and that an honest log beside a running server looks well.

#[cfg(test)]
#[expect(dead_code, reason = "the contract's tests use all of it")]
mod support;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
        sync::atomic::{AtomicBool, Ordering},
    };

    use crate::support::{SEVEN, Server, json, run};

    fn copy(from: &Path, to: &Path) {
        if !from.is_dir() {
            fs::copy(from, to).unwrap();
            return;
        }
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
        fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    }

    fn put_back(from: &Path, to: &Path) {
        if to.is_dir() {
            fs::remove_dir_all(to).unwrap();
        }
        copy(from, to);
    }

    /// A project of its own, and folders beside it.
    struct House {
        temp: tempfile::TempDir,
        dir: PathBuf,
    }

    impl House {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let dir = temp.path().join("project");
            let house = Self { temp, dir };
            house.done(&["init", "--no-recovery"]);
            house
        }

        fn state(&self, part: &str) -> PathBuf {
            self.dir.join(".stockade").join(part)
        }

        fn keep(&self, name: &str) -> PathBuf {
            let kept = self.temp.path().join(name);
            copy(&self.state(""), &kept);
            kept
        }

        #[track_caller]
        fn done(&self, arguments: &[&str]) {
            let output = run(&self.dir, arguments);
            assert!(output.status.success(), "{arguments:?}: {output:?}");
        }

        /// Runs the command, and expects the exit code and, in what is printed, the words.
        #[track_caller]
        fn says(&self, arguments: &[&str], exit: i32, words: &str) {
            let output = run(&self.dir, arguments);
            let printed = [output.stdout.as_slice(), &output.stderr].concat();
            let text = String::from_utf8_lossy(&printed);
            assert_eq!(output.status.code(), Some(exit), "{text}");
            assert!(text.contains(words), "{text}");
        }

        #[track_caller]
        fn verified(&self, exit: i32, words: &str) {
            self.says(&["log", "verify"], exit, words);
        }
    }

    #[test]
    fn a_rollback_is_seen_from_inside() {
        let house = House::new();
        house.done(&["keys", "rotate", "root"]);
        let old = house.keep("old");
        house.done(&["keys", "rotate", "log"]);
        house.done(&["keys", "rotate", "log"]);
        house.verified(0, "intact");
        let new = house.keep("new");

        put_back(&old.join("log"), &house.state("log"));
        house.verified(4, "it was put back to an older state");
        fs::remove_dir_all(house.state("log")).unwrap();
        house.verified(4, "checkpoint: is missing");
        put_back(&new.join("log"), &house.state("log"));

        fs::remove_file(house.state("head.json")).unwrap();
        house.verified(4, "head.json: is missing");
        let head = fs::read_to_string(new.join("head.json")).unwrap();
        fs::write(
            house.state("head.json"),
            head.replacen("\"size\":", "\"size\":1", 1),
        )
        .unwrap();
        house.verified(4, "head.json: ");
        put_back(&new, &house.state(""));
        house.verified(0, "intact");
    }

    #[test]
    fn retention_is_believed_only_with_its_record() {
        let house = House::new();
        let forged = r#"{"minimum_index":1,"removed_below":0,"legal_hold":false}"#;
        fs::write(house.state("retention.json"), forged).unwrap();
        house.verified(4, "retention.json: says that entries below 1 were pruned");
        fs::write(house.state("retention.json"), "{").unwrap();
        house.verified(4, "retention.json: ");
        fs::remove_file(house.state("retention.json")).unwrap();
        house.verified(0, "intact");
    }

    #[test]
    fn a_former_key_signs_nothing_new() {
        let house = House::new();
        let before = house.keep("before");
        let fork = house.temp.path().join("fork");
        copy(&house.dir, &fork);
        // The thief has the old keys and goes on with them.
        let forked = run(&fork, &["keys", "rotate", "root"]);
        assert!(forked.status.success(), "{forked:?}");
        house.done(&["keys", "rotate", "log"]);
        let after = house.keep("after");
        put_back(&fork.join(".stockade/log"), &house.state("log"));
        house.verified(4, "signed by keys that were rotated out");
        house.says(&["log", "show"], 4, "signed by keys that were rotated out");
        put_back(&after, &house.state(""));

        // A rotation that was interrupted after the keyring: the checkpoint is the one before it.
        for part in ["log", "journal", "head.json", "records.db", "log.vkey"] {
            put_back(&before.join(part), &house.state(part));
        }
        house.verified(0, "intact");
        house.done(&["log", "show"]);
        house.done(&["log", "recover"]);
        house.verified(0, "intact");
    }

    #[test]
    fn a_former_log_must_stay_as_it_was() {
        let house = House::new();
        let early = house.keep("early").join("log");
        house.done(&["keys", "rotate", "root"]);
        house.done(&["keys", "rotate", "log"]);
        let checkpoint = house.temp.path().join("checkpoint");
        copy(&house.state("log/checkpoint"), &checkpoint);
        house.done(&["log", "recover"]);
        house.done(&["log", "recover"]);
        house.verified(0, "intact");
        house.says(
            &["log", "verify", "--since", checkpoint.to_str().unwrap()],
            0,
            "intact",
        );
        let whole = house.keep("whole").join("origins");
        let former = fs::read_dir(house.state("origins"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| {
                fs::read(path.join("checkpoint")).is_ok_and(|text| text == fs::read(&checkpoint).unwrap())
            })
            .unwrap();
        let name = former.file_name().unwrap().to_str().unwrap().to_owned();

        put_back(&early, &former);
        house.verified(4, &format!("origins/{name}: is not the log of"));
        fs::remove_dir_all(&former).unwrap();
        house.verified(4, &format!("origins/{name}: is missing"));
        put_back(&whole, &house.state("origins"));
        fs::remove_file(former.with_extension("head.json")).unwrap();
        house.verified(4, &format!("origins/{name}.head.json: is missing"));
        fs::remove_dir_all(house.state("origins")).unwrap();
        house.verified(4, "origins: 2 logs were left behind, and 0 are there");
        put_back(&whole, &house.state("origins"));
        house.verified(0, "intact");
    }

    #[test]
    fn the_log_verifies_without_the_root_key() {
        let house = House::new();
        house.done(&["keys", "rotate", "log"]);
        let key = json(&house.dir, &["log", "key"]);
        let whole = house.keep("whole");
        let root = fs::read_dir(house.state("keys"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|extension| extension == "key"))
            .unwrap();
        fs::remove_file(&root).unwrap();
        let refused = run(&house.dir, &["log", "key"]);
        assert_eq!(
            (refused.status.code(), refused.stdout.as_slice()),
            (Some(4), &[][..])
        );
        house.says(&["log", "key"], 4, "nothing here confirms the keys in `log.vkey`");
        assert_eq!(json(&house.dir, &["log", "key", "--unconfirmed"]), key);
        // Whoever can write the folder can write `log.vkey`, and a log to go with it.
        house.verified(4, "keys/keyring.json: does not open, so nothing here confirms");
        house.verified(4, "`--log` and `--key`");
        let kept = house.temp.path().join("kept.vkey");
        let lines: Vec<&str> = key["keys"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|line| line.as_str())
            .collect();
        fs::write(&kept, lines.join("\n")).unwrap();
        let (log, kept) = (house.state("log"), kept.to_str().unwrap().to_owned());
        let stranger = ["log", "verify", "--log", log.to_str().unwrap(), "--key", &kept];
        house.says(&stranger, 0, "intact");
        let tile = house.state("log/checkpoint");
        let text = fs::read_to_string(&tile).unwrap();
        fs::write(&tile, text.replacen('\n', "\n1", 1)).unwrap();
        house.verified(4, "BROKEN");
        house.says(&stranger, 4, "BROKEN");
        fs::remove_file(house.state("log.vkey")).unwrap();
        house.says(&["log", "verify"], 3, "the root key");
        put_back(&whole, &house.state(""));

        // Where the keyring opens, it is the judge of the file.
        let lines = fs::read_to_string(house.state("log.vkey")).unwrap();
        let other = House::new();
        copy(&other.state("log.vkey"), &house.state("log.vkey"));
        house.verified(4, "log.vkey: does not hold the keys");
        house.says(&["log", "key"], 4, "log.vkey");
        house.done(&["keys", "rotate", "root"]);
        assert_eq!(fs::read_to_string(house.state("log.vkey")).unwrap(), lines);
        house.verified(0, "intact");
    }

    #[test]
    fn a_lost_keyring_leaves_a_log_that_verifies() {
        let house = House::new();
        house.done(&["keys", "rotate", "log"]);
        fs::remove_file(house.state("keys/keyring.json")).unwrap();
        house.done(&["keys", "rebuild"]);
        assert!(house.state("log.vkey.before-rebuild").exists() && !house.state("log.vkey").exists());
        house.says(&["log", "recover"], 4, "--accept-rows");
        house.done(&["log", "recover", "--accept-rows"]);
        house.verified(0, "intact");
        fs::remove_file(house.state("log.vkey.before-rebuild")).unwrap();
        house.verified(4, "BROKEN");
    }

    #[test]
    fn an_edited_row_is_not_signed_by_a_recovery() {
        let house = House::new();
        house.done(&["access", "principal", "create", "bob", "--role", "client"]);
        house.verified(0, "intact");
        fs::remove_file(house.state("head.json")).unwrap();
        let database = house.state("records.db");
        let bytes = fs::read(&database).unwrap();
        let at = bytes.windows(7).position(|bytes| bytes == b"\"client").unwrap();
        let mut edited = bytes.clone();
        edited[at..at + 7].copy_from_slice(b"\"admins");
        fs::write(&database, edited).unwrap();
        house.says(&["log", "recover"], 4, "--accept-rows");
        fs::write(&database, bytes).unwrap();
        house.says(&["log", "recover"], 4, "is not proven to be all of it");
        house.done(&["log", "recover", "--accept-rows"]);
        house.verified(0, "intact");
    }

    #[test]
    fn a_disk_that_fails_is_no_tampering() {
        let house = House::new();
        let bundle = house.state("log/tile/entries");
        let partials = fs::read_dir(&bundle).unwrap().next().unwrap().unwrap().path();
        let file = fs::read_dir(partials).unwrap().next().unwrap().unwrap().path();
        fs::remove_file(&file).unwrap();
        house.says(&["log", "show"], 4, "is missing");
        fs::create_dir(&file).unwrap();
        house.says(&["log", "show"], 3, "cannot");
    }

    #[test]
    fn a_running_log_looks_well() {
        let temp = tempfile::tempdir().unwrap();
        let server = Server::up(temp.path());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(server.infer(SEVEN).status, 200);
                }
            });
            for _ in 0..10 {
                let verified = run(temp.path(), &["log", "verify", "--format", "json"]);
                let text = String::from_utf8_lossy(&verified.stdout);
                if !verified.status.success() {
                    stop.store(true, Ordering::Relaxed);
                }
                assert!(verified.status.success(), "{text}");
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(server.stop(), Some(0));
    }
}
