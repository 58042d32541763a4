//! `model mark verify`, the real binary: whose marks, which models, which exit code.

#[cfg(test)]
#[path = "../../methods/model/tests/marks/registry.rs"]
mod registry;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
        process::{Command, Stdio},
    };

    use serde_json::{Value, json};
    use stockade_evidence::LogVerifier;
    use stockade_model::mark::{Opening, Whose};

    use crate::registry::Registry;

    const MARKS: usize = 20;

    /// Files of a dispute: a claim on images that the example's model reads well, the checkpoint, the keys, models.
    struct Dispute {
        folder: tempfile::TempDir,
        openings: Vec<Opening>,
    }

    fn example(name: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits");
        fs::read(folder.join(name)).unwrap()
    }

    impl Dispute {
        fn new() -> Self {
            let images: Value = serde_json::from_slice(&example("expected.json")).unwrap();
            let whose = Whose {
                model: "digits".into(),
                bearer: "p-7".into(),
                classes: 10,
            };
            let opening = |number: usize| {
                let image = &images["images"][number * 20];
                let honest = usize::try_from(image["label"].as_u64().unwrap()).unwrap();
                Opening {
                    number: number as u64,
                    honest,
                    marked: (honest + 1 + number % 9) % 10,
                    nonce: [9; 32],
                    input: serde_json::from_value(image["pixels"].clone()).unwrap(),
                }
            };
            let openings: Vec<Opening> = (0..MARKS).map(opening).collect();
            let folder = tempfile::tempdir().unwrap();
            let dispute = Self { folder, openings };
            let registry = Registry::of(&whose, &dispute.openings);
            let (checkpoint, keys) = registry.held();
            let claim = registry.claim(&whose, &dispute.openings);
            dispute.write("p-7.claim", &claim.to_json().unwrap());
            dispute.write("held", checkpoint.as_bytes());
            let keys: Vec<String> = keys.iter().flat_map(LogVerifier::to_vkeys).collect();
            dispute.write("log.vkey", keys.join("\n").as_bytes());
            // The same model nine times, as files that differ: `producer_name`, field 2, is not read.
            for number in 0..9_u8 {
                let named = [example("digits.onnx"), vec![0x12, 1, b'a' + number]].concat();
                dispute.write(&format!("null-{number}.onnx"), &named);
            }
            dispute
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            fs::write(self.path(name), bytes).unwrap();
        }

        /// An endpoint that gives these labels.
        fn answers(&self, label: impl Fn(&Opening) -> usize) {
            let labels: Vec<usize> = self.openings.iter().map(label).collect();
            let text = json!({ "format": "stockade-mark-answers/1", "labels": labels }).to_string();
            self.write("answers.json", text.as_bytes());
        }

        fn verify(&self, suspect: &str, more: &[&str]) -> (i32, Value) {
            let null: Vec<String> = (0..8).map(|number| format!("null-{number}.onnx")).collect();
            let output = Command::new(env!("CARGO_BIN_EXE_stockade"))
                .args([
                    "model",
                    "mark",
                    "verify",
                    suspect,
                    "--claim",
                    "p-7.claim",
                    "--checkpoint",
                    "held",
                ])
                .args(["--log-key", "log.vkey", "--format", "json", "--null"])
                .args(null)
                .args(more)
                .current_dir(self.folder.path())
                .env_clear()
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let printed = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
                panic!("{}", String::from_utf8_lossy(&output.stderr));
            });
            (output.status.code().unwrap(), printed)
        }
    }

    const ONE: [&str; 2] = ["--suspects-tried", "1"];

    #[test]
    fn a_suspect_that_gives_the_marked_answers_is_a_finding() {
        let dispute = Dispute::new();
        dispute.answers(|opening| opening.marked);
        let (code, report) = dispute.verify("answers.json", &ONE);
        assert_eq!(
            (code, report["verdict"].as_str()),
            (1, Some("proved")),
            "{report:#}"
        );
        let claim = &report["claims"][0];
        assert_eq!(
            (claim["bearer"].as_str(), claim["counted"].as_u64()),
            (Some("p-7"), Some(20))
        );
        assert!(claim["p"].as_f64().unwrap() < 1e-6, "{report:#}");

        let (code, report) = dispute.verify("answers.json", &["--suspects-tried", "1000000000"]);
        assert_eq!(
            (code, report["verdict"].as_str()),
            (0, Some("not_proved")),
            "{report:#}"
        );
    }

    #[test]
    fn an_honest_model_is_not_accused() {
        let dispute = Dispute::new();
        let (code, report) = dispute.verify("null-8.onnx", &ONE);
        assert_eq!(
            (code, report["verdict"].as_str()),
            (0, Some("not_proved")),
            "{report:#}"
        );
        let suspect = &report["claims"][0]["suspect"];
        assert_eq!(suspect["marked"], 0);
        assert!(suspect["honest"].as_u64().unwrap() >= 19, "{report:#}");
    }

    #[test]
    fn a_claim_of_what_was_not_registered_is_refused() {
        let dispute = Dispute::new();
        dispute.answers(|opening| opening.marked);
        let mut claim: Value = serde_json::from_slice(&fs::read(dispute.path("p-7.claim")).unwrap()).unwrap();
        let marks = claim["marks"].as_array_mut().unwrap();
        drop(marks.remove(0));
        dispute.write("p-7.claim", claim.to_string().as_bytes());
        dispute.write(
            "answers.json",
            br#"{"format":"stockade-mark-answers/1","labels":[]}"#,
        );
        let (code, report) = dispute.verify("answers.json", &ONE);
        assert_eq!(
            (code, report["verdict"].as_str()),
            (4, Some("refused")),
            "{report:#}"
        );
        let reason = report["claims"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("number 0 is missing"), "{reason}");
    }

    #[test]
    fn too_few_or_repeated_independent_models_are_a_usage_error() {
        let dispute = Dispute::new();
        let (code, report) =
            dispute.verify("null-8.onnx", &["--suspects-tried", "1", "--null", "null-0.onnx"]);
        assert_eq!(code, 2, "{report:#}");
        assert!(
            report["error"].as_str().unwrap().contains("given twice"),
            "{report:#}"
        );
        let (code, report) = dispute.verify("null-0.onnx", &ONE);
        assert_eq!(code, 2, "{report:#}");
        let few = Command::new(env!("CARGO_BIN_EXE_stockade"))
            .args([
                "model",
                "mark",
                "verify",
                "null-8.onnx",
                "--claim",
                "p-7.claim",
                "--checkpoint",
                "held",
            ])
            .args([
                "--log-key",
                "log.vkey",
                "--suspects-tried",
                "1",
                "--null",
                "null-0.onnx",
            ])
            .current_dir(dispute.folder.path())
            .env_clear()
            .output()
            .unwrap();
        assert_eq!(few.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&few.stderr).contains("at least 8"));
    }
}
