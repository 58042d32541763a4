//! A gateway with everything real: state folder, keys, log, policies, model, TLS.

pub(crate) mod authority;
pub(crate) mod client;
pub(crate) mod issuer;
pub(crate) mod server;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde_json::{Value, json};
use stockade_access::{
    Access, ApiKey, Environment, ExternalIdentity, NewKey, NewPrincipal, PolicySet, PrincipalKind, Role,
    bind_identity, create_key, create_principal,
};
use stockade_crypto::{KeyFolder, KeyProvider, SecretBytes};
use stockade_evidence::{Actor, Digest, Event, Record, Timestamp};
use stockade_model::{EngineChoice, Graph, Labels, Limits, NoExternalData, Session};
use stockade_serve::{Bound, Config, Gateway, LoadedModel, ModelSet, Sample, Samples};
use stockade_store::{Handle, Keeper, StateDir};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinSet};

use self::authority::Certified;
pub(crate) use self::client::{Called, Client, Reply};

/// 2026-11-21: the folder's keys are made then; the keeper's clock is the wall clock.
const MADE_UNIX_S: i64 = 1_763_683_200;

/// A state folder with principals and keys, and no gateway yet.
pub(crate) struct House {
    folder: TempDir,
    provider: KeyProvider,
    pub(crate) keeper: Keeper,
}

/// A gateway that serves until it is stopped.
pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) bound: Bound,
    pub(crate) client: Client,
    pub(crate) grpc: Client,
    pub(crate) admin: Client,
    stop: oneshot::Sender<()>,
    tasks: JoinSet<Result<(), stockade_serve::RunError>>,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with_store(stockade_store::Config::default()).await
    }

    pub(crate) async fn with_store(config: stockade_store::Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(folder.path());
        dir.create().unwrap();
        let provider = KeyFolder::create(&dir.keys(), None, MADE_UNIX_S).unwrap();
        let keeper = Keeper::open(dir, provider.clone(), config).await.unwrap();
        Self {
            folder,
            provider,
            keeper,
        }
    }

    /// Closes the keeper as a crash of the process would not, and opens the folder again.
    pub(crate) async fn reopen(self, config: stockade_store::Config) -> Self {
        let Self {
            folder,
            provider,
            keeper,
        } = self;
        keeper.close().await.unwrap();
        let keeper = Keeper::open(StateDir::new(folder.path()), provider.clone(), config)
            .await
            .unwrap();
        Self {
            folder,
            provider,
            keeper,
        }
    }

    pub(crate) fn dir(&self) -> StateDir {
        StateDir::new(self.folder.path())
    }

    pub(crate) fn provider(&self) -> KeyProvider {
        self.provider.clone()
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::Local(self.keeper.clone())
    }

    /// Enrols a workload of the environment `prod` and gives it a key.
    pub(crate) async fn enrol(&self, id: &str, roles: &[&str]) -> String {
        self.enrol_in(id, roles, Environment::Prod).await
    }

    pub(crate) async fn enrol_in(&self, id: &str, roles: &[&str], environment: Environment) -> String {
        let new = NewPrincipal {
            id: id.parse().unwrap(),
            kind: PrincipalKind::Workload,
            roles: roles.iter().map(|role| role.parse::<Role>().unwrap()).collect(),
            environment,
            display_name: None,
            email: None,
            identity: None,
        };
        let (actor, now) = (Actor::Operator { uid: 0 }, self.keeper.now());
        create_principal(&self.handle(), &actor, new, now).await.unwrap();
        self.key_of(id, None).await.expose().to_owned()
    }

    /// Lets a principal identify itself in one more way.
    pub(crate) async fn bind(&self, id: &str, identity: &ExternalIdentity) {
        let (actor, now) = (Actor::Operator { uid: 0 }, self.keeper.now());
        bind_identity(&self.handle(), &actor, &id.parse().unwrap(), identity, now)
            .await
            .unwrap();
    }

    pub(crate) async fn key_of(&self, id: &str, expires_at: Option<Timestamp>) -> ApiKey {
        let new = NewKey {
            principal: id.parse().unwrap(),
            expires_at,
        };
        let (actor, now) = (Actor::Operator { uid: 0 }, self.keeper.now());
        create_key(&self.handle(), &actor, new, now).await.unwrap().0
    }

    /// Every record with this event, in log order.
    pub(crate) async fn records(&self, event: Event) -> Vec<Record> {
        let mut found = Vec::new();
        let mut each = |_: u64, record: &Record| {
            if record.event == event {
                found.push(record.clone());
            }
        };
        self.keeper
            .entries_since(Timestamp::from_unix_ms(0), &mut each)
            .await
            .unwrap();
        found
    }

    /// Starts a gateway; `config` is laid over a configuration that serves the digits model on free ports.
    pub(crate) async fn serve(&self, config: Value) -> Running {
        self.serve_under(config, PolicySet::defaults().unwrap()).await
    }

    pub(crate) async fn serve_under(&self, config: Value, policies: PolicySet) -> Running {
        self.serve_to(config, policies, |client| client).await
    }

    /// Starts a gateway that is asked with this client certificate.
    pub(crate) async fn serve_as(&self, config: Value, certificate: &Certified) -> Running {
        let policies = PolicySet::defaults().unwrap();
        self.serve_to(config, policies, |client| client.with_certificate(certificate))
            .await
    }

    /// Starts a gateway whose certificate another authority issued.
    pub(crate) async fn serve_trusting(&self, config: Value, authority: &[u8]) -> Running {
        let policies = PolicySet::defaults().unwrap();
        self.serve_to(config, policies, |client| client.trusting(authority))
            .await
    }

    /// Why a gateway does not open its ports.
    pub(crate) async fn bind_error(&self, config: Value) -> String {
        let policies = PolicySet::defaults().unwrap();
        let gateway = self.gateway(configuration(config), policies).await.unwrap();
        gateway.bind().await.unwrap_err().to_string()
    }

    /// The certificate of the local authority.
    pub(crate) fn authority(&self) -> Vec<u8> {
        self.provider.certificate_authority().unwrap().certificate_der()
    }

    async fn serve_to(
        &self,
        config: Value,
        policies: PolicySet,
        client: impl Fn(Client) -> Client,
    ) -> Running {
        let gateway = self.gateway(configuration(config), policies).await.unwrap();
        let bound = gateway.bind().await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        let running = gateway.clone();
        tasks.spawn(async move {
            running
                .run(async {
                    let _ = stopped.await;
                })
                .await
        });
        let authority = self.authority();
        let admin = client(Client::new(&bound.admin_url, &authority));
        let grpc = client(Client::new(&bound.grpc_url, &authority));
        let client = client(Client::new(&bound.gateway_url, &authority));
        let running = Running {
            gateway,
            bound,
            client,
            grpc,
            admin,
            stop,
            tasks,
        };
        running.until_ready().await;
        running
    }

    pub(crate) async fn gateway(
        &self,
        config: Config,
        policies: PolicySet,
    ) -> Result<Gateway, stockade_serve::ConfigError> {
        let access = Arc::new(Access::new(self.keeper.clone(), policies).await.unwrap());
        let authority = self.provider.certificate_authority().unwrap();
        let models = models_for(&config);
        Gateway::new(config, access, self.keeper.clone(), models, authority)
    }
}

