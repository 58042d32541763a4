//! Runs the `console` blocks of a page as typed, in order.
//!
//! A line `$ command` is run by bash; the lines under it must match what it prints, where `[..]` stands for anything
//! within a line and a line `...` for any lines. A here-document belongs to its command. A block marked `console server`
//! is started with a ready file, one marked `console background` without; both run until the page ends. The
//! gateway's ports that a page names are replaced by free ones.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The gateway's ports in the pages.
const PORTS: [&str; 3] = ["18443", "18444", "18445"];

struct Step {
    kind: Kind,
    line: usize,
    command: String,
    expected: Vec<String>,
}

/// How a step runs.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// To its end, before the next.
    Command,
    /// Until the page ends; the next waits for its ready file.
    Server,
    /// Until the page ends.
    Background,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut fence: Option<&str> = None;
    let mut continued = false;
    let mut heredoc: Option<String> = None;
    for (number, line) in page.lines().enumerate() {
        if let Some(info) = line.strip_prefix("```") {
            fence = if fence.is_none() { Some(info) } else { None };
            continued = false;
            continue;
        }
        let Some(info) = fence.filter(|info| info.starts_with("console")) else {
            continue;
        };
        if continued || heredoc.is_some() {
            let step = steps.last_mut().unwrap();
            step.command += "\n";
            step.command += line;
            if heredoc.as_deref() == Some(line) {
                heredoc = None;
            }
        } else if let Some(command) = line.strip_prefix("$ ") {
            let kind = match info {
                "console server" => Kind::Server,
                "console background" => Kind::Background,
                _ => Kind::Command,
            };
            heredoc = command
                .split_once("<<'")
                .and_then(|(_, rest)| rest.split_once('\''))
                .map(|(end, _)| end.to_owned());
            steps.push(Step {
                kind,
                line: number + 1,
                command: command.to_owned(),
                expected: Vec::new(),
            });
        } else if let Some(step) = steps.last_mut() {
            step.expected.push(line.to_owned());
            continue;
        }
        continued = line.ends_with('\\');
    }
    steps
}

/// Whether `actual` fits `pattern`, in which `[..]` is anything.
fn fits(pattern: &str, actual: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let Some(mut rest) = actual.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    for (n, part) in parts.iter().enumerate() {
        if n + 1 == parts.len() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

fn all_fit(expected: &[String], actual: &[&str]) -> bool {
    match (expected.split_first(), actual.split_first()) {
        (None, None) => true,
        (Some((dots, rest)), _) if dots == "..." => (0..=actual.len()).any(|n| all_fit(rest, &actual[n..])),
        (Some((pattern, expected)), Some((line, actual))) => fits(pattern, line) && all_fit(expected, actual),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn bash(command: &str, dir: &Path, programs: &[&Path]) -> Command {
    let mut path: Vec<String> = programs
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    path.push(std::env::var("PATH").unwrap());
    let path = path.join(":");
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", command])
        .current_dir(dir)
        .env("PATH", path)
        .env("NO_COLOR", "1");
    bash.stdin(Stdio::null());
    bash
}

fn serve(command: &str, dir: &Path, programs: &[&Path]) -> Server {
    let ready = dir.join("doc-ready.json");
    let _ = std::fs::remove_file(&ready);
    let log = std::fs::File::create(dir.join("doc-server.log")).unwrap();
    let command = format!("exec {command} --ready-file {}", ready.display());
    let child = bash(&command, dir, programs)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut server = Server(child);
    let until = Instant::now() + Duration::from_secs(60);
    while !ready.exists() {
        let log = || std::fs::read_to_string(dir.join("doc-server.log")).unwrap_or_default();
        assert!(
            server.0.try_wait().unwrap().is_none() && Instant::now() < until,
            "{}",
            log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

/// The page with every port of [`PORTS`] replaced by a free one, each by the same everywhere.
fn on_free_ports(page: &str) -> String {
    let held: Vec<TcpListener> = PORTS
        .iter()
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let free = held
        .iter()
        .map(|held| held.local_addr().unwrap().port().to_string());
    PORTS
        .iter()
        .zip(free)
        .fold(page.to_owned(), |page, (port, free)| page.replace(port, &free))
}

/// Runs a page in an empty folder; its commands are looked for in `programs` first.
pub(crate) fn run_page(page: &Path, root: &Path, programs: &[&Path]) {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root.join("examples"), dir.path().join("examples")).unwrap();
    let text = on_free_ports(&std::fs::read_to_string(page).unwrap());
    let mut server: Option<Server> = None;
    let mut others = Others(Vec::new());
    for step in steps(&text) {
        let place = format!("{}:{}: {}", page.display(), step.line, step.command);
        match step.kind {
            Kind::Command => {}
            Kind::Server => {
                if let Some(server) = server.take() {
                    server.stop();
                }
                server = Some(serve(&step.command, dir.path(), programs));
                continue;
            }
            Kind::Background => {
                let log = std::fs::File::create(dir.path().join("doc-background.log")).unwrap();
                let command = format!("exec {}", step.command);
                let mut background = bash(&command, dir.path(), programs);
                others
                    .0
                    .push(background.stdout(Stdio::null()).stderr(log).spawn().unwrap());
                continue;
            }
        }
        let output = bash(&step.command, dir.path(), programs).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{place}\n{printed}\n{stderr}");
        if !step.expected.is_empty() {
            let lines: Vec<&str> = printed.lines().collect();
            assert!(all_fit(&step.expected, &lines), "{place}\nprinted:\n{printed}");
        }
    }
    if let Some(server) = server {
        server.stop();
    }
}

/// A server in the background, killed when a step fails.
struct Server(Child);

impl Server {
    fn stop(mut self) {
        let kill = Command::new("kill").arg(self.0.id().to_string()).status();
        assert!(kill.unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Programs in the background, killed however the page ends.
struct Others(Vec<Child>);

impl Drop for Others {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn patterns_fit_what_they_should() {
    assert!(fits("a [..] c", "a b c") && !fits("a [..] c", "a b d") && fits("[..]", "") && !fits("a", "ab"));
    let expected = ["x", "...", "y"].map(str::to_owned);
    assert!(all_fit(&expected, &["x", "1", "2", "y"]) && !all_fit(&expected, &["x", "1"]));
}
