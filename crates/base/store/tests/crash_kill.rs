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
        sync::mpsc,
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

    /// When a process is killed.
    enum Moment {
        /// So long after its start: while it opens the log, or later.
        AfterStart(Duration),
        /// So long after it acknowledged so many entries: under load, however busy the machine is.
        AfterAcknowledging(u64, Duration),
    }

    fn parse(line: &str) -> Option<(u64, String)> {
        // The harness may have begun the line; the last line may be cut.
        let words: Vec<&str> = line.split(' ').collect();
        let [.., word, index, digest] = words[..] else {
            return None;
        };
        (word.ends_with(ACKNOWLEDGED) && digest.len() == 64)
            .then(|| (index.parse().unwrap(), digest.to_owned()))
    }

    /// Lets a process append until it is killed. Returns what it acknowledged.
    fn run_and_kill(folder: &Path, moment: &Moment) -> BTreeMap<u64, String> {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "tests::appender", "--nocapture", "--test-threads", "1"])
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (counted, count) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut acknowledged = BTreeMap::new();
            for (index, digest) in output
                .lines()
                .map_while(Result::ok)
                .filter_map(|line| parse(&line))
            {
                acknowledged.insert(index, digest);
                // Nobody counts any more once the process is to be killed.
                let _ = counted.send(());
            }
            acknowledged
        });
        match moment {
            Moment::AfterStart(wait) => thread::sleep(*wait),
            Moment::AfterAcknowledging(entries, wait) => {
                for _ in 0..*entries {
                    count
                        .recv_timeout(Duration::from_secs(60))
                        .expect("the process appends");
                }
                thread::sleep(*wait);
            }
        }
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
            let moment = if random.below(4) == 0 {
                Moment::AfterStart(Duration::from_micros(1_000 + random.below(30_000)))
            } else {
                Moment::AfterAcknowledging(1 + random.below(100), Duration::from_micros(random.below(5_000)))
            };
            let acknowledged = run_and_kill(dir.path(), &moment);
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
