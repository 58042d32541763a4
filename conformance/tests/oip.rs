//! A client that is not ours: NVIDIA's tritonclient, over TLS, against the real binary.

#[cfg(test)]
mod tests {
    use std::{
        path::{Path, PathBuf},
        process::{Child, Command, Stdio},
        time::{Duration, Instant},
    };

    use stockade_conformance::python;

    /// The binary, which is built beside the tests.
    fn stockade() -> PathBuf {
        let tests = std::env::current_exe().unwrap();
        tests.parent().and_then(Path::parent).unwrap().join("stockade")
    }

    struct Server(Child);

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn up(dir: &Path, ready: &Path) -> Server {
        let child = Command::new(stockade())
            .args(["up", "--listen", "127.0.0.1:0", "--dir"])
            .arg(dir)
            .arg("--ready-file")
            .arg(ready)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Server(child);
        let until = Instant::now() + Duration::from_secs(60);
        while !ready.exists() {
            assert!(
                server.0.try_wait().unwrap().is_none() && Instant::now() < until,
                "the server did not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    #[test]
    fn tritonclient_gets_the_answers_of_onnxruntime() {
        let python = python::environment("oip", include_str!("../python/oip.txt")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready.json");
        let _server = up(&dir.path().join("project"), &ready);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = python::run(
            Command::new(python)
                .arg(root.join("python/oip_client.py"))
                .arg(&ready)
                .arg(root.join("../examples/digits/expected.json")),
        )
        .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("\"images\": 450"), "{said}");
    }
}
