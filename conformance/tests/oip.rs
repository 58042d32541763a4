//! A client that is not ours: NVIDIA's tritonclient, over TLS, HTTP and gRPC, against the real binary.

#[cfg(test)]
mod tests {
    use std::{
        fmt::Write as _,
        path::{Path, PathBuf},
        process::{Child, Command, Stdio},
        time::{Duration, Instant},
    };

    use stockade_conformance::python;

    /// What rten takes.
    const NARROW: [&str; 7] = ["BOOL", "UINT8", "INT8", "INT32", "INT64", "FP32", "FP64"];
    /// What ONNX Runtime takes. No engine takes half precision, which only models behind another server have.
    const ALL: [&str; 11] = [
        "BOOL", "UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64", "FP32", "FP64",
    ];

    /// The binary, which is built beside the tests.
    fn stockade() -> PathBuf {
        let tests = std::env::current_exe().unwrap();
        tests.parent().and_then(Path::parent).unwrap().join("stockade")
    }

    fn run(dir: &Path, arguments: &[&str]) -> String {
        let output = python::run(Command::new(stockade()).args(arguments).arg("--dir").arg(dir)).unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    struct Server(Child);

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn start(command: &str, dir: &Path, ready: &Path) -> Server {
        let child = Command::new(stockade())
            .args([command, "--listen", "127.0.0.1:0", "--dir"])
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

    fn script(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name)
    }

    #[test]
    fn tritonclient_gets_the_answers_of_onnxruntime() {
        let python = python::environment("oip", include_str!("../python/oip.txt")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready.json");
        let _server = start("up", &dir.path().join("project"), &ready);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = python::run(
            Command::new(python)
                .arg(script("oip_client.py"))
                .arg(&ready)
                .arg(root.join("../examples/digits/expected.json")),
        )
        .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("\"images\": 450"), "{said}");
    }

    #[test]
    fn every_type_and_encoding_gives_what_a_direct_run_gives_on_rten() {
        every_type("rten", "", &NARROW);
    }

    #[test]
    fn every_type_and_encoding_gives_what_a_direct_run_gives_on_onnxruntime() {
        let python = python::environment("onnxruntime", include_str!("../python/onnxruntime.txt")).unwrap();
        let named = python::run(
            Command::new(python)
                .arg(script("onnxruntime_run.py"))
                .arg("library"),
        )
        .unwrap();
        let library = String::from_utf8(named.stdout).unwrap();
        let engine = format!(
            "[engine]\nkind = \"onnx_runtime\"\nlibrary = {:?}\n",
            library.trim()
        );
        every_type("onnxruntime", &engine, &ALL);
    }

    /// 100 random tensors per type and encoding through models that give back what they get.
    fn every_type(engine: &str, settings: &str, types: &[&str]) {
        const ENCODINGS: usize = 8;
        let python = python::environment("oip", include_str!("../python/oip.txt")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (project, models) = (folder.path().join("project"), folder.path().join("models"));
        std::fs::create_dir(&models).unwrap();
        let mut write = Command::new(&python);
        python::run(write.arg(script("identity_models.py")).arg(&models).args(types)).unwrap();
        run(&project, &["init", "--no-recovery"]);
        let mut toml = std::fs::read_to_string(project.join("stockade.toml")).unwrap();
        toml += settings;
        toml += "[limits.principal]\nper_second = 100000.0\nburst = 100000\n";
        for datatype in types {
            let file = models.join(format!("{datatype}.onnx"));
            let name = format!("identity_{}", datatype.to_lowercase());
            run(&project, &["model", "seal", &name, file.to_str().unwrap()]);
            let _ = write!(
                toml,
                "[model.{name}]\nsource = \"vault:{name}@1\"\nenvironment = \"prod\"\n\
                 limits = {{ per_second = 100000.0, burst = 100000 }}\n"
            );
        }
        std::fs::write(project.join("stockade.toml"), toml).unwrap();
        let principal = [
            "access",
            "principal",
            "create",
            "caller",
            "--role",
            "client",
            "--environment",
            "prod",
        ];
        run(&project, &principal);
        let key = run(&project, &["access", "key", "create", "--principal", "caller"]);
        let key_file = folder.path().join("key");
        std::fs::write(&key_file, key.lines().next().unwrap()).unwrap();
        let ready = folder.path().join("ready.json");
        let _server = start("serve", &project, &ready);
        let mut ask = Command::new(python);
        ask.arg(script("oip_types.py"))
            .arg(&ready)
            .arg(&key_file)
            .arg(engine)
            .args(types);
        let said = String::from_utf8(python::run(&mut ask).unwrap().stdout).unwrap();
        let compared = format!("\"compared\": {}", 100 * ENCODINGS * types.len());
        assert!(said.contains(&compared), "{said}");
    }
}
