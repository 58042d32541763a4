//! The servers: Stockade as its users start it, and nginx as a proxy before an nginx that answers at once.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Failure, LOAD_CORE, SERVER_CORE, Tls, examples};

const START_MAX: Duration = Duration::from_secs(30);

/// A running `stockade up`.
pub(crate) struct Stockade {
    child: Child,
    pub(crate) url: String,
    pub(crate) key_file: PathBuf,
    ca: PathBuf,
}

#[derive(serde::Deserialize)]
struct Ready {
    gateway_url: String,
    client_key_file: PathBuf,
    ca_cert: PathBuf,
}

impl Stockade {
    /// Starts from nothing, then again with limits that no load here meets.
    pub(crate) fn start(dir: &Path, tls: Tls) -> Result<Self, Failure> {
        fs::create_dir(dir)?;
        drop(Self::up(dir)?);
        let config = format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndangerous_plaintext = {}\n\n\
             [limits]\ndaily_budget = 1000000000\nprincipal = {{ per_second = 1000000.0, burst = 1000000 }}\n\n\
             [model.digits]\nsource = \"vault:digits@1\"\nenvironment = \"prod\"\n\
             limits = {{ per_second = 1000000.0, burst = 1000000 }}\n",
            tls == Tls::Off
        );
        fs::write(dir.join("stockade.toml"), config)?;
        Self::up(dir)
    }

    fn up(dir: &Path) -> Result<Self, Failure> {
        let binary = env::var_os("STOCKADE").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/stockade"),
            PathBuf::from,
        );
        let ready = dir.join("ready.json");
        let mut child = Command::new("taskset")
            .args(["-c", SERVER_CORE])
            .arg(&binary)
            .args(["--quiet", "up", "--listen", "127.0.0.1:0", "--dir"])
            .arg(dir)
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::null())
            .spawn()?;
        let start = Instant::now();
        while !ready.exists() {
            if let Some(status) = child.try_wait()? {
                return Err(format!("{} ended with {status}", binary.display()).into());
            }
            if start.elapsed() > START_MAX {
                child.kill()?;
                return Err("stockade was not ready in time".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        let Ready {
            gateway_url,
            client_key_file,
            ca_cert,
        } = serde_json::from_slice(&fs::read(ready)?)?;
        Ok(Self {
            child,
            url: gateway_url,
            key_file: client_key_file,
            ca: ca_cert,
        })
    }

    /// Memory resident, of the keeper and of its worker.
    pub(crate) fn resident_bytes(&self) -> Result<u64, Failure> {
        let keeper = self.child.id();
        let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"))?;
        let mut sum = resident(&keeper.to_string())?;
        for child in children.split_whitespace() {
            sum += resident(child)?;
        }
        Ok(sum)
    }

    /// How long the answer to the example's request is.
    pub(crate) fn answer_length(&self) -> Result<usize, Failure> {
        let key = fs::read_to_string(&self.key_file)?;
        let header = self.ca.with_file_name("header");
        fs::write(&header, format!("Authorization: Bearer {}", key.trim()))?;
        let body = examples().join("digits/request.json");
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--cacert"])
            .arg(&self.ca)
            .arg("--header")
            .arg(format!("@{}", header.display()))
            .arg("--data-binary")
            .arg(format!("@{}", body.display()))
            .arg(format!("{}/v2/models/digits/infer", self.url))
            .output()?;
        fs::remove_file(header)?;
        if !output.status.success() || !output.stdout.starts_with(b"{\"model_name\"") {
            return Err(format!("no prediction: {}", String::from_utf8_lossy(&output.stdout)).into());
        }
        Ok(output.stdout.len())
    }
}

impl Drop for Stockade {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Asks a process to end, and waits until it has.
fn end(child: &mut Child) {
    let _ = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    let _ = child.wait();
}

/// A proxy with one worker, and its upstream.
pub(crate) struct Nginx {
    children: [Child; 2],
    pub(crate) url: String,
}

impl Nginx {
    /// The upstream answers with as many bytes as Stockade does, without looking at the body.
    pub(crate) fn start(folder: &Path, answer: usize) -> Result<Self, Failure> {
        let (proxy, upstream) = (free_port()?, free_port()?);
        let server = format!("return 200 '{}';", "x".repeat(answer));
        let upstream_child = nginx(&folder.join("upstream"), LOAD_CORE, "", upstream, &server)?;
        let pool = format!(
            "upstream model {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}"
        );
        let location = "location / { proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection \"\"; }";
        let proxy_child = nginx(&folder.join("proxy"), SERVER_CORE, &pool, proxy, location)?;
        Ok(Self {
            children: [proxy_child, upstream_child],
            url: format!("http://127.0.0.1:{proxy}/v2/models/digits/infer"),
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.children.iter_mut().for_each(end);
    }
}

fn nginx(folder: &Path, core: &str, http: &str, port: u16, server: &str) -> Result<Child, Failure> {
    fs::create_dir(folder)?;
    let at = folder.display();
    let config = format!(
        "daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {at}/body; proxy_temp_path {at}/proxied;\n\
         fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         {http}\nserver {{ listen 127.0.0.1:{port}; default_type application/json; {server} }} }}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let child = Command::new("taskset")
        .args(["-c", core, "nginx", "-p"])
        .arg(folder)
        .arg("-c")
        .arg(file)
        .stderr(Stdio::null())
        .spawn()?;
    let start = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if start.elapsed() > START_MAX {
            return Err("nginx did not start".into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(child)
}

fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn resident(process: &str) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
