//! How fast records become leaves, and how fast a whole log on disk is verified.
//!
//! `cargo run --profile bench --bin log_verify [ENTRIES]` (1,000,000 entries by default, of about 600 bytes each),
//! from the folder `bench`. The log is written to a temporary folder first, so its pages are warm.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

use stockade_crypto::{JournalKey, LogKeys, SignatureAlgorithm, SigningKey};
use stockade_evidence::{
    Actor, Checkpoint, Control, Decision, Digest, Event, LogVerifier, Record, RecordId, Subject, SubjectKind,
    TileSource, TileWriter, Timestamp, encode_entries, entries_path, leaf_hash, sign_checkpoint, verify_log,
};

const ORIGIN: &str = "stockade.example/bench";

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

fn record(number: u64) -> Record {
    let id = RecordId::new((u128::from(number) << 64 | 0x5eed).to_be_bytes());
    let time = Timestamp::from_unix_ms(1_795_000_000_000 + i64::try_from(number).unwrap_or(0));
    let actor = Actor::Principal {
        id: format!("client-{}", number % 97),
    };
    let mut subject = Subject::new(SubjectKind::Artifact, "digits");
    subject.version = Some(3);
    subject.digest = Some(Digest::new(stockade_evidence::DigestAlgorithm::Sha256, [7; 32]));
    Record::new(time, id, Event::RequestAdmitted, actor)
        .about(subject)
        .under(Control::AccessControl)
        .deciding(Decision::Allowed {
            policies: vec!["base.cedar#client-infer".to_owned()],
        })
        .with("request_id", format!("{number:032x}"))
        .with("bytes_in", 1_847 + number % 100)
        .with("queue_us", 12.5)
}

fn write(folder: &Path, path: &str, bytes: &[u8]) -> io::Result<()> {
    let path = folder.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, bytes)
}

fn main() -> Result<(), Box<dyn Error>> {
    let entries: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let keys = LogKeys {
        ed25519: SigningKey::generate(SignatureAlgorithm::Ed25519)?,
        ml_dsa_44: SigningKey::generate(SignatureAlgorithm::MlDsa44)?,
        journal: JournalKey::generate()?,
    };
    let folder = tempfile::tempdir()?;

    let records: Vec<Record> = (0..50_000).map(record).collect();
    let start = Instant::now();
    let mut bytes = 0;
    for record in &records {
        bytes += record.to_leaf()?.len();
    }
    let seconds = start.elapsed().as_secs_f64();
    let count = records.len();
    println!(
        "to_leaf: {:.0} records/s on one core, {} bytes each",
        count as f64 / seconds,
        bytes / count
    );

    let mut tree = TileWriter::new();
    for block in 0..entries.div_ceil(256) {
        let numbers = block * 256..entries.min(block * 256 + 256);
        let width = u16::try_from(numbers.end - numbers.start)?;
        let leaves = numbers
            .map(|number| record(number).to_leaf())
            .collect::<Result<Vec<_>, _>>()?;
        leaves.iter().for_each(|leaf| tree.append(leaf_hash(leaf)));
        write(
            folder.path(),
            &entries_path(block, width),
            &encode_entries(leaves.iter().map(Vec::as_slice))?,
        )?;
    }
    for (path, tile) in tree.take_changed() {
        write(folder.path(), &path, &tile)?;
    }
    let head = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: tree.size(),
        root: tree.root(),
    };
    let text = sign_checkpoint(&head, &keys, Timestamp::from_unix_ms(1_795_000_000_000))?;
    write(folder.path(), "checkpoint", text.as_bytes())?;

    let verifiers = [LogVerifier {
        name: ORIGIN.to_owned(),
        ed25519: keys.ed25519.verifying_key(),
        ml_dsa_44: keys.ml_dsa_44.verifying_key(),
    }];
    for _ in 0..3 {
        let start = Instant::now();
        let source = Folder(folder.path().to_owned());
        let verification = verify_log(&source, None, &verifiers, None, 0, &|_| {});
        let seconds = start.elapsed().as_secs_f64();
        if !verification.ok {
            return Err(format!("the log does not verify: {:?}", verification.problems.first()).into());
        }
        println!(
            "verify_log: {} records in {seconds:.2} s",
            verification.records_checked
        );
    }
    Ok(())
}
