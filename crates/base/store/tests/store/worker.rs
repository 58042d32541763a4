//! A worker's link: what it does as the keeper would, and what it must not do, asked by code that took the worker over.

use std::time::Duration;

use serde_json::json;
use stockade_crypto::DataKey;
use stockade_evidence::{Actor, Change, Event, Record, Subject, SubjectKind, Timestamp};
use stockade_store::{
    ActorKind, Admitted, Allowance, Commit, Keeper, LinkError, MayPut, Station, WorkerLink, wall_clock,
};
use tokio::{
    net::UnixStream,
    task::{JoinHandle, JoinSet},
};

use crate::folder::{Folder, put, record, record_at, set};

const ALLOWANCE: Allowance = Allowance {
    events: &[
        (Event::RequestAdmitted, ActorKind::Principal),
        (Event::RequestsRefused, ActorKind::Anybody),
        (Event::GatewayStarted, ActorKind::System),
        (Event::ClientSuspected, ActorKind::System),
    ],
    puts: &[MayPut {
        event: Event::ClientSuspected,
        kind: "standing",
        fits: |id, value| id == "a" && value["n"] == 1,
    }],
    kinds: &["thing"],
    fields: &["jwt_subject"],
};

#[expect(clippy::disallowed_methods, reason = "every test waits for the task")]
async fn link(keeper: &Keeper) -> (Station, WorkerLink, JoinHandle<Result<(), LinkError>>) {
    let (near, far) = UnixStream::pair().unwrap();
    let serving = keeper.clone();
    let task = tokio::spawn(async move { serving.serve_worker(near, ALLOWANCE).await });
    let link = WorkerLink::open(far).await.unwrap();
    (Station::Worker(link.clone()), link, task)
}

fn admitted(id: &str) -> Record {
    let mut record = record(Event::RequestAdmitted);
    record.actor = Actor::Principal { id: id.to_owned() };
    record
        .about(Subject::new(SubjectKind::Artifact, "m"))
        .with("bits", 7)
}

async fn records(keeper: &Keeper, event: Event) -> Vec<Record> {
    let mut found = Vec::new();
    let mut each = |_: u64, record: &Record| {
        if record.event == event {
            found.push(record.clone());
        }
    };
    let start = Timestamp::from_unix_ms(0);
    keeper.entries_since(start, &mut each).await.unwrap();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_appends_reads_and_follows() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let (station, link, task) = link(&keeper).await;
    // Many at once, each durable when it is answered.
    let mut appends = JoinSet::new();
    for n in 0..100 {
        let station = station.clone();
        appends.spawn(async move {
            station
                .append(admitted(&format!("p{}", n % 2)))
                .await
                .unwrap()
                .index
        });
    }
    let mut places = appends.join_all().await;
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 100);
    let standing = record(Event::ClientSuspected).changing(put("standing", "a", json!({"n": 1})));
    station.append(standing).await.unwrap();
    station.append_soon(admitted("p2")).await.unwrap();
    let midnight = Timestamp::from_unix_ms(0);
    let used = station.admitted_since(midnight).await.unwrap();
    assert_eq!(
        used,
        [("p0", 50), ("p1", 50), ("p2", 1)]
            .map(|(id, requests)| {
                let bits = [("m".to_owned(), 7 * requests)].into();
                (id.to_owned(), Admitted { requests, bits })
            })
            .into()
    );
    // A change is told within a second, and its row can be read.
    let mut changes = station.changes();
    set(&keeper, "a", json!({"n": 1})).await;
    tokio::time::timeout(Duration::from_secs(1), changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(station.handle().rows("thing").await.unwrap().len(), 1);
    assert_eq!(station.health().log.origin, keeper.health().log.origin);
    assert!(
        station
            .checkpoint()
            .await
            .unwrap()
            .unwrap()
            .starts_with(&keeper.origin())
    );
    // The keeper's clock has seen a later time than the wall's; the worker's follows it.
    assert!(station.now() >= wall_clock().plus_ms(-1000));
    drop((station, link));
    task.await.unwrap().unwrap();
    keeper.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_sets_the_time() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    let (station, link, task) = link(&keeper).await;
    let far = wall_clock().plus_ms(10 * 365 * 86_400_000);
    station
        .append(record_at(Event::GatewayStarted, far))
        .await
        .unwrap();
    let records = records(&keeper, Event::GatewayStarted).await;
    assert!(records[0].time < wall_clock().plus_ms(60_000));
    assert!(keeper.now() < far);
    drop((station, link));
    task.await.unwrap().unwrap();
    keeper.close().await.unwrap();
}

/// What a taken-over worker asks. Each ends its link, and nothing is done.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_may_not_ask_ends_its_link() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    set(&keeper, "a", json!({"n": 1})).await;
    let sealed = keeper.seal_personal("p0", "email", "a@b.example").await.unwrap();
    let size = keeper.log().durable_size();
    for attack in 0..15 {
        let (station, link, task) = link(&keeper).await;
        let handle = station.handle();
        let change = put("thing", "a", json!({"n": 2}));
        let failed = match attack {
            0 => station.append(record(Event::KeyCreated)).await.is_err(),
            1 => station.append(record(Event::RequestAdmitted)).await.is_err(),
            2 => {
                let mut record = record(Event::GatewayStarted);
                record.actor = Actor::Operator { uid: 0 };
                station.append_soon(record).await.is_err()
            }
            3 => station.append(admitted("p0").changing(change)).await.is_err(),
            4 => handle
                .commit(Commit::new(record(Event::GatewayStarted).changing(change)))
                .await
                .is_err(),
            5 => handle.rows("api_secret").await.is_err(),
            6 => handle.row("identities", "all").await.is_err(),
            7 => handle.open_personal("p0", "email", &sealed).await.is_err(),
            8 => handle
                .wrap_key(&DataKey::from_bytes([7; 32]), b"x")
                .await
                .is_err(),
            9 => handle.seal_personal("p0", "email", "x").await.is_err(),
            11 => station
                .append(record(Event::ClientSuspected).changing(change))
                .await
                .is_err(),
            13 => station
                .append(record(Event::ClientSuspected).changing(put("standing", "a", json!({"n": 2}))))
                .await
                .is_err(),
            12 => {
                let gone = Change::Delete {
                    kind: "standing".into(),
                    id: "a".into(),
                };
                station
                    .append(record(Event::ClientSuspected).changing(gone))
                    .await
                    .is_err()
            }
            10 => handle
                .erase_subject("p0", Actor::System {}, wall_clock())
                .await
                .is_err(),
            _ => handle
                .backup(folder.temp.path(), None, Actor::System {})
                .await
                .is_err(),
        };
        assert!(failed, "attack {attack}");
        link.ended().await;
        assert!(
            matches!(task.await.unwrap(), Err(LinkError::Forbidden { .. })),
            "attack {attack}"
        );
        assert!(station.append(admitted("p0")).await.is_err(), "attack {attack}");
    }
    assert_eq!(keeper.log().durable_size(), size);
    keeper.close().await.unwrap();
}
