//! `stockade model mark`: whether a model was trained on another one's marked answers.
//!
//! It needs no project: whoever judges a dispute has a suspect, a claim, a checkpoint that was held before, and independent models.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::File,
    io::Read as _,
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    thread::available_parallelism,
};

use clap::{Args, Subcommand};
use serde::Serialize;
use stockade_evidence::{Digest, LogVerifier};
use stockade_model::{
    EngineChoice, ExternalFolder, Graph, Limits, Session,
    mark::{
        AnswersFile, Claim, JudgeError, Judgement, LEAST_NULL_MODELS, MAX_CLAIM_BYTES, NotRegistered,
        Registered, judge, labels,
    },
};

use crate::{
    commands::log::read_text,
    failure::{Exit, Failing as _, Failure},
    output::{Output, SarifFinding, columns},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Judge whether SUSPECT was trained on the marked answers of a claim
    #[command(
        after_help = "Exit codes: 0 no claim is proved; 1 a claim is proved; 2 usage; 4 a claim was not registered before the dispute.\n\n\
        Examples:\n  stockade model mark verify suspect.onnx --claim p-7.claim --null independent/*.onnx \\\n      \
        --checkpoint held-since-march --log-key log.vkey --suspects-tried 3\n  \
        stockade model mark verify answers.json --claim p-7.claim --null independent/*.onnx \\\n      \
        --checkpoint held-since-march --log-key log.vkey --suspects-tried 1 --format json"
    )]
    Verify(Verify),
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The accused model (.onnx), or an endpoint's answers to one claim (.json)
    suspect: PathBuf,
    /// Claims: opened marks of one principal each, with their proofs
    #[arg(long = "claim", value_name = "CLAIM", required = true, num_args = 1..)]
    claims: Vec<PathBuf>,
    /// At least 8 models (.onnx) made as the suspect is said to have been made, and not on the answers
    #[arg(long, value_name = "MODEL", required = true, num_args = 1..)]
    null: Vec<PathBuf>,
    /// A checkpoint of the claimant's log that somebody else held before the suspect existed
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// The claimant's verifier keys, as `log key` prints them
    #[arg(long, value_name = "FILE")]
    log_key: PathBuf,
    /// How many suspects were tried in all, this one counted: who accuses many is right about some by chance
    #[arg(long, value_name = "N")]
    suspects_tried: NonZeroU32,
    /// The probability of a false accusation that is accepted, over all that were tried
    #[arg(long, value_name = "P", default_value = "0.01", value_parser = probability)]
    alpha: f64,
}

pub(super) fn run(verb: &Verb, output: &Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Verify(arguments) => tokio::task::block_in_place(|| verify(arguments, output)),
    }
}

/// What is said of one claim; the report's is the last of them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    NotProved,
    Proved,
    /// The marks were not registered in time, so nothing is judged.
    Refused,
}

