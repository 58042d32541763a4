//! The real binary, a real server of it, and curl as the client.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The binary under test.
pub(crate) fn stockade() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    for (name, _) in std::env::vars() {
        if name.starts_with("STOCKADE_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs a command of the binary to its end.
#[track_caller]
pub(crate) fn run(dir: &Path, arguments: &[&str]) -> Output {
    stockade().args(arguments).arg("--dir").arg(dir).output().unwrap()
}

/// Runs a command that must succeed, and reads its JSON.
#[track_caller]
pub(crate) fn json(dir: &Path, arguments: &[&str]) -> Value {
    let output = run(dir, &[arguments, &["--format", "json"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{arguments:?}: {:?}\n{stderr}",
        output.status
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{stderr}"))
}

/// `stockade up` on a folder, on free ports; killed when dropped.
pub(crate) struct Server {
    child: Option<Child>,
    pub(crate) dir: PathBuf,
    pub(crate) ready_file: PathBuf,
    pub(crate) ready: Value,
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn code(&self) -> String {
        self.json()["code"]
            .as_str()
            .unwrap_or_else(|| panic!("no code: {self:?}"))
            .to_owned()
    }
}

impl Server {
    /// Starts and waits until requests are served.
    #[track_caller]
    pub(crate) fn up(dir: &Path) -> Self {
        Self::start(dir, &["up"])
    }

    #[track_caller]
    pub(crate) fn start(dir: &Path, arguments: &[&str]) -> Self {
        fs::create_dir_all(dir).unwrap();
        let ready_file = dir.join("ready.json");
        let _ = fs::remove_file(&ready_file);
        let log = fs::File::create(dir.join("server.log")).unwrap();
        let mut child = stockade()
            .args(arguments)
            .args(["--listen", "127.0.0.1:0"])
            .arg("--dir")
            .arg(dir)
            .arg("--ready-file")
            .arg(&ready_file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while !ready_file.exists() {
            let log = || fs::read_to_string(dir.join("server.log")).unwrap_or_default();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status}: {}", log());
            }
            assert!(Instant::now() < until, "the server is not ready: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        let ready = serde_json::from_slice(&fs::read(&ready_file).unwrap()).unwrap();
        Self {
            child: Some(child),
            dir: dir.to_owned(),
            ready_file,
            ready,
        }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn gateway(&self) -> &str {
        self.ready["gateway_url"].as_str().unwrap()
    }

    pub(crate) fn admin(&self) -> &str {
        self.ready["admin_url"].as_str().unwrap()
    }

    pub(crate) fn key(&self, who: &str) -> String {
        fs::read_to_string(self.ready[format!("{who}_key_file")].as_str().unwrap()).unwrap()
    }

    /// A request as the client of the example.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.curl(
            &format!("{}{path}", self.gateway()),
            Some(&self.key("client")),
            None,
        )
    }

    /// A prediction as the client of the example.
    #[track_caller]
    pub(crate) fn infer(&self, body: &[u8]) -> Answer {
        let url = format!("{}/v2/models/digits/infer", self.gateway());
        self.curl(&url, Some(&self.key("client")), Some(body))
    }

    /// Any request with curl; the key goes through curl's configuration on standard input, not through its arguments.
    #[track_caller]
    pub(crate) fn curl(&self, url: &str, key: Option<&str>, body: Option<&[u8]>) -> Answer {
        let answer = self.try_curl(url, key, body);
        answer.unwrap_or_else(|| panic!("curl got no answer: {}", self.log()))
    }

    /// Like [`Self::curl`]; `None` where no whole answer came.
    pub(crate) fn try_curl(&self, url: &str, key: Option<&str>, body: Option<&[u8]>) -> Option<Answer> {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = format!(
            "silent\nurl = \"{url}\"\ncacert = \"{}\"\n",
            self.ready["ca_cert"].as_str().unwrap()
        );
        let (head, out) = (scratch.path().join("head"), scratch.path().join("body"));
        config += &format!(
            "dump-header = \"{}\"\noutput = \"{}\"\n",
            head.display(),
            out.display()
        );
        config += "max-time = 60\nheader = \"Expect:\"\n";
        if let Some(key) = key {
            config += &format!("header = \"Authorization: Bearer {key}\"\n");
        }
        if let Some(body) = body {
            let file = scratch.path().join("request");
            fs::write(&file, body).unwrap();
            config += &format!(
                "data-binary = \"@{}\"\nheader = \"Content-Type: application/json\"\n",
                file.display()
            );
        }
        let mut curl = Command::new("curl")
            .args(["--config", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("curl is needed for these tests");
        curl.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        let status = curl.wait().unwrap();
        let headers = fs::read_to_string(&head).unwrap_or_default();
        let code = headers.split_whitespace().nth(1);
        let code = code.and_then(|code| code.parse().ok());
        Some(Answer {
            status: code.filter(|_| status.success())?,
            headers,
            body: fs::read(&out).unwrap_or_default(),
        })
    }

    /// What the server printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
    }

    /// SIGTERM, and the exit code.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        signal(child.id(), "TERM");
        let status = child.wait().unwrap();
        if !status.success() {
            println!("the server ended with {status}: {}", self.log());
        }
        status.code()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) {
    assert!(
        Command::new("kill")
            .arg(format!("-{name}"))
            .arg(pid.to_string())
            .status()
            .unwrap()
            .success()
    );
}

/// The request of the example: one image of a seven.
pub(crate) const SEVEN: &[u8] = include_bytes!("../../../../examples/digits/request.json");

/// The index of the largest score.
#[track_caller]
pub(crate) fn label(answer: &Answer) -> usize {
    assert_eq!(answer.status, 200, "{answer:?}");
    let scores: Vec<f64> = answer.json()["outputs"][0]["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|score| score.as_f64().unwrap())
        .collect();
    assert_eq!(scores.len(), 10);
    (0..10).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap()
}

/// Every file below a folder.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
