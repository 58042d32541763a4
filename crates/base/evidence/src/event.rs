//! What can happen ([`Event`]) and which of the 50 controls it concerns ([`Control`]).
//!
//! Every event maps to a class and activity of the Open Cybersecurity Schema Framework (OCSF 1.8.0), so that other
//! people's tools can read the log.

use serde::{Deserialize, Serialize};

/// Class and activity of OCSF 1.8.0. The category is the class's thousands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OcsfClass {
    /// `class_uid`, such as 6003 (API Activity).
    pub class_uid: u32,
    /// `activity_id` within the class.
    pub activity_id: u32,
}

const ENTITY_MANAGEMENT: u32 = 3004;
const DETECTION_FINDING: u32 = 2004;
const APPLICATION_LIFECYCLE: u32 = 6002;
const API_ACTIVITY: u32 = 6003;

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $class:expr, $activity:literal;)*) => {
        /// Something that happened. The name is stable: it is what people search the log for.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
        pub enum Event { $($(#[$doc])* #[serde(rename = $name)] $variant,)* }

        impl Event {
            /// Every event, in the order of the documentation.
            pub const ALL: &'static [Event] = &[$(Event::$variant),*];

            /// The stable dotted name.
            pub const fn name(self) -> &'static str {
                match self { $(Event::$variant => $name,)* }
            }

            /// Where OCSF puts it.
            pub const fn ocsf(self) -> OcsfClass {
                match self { $(Event::$variant => OcsfClass { class_uid: $class, activity_id: $activity },)* }
            }
        }
    };
}

events! {
    /// A new origin starts: its name, keys and, after a recovery, the old head.
    LogOpened = "log.opened", ENTITY_MANAGEMENT, 1;
    /// A broken or restored log was left behind and a new origin was started.
    LogRecovered = "log.recovered", ENTITY_MANAGEMENT, 3;
    /// Old entries were removed by the retention policy; names the new minimum index.
    LogPruned = "log.pruned", ENTITY_MANAGEMENT, 4;
    /// Evidence was exported or read for somebody.
    LogExported = "log.exported", API_ACTIVITY, 2;
    /// A digest of all projected state, from which a rebuild may start.
    StateSnapshot = "state.snapshot", ENTITY_MANAGEMENT, 99;
    /// The projection was rebuilt from the log.
    ProjectionRebuilt = "projection.rebuilt", ENTITY_MANAGEMENT, 3;
    /// A row of the projection is not what the log says; it was not used.
    ProjectionDiffers = "projection.differs", DETECTION_FINDING, 1;
    /// The log's share of the disk crossed an alarm level.
    DiskBudget = "disk.budget", DETECTION_FINDING, 1;
    /// The wall clock moved by more than 5 s against the monotonic clock.
    ClockStepped = "clock.stepped", DETECTION_FINDING, 1;
    /// The gateway opened its ports.
    GatewayStarted = "gateway.started", APPLICATION_LIFECYCLE, 3;
    /// The gateway drained and closed.
    GatewayStopped = "gateway.stopped", APPLICATION_LIFECYCLE, 4;
    /// The process that serves ended without being told to; another takes its place.
    WorkerLost = "worker.lost", DETECTION_FINDING, 1;
    /// New configuration or policies took effect.
    ConfigReloaded = "config.reloaded", APPLICATION_LIFECYCLE, 8;
    /// New configuration or policies were refused; the old ones stay.
    ConfigRefused = "config.refused", APPLICATION_LIFECYCLE, 99;
    /// A model in another server is not what it was; it is refused there until a reload.
    ModelChanged = "model.changed", DETECTION_FINDING, 1;
    /// The watch over a model's queries learned what is normal.
    WatchStarted = "watch.started", APPLICATION_LIFECYCLE, 3;
    /// A client's queries look like the copying of a model or a walk to its boundary; what is done about it.
    ClientSuspected = "client.suspected", DETECTION_FINDING, 1;
    /// What was done about a suspected client was undone.
    ClientReleased = "client.released", DETECTION_FINDING, 3;
    /// An identified request was admitted; durable before its answer leaves.
    RequestAdmitted = "request.admitted", API_ACTIVITY, 2;
    /// How an admitted request ended.
    RequestOutcome = "request.outcome", API_ACTIVITY, 99;
    /// An answer was marked; the record commits to what was asked and answered, and shows neither.
    AnswerMarked = "answer.marked", API_ACTIVITY, 99;
    /// An identified request was refused.
    RequestRefused = "request.refused", API_ACTIVITY, 2;
    /// Requests refused before identification, merged per reason and source prefix over 10 s.
    RequestsRefused = "requests.refused", DETECTION_FINDING, 1;
    /// A person or workload was enrolled.
    PrincipalCreated = "principal.created", ENTITY_MANAGEMENT, 1;
    /// A principal's roles or environment changed, or it was disabled.
    PrincipalChanged = "principal.changed", ENTITY_MANAGEMENT, 3;
    /// An API key was issued.
    KeyCreated = "key.created", ENTITY_MANAGEMENT, 1;
    /// An API key was revoked.
    KeyRevoked = "key.revoked", ENTITY_MANAGEMENT, 4;
    /// An API key was replaced; the old one ends after a grace period.
    KeyRotated = "key.rotated", ENTITY_MANAGEMENT, 3;
    /// A command or administrative call was refused.
    AccessRefused = "access.refused", API_ACTIVITY, 99;
    /// A version number was given to an artifact that is about to be sealed.
    ArtifactReserved = "artifact.reserved", ENTITY_MANAGEMENT, 1;
    /// An artifact version was sealed into the vault.
    ArtifactSealed = "artifact.sealed", ENTITY_MANAGEMENT, 1;
    /// An artifact version was opened.
    ArtifactOpened = "artifact.opened", ENTITY_MANAGEMENT, 2;
    /// An artifact failed verification and was not released.
    ArtifactRefused = "artifact.refused", DETECTION_FINDING, 1;
    /// The root key, the log key or the certificate authority was rotated.
    KeysRotated = "keys.rotated", ENTITY_MANAGEMENT, 3;
    /// A person's key was destroyed, and with it the personal fields under it.
    SubjectErased = "subject.erased", ENTITY_MANAGEMENT, 4;
    /// A backup was made.
    BackupCreated = "backup.created", ENTITY_MANAGEMENT, 1;
    /// The folder was restored from a backup.
    BackupRestored = "backup.restored", ENTITY_MANAGEMENT, 3;
}

macro_rules! controls {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// One of the 50 controls listed in CONTROLS.md. Serialized as its name.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        pub enum Control { $($(#[$doc])* #[serde(rename = $name)] $variant = $number,)* }

        impl Control {
            /// Every control, by number.
            pub const ALL: &'static [Control] = &[$(Control::$variant),*];

            /// The number in CONTROLS.md, 1 to 50.
            pub const fn number(self) -> u8 {
                match self { $(Control::$variant => $number,)* }
            }

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Control::$variant => $name,)* }
            }
        }
    };
}