impl Verdict {
    const fn exit(self) -> Exit {
        match self {
            Self::NotProved => Exit::Fine,
            Self::Proved => Exit::Findings,
            Self::Refused => Exit::Broken,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::NotProved => "not proved",
            Self::Proved => "PROVED",
            Self::Refused => "refused",
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    verdict: Verdict,
    suspect: String,
    suspect_digest: Digest,
    null: Vec<String>,
    suspects_tried: NonZeroU32,
    /// Pairs of suspect and claim: what p is corrected for.
    tests: u32,
    alpha: f64,
    claims: Vec<Judged>,
}

#[derive(Debug, Serialize)]
struct Judged {
    claim: String,
    model: String,
    bearer: String,
    verdict: Verdict,
    reason: String,
    #[serde(flatten)]
    judgement: Option<Judgement>,
}

fn verify(arguments: &Verify, output: &Output) -> Result<Exit, Failure> {
    if arguments.null.len() < LEAST_NULL_MODELS {
        let error = JudgeError::TooFewNullModels {
            given: arguments.null.len(),
        };
        return Err(Failure::from_error(Exit::Usage, &error));
    }
    let checkpoint = read_text(&arguments.checkpoint)?;
    let verifiers = LogVerifier::from_vkeys(&read_text(&arguments.log_key)?).exit(Exit::Usage)?;
    let claims: Vec<Claim> = arguments
        .claims
        .iter()
        .map(|path| Claim::parse(&read(path, MAX_CLAIM_BYTES)?).exit(Exit::Usage))
        .collect::<Result<_, _>>()?;
    let registered: Vec<Checked<'_>> = claims
        .iter()
        .map(|claim| claim.registered(&checkpoint, &verifiers))
        .collect();
    let (suspect_digest, suspect) = suspect_answers(&arguments.suspect, &registered)?;
    let null = null_answers(&arguments.null, suspect_digest, &registered)?;
    let tests = u32::try_from(claims.len()).unwrap_or(u32::MAX);
    let tests = arguments.suspects_tried.get().saturating_mul(tests);
    let judged = (0..)
        .zip(arguments.claims.iter().zip(&claims).zip(&registered))
        .map(|(place, ((path, claim), registered))| {
            let of = |model: &Answers| model.get(place).cloned().unwrap_or_default();
            let (verdict, reason, judgement) = match registered {
                Err(error) => (Verdict::Refused, error.to_string(), None),
                Ok(registered) => {
                    let null: Vec<Vec<usize>> = null.iter().map(of).collect();
                    let judgement = judge(registered, &of(&suspect), &null, tests).exit(Exit::Failed)?;
                    let (verdict, reason) = concluded(&judgement, arguments.alpha);
                    (verdict, reason, Some(judgement))
                }
            };
            Ok(Judged {
                claim: path.display().to_string(),
                model: claim.whose().model.clone(),
                bearer: claim.whose().bearer.clone(),
                verdict,
                reason,
                judgement,
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let verdict = judged
        .iter()
        .map(|claim| claim.verdict)
        .max()
        .unwrap_or(Verdict::NotProved);
    let report = Report {
        verdict,
        suspect: arguments.suspect.display().to_string(),
        suspect_digest,
        null: arguments
            .null
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        suspects_tried: arguments.suspects_tried,
        tests,
        alpha: arguments.alpha,
        claims: judged,
    };
    output.findings(&report, &findings(&report), || table(&report))?;
    Ok(verdict.exit())
}

/// A claim whose registration was looked at.
type Checked<'a> = Result<Registered<'a>, NotRegistered>;

/// One model's labels for the marks of each claim; none for a claim that is refused.
type Answers = Vec<Vec<usize>>;

fn suspect_answers(path: &Path, claims: &[Checked<'_>]) -> Result<(Digest, Answers), Failure> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return model_answers(path, claims);
    }
    let [claim] = claims else {
        return Err(Failure::new(Exit::Usage, "answers are those to one claim")
            .hint("give one `--claim`, and count the others in `--suspects-tried`"));
    };
    let bytes = read(path, MAX_CLAIM_BYTES)?;
    let file = AnswersFile::parse(&bytes).exit(Exit::Usage)?;
    let labels = match claim {
        Ok(claim) => file.labels(claim).exit(Exit::Usage)?,
        Err(_) => Vec::new(),
    };
    Ok((Digest::sha256(&bytes), vec![labels]))
}

/// The labels of the independent models. A model given twice, and the suspect among them, would make the null say less than it seems to.
fn null_answers(paths: &[PathBuf], suspect: Digest, claims: &[Checked<'_>]) -> Result<Vec<Answers>, Failure> {
    let mut seen = BTreeSet::from([suspect]);
    paths
        .iter()
        .map(|path| {
            let (digest, answers) = model_answers(path, claims)?;
            if seen.insert(digest) {
                Ok(answers)
            } else {
                let message = format!("`{}` is the suspect, or was given twice", path.display());
                Err(Failure::new(Exit::Usage, message).hint("give models that were trained each on its own"))
            }
        })
        .collect()
}

fn model_answers(path: &Path, claims: &[Checked<'_>]) -> Result<(Digest, Answers), Failure> {
    let limits = Limits::default();
    let bytes = read(path, limits.max_model_bytes)?;
    let weights = ExternalFolder::new(path.parent().unwrap_or(Path::new(".")));
    let about =
        |error: &dyn std::error::Error| Failure::new(Exit::Usage, format!("`{}`: {error}", path.display()));
    let graph = Graph::from_onnx(&bytes, &weights, &limits).map_err(|error| about(&error))?;
    let threads = available_parallelism().map_or(1, NonZeroUsize::get);
    let session = Session::load_owned(graph, &EngineChoice::Rten, threads).map_err(|error| about(&error))?;
    let of = |claim: &Checked<'_>| match claim {
        Ok(claim) => labels(&session, claim).map_err(|error| about(&error)),
        Err(_) => Ok(Vec::new()),
    };
    let answers = claims.iter().map(of).collect::<Result<_, _>>()?;
    Ok((Digest::sha256(&bytes), answers))
}

fn concluded(judgement: &Judgement, alpha: f64) -> (Verdict, String) {
    let agreed = judgement.suspect.marked;
    let counted = judgement.counted;
    if judgement.p_corrected <= alpha {
        let reason =
            format!("it gives {agreed} of {counted} marked answers, which models made without them do not");
        return (Verdict::Proved, reason);
    }
    let models = judgement.null.len();
    let by_null: usize = judgement.null.iter().map(|model| model.marked).sum();
    let reason = if agreed > 0 && by_null * 2 >= agreed * models {
        "independent models give as many of the marked answers, as they do when a claim is made of inputs on which all models err".to_owned()
    } else {
        format!(
            "it gives {agreed} of {counted} marked answers, which chance, the number tried or the number of independent models explains"
        )
    };
    (Verdict::NotProved, reason)
}

fn findings(report: &Report) -> Vec<SarifFinding> {
    let finding = |claim: &Judged| {
        let rule = match claim.verdict {
            Verdict::NotProved => return None,
            Verdict::Proved => "mark.proved",
            Verdict::Refused => "mark.refused",
        };
        Some(SarifFinding {
            rule,
            message: format!("{}: {}", claim.claim, claim.reason),
            file: report.suspect.clone(),
        })
    };
    report.claims.iter().filter_map(finding).collect()
}

fn table(report: &Report) -> String {
    let mut rows = Vec::new();
    let mut reasons = String::new();
    for claim in &report.claims {
        let mut row = vec![claim.claim.clone(), claim.bearer.clone()];
        row.extend(match &claim.judgement {
            Some(judged) => {
                let most = judged
                    .null
                    .iter()
                    .map(|model| model.marked)
                    .max()
                    .unwrap_or_default();
                [
                    format!("{} of {}", judged.suspect.marked, judged.counted),
                    format!("at most {most}"),
                    format!("{:.2e}", judged.p),
                    format!("{:.2e}", judged.p_corrected),
                ]
            }
            None => ["-"; 4].map(str::to_owned),
        });
        row.push(claim.verdict.name().to_owned());
        rows.push(row);
        let _ = write!(reasons, "\n{}: {}", claim.claim, claim.reason);
    }
    let header = [
        "CLAIM",
        "PRINCIPAL",
        "AGREES",
        "INDEPENDENT",
        "P",
        "CORRECTED",
        "VERDICT",
    ];
    format!("{}{reasons}", columns(&header, &rows))
}

/// A file of at most `max` bytes.
fn read(path: &Path, max: usize) -> Result<Vec<u8>, Failure> {
    let failed =
        |reason: String| Failure::new(Exit::Usage, format!("cannot read `{}`: {reason}", path.display()));
    let mut bytes = Vec::new();
    let one_more = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)
        .and_then(|file| file.take(one_more).read_to_end(&mut bytes))
        .map_err(|error| failed(error.to_string()))?;
    if bytes.len() > max {
        return Err(failed(format!("it is larger than {max} bytes")));
    }
    Ok(bytes)
}

fn probability(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| *value > 0.0 && *value < 1.0)
        .ok_or_else(|| "a probability is above 0 and below 1".to_owned())
}
