//! Every `console` block of the README and the guides is run as typed, in order, against the real binary.

#[cfg(test)]
mod page;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use crate::page::run_page;

    /// Run by conformance/tests/mlserver.rs, which brings a real MLServer.
    const NEEDS_MLSERVER: &str = "guide-upstream.md";

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
            .filter(|path| !path.ends_with(NEEDS_MLSERVER))
            .collect();
        pages.sort();
        let bin = Path::new(env!("CARGO_BIN_EXE_stockade")).parent().unwrap();
        for page in pages {
            run_page(&page, &root, &[bin]);
        }
    }
}
