//! The log against second implementations: tiles and checkpoint with the Go team's sumdb, the ML-DSA-44 line with
//! PyPI dilithium-py.

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fs, io,
        path::{Path, PathBuf},
        process::Command,
    };

    use serde_json::json;
    use stockade_conformance::{python, skip};
    use stockade_crypto::{JournalKey, LogKeys, SignatureAlgorithm, SigningKey};
    use stockade_evidence::{
        Actor, Checkpoint, Event, Hash, LogVerifier, Record, RecordId, TileSource, TileWriter, Timestamp,
        consistency_proof, encode_entries, entries_path, inclusion_proof, leaf_hash, open_checkpoint,
        sign_checkpoint, verify_log,
    };
    use tempfile::TempDir;

    const ORIGIN: &str = "stockade.example/conformance";
    const SIZES: [u64; 5] = [1, 255, 256, 257, 70_000];
    const NOW: Timestamp = Timestamp::from_unix_ms(1_795_000_000_000);

    /// Where Debian's golang-golang-x-mod-dev puts what go/go.mod names.
    const X_MOD: &str = "/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog/tile.go";

    struct Folder(PathBuf);

    impl TileSource for Folder {
        type Error = io::Error;

        fn read(&self, path: &str) -> Result<Option<Vec<u8>>, io::Error> {
            match fs::read(self.0.join(path)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        }
    }

    fn keys() -> LogKeys {
        LogKeys {
            ed25519: SigningKey::generate(SignatureAlgorithm::Ed25519).unwrap(),
            ml_dsa_44: SigningKey::generate(SignatureAlgorithm::MlDsa44).unwrap(),
            journal: JournalKey::generate().unwrap(),
        }
    }

    fn verifier(keys: &LogKeys) -> LogVerifier {
        LogVerifier {
            name: ORIGIN.to_owned(),
            ed25519: keys.ed25519.verifying_key(),
            ml_dsa_44: keys.ml_dsa_44.verifying_key(),
        }
    }

    fn leaf(number: u64) -> Vec<u8> {
        let id = RecordId::new(u128::from(number).to_be_bytes());
        let record = Record::new(NOW, id, Event::RequestOutcome, Actor::System {});
        record.with("number", number).to_leaf().unwrap()
    }

    fn write(path: &Path, bytes: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Writes a log of `size` entries, as if it had grown without a checkpoint in between; roots of all older sizes.
    fn write_log(folder: &Path, size: u64, keys: &LogKeys) -> BTreeMap<u64, Hash> {
        let (mut tree, mut roots, mut leaves) = (TileWriter::new(), BTreeMap::new(), Vec::new());
        for number in 0..size {
            leaves.push(leaf(number));
            tree.append(leaf_hash(&leaves[leaves.len() - 1]));
            if olds(size).contains(&tree.size()) {
                roots.insert(tree.size(), tree.root());
            }
            if leaves.len() == 256 || tree.size() == size {
                let bundle = encode_entries(leaves.iter().map(Vec::as_slice)).unwrap();
                let width = u16::try_from(leaves.len()).unwrap();
                write(&folder.join(entries_path(number / 256, width)), &bundle);
                leaves.clear();
            }
        }
        for (path, tile) in tree.take_changed() {
            write(&folder.join(path), &tile);
        }
        let head = Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root: tree.root(),
        };
        write(
            &folder.join("checkpoint"),
            sign_checkpoint(&head, keys, NOW).unwrap().as_bytes(),
        );
        roots
    }

    fn olds(size: u64) -> Vec<u64> {
        [
            1, 2, 3, 128, 255, 256, 257, 1000, 65_535, 65_536, 65_537, 69_999, 70_000,
        ]
        .into_iter()
        .filter(|old| *old <= size)
        .collect()
    }

    fn indexes(size: u64) -> Vec<u64> {
        let mut indexes: Vec<u64> = [0, 1, 254, 255, 256, 257, 1000, 65_535, 65_536, 69_888, size - 1]
            .into_iter()
            .filter(|i| *i < size)
            .collect();
        indexes.extend((0..20).map(|i| i * 7919 % size));
        indexes
    }

    fn write_claims(folder: &Path, size: u64, keys: &LogKeys, roots: &BTreeMap<u64, Hash>) {
        let source = Folder(folder.to_owned());
        let hexes = |proof: Vec<Hash>| proof.iter().map(hex).collect::<Vec<String>>();
        let inclusion = indexes(size).into_iter().map(
            |index| json!({"index": index, "proof": hexes(inclusion_proof(&source, index, size).unwrap())}),
        );
        let consistency = roots.iter().map(|(old, root)| {
            json!({"size": old, "root": hex(root), "proof": hexes(consistency_proof(&source, *old, size).unwrap())})
        });
        let claims = json!({
            "verifier_key": verifier(keys).to_vkeys()[0],
            "inclusion": inclusion.collect::<Vec<_>>(),
            "consistency": consistency.collect::<Vec<_>>(),
        });
        fs::write(folder.join("claims.json"), claims.to_string()).unwrap();
    }

    fn hex(hash: &Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Builds go/ in a folder of its own, as Go may rewrite go.mod.
    fn build_go_program(work: &Path) -> PathBuf {
        let python = python::environment("go", include_str!("../python/go.txt")).unwrap();
        fs::write(work.join("go.mod"), include_str!("../go/go.mod")).unwrap();
        fs::write(work.join("main.go"), include_str!("../go/main.go")).unwrap();
        let program = work.join("program");
        let mut go = Command::new(python.with_file_name("go"));
        go.current_dir(work)
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .env("GOPROXY", "off")
            .env("GOFLAGS", "-mod=mod")
            .env("GOTOOLCHAIN", "local")
            .env("GOPATH", work.join("gopath"))
            .env("GOCACHE", python.with_file_name("../go-cache"))
            .env("CGO_ENABLED", "0");
        python::run(&mut go).unwrap();
        program
    }

    #[test]
    fn go_sumdb_verifies_checkpoint_tiles_and_proofs() {
        if !Path::new(X_MOD).exists() {
            return skip(
                "go_sumdb_verifies_checkpoint_tiles_and_proofs",
                "needs Debian's golang-golang-x-mod-dev",
            );
        }
        let (work, keys) = (TempDir::new().unwrap(), keys());
        let program = build_go_program(work.path());
        let mut command = Command::new(&program);
        let mut expected = String::new();
        for size in SIZES {
            let folder = work.path().join(size.to_string());
            let roots = write_log(&folder, size, &keys);
            write_claims(&folder, size, &keys, &roots);
            command.arg(&folder);
            expected += &format!("{size} {} {}\n", indexes(size).len(), roots.len());
        }
        let output = python::run(&mut command).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);

        let folder = work.path().join("257");
        let tile = folder.join("tile/0/000");
        let mut bytes = fs::read(&tile).unwrap();
        bytes[100] ^= 1;
        fs::write(&tile, bytes).unwrap();
        let error = python::run(Command::new(&program).arg(&folder)).unwrap_err();
        assert!(error.to_string().contains("inconsistent"), "{error}");
    }

    #[test]
    fn dilithium_py_verifies_the_ml_dsa_44_line() {
        let python = python::environment("dilithium", include_str!("../python/dilithium.txt")).unwrap();
        let (work, keys) = (TempDir::new().unwrap(), keys());
        write_log(work.path(), 300, &keys);
        let key_file = work.path().join("key");
        fs::write(&key_file, &verifier(&keys).to_vkeys()[1]).unwrap();
        let verify = |checkpoint: &Path| {
            let script = include_str!("../python/dilithium_cosignature.py");
            python::run(
                Command::new(&python)
                    .args(["-c", script, "verify"])
                    .arg(&key_file)
                    .arg(checkpoint),
            )
        };
        let checkpoint = work.path().join("checkpoint");
        let output = verify(&checkpoint).unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("{}\n", NOW.unix_seconds())
        );

        let changed = fs::read_to_string(&checkpoint)
            .unwrap()
            .replacen("\n300\n", "\n301\n", 1);
        fs::write(&checkpoint, changed).unwrap();
        let error = verify(&checkpoint).unwrap_err();
        assert!(
            error.to_string().contains("the cosignature does not verify"),
            "{error}"
        );
    }

    #[test]
    fn cosignatures_by_dilithium_py_open() {
        let python = python::environment("dilithium", include_str!("../python/dilithium.txt")).unwrap();
        let (work, keys) = (TempDir::new().unwrap(), keys());
        let head = Checkpoint {
            origin: ORIGIN.to_owned(),
            size: 5,
            root: [7; 32],
        };
        let body_file = work.path().join("body");
        fs::write(&body_file, head.body()).unwrap();
        let script = include_str!("../python/dilithium_cosignature.py");
        let output = python::run(
            Command::new(&python)
                .args(["-c", script, "sign"])
                .arg(&body_file)
                .arg("1795000001"),
        )
        .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let (vkey, line) = printed.split_once('\n').unwrap();

        let ours = sign_checkpoint(&head, &keys, NOW).unwrap();
        let (note, _) = ours.trim_end().rsplit_once('\n').unwrap();
        let theirs = format!("{note}\n{line}");
        let [ed25519, _] = verifier(&keys).to_vkeys();
        let verifiers = LogVerifier::from_vkeys(&format!("{ed25519}\n{vkey}\n")).unwrap();
        let opened = open_checkpoint(&theirs, &verifiers).unwrap();
        assert_eq!(opened.checkpoint, head);
        assert_eq!(opened.cosigned_at, Timestamp::from_unix_ms(1_795_000_001_000));
        assert!(open_checkpoint(&ours, &verifiers).is_err());
    }

    #[test]
    fn our_own_verdict_agrees() {
        let (work, keys) = (TempDir::new().unwrap(), keys());
        write_log(work.path(), 257, &keys);
        let source = Folder(work.path().to_owned());
        let verification = verify_log(&source, None, &[verifier(&keys)], None, 0, &|_| {});
        assert_eq!(
            (verification.problems, verification.records_checked),
            (Vec::new(), 257)
        );
    }
}
