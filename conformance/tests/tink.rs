//! Sealed files against PyPI `tink`: what Stockade writes Tink reads, and what Tink writes Stockade reads.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read, Write},
        path::{Path, PathBuf},
        process::Command,
    };

    use stockade_conformance::python;
    use stockade_crypto::{DataKey, OpenReader, SealWriter, sealed_len, sha256};

    const KEY: [u8; 32] = [0x5a; 32];
    const NAME: &[u8] = b"{\"artifact\":\"digits\",\"path\":\"model.onnx\",\"version\":1}";
    const SEGMENT: usize = 1 << 20;
    /// Around the first segment's end, the second's, and well into the third.
    const LENGTHS: [usize; 9] = [
        0,
        1,
        SEGMENT - 57,
        SEGMENT - 56,
        SEGMENT - 55,
        2 * SEGMENT - 73,
        2 * SEGMENT - 72,
        2 * SEGMENT - 71,
        3 * SEGMENT,
    ];

    /// Runs the counterpart over all files of a folder in one process.
    fn tink(operation: &str, from: &Path, to: &Path, name: &[u8]) -> Result<String, python::PythonError> {
        let python = python::environment("tink", include_str!("../python/tink.txt"))?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/tink_stream.py");
        let mut command = Command::new(python);
        command
            .args([script, operation, &hex(&KEY), &hex(name)])
            .args([from, to]);
        Ok(String::from_utf8_lossy(&python::run(&mut command)?.stdout).into_owned())
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn pattern(len: usize) -> Vec<u8> {
        let blocks = (0..len.div_ceil(32)).flat_map(|block| sha256(&block.to_be_bytes()));
        blocks.take(len).collect()
    }

    fn folder(of: &tempfile::TempDir, name: &str) -> PathBuf {
        let path = of.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    fn seal(plaintext: &[u8]) -> Vec<u8> {
        let mut writer = SealWriter::new(Vec::new(), &DataKey::from_bytes(KEY), NAME).unwrap();
        writer.write_all(plaintext).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn tink_reads_what_stockade_writes() {
        let place = tempfile::tempdir().unwrap();
        let (sealed, opened) = (folder(&place, "sealed"), folder(&place, "opened"));
        for len in LENGTHS {
            fs::write(sealed.join(len.to_string()), seal(&pattern(len))).unwrap();
        }
        tink("open", &sealed, &opened, NAME).unwrap();
        for len in LENGTHS {
            assert!(
                fs::read(opened.join(len.to_string())).unwrap() == pattern(len),
                "{len}"
            );
        }
    }

    #[test]
    fn stockade_reads_what_tink_writes() {
        let place = tempfile::tempdir().unwrap();
        let (plain, sealed) = (folder(&place, "plain"), folder(&place, "sealed"));
        for len in LENGTHS {
            fs::write(plain.join(len.to_string()), pattern(len)).unwrap();
        }
        tink("seal", &plain, &sealed, NAME).unwrap();
        for len in LENGTHS {
            let file = fs::File::open(sealed.join(len.to_string())).unwrap();
            assert_eq!(file.metadata().unwrap().len(), sealed_len(len as u64), "{len}");
            let mut reader = OpenReader::new(file, &DataKey::from_bytes(KEY), NAME).unwrap();
            let mut opened = Vec::new();
            reader.read_to_end(&mut opened).unwrap();
            assert!(opened == pattern(len), "{len}");
            let mut middle = vec![0; len / 3];
            assert_eq!(reader.read_at(&mut middle, len as u64 / 2).unwrap(), middle.len());
            assert!(middle == pattern(len)[len / 2..len / 2 + len / 3], "{len}");
        }
    }

    /// Both sides refuse the same damage; where one accepted it, they would not speak one format.
    #[test]
    fn both_refuse_the_same_damage() {
        let whole = seal(&pattern(SEGMENT + 100));
        let flip = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        let damaged = [
            ("header length", flip(0)),
            ("salt", flip(5)),
            ("prefix", flip(35)),
            ("first segment", flip(5000)),
            ("last segment", flip(SEGMENT + 50)),
            ("tag", flip(whole.len() - 1)),
            ("cut by one", whole[..whole.len() - 1].to_vec()),
            ("cut at a segment", whole[..SEGMENT].to_vec()),
            ("cut in the header", whole[..20].to_vec()),
            ("longer", [whole.as_slice(), &[0]].concat()),
        ];
        let place = tempfile::tempdir().unwrap();
        let (sealed, opened) = (folder(&place, "sealed"), folder(&place, "opened"));
        for (name, bytes) in &damaged {
            fs::write(sealed.join(name), bytes).unwrap();
            let refused = match OpenReader::new(bytes.as_slice(), &DataKey::from_bytes(KEY), NAME) {
                Ok(mut reader) => reader.read_to_end(&mut Vec::new()).is_err(),
                Err(_) => true,
            };
            assert!(refused, "{name}");
        }
        fs::write(sealed.join("whole"), &whole).unwrap();
        assert_eq!(tink("accepts", &sealed, &opened, NAME).unwrap().trim(), "whole");
        assert_eq!(
            tink("accepts", &sealed, &opened, b"other name").unwrap().trim(),
            ""
        );
    }
}
