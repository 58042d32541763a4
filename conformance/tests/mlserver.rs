//! A model server that is not ours, behind Stockade: MLServer, over HTTP and over gRPC.

#[cfg(test)]
#[path = "../../crates/stockade/tests/page/mod.rs"]
mod page;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write as _,
        net::{TcpListener, TcpStream},
        path::{Path, PathBuf},
        process::{Child, Command, Stdio},
        time::{Duration, Instant},
    };

    use stockade_conformance::python;

    use crate::page::run_page;

    /// MLServer's own types; it has no half precision in JSON.
    const TYPES: [&str; 12] = [
        "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL", "FP32", "FP64",
        "BYTES",
    ];

    fn environment() -> PathBuf {
        python::environment("mlserver", include_str!("../python/mlserver.txt")).unwrap()
    }

    /// The binary, which is built beside the tests.
    fn stockade() -> PathBuf {
        let tests = std::env::current_exe().unwrap();
        tests.parent().and_then(Path::parent).unwrap().join("stockade")
    }

    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn start(command: &mut Command, log: &Path, mut is_ready: impl FnMut() -> bool) -> Running {
        let to = || Stdio::from(fs::File::options().create(true).append(true).open(log).unwrap());
        let mut running = Running(
            command
                .stdin(Stdio::null())
                .stdout(to())
                .stderr(to())
                .spawn()
                .unwrap(),
        );
        let until = Instant::now() + Duration::from_secs(120);
        while !is_ready() {
            let ended = running.0.try_wait().unwrap().is_some() || Instant::now() > until;
            assert!(
                !ended,
                "{command:?} did not start:\n{}",
                fs::read_to_string(log).unwrap()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        running
    }

    /// A port that was free a moment ago.
    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    }

    fn run(command: &mut Command) -> String {
        String::from_utf8(python::run(command).unwrap().stdout).unwrap()
    }

    #[test]
    fn answers_through_stockade_are_those_of_mlserver() {
        let python = environment();
        let folder = tempfile::tempdir().unwrap();
        let (http, grpc, metrics) = (free_port(), free_port(), free_port());
        let models = folder.path().join("models");
        for datatype in TYPES {
            let model = models.join(datatype.to_lowercase());
            fs::create_dir_all(&model).unwrap();
            fs::write(
                model.join("runtime.py"),
                include_str!("../python/mlserver_runtime.py"),
            )
            .unwrap();
            let tensor =
                |name: &str| serde_json::json!([{"name": name, "datatype": datatype, "shape": [-1, 3]}]);
            let settings = serde_json::json!({
                "name": datatype.to_lowercase(), "implementation": "runtime.Identity",
                "inputs": tensor("x"), "outputs": tensor("y"),
            });
            fs::write(model.join("model-settings.json"), settings.to_string()).unwrap();
        }
        let settings = serde_json::json!({
            "host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics, "parallel_workers": 0,
        });
        fs::write(models.join("settings.json"), settings.to_string()).unwrap();
        let mut command = Command::new(python.with_file_name("mlserver"));
        command.arg("start").arg(&models);
        let listens = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
        let _mlserver = start(&mut command, &folder.path().join("mlserver.log"), || {
            listens(http) && listens(grpc)
        });

        let project = folder.path().join("project");
        fs::write(folder.path().join("recovery.txt"), "a passphrase for tests").unwrap();
        let in_project = |arguments: &[&str]| {
            let mut command = Command::new(stockade());
            command.args(arguments).arg("--dir").arg(&project);
            command
        };
        let recovery = folder.path().join("recovery.txt");
        run(&mut in_project(&[
            "init",
            "--recovery-file",
            recovery.to_str().unwrap(),
        ]));
        let mut configuration = fs::File::options()
            .append(true)
            .open(project.join("stockade.toml"))
            .unwrap();
        writeln!(configuration, "{}", upstreams(http, grpc)).unwrap();
        run(&mut in_project(&[
            "access",
            "principal",
            "create",
            "c",
            "--role",
            "client",
            "--environment",
            "prod",
        ]));
        let key = run(&mut in_project(&[
            "access",
            "key",
            "create",
            "--principal",
            "c",
            "--expires-in",
            "1",
        ]));
        let key_file = folder.path().join("key");
        fs::write(&key_file, key.lines().next().unwrap()).unwrap();
        let ready = folder.path().join("ready.json");
        let mut serve = in_project(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--ready-file",
            ready.to_str().unwrap(),
        ]);
        let _stockade = start(&mut serve, &folder.path().join("stockade.log"), || ready.exists());

        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let said = run(Command::new(&python)
            .arg(root.join("python/mlserver_client.py"))
            .args([&ready, &key_file])
            .arg(format!("http://127.0.0.1:{http}"))
            .args(["http", "grpc"]));
        for datatype in TYPES {
            assert!(said.contains(&format!("\"{datatype}\": 100")), "{said}");
        }
    }

    fn upstreams(http: u16, grpc: u16) -> String {
        let mut text = String::from(
            "\n[limits]\ndaily_budget = 100000\n[limits.principal]\nper_second = 100000\nburst = 100000\n",
        );
        for (name, protocol, port) in [("http", "oip_http", http), ("grpc", "oip_grpc", grpc)] {
            text += &format!(
                "[[upstream]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:{port}\"\nprotocol = \"{protocol}\"\ndangerous_plaintext = true\n"
            );
        }
        for (upstream, datatype) in ["http", "grpc"]
            .iter()
            .flat_map(|name| TYPES.map(|datatype| (name, datatype)))
        {
            let model = datatype.to_lowercase();
            text += &format!(
                "[model.{upstream}-{model}]\nsource = \"upstream:{upstream}/{model}\"\nenvironment = \"prod\"\nlimits = {{ per_second = 100000, burst = 100000 }}\n"
            );
        }
        text
    }

    #[test]
    fn the_guide_works_as_typed() {
        let python = environment();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .canonicalize()
            .unwrap();
        let stockade = stockade();
        let programs = [stockade.parent().unwrap(), python.parent().unwrap()];
        run_page(&root.join("docs/guide-upstream.md"), &root, &programs);
    }
}
