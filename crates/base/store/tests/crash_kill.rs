//! A process that appends from several threads is killed at random points, over and over on the same folder. Whatever
//! it acknowledged is there afterwards, and every checkpoint that anybody saw is kept.

#[cfg(test)]
mod log_support;

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        env,
        io::{BufRead, BufReader, Write},
        path::{Path, PathBuf},
        process::{Command, Stdio},
        thread,
        time::Duration,
    };

    use stockade_evidence::{open_checkpoint, root_at};
    use stockade_store::log::{FolderSource, LogOpenError};

    use crate::log_support::{
        ORIGIN, Random, answer, config, create, kept_keys, leaf, open, paths, verifier, verify,
    };

    const FOLDER: &str = "STOCKADE_CRASH_FOLDER";
    const KILLS: u64 = 200;
    const THREADS: u64 = 4;
    const ACKNOWLEDGED: &str = "acknowledged";

    fn digest(entry: &[u8]) -> String {
        stockade_crypto::sha256(entry)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The process that is killed: this test again, with a folder to write to.
    #[test]
    fn appender() {
        let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else {
            return;
        };
        let log = open(&folder, &kept_keys(&folder), config()).unwrap();
        let start = log.durable_size();
        thread::scope(|scope| {
            for worker in 0..THREADS {
                let log = log.clone();
                scope.spawn(move || {
                    for n in 0.. {
                        let entry = leaf(
                            (start << 20) | (worker << 16) | n,
                            10 + usize::try_from(n * 37 % 900).unwrap(),
                        );
                        let Ok(index) = answer(log.append(entry.clone())) else {
                            return;
                        };
                        let line = format!("{ACKNOWLEDGED} {index} {}\n", digest(&entry));
                        if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }

    /// Lets a process append until it is killed. Returns what it acknowledged.
    fn run_and_kill(folder: &Path, after: Duration) -> BTreeMap<u64, String> {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "tests::appender", "--nocapture", "--test-threads", "1"])
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let reader = thread::spawn(move || {
            let mut acknowledged = BTreeMap::new();
            let lines: Vec<String> = output.lines().map_while(Result::ok).collect();
            // The harness may have begun a line that an acknowledgement ended; the last line may be cut.
            for line in &lines {
                let words: Vec<&str> = line.split(' ').collect();
                if let [.., word, index, digest] = words[..]
                    && word.ends_with(ACKNOWLEDGED)
                    && digest.len() == 64
                {
                    acknowledged.insert(index.parse().unwrap(), digest.to_owned());
                }
            }
            acknowledged
        });
        thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap()
    }

    #[test]
    fn nothing_acknowledged_is_lost_by_200_kills() {
        let dir = tempfile::tempdir().unwrap();
        let keys = kept_keys(dir.path());
        let verifiers = [verifier(ORIGIN, &keys)];
        create(dir.path(), &keys, config()).close().unwrap();
        let (paths, mut random) = (paths(dir.path()), Random(11));
        let source = FolderSource::new(&paths.log);
        let (mut seen, mut all) = (Vec::new(), BTreeMap::new());
        for kill in 0..KILLS {
            // From before the log is open until long after.
            let after = Duration::from_micros(2_000 + random.below(80_000));
            let acknowledged = run_and_kill(dir.path(), after);
            // What a reader finds before the log is opened again.
            let text = source.checkpoint().unwrap().unwrap();
            seen.push(open_checkpoint(&text, &verifiers).unwrap().checkpoint);
            let log = open(dir.path(), &keys, config())
                .unwrap_or_else(|error: LogOpenError| panic!("{kill}: {error}"));
            let first = acknowledged.keys().next().copied().unwrap_or(log.durable_size());
            let mut found = BTreeMap::new();
            log.read(first, &mut |index, entry| {
                found.insert(index, digest(entry));
                true
            })
            .unwrap();
            for (index, digest) in &acknowledged {
                assert_eq!(
                    found.get(index),
                    Some(digest),
                    "kill {kill}: entry {index} is lost"
                );
            }
            all.extend(acknowledged);
            log.close().unwrap();
            // Every checkpoint so far is a beginning of the log as it is now.
            let recent = seen.len().saturating_sub(5);
            for checkpoint in &seen[recent..] {
                assert_eq!(
                    root_at(&source, checkpoint.size).unwrap(),
                    checkpoint.root,
                    "kill {kill}"
                );
            }
            if kill % 40 == 0 {
                let verified = verify(&paths, &verifiers);
                assert!(verified.ok, "kill {kill}: {:?}", verified.problems);
            }
        }
        let verified = verify(&paths, &verifiers);
        assert!(verified.ok, "{:?}", verified.problems);
        for checkpoint in &seen {
            assert_eq!(root_at(&source, checkpoint.size).unwrap(), checkpoint.root);
        }
        assert!(
            all.len() as u64 > 5 * KILLS,
            "only {} entries were acknowledged",
            all.len()
        );
        println!(
            "{KILLS} kills, {} entries acknowledged, {} in the log",
            all.len(),
            verified.size
        );
    }
}
