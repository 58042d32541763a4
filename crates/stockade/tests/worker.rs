//! The process that serves: what code in it can reach, and what its death does.

#![cfg(target_os = "linux")]

#[cfg(test)]
#[expect(dead_code, reason = "the contract's tests use all of it")]
mod support;

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        io::Read as _,
        net::{TcpListener, TcpStream},
        os::unix::net::UnixStream,
        path::{Path, PathBuf},
        process::{Command, Stdio},
        sync::atomic::{AtomicBool, Ordering},
        thread,
        time::{Duration, Instant},
    };

    use stockade_confine::{Allowed, lock_down, supported};

    use crate::support::{SEVEN, Server, files, json, label, run, signal};

    /// What names the attacker's targets to it, and whether it is locked down before it starts.
    const TARGET: &str = "ATTACK_TARGET";
    const PARENT: &str = "ATTACK_PARENT";
    const ELSEWHERE: &str = "ATTACK_ELSEWHERE";
    const LOCKED: &str = "ATTACK_LOCKED";
    const KEY: &str = "ATTACK_KEY";

    /// Each thing that code in a worker may try, and whether it worked.
    fn attacks(state: &Path, key: PathBuf, parent: u32, elsewhere: &str) -> BTreeMap<&'static str, bool> {
        let read = |path: PathBuf| {
            fs::File::open(path)
                .and_then(|mut file| file.read(&mut [0; 1]))
                .is_ok()
        };
        let own = std::env::temp_dir().join(format!("attack-{}", std::process::id()));
        let written = fs::write(&own, b"x").is_ok();
        let _ = fs::remove_file(&own);
        BTreeMap::from([
            (
                "list the keys",
                fs::read_dir(state.join("keys")).is_ok_and(|mut keys| keys.next().is_some()),
            ),
            ("read the root key", read(key)),
            ("read the log's head", read(state.join("head.json"))),
            ("read the log", read(state.join("log/checkpoint"))),
            ("read the rows", read(state.join("records.db"))),
            (
                "ask the control socket",
                UnixStream::connect(state.join("control.sock")).is_ok(),
            ),
            (
                "read the keeper's memory",
                fs::File::open(format!("/proc/{parent}/mem")).is_ok(),
            ),
            (
                "read the keeper's environment",
                read(format!("/proc/{parent}/environ").into()),
            ),
            (
                "signal the keeper",
                rustix::process::Pid::from_raw(i32::try_from(parent).unwrap())
                    .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok()),
            ),
            (
                "run a shell",
                Command::new("/bin/sh")
                    .args(["-c", "exit 0"])
                    .status()
                    .is_ok_and(|done| done.success()),
            ),
            ("write a file", written),
            ("connect elsewhere", TcpStream::connect(elsewhere).is_ok()),
            ("listen", TcpListener::bind("127.0.0.1:0").is_ok()),
        ])
    }

    /// The attacker's process. It does nothing unless a test below started it.
    #[test]
    fn attacker() {
        let Ok(state) = std::env::var(TARGET) else { return };
        let parent: u32 = std::env::var(PARENT).unwrap().parse().unwrap();
        let elsewhere = std::env::var(ELSEWHERE).unwrap();
        let held = fs::File::open("/proc/self/status").unwrap();
        if std::env::var_os(LOCKED).is_some() {
            let isolation = lock_down(&Allowed::default()).unwrap();
            assert!(isolation.is_whole());
        }
        let key = std::env::var(KEY).unwrap().into();
        let done = attacks(Path::new(&state), key, parent, &elsewhere);
        // What a server needs still works: a descriptor that it holds, a thread, the clock.
        let mut status = String::new();
        (&held).read_to_string(&mut status).unwrap();
        thread::spawn(Instant::now).join().unwrap();
        println!("ATTACKS {}", serde_json::to_string(&done).unwrap());
    }

    fn attack(server: &Server, elsewhere: &str, locked: bool) -> BTreeMap<String, bool> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "tests::attacker", "--nocapture", "--test-threads=1"])
            .env(TARGET, server.dir.join(".stockade"))
            .env(PARENT, server.pid().to_string())
            .env(ELSEWHERE, elsewhere)
            .env(KEY, &files(&server.dir.join(".stockade/keys"))[0])
            .env_remove(LOCKED)
            .stdin(Stdio::null());
        if locked {
            command.env(LOCKED, "1");
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = said.lines().find_map(|line| line.split_once("ATTACKS "));
        let (_, line) = line.unwrap_or_else(|| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)));
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn code_in_a_worker_reaches_neither_keys_nor_log() {
        if !supported().is_whole() {
            println!(
                "skipped: this kernel lacks Landlock or seccomp: {:?}",
                supported()
            );
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = elsewhere.local_addr().unwrap().to_string();
        let off = attack(&server, &address, false);
        let on = attack(&server, &address, true);
        assert_eq!(off.len(), 13);
        // Yama (ptrace_scope) may keep a process out of another's memory by itself.
        let guarded =
            fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope.trim() != "0");
        for (attack, works) in &off {
            let of_another = attack.starts_with("read the keeper's");
            assert!(
                *works || (guarded && of_another),
                "`{attack}` should work without the control"
            );
        }
        for (attack, works) in &on {
            assert!(!works, "`{attack}` should fail with the control");
        }
        assert_eq!(server.stop(), Some(0));
    }

    /// The workers of a server, from /proc.
    fn workers(server: u32) -> Vec<u32> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            if field(pid, "PPid").is_some_and(|parent| parent == server.to_string())
                && field(pid, "State").is_some_and(|state| !state.starts_with('Z'))
            {
                found.push(pid);
            }
        }
        found
    }

    fn field(pid: u32, name: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Some(line?.trim().to_owned())
    }

    #[track_caller]
    fn worker(server: &Server) -> u32 {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            if let [pid] = workers(server.pid())[..] {
                return pid;
            }
            assert!(Instant::now() < until, "no worker: {}", server.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_worker_holds_nothing_of_the_state() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let pid = worker(&server);
        assert_eq!(field(pid, "NoNewPrivs").as_deref(), Some("1"));
        let has = supported();
        let names: Vec<String> = has.names();
        if has.seccomp {
            assert_eq!(field(pid, "Seccomp").as_deref(), Some("2"));
        }
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(!contains(&arguments, dir.path().to_str().unwrap().as_bytes()));
        match fs::read_dir(format!("/proc/{pid}/fd")) {
            Err(error) => println!("skipped: descriptors of a process that is not dumpable: {error}"),
            Ok(descriptors) => {
                let state = dir.path().canonicalize().unwrap().join(".stockade");
                for descriptor in descriptors.flatten() {
                    let target = fs::read_link(descriptor.path()).unwrap_or_default();
                    assert!(!target.starts_with(&state), "{}", target.display());
                }
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
                assert!(!contains(&environment, dir.path().to_str().unwrap().as_bytes()));
            }
        }
        assert_eq!(server.stop(), Some(0));
        let started = json(dir.path(), &["log", "show", "--event", "gateway.started"]);
        assert_eq!(
            started["records"][0]["record"]["details"]["isolation"],
            serde_json::json!(names)
        );
    }

    #[test]
    fn isolation_may_be_required() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Server::up(dir.path()).stop(), Some(0));
        let file = dir.path().join("stockade.toml");
        let required = "\n[worker]\nrequire_isolation = true\n";
        fs::write(&file, fs::read_to_string(&file).unwrap() + required).unwrap();
        let checked = json_of_any_exit(dir.path(), &["doctor", "--format", "json"]);
        let checks = checked["checks"].as_array().unwrap();
        let of_worker = checks
            .iter()
            .find(|check| check["what"] == "worker isolation")
            .unwrap();
        if supported().is_whole() {
            assert_eq!(of_worker["state"], "fine");
            assert_eq!(Server::up(dir.path()).stop(), Some(0));
        } else {
            assert_eq!(of_worker["state"], "wrong");
            let refused = run(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
            assert_eq!(refused.status.code(), Some(2));
        }
    }

    fn json_of_any_exit(dir: &Path, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_slice(&run(dir, arguments).stdout).unwrap()
    }

    fn contains(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn a_killed_worker_loses_nothing_and_another_serves() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let first = worker(&server);
        let stop = AtomicBool::new(false);
        let answered: Vec<String> = thread::scope(|scope| {
            let clients: Vec<_> = (0..3).map(|_| scope.spawn(|| asks(&server, &stop))).collect();
            thread::sleep(Duration::from_millis(300));
            signal(first, "KILL");
            let second = another(&server, first);
            thread::sleep(Duration::from_millis(700));
            signal(second, "KILL");
            another(&server, second);
            thread::sleep(Duration::from_millis(700));
            stop.store(true, Ordering::Release);
            clients
                .into_iter()
                .flat_map(|client| client.join().unwrap())
                .collect()
        });
        assert!(!answered.is_empty());
        assert_eq!(label(&server.infer(SEVEN)), 7);
        assert_eq!(server.stop(), Some(0));
        // Every answer that a client got has its admission in the log.
        let shown = json(
            dir.path(),
            &["log", "show", "--event", "request.admitted", "--limit", "100000"],
        );
        let admitted: BTreeSet<&str> = shown["records"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|record| record["record"]["id"].as_str())
            .collect();
        for id in &answered {
            assert!(
                admitted.contains(id.as_str()),
                "{id} was answered and is not in the log"
            );
        }
        let lost = json(dir.path(), &["log", "show", "--event", "worker.lost"]);
        assert_eq!(lost["records"].as_array().unwrap().len(), 2, "{lost}");
        assert!(
            lost["records"][0]["record"]["details"]["how"]
                .as_str()
                .unwrap()
                .contains("signal: 9")
        );
        assert_eq!(json(dir.path(), &["log", "verify"])["ok"], true);
    }

    /// Asks again and again; gives the ids of the requests that were answered. None gets a wrong answer.
    fn asks(server: &Server, stop: &AtomicBool) -> Vec<String> {
        let mut answered = Vec::new();
        let url = format!("{}/v2/models/digits/infer", server.gateway());
        while !stop.load(Ordering::Acquire) {
            let Some(answer) = server.try_curl(&url, Some(&server.key("client")), Some(SEVEN)) else {
                continue;
            };
            if answer.status == 200 {
                assert_eq!(label(&answer), 7);
                let headers = answer.headers.to_lowercase();
                let id = headers
                    .lines()
                    .find_map(|line| line.strip_prefix("x-request-id:"))
                    .unwrap();
                answered.push(id.trim().to_owned());
            }
        }
        answered
    }

    #[track_caller]
    fn another(server: &Server, former: u32) -> u32 {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match workers(server.pid())[..] {
                [pid] if pid != former => return pid,
                _ => assert!(Instant::now() < until, "no other worker: {}", server.log()),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_worker_ends_with_its_keeper() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let pid = worker(&server);
        server.kill();
        let until = Instant::now() + Duration::from_secs(10);
        while field(pid, "State").is_some_and(|state| !state.starts_with('Z')) {
            assert!(Instant::now() < until, "the worker lives on");
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(Server::up(dir.path()).stop(), Some(0));
    }

    #[test]
    fn workers_that_die_again_and_again_end_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            // Ended, and not yet waited for.
            if field(server.pid(), "State").is_some_and(|state| state.starts_with('Z')) {
                break;
            }
            for pid in workers(server.pid()) {
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            }
            assert!(Instant::now() < until, "the server goes on: {}", server.log());
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(server.stop(), Some(3));
    }

    #[test]
    fn a_reload_beyond_what_the_worker_may_reach_starts_another() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let first = worker(&server);
        // A server that is not there: its model is not ready, and everything else goes on.
        let file = dir.path().join("stockade.toml");
        let more = "\n[[upstream]]\nname = \"far\"\nurl = \"http://127.0.0.1:9\"\nprotocol = \"oip_http\"\ndangerous_plaintext = true\n\
                    [model.remote]\nsource = \"upstream:far/m\"\nenvironment = \"prod\"\n";
        fs::write(&file, fs::read_to_string(&file).unwrap() + more).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let url = format!("{}/v2/models/digits/infer", server.gateway());
        while workers(server.pid()).contains(&first) {
            // The former worker closes connections on which nothing was asked yet; whoever gets an answer gets the right one.
            if let Some(answer) = server.try_curl(&url, Some(&server.key("client")), Some(SEVEN)) {
                assert_eq!(label(&answer), 7);
            }
            assert!(
                Instant::now() < until,
                "the former worker goes on: {}",
                server.log()
            );
        }
        let models = server.curl(
            &format!("{}/admin/v1/models", server.admin()),
            Some(&server.key("admin")),
            None,
        );
        assert_eq!(models.json().as_array().unwrap().len(), 2, "{models:?}");
        assert_eq!(server.stop(), Some(0));
        let reloaded = json(dir.path(), &["log", "show", "--event", "config.reloaded"]);
        assert_eq!(
            reloaded["records"][0]["record"]["details"]["worker"], "replaced",
            "{reloaded}"
        );
        let lost = json(dir.path(), &["log", "show", "--event", "worker.lost"]);
        assert!(lost["records"].as_array().unwrap().is_empty(), "{lost}");
    }

    #[test]
    fn an_api_key_that_may_is_what_changes_keys() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::up(dir.path());
        let url = format!("{}/admin/v1/keys", server.admin());
        let body = br#"{"principal": "client"}"#;
        let made = server.curl(&url, Some(&server.key("admin")), Some(body));
        assert_eq!(made.status, 201, "{made:?}");
        let key = made.json()["key"].as_str().unwrap().to_owned();
        let infer = format!("{}/v2/models/digits/infer", server.gateway());
        assert_eq!(server.curl(&infer, Some(&key), Some(SEVEN)).status, 200);
        assert_eq!(
            server.curl(&url, Some(&server.key("client")), Some(body)).status,
            403
        );
        assert_eq!(server.stop(), Some(0));
    }
}