impl Running {
    async fn until_ready(&self) {
        for _ in 0..500 {
            if self.client.get("/readyz", None).await.status == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the gateway is not ready");
    }

    /// Tells the gateway to stop and waits until it has.
    pub(crate) async fn stop(mut self) {
        self.stop.send(()).unwrap();
        self.tasks.join_next().await.unwrap().unwrap().unwrap();
    }

    /// Tells the gateway to stop; `ended` waits.
    pub(crate) fn begin_stop(self) -> Stopping {
        self.stop.send(()).unwrap();
        Stopping(self.tasks)
    }
}

pub(crate) struct Stopping(JoinSet<Result<(), stockade_serve::RunError>>);

impl Stopping {
    pub(crate) async fn ended(mut self) {
        self.0.join_next().await.unwrap().unwrap().unwrap();
    }
}

/// `over` laid over a configuration that serves the digits model on free ports.
pub(crate) fn configuration(over: Value) -> Config {
    let mut base = json!({
        "listen": "127.0.0.1:0",
        "grpc_listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "limits": {"principal": {"per_second": 100_000.0, "burst": 100_000}},
        "models": {"digits": {
            "source": "vault:digits@1",
            "environment": "prod",
            "limits": {"per_second": 100_000.0, "burst": 100_000},
        }},
    });
    lay(&mut base, over);
    serde_json::from_value(base).unwrap()
}

fn lay(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                lay(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// The models that the configuration names: `example:NAME` is a file of `examples/models`, all else the digits.
pub(crate) fn models_for(config: &Config) -> ModelSet {
    let model = |(name, config): (&String, &stockade_serve::ModelConfig)| {
        let (session, digest, labels) = match config.source.strip_prefix("example:") {
            Some(file) => load(&example(&["models", &format!("{file}.onnx")])),
            None => digits(),
        };
        LoadedModel {
            name: name.clone(),
            version: 1,
            digest,
            session,
            labels,
            environment: config.environment,
        }
    };
    let held_here = |(_, config): &(&String, &stockade_serve::ModelConfig)| {
        !stockade_serve::UpstreamSource::is_named_by(&config.source)
    };
    let models = ModelSet::new(config.models.iter().filter(held_here).map(model)).unwrap();
    let watched = |(name, config): (&String, &stockade_serve::ModelConfig)| {
        config.extraction.as_ref().map(|_| (name.clone(), samples()))
    };
    let samples = config.models.iter().filter_map(watched).collect();
    models.watching(samples, SecretBytes::new(vec![5; 32]))
}

/// Images of digits with what they show, of which the first [`REFERENCE`] are the sample that watches learn from.
pub(crate) fn images() -> Vec<(Vec<f32>, i64)> {
    let bytes = std::fs::read(example(&["digits", "expected.json"])).unwrap();
    let all: Value = serde_json::from_slice(&bytes).unwrap();
    let images = all["images"].as_array().unwrap();
    images
        .iter()
        .map(|image| {
            let pixels = image["pixels"].as_array().unwrap();
            #[expect(clippy::cast_possible_truncation, reason = "pixels are 0 to 16")]
            let pixels = pixels
                .iter()
                .map(|pixel| pixel.as_f64().unwrap() as f32)
                .collect();
            (pixels, image["label"].as_i64().unwrap())
        })
        .collect()
}

/// How many of the images watches learn from.
pub(crate) const REFERENCE: usize = 300;

fn samples() -> Samples {
    let rows = images().into_iter().take(REFERENCE);
    Samples {
        reference: Sample {
            digest: Digest::sha256(b"reference"),
            values: rows.flat_map(|(pixels, _)| pixels).collect(),
            width: 64,
        },
        surveys: std::collections::BTreeMap::new(),
    }
}

/// A request about one image.
pub(crate) fn about(pixels: &[f32]) -> Value {
    json!({"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": pixels}]})
}

type Loaded = (Arc<Session>, Digest, Option<Labels>);

/// The digits model, loaded once for all tests.
fn digits() -> Loaded {
    static DIGITS: OnceLock<Loaded> = OnceLock::new();
    let digits = || {
        let (session, digest, _) = load(&example(&["digits", "digits.onnx"]));
        (session, digest, Some(Labels::Ints((0..10).collect())))
    };
    DIGITS.get_or_init(digits).clone()
}

fn load(file: &Path) -> Loaded {
    let bytes = std::fs::read(file).unwrap();
    let graph = Graph::from_onnx(&bytes, &NoExternalData, &Limits::default()).unwrap();
    let session = Session::load(&graph, &EngineChoice::Rten, 1).unwrap();
    (Arc::new(session), Digest::sha256(&bytes), graph.labels().cloned())
}

fn example(parts: &[&str]) -> PathBuf {
    let examples = [env!("CARGO_MANIFEST_DIR"), "..", "..", "..", "examples"];
    examples.iter().chain(parts).collect()
}

/// The request that the example's README pastes: an image of a seven.
pub(crate) fn seven() -> Value {
    serde_json::from_slice(&std::fs::read(example(&["digits", "request.json"])).unwrap()).unwrap()
}

/// The scores that the example's training script expects for it.
pub(crate) fn sevens_label() -> i64 {
    let answer: Value =
        serde_json::from_slice(&std::fs::read(example(&["digits", "answer.json"])).unwrap()).unwrap();
    answer["label"].as_i64().unwrap()
}

/// A request with `rows` copies of the seven.
pub(crate) fn batch(rows: usize) -> Value {
    let mut request = seven();
    let row = request["inputs"][0]["data"].as_array().unwrap().clone();
    let data: Vec<Value> = std::iter::repeat_n(row, rows).flatten().collect();
    request["inputs"][0]["data"] = Value::Array(data);
    request["inputs"][0]["shape"] = json!([rows, 64]);
    request
}

/// The public part of a key.
pub(crate) fn prefix_of(key: &str) -> stockade_access::KeyPrefix {
    ApiKey::parse(key).unwrap().prefix().clone()
}
