//! One owner, many callers: the lock, the control socket, and what comes through it.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use stockade_crypto::DataKey;
use stockade_evidence::{Actor, Event};
use stockade_store::{
    Commit, CommitError, Expect, Handle, Keeper, OpenError, PersonalError, StateDir, fuzz_control_frame,
    wall_clock,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::oneshot,
    task::JoinHandle,
};

use crate::folder::{Folder, put, record, set};

struct Server {
    keeper: Keeper,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    #[expect(
        clippy::disallowed_methods,
        reason = "every test waits for the task in `stop`"
    )]
    async fn start(folder: &Folder) -> Self {
        let keeper = folder.open().await;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = keeper.clone();
        let task = tokio::spawn(async move { serving.serve_control(stopped).await.unwrap() });
        while !folder.dir.control_socket().exists() {
            tokio::task::yield_now().await;
        }
        Self { keeper, stop, task }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        self.keeper.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_second_owner_is_told_of_the_first() {
    let folder = Folder::new();
    let keeper = folder.open().await;
    keeper
        .announce("https://127.0.0.1:8443", "https://127.0.0.1:8444")
        .unwrap();
    let error = folder.try_open().await.unwrap_err();
    let me = std::process::id();
    assert!(matches!(&error, OpenError::AlreadyOwned { pid: Some(pid), .. } if *pid == me));
    assert!(
        error
            .to_string()
            .contains(&format!("process {me}, which serves https://127.0.0.1:8443"))
    );
    keeper.close().await.unwrap();
    folder.open().await.close().await.unwrap();
}

/// Twenty threads, each with a runtime and a handle of its own, as twenty commands would.
fn twenty_writers(dir: &StateDir) {
    std::thread::scope(|scope| {
        for writer in 0..20 {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let open = || stockade_crypto::KeyFolder::open(&dir.keys());
                    let handle = Handle::connect(dir.clone(), open, stockade_store::Config::default())
                        .await
                        .unwrap();
                    for n in 0..3 {
                        let change = put("thing", &format!("{writer:02}-{n}"), json!(writer));
                        let commit = Commit::new(record(Event::PrincipalCreated).changing(change));
                        handle.commit(commit).await.unwrap();
                    }
                    handle.close().await.unwrap();
                });
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_parallel_writers_get_through_the_socket() {
    let folder = Folder::new();
    let server = Server::start(&folder).await;
    let dir = folder.dir.clone();
    tokio::task::spawn_blocking(move || twenty_writers(&dir))
        .await
        .unwrap();
    assert_eq!(server.keeper.rows("thing").await.unwrap().len(), 60);
    server.stop().await;
    folder.open().await.close().await.unwrap();
}

#[test]
fn twenty_parallel_writers_take_turns_without_a_server() {
    let folder = Folder::new();
    twenty_writers(&folder.dir);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let keeper = folder.open().await;
        assert_eq!(keeper.rows("thing").await.unwrap().len(), 60);
        keeper.close().await.unwrap();
    });
}

#[tokio::test]
async fn a_remote_handle_does_what_a_local_one_does() {
    let folder = Folder::new();
    let server = Server::start(&folder).await;
    let handle = folder.connect().await;
    assert!(matches!(&handle, Handle::Remote(client) if client.owner_pid() == std::process::id()));
    let appended = handle.append(record(Event::LogExported)).await.unwrap();
    assert_eq!(appended.origin, server.keeper.origin());
    let absent = Expect::Absent {
        kind: "thing".into(),
        id: "a".into(),
    };
    let commit = || {
        Commit::new(record(Event::KeyCreated).changing(put("thing", "a", json!(1)))).expecting(absent.clone())
    };
    handle.commit(commit()).await.unwrap();
    assert!(
        matches!(handle.commit(commit()).await, Err(CommitError::Conflict { kind, id }) if kind == "thing" && id == "a")
    );
    assert_eq!(
        handle.row("thing", "a").await.unwrap(),
        server.keeper.row("thing", "a").await.unwrap()
    );
    assert_eq!(handle.row("thing", "b").await.unwrap(), None);
    handle.integrated().await.unwrap();
    assert!(handle.now().await.unwrap() >= appended_time());
    let key = DataKey::generate().unwrap();
    let wrapped = handle.wrap_key(&key, b"context").await.unwrap();
    let opened = server.keeper.unwrap_key(&wrapped, b"context").unwrap();
    assert!(opened.to_secret().ct_eq(&key.to_secret()));
    assert!(
        handle
            .unwrap_key(&wrapped, b"context")
            .await
            .unwrap()
            .to_secret()
            .ct_eq(&key.to_secret())
    );
    let moved = handle.unwrap_key(&wrapped, b"another").await;
    assert!(matches!(
        moved,
        Err(stockade_store::WrapError::Key(
            stockade_crypto::KeyError::NotAuthentic
        ))
    ));
    let sealed = handle.seal_personal("person-1", "name", "Ada").await.unwrap();
    assert_eq!(
        handle
            .open_personal("person-1", "name", &sealed)
            .await
            .unwrap()
            .as_deref(),
        Some("Ada")
    );
    let moved = handle.open_personal("person-1", "email", &sealed).await;
    assert!(matches!(moved, Err(PersonalError::Remote(_))), "{moved:?}");
    handle
        .erase_subject("person-1", Actor::Operator { uid: 1 }, wall_clock())
        .await
        .unwrap();
    assert_eq!(
        handle.open_personal("person-1", "name", &sealed).await.unwrap(),
        None
    );
    handle.close().await.unwrap();
    server.stop().await;
}

fn appended_time() -> stockade_evidence::Timestamp {
    stockade_evidence::Timestamp::from_unix_ms(wall_clock().unix_ms() - 60_000)
}

#[tokio::test]
async fn many_and_large_rows_come_in_pages() {
    let folder = Folder::new();
    let server = Server::start(&folder).await;
    let large = "x".repeat(40_000);
    let mut expected = Vec::new();
    for n in 0..150 {
        let id = format!("{n:04}");
        set(&server.keeper, &id, json!(large)).await;
        expected.push(id);
    }
    for n in 150..1_200 {
        expected.push(format!("{n:04}"));
    }
    for ids in expected[150..].chunks(100) {
        let record = ids.iter().fold(record(Event::PrincipalCreated), |record, id| {
            record.changing(put("thing", id, json!(1)))
        });
        server.keeper.append(record).await.unwrap();
    }
    let handle = folder.connect().await;
    let ids: Vec<String> = handle
        .rows("thing")
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.id)
        .collect();
    assert_eq!(ids, expected);
    server.stop().await;
}

