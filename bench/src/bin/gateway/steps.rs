//! What each phase of a prediction costs by itself, called as the gateway calls it, on the server's core.

use std::{
    fs::{self, File},
    hint::black_box,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use stockade_access::{
    Access, Action, Environment, NewKey, NewPrincipal, PolicySet, PrincipalKind, Resource, create_key,
    create_principal,
};
use stockade_crypto::{KeyFolder, random_array};
use stockade_evidence::{Actor, Control, Decision, Event, Record, RecordId, Subject, SubjectKind};
use stockade_model::{EngineChoice, Graph, Limits, NoExternalData, Session, Tensor, TensorData, Threads};
use stockade_protocol::{
    InferResponse, Parameters, WireData, WireTensor, WireType,
    oip::{BodyLimits, parse_infer_request, write_infer_response},
};
use stockade_store::{Config, CounterKey, Handle, Keeper, Rate, StateDir, wall_clock};
use tokio::sync::oneshot;

use crate::{Failure, examples, load::median};

const CALLS: usize = 2000;

/// Prints the median and the 99th percentile of each phase.
pub(crate) fn measure(folder: &Path) -> Result<(), Failure> {
    fs::create_dir(folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(Box::pin(all(folder)))
}

async fn all(folder: &Path) -> Result<(), Failure> {
    let dir = StateDir::new(folder);
    dir.create()?;
    let keys = KeyFolder::create(&dir.keys(), None, wall_clock().unix_ms() / 1000)?;
    let keeper = Box::pin(Keeper::open(dir, keys, Config::default())).await?;
    println!("{:<48} {:>9} {:>9}", "", "p50 us", "p99 us");
    let mut sum = identify_and_authorize(&keeper).await?;
    sum += meter(&keeper)?;
    sum += body()?;
    let (model, record) = (model().await?, record(&keeper).await?);
    disk(folder)?;
    println!(
        "{:<48} {:>9.1}",
        "sum (record and model run beside each other)",
        sum + model.max(record)
    );
    println!(
        "{:<48} {:>9.1}",
        "sum (one after the other, as on one core)",
        sum + model + record
    );
    keeper.close().await?;
    Ok(())
}

async fn identify_and_authorize(keeper: &Keeper) -> Result<f64, Failure> {
    let handle = Handle::Local(keeper.clone());
    let new = NewPrincipal {
        id: "bench".parse()?,
        kind: PrincipalKind::Workload,
        roles: ["client".parse()?].into(),
        environment: Environment::Prod,
        display_name: None,
        email: None,
        identity: None,
    };
    let (actor, now) = (Actor::System {}, keeper.now());
    let principal = create_principal(&handle, &actor, new, now).await?;
    let new = NewKey {
        principal: principal.id.clone(),
        expires_at: None,
    };
    let (key, _) = create_key(&handle, &actor, new, now).await?;
    let access = Access::new(keeper.clone(), PolicySet::defaults()?).await?;
    let policies = access.policies();
    let model = Resource::Model {
        name: "digits".to_owned(),
        environment: Environment::Prod,
    };
    if !access.authorize(&principal, Action::ModelInfer, &model).allowed {
        return Err("the default policies refuse".into());
    }
    let key = show("identify: API key", || {
        black_box(access.authenticate(black_box(key.expose()), keeper.now()).is_ok());
    });
    let remembered = show("authorize: Cedar, a decision remembered", || {
        black_box(
            access
                .authorize(black_box(&principal), Action::ModelInfer, &model)
                .allowed,
        );
    });
    show("  (Cedar, evaluated anew)", || {
        black_box(
            policies
                .authorize(black_box(&principal), Action::ModelInfer, &model)
                .allowed,
        );
    });
    Ok(key + remembered)
}

fn meter(keeper: &Keeper) -> Result<f64, Failure> {
    let rate = Rate {
        per_second: 1e6,
        burst: 1_000_000,
    };
    let (counters, day) = (keeper.counters(), keeper.now().day());
    let mut refused = 0;
    let cost = show("meter: two rates and the day's budget", || {
        let now = Instant::now();
        refused += usize::from(
            counters
                .take(&CounterKey::new(format!("principal:{}", "bench")), rate, 1, now)
                .is_err(),
        );
        refused += usize::from(
            counters
                .take(
                    &CounterKey::new(format!("model:{}:digits", "bench")),
                    rate,
                    1,
                    now,
                )
                .is_err(),
        );
        match counters.reserve(&CounterKey::new("budget:bench"), day, 1_000_000_000, 1) {
            Ok(reservation) => counters.settle(reservation, 1),
            Err(_) => refused += 1,
        }
    });
    if refused > 0 {
        Err("a counter refused".into())
    } else {
        Ok(cost)
    }
}

fn body() -> Result<f64, Failure> {
    let request = fs::read(examples().join("digits/request.json"))?;
    let limits = BodyLimits::default();
    let read = show("inspect_request: parse the body", || {
        black_box(parse_infer_request(black_box(&request), &limits).is_ok());
    });
    let scores = WireTensor {
        name: "probabilities".to_owned(),
        datatype: WireType::F32,
        shape: vec![1, 10],
        parameters: Parameters::new(),
        data: WireData::F32((0_u8..10).map(|n| (f32::from(n) * 0.7312).sin()).collect()),
    };
    let response = InferResponse {
        model_name: "digits".to_owned(),
        outputs: vec![scores],
        ..InferResponse::default()
    };
    let written = show("shape: write the answer", || {
        black_box(write_infer_response(black_box(&response)).is_ok());
    });
    Ok(read + written)
}

async fn model() -> Result<f64, Failure> {
    let onnx = fs::read(examples().join("digits/digits.onnx"))?;
    let graph = Graph::from_onnx(&onnx, &NoExternalData, &Limits::default())?;
    let session = Session::load(&graph, &EngineChoice::Rten, 1)?;
    let data: Vec<f32> = (0_u8..64).map(|n| f32::from(n % 17)).collect();
    let mut times = Vec::with_capacity(CALLS);
    // As the gateway's worker does: a thread of the engine's own takes what connections' threads send.
    let (jobs, queue) = std::sync::mpsc::channel::<(Tensor, oneshot::Sender<_>)>();
    let worker = tokio::task::spawn_blocking(move || {
        let threads = Threads::new(1);
        threads.enter(|| {
            for (tensor, answer) in queue {
                let _ = answer.send(session.run_on(vec![("pixels".to_owned(), tensor)], &threads));
            }
        });
    });
    for _ in 0..CALLS {
        let tensor = Tensor::new(vec![1, 64], TensorData::F32(data.clone()))?;
        let (start, (answer, outcome)) = (Instant::now(), oneshot::channel());
        jobs.send((tensor, answer))?;
        outcome.await??;
        times.push(start.elapsed());
    }
    drop(jobs);
    worker.await?;
    Ok(print("forward: the model, on the pool", &mut times))
}

async fn record(keeper: &Keeper) -> Result<f64, Failure> {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let start = Instant::now();
        let record = Record::new(
            keeper.now(),
            RecordId::new(random_array()?),
            Event::RequestAdmitted,
            Actor::Principal {
                id: "bench".to_owned(),
            },
        )
        .about(Subject::new(SubjectKind::Artifact, "digits"))
        .under(Control::AuditLog)
        .deciding(Decision::Allowed {
            policies: vec!["client.cedar#infer".to_owned()],
        })
        .with("action", Action::ModelInfer.name())
        .with("key_prefix", "abcdefgh")
        .with("body_bytes", 300)
        .with("rows", 1);
        keeper.append(record).await?;
        times.push(start.elapsed());
    }
    Ok(print("record: durable admission", &mut times))
}

/// What of it the disk takes: one 4 KiB write into space allocated before, and fdatasync.
fn disk(folder: &Path) -> Result<(), Failure> {
    let file = File::create(folder.join("probe"))?;
    file.write_all_at(&[0; 64 * 4096], 0)?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(CALLS);
    for call in 0..CALLS as u64 {
        let start = Instant::now();
        file.write_all_at(&[1; 4096], call % 64 * 4096)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    print("  (fdatasync of the place itself)", &mut times);
    Ok(())
}

/// Times calls a hundred at a time: the clock takes as long as the shortest of them.
fn show(name: &str, mut call: impl FnMut()) -> f64 {
    const BATCH: u32 = 100;
    let mut times: Vec<Duration> = (0..CALLS / 10)
        .map(|_| {
            let start = Instant::now();
            (0..BATCH).for_each(|_| call());
            start.elapsed() / BATCH
        })
        .collect();
    print(name, &mut times)
}

fn print(name: &str, times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    let micros = |time: &Duration| time.as_secs_f64() * 1e6;
    let p50 = median(times.iter().map(micros));
    let p99 = times.get(times.len() * 99 / 100).map_or(f64::NAN, micros);
    println!("{name:<48} {p50:>9.1} {p99:>9.1}");
    p50
}
