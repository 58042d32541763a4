//! The load: wrk on a core of its own, closed loop (a slow answer delays the next request), one thread.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Failure, LOAD_CORE};

/// Body and key come from files, so that neither stands in a process list.
const SCRIPT: &str = r#"
local function read(name)
  local file = assert(io.open(os.getenv(name)))
  local text = file:read("*a")
  file:close()
  return text
end
wrk.headers["Authorization"] = "Bearer " .. read("KEY_FILE"):gsub("%s+$", "")
if os.getenv("BODY_FILE") then
  wrk.method = "POST"
  wrk.body = read("BODY_FILE")
  wrk.headers["Content-Type"] = "application/json"
end
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format("FIGURES %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"#;

/// What is asked.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    url: String,
    body: Option<PathBuf>,
    key_file: PathBuf,
}

impl Target {
    pub(crate) fn get(name: &'static str, url: String, key_file: &Path) -> Self {
        Self {
            name,
            url,
            body: None,
            key_file: key_file.to_owned(),
        }
    }

    pub(crate) fn post(name: &'static str, url: String, body: &Path, key_file: &Path) -> Self {
        Self {
            body: Some(body.to_owned()),
            ..Self::get(name, url, key_file)
        }
    }
}

/// What came back.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) errors: u64,
}

/// Loads one target, after a short warming.
pub(crate) fn run(
    target: &Target,
    connections: u32,
    seconds: u32,
    folder: &Path,
) -> Result<Figures, Failure> {
    let script = folder.join("load.lua");
    fs::write(&script, SCRIPT)?;
    let wrk = |duration: &str| {
        let mut command = Command::new("taskset");
        command
            .args([
                "-c",
                LOAD_CORE,
                "wrk",
                "--threads",
                "1",
                "--timeout",
                "10s",
                "--duration",
                duration,
            ])
            .args(["--connections", &connections.to_string(), "--script"])
            .arg(&script)
            .arg(&target.url)
            .env("KEY_FILE", &target.key_file)
            .env_remove("BODY_FILE");
        if let Some(body) = &target.body {
            command.env("BODY_FILE", body);
        }
        command.output()
    };
    wrk("1s")?;
    let output = wrk(&format!("{seconds}s"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = text
        .lines()
        .find_map(|line| line.strip_prefix("FIGURES "))
        .ok_or_else(|| format!("wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
    let figures: Vec<u64> = figures.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, duration_us, p50, p99, errors] = figures[..] else {
        return Err("wrk printed something else".into());
    };
    Ok(Figures {
        per_second: requests as f64 / (duration_us as f64 / 1e6),
        p50_us: p50 as f64,
        p99_us: p99 as f64,
        errors,
    })
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
