//! A model over 2 GiB, with its weights outside the ONNX file, loads within the bound that `Session::load_owned` states.
//!
//! The weights are one sparse file of 2.25 GiB, so the test needs little disk; it needs 6 GiB of free memory, and says so where there is less.

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::FileExt, path::Path};

    use stockade_model::{EngineChoice, ExternalFolder, Graph, Limits, Session, Tensor, TensorData};

    const MIB: u64 = 1 << 20;
    /// Nine matrices of 256 MiB each.
    const MATRICES: u64 = 9;
    const ROWS: u64 = 8192;
    const MATRIX_BYTES: u64 = ROWS * ROWS * 4;

    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![tag << 3 | 2];
        let mut length = bytes.len();
        while length > 127 {
            out.push(u8::try_from(length & 127).unwrap() | 128);
            length >>= 7;
        }
        out.push(u8::try_from(length).unwrap());
        out.extend_from_slice(bytes);
        out
    }

    fn number(tag: u8, value: u8) -> Vec<u8> {
        vec![tag << 3, value]
    }

    /// 8192 as a varint.
    const DIM: [u8; 2] = [0x80, 0x40];

    fn value(name: &str) -> Vec<u8> {
        let fixed = |dim: &[u8]| field(1, &[&[8], dim].concat());
        let shape = [fixed(&[1]), fixed(&DIM)].concat();
        let tensor = [number(1, 1), field(2, &shape)].concat();
        [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
    }

    /// `y = x W0 W1 ...`: each weight a matrix in the file `weights.bin`.
    fn model() -> Vec<u8> {
        let mut graph = Vec::new();
        for index in 0..MATRICES {
            let input = if index == 0 {
                "x".to_owned()
            } else {
                format!("h{index}")
            };
            let output = if index + 1 == MATRICES {
                "y".to_owned()
            } else {
                format!("h{}", index + 1)
            };
            let weight = format!("w{index}");
            let node = [
                field(1, input.as_bytes()),
                field(1, weight.as_bytes()),
                field(2, output.as_bytes()),
                field(4, b"MatMul"),
            ];
            graph.extend(field(1, &node.concat()));
            let entry = |key: &str, value: &str| {
                field(
                    13,
                    &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat(),
                )
            };
            let tensor = [
                [&[8], &DIM[..], &[8], &DIM[..]].concat(),
                number(2, 1),
                field(8, weight.as_bytes()),
                number(14, 1),
                entry("location", "weights.bin"),
                entry("offset", &(index * MATRIX_BYTES).to_string()),
                entry("length", &MATRIX_BYTES.to_string()),
            ];
            graph.extend(field(5, &tensor.concat()));
        }
        graph.extend(field(11, &value("x")));
        graph.extend(field(12, &value("y")));
        [number(1, 8), field(8, &number(2, 18)), field(7, &graph)].concat()
    }

    fn status(key: &str) -> u64 {
        let text = fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    fn free_mib() -> u64 {
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("MemAvailable"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    #[test]
    fn a_model_over_two_gib_loads_within_its_bound() {
        const { assert!(MATRICES * MATRIX_BYTES / MIB > 2048) };
        if free_mib() < 6144 {
            println!("skipped: less than 6 GiB of memory is free");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = fs::File::create_new(folder.path().join("weights.bin")).unwrap();
        file.set_len(MATRICES * MATRIX_BYTES).unwrap();
        // Each matrix maps element `index` to `index + 1`, times 2; everything else is a hole of zeros.
        for index in 0..MATRICES {
            let at = index * MATRIX_BYTES + (index * ROWS + index + 1) * 4;
            file.write_all_at(&2.0_f32.to_le_bytes(), at).unwrap();
        }
        let mut engines = vec![EngineChoice::Rten];
        match std::env::var_os("STOCKADE_ONNXRUNTIME") {
            Some(library) => engines.push(EngineChoice::OnnxRuntime {
                library: library.into(),
            }),
            None => println!("skipped: the half for ONNX Runtime (STOCKADE_ONNXRUNTIME is not set)"),
        }
        for engine in engines {
            check(&engine, folder.path());
        }
    }

    fn check(engine: &EngineChoice, folder: &Path) {
        // proc_pid_clear_refs(5): 5 resets the peak.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = status("VmRSS");
        let graph = Graph::from_onnx(&model(), &ExternalFolder::new(folder), &Limits::default()).unwrap();
        let weights = MATRICES * MATRIX_BYTES / MIB;
        assert_eq!(graph.weight_bytes() / MIB, weights);
        assert!(graph.to_onnx().unwrap_err().to_string().contains("2 GiB"));
        let session = Session::load_owned(graph, engine, 1).unwrap();
        let peak = status("VmHWM") - before;
        let largest = MATRIX_BYTES / MIB;
        println!("{engine:?}: weights {weights} MiB, peak {peak} MiB");
        let copies = match engine {
            EngineChoice::Rten => 1,
            EngineChoice::OnnxRuntime { .. } => 2,
        };
        assert!(
            peak <= copies * weights + largest + 64,
            "{engine:?}: weights {weights} MiB, peak {peak} MiB"
        );

        let columns = usize::try_from(ROWS).unwrap();
        let mut data = vec![0.0; columns];
        data[0] = 1.0;
        let x = Tensor::new(vec![1, columns], TensorData::F32(data)).unwrap();
        let outputs = session.run(vec![("x".to_owned(), x)]).unwrap();
        let TensorData::F32(y) = outputs[0].1.data() else {
            panic!("not FP32")
        };
        let last = usize::try_from(MATRICES).unwrap();
        assert_eq!(y[last], 512.0);
        assert_eq!(y.iter().filter(|value| **value != 0.0).count(), 1);
    }
}