#[tokio::test]
async fn the_socket_is_private_and_a_left_over_one_is_replaced() {
    let folder = Folder::new();
    let server = Server::start(&folder).await;
    let mode = std::fs::metadata(folder.dir.control_socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    server.stop().await;
    assert!(!folder.dir.control_socket().exists());
    drop(std::os::unix::net::UnixListener::bind(folder.dir.control_socket()).unwrap());
    let handle = folder.connect().await;
    assert!(matches!(handle, Handle::Local(_)));
    handle.close().await.unwrap();
    let server = Server::start(&folder).await;
    assert!(matches!(folder.connect().await, Handle::Remote(_)));
    server.stop().await;
}

#[tokio::test]
async fn a_deep_folder_has_a_socket_too() {
    let mut folder = Folder::new();
    let deep = folder.temp.path().join("d".repeat(90)).join("e".repeat(90));
    folder.dir = StateDir::new(&deep);
    folder.dir.create().unwrap();
    stockade_crypto::KeyFolder::create(&folder.dir.keys(), None, 1_700_000_000).unwrap();
    let server = Server::start(&folder).await;
    let handle = folder.connect().await;
    assert!(matches!(handle, Handle::Remote(_)));
    handle.append(record(Event::LogExported)).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_frame_ends_the_connection_and_nothing_else() {
    let folder = Folder::new();
    let server = Server::start(&folder).await;
    for bytes in [
        &b"\xff\xff\xff\xff"[..],
        b"\0\0\0\x02[]",
        b"\0\0\0\x0f{\"ask\":\"never\"}",
        b"\0\0\0\x05\xff\xfe\xfd\xfc\xfb",
        b"\0\0\0\x10{\"ask\"",
        b"\0\0",
    ] {
        let mut stream = UnixStream::connect(folder.dir.control_socket()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(
            answer.is_empty() || answer.windows(6).any(|part| part == b"failed"),
            "{bytes:?}"
        );
    }
    folder
        .connect()
        .await
        .append(record(Event::LogExported))
        .await
        .unwrap();
    server.stop().await;
}

#[test]
fn frames_from_anybody_do_not_panic() {
    let frame = |body: &str| {
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(body.as_bytes());
        frame
    };
    let corpus = [
        frame(r#"{"ask":"ping"}"#),
        frame(r#"{"ask":"row","kind":"thing","id":"a"}"#),
        frame(r#"{"ask":"wrap_key","key":"AAAA","context":"AA=="}"#),
        frame(r#"{"ask":"page","kind":"k","after":""}"#),
        frame(r#"{"answer":"opened","value":null}"#),
        frame(r#"{"answer":"conflict","kind":"k","id":"i"}"#),
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    for seed in &corpus {
        fuzz_control_frame(seed);
        for _ in 0..2_000 {
            let mut bytes = seed.clone();
            for _ in 0..=next() % 4 {
                let at = next() % bytes.len();
                match next() % 3 {
                    0 => bytes[at] = u8::try_from(next() % 256).unwrap(),
                    1 => bytes.truncate(at + 1),
                    _ => bytes.insert(at, u8::try_from(next() % 256).unwrap()),
                }
            }
            fuzz_control_frame(&bytes);
        }
    }
}