controls! {
    /// Anomalies, formats and consistency of data.
    DataValidation = 1, "data_validation";
    /// Sensor identity, and data unaltered in transit.
    SourceAuthentication = 2, "source_authentication";
    /// People look at data, at admission and periodically.
    HumanReview = 3, "human_review";
    /// Quorum, greatest share and cross-checks over sources.
    ManySources = 4, "many_sources";
    /// Screens for poisoned examples.
    PoisoningScreens = 5, "poisoning_screens";
    /// Data dropped, masked or aggregated.
    Minimisation = 6, "minimisation";
    /// Tokens, masks and anonymisation.
    Tokenisation = 7, "tokenisation";
    /// Every store encrypted.
    EncryptionAtRest = 8, "encryption_at_rest";
    /// Every leg encrypted.
    EncryptionInTransit = 9, "encryption_in_transit";
    /// Lineage and data map.
    Lineage = 10, "lineage";
    /// Catalog and classification that applies controls by itself.
    Classification = 11, "classification";
    /// Access to data sets by task.
    DataAccess = 12, "data_access";
    /// Differential privacy for queries.
    PrivateQueries = 13, "private_queries";
    /// Differentially private training.
    PrivateTraining = 14, "private_training";
    /// Adversarial training.
    AdversarialTraining = 15, "adversarial_training";
    /// Ensembles of models.
    Ensembles = 16, "ensembles";
    /// Federated learning with secure and robust aggregation.
    FederatedLearning = 17, "federated_learning";
    /// Watermarks in weights and behaviour.
    Watermarking = 18, "watermarking";
    /// Robustness measured.
    RobustEvaluation = 19, "robust_evaluation";
    /// Extraction tested.
    ExtractionTest = 20, "extraction_test";
    /// Membership inference and memorisation tested.
    MembershipTest = 21, "membership_test";
    /// Inversion and attribute inference tested.
    InversionTest = 22, "inversion_test";
    /// Susceptibility to backdoors and poisoning tested.
    BackdoorTest = 23, "backdoor_test";
    /// Red team for language models.
    LlmRedTeam = 24, "llm_red_team";
    /// Model files scanned.
    ModelScanning = 25, "model_scanning";
    /// Signed provenance.
    SignedProvenance = 26, "signed_provenance";
    /// Encrypted, versioned store with least-privilege reads.
    SealedVault = 27, "sealed_vault";
    /// Environments and promotion by evidence.
    Promotion = 28, "promotion";
    /// Authentication and authorisation.
    AccessControl = 29, "access_control";
    /// Rate and query limits.
    RateLimits = 30, "rate_limits";
    /// Answers shaped: top-k, decimals, labels only, hidden outputs.
    OutputShaping = 31, "output_shaping";
    /// Extraction detected and answered.
    ExtractionDetection = 32, "extraction_detection";
    /// Input validation, feature squeezing, evasion detection.
    InputInspection = 33, "input_inspection";
    /// Unpredictable answers to crafted queries.
    UnpredictableAnswers = 34, "unpredictable_answers";
    /// Input and output inspection of generative models.
    GenAiInspection = 35, "genai_inspection";
    /// Tamper-evident log and usage review.
    AuditLog = 36, "audit_log";
    /// Homomorphic inference.
    HomomorphicInference = 37, "homomorphic_inference";
    /// Integrity of the running model.
    RunningModelIntegrity = 38, "running_model_integrity";
    /// Attestation gates keys.
    ConfidentialComputing = 39, "confidential_computing";
    /// Hardware authentication and telemetry.
    HardwareAuthentication = 40, "hardware_authentication";
    /// Container images, cluster policy, segmentation.
    ClusterPolicy = 41, "cluster_policy";
    /// Code and pipeline scanning.
    CodeScanning = 42, "code_scanning";
    /// Accuracy and drift in production.
    ProductionMonitoring = 43, "production_monitoring";
    /// Threat hunting.
    ThreatHunting = 44, "threat_hunting";
    /// Response with approvals.
    AgenticResponse = 45, "agentic_response";
    /// Threat models from the design on.
    ThreatModelling = 46, "threat_modelling";
    /// Inventory and AI bill of materials.
    Inventory = 47, "inventory";
    /// Compliance evidence.
    Compliance = 48, "compliance";
    /// Explanations.
    Explanations = 49, "explanations";
    /// Physical and organisational checklists.
    Checklists = 50, "checklists";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_numbered_1_to_50() {
        let numbers: Vec<u8> = Control::ALL.iter().map(|control| control.number()).collect();
        assert_eq!(numbers, (1..=50).collect::<Vec<u8>>());
    }

    #[test]
    fn event_names_are_unique() {
        let names: std::collections::BTreeSet<&str> = Event::ALL.iter().map(|event| event.name()).collect();
        assert_eq!(names.len(), Event::ALL.len());
    }
}
