//! Every `console` block of the README and the guides is run as typed, in order, against the real binary.
//!
//! A line `$ command` is run by bash; the lines under it must match what it prints, where `[..]` stands for anything
//! within a line and a line `...` for any lines. A here-document belongs to its command. A block marked `console server` is started in the background and runs
//! until the page ends. The ports that a page names are replaced by free ones.

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        path::{Path, PathBuf},
        process::{Child, Command, Stdio},
        time::{Duration, Instant},
    };

    /// The ports that the pages name.
    const PORTS: [&str; 3] = ["18443", "18444", "18445"];

    struct Step {
        server: bool,
        line: usize,
        command: String,
        expected: Vec<String>,
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
                let server = info.contains("server");
                heredoc = command
                    .split_once("<<'")
                    .and_then(|(_, rest)| rest.split_once('\''))
                    .map(|(end, _)| end.to_owned());
                steps.push(Step {
                    server,
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
            (Some((dots, rest)), _) if dots == "..." => {
                (0..=actual.len()).any(|n| all_fit(rest, &actual[n..]))
            }
            (Some((pattern, expected)), Some((line, actual))) => {
                fits(pattern, line) && all_fit(expected, actual)
            }
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    fn bash(command: &str, dir: &Path) -> Command {
        let bin = Path::new(env!("CARGO_BIN_EXE_stockade")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", command])
            .current_dir(dir)
            .env("PATH", path)
            .env("NO_COLOR", "1");
        bash.stdin(Stdio::null());
        bash
    }

    /// A server in the background; killed when a step fails.
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

    fn serve(command: &str, dir: &Path) -> Server {
        let ready = dir.join("doc-ready.json");
        let _ = std::fs::remove_file(&ready);
        let log = std::fs::File::create(dir.join("doc-server.log")).unwrap();
        let command = format!("exec {command} --ready-file {}", ready.display());
        let child = bash(&command, dir)
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

    /// The page with every port that it names replaced by a free one, each by the same everywhere.
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

    fn run_page(page: &Path, root: &Path) {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(root.join("examples"), dir.path().join("examples")).unwrap();
        let text = on_free_ports(&std::fs::read_to_string(page).unwrap());
        let mut server: Option<Server> = None;
        for step in steps(&text) {
            let place = format!("{}:{}: {}", page.display(), step.line, step.command);
            if step.server {
                if let Some(server) = server.take() {
                    server.stop();
                }
                server = Some(serve(&step.command, dir.path()));
                continue;
            }
            let output = bash(&step.command, dir.path()).output().unwrap();
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

    #[test]
    fn every_shown_command_works() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .canonicalize()
            .unwrap();
        let mut pages: Vec<PathBuf> = std::fs::read_dir(root.join("docs"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
            .collect();
        pages.sort();
        for page in pages {
            run_page(&page, &root);
        }
    }

    #[test]
    fn patterns_fit_what_they_should() {
        assert!(
            fits("a [..] c", "a b c") && !fits("a [..] c", "a b d") && fits("[..]", "") && !fits("a", "ab")
        );
        let expected = ["x", "...", "y"].map(str::to_owned);
        assert!(all_fit(&expected, &["x", "1", "2", "y"]) && !all_fit(&expected, &["x", "1"]));
    }
}
