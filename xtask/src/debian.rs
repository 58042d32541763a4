//! The Debian packages that some tests need, installed by `cargo xtask test --system`.

use std::os::unix::fs::MetadataExt;

use crate::checkout::{Checkout, words};
use crate::{Failure, say};

/// Package and what needs it.
const PACKAGES: &[(&str, &str)] = &[
    (
        "golang-golang-x-mod-dev",
        "x/mod's sumdb/note and sumdb/tlog, which verify our log",
    ),
    ("nginx-light", "the proxy that latency is compared with"),
    ("openssl", "an independent TLS client and certificate checker"),
    ("curl", "the client of the guides"),
    ("python3-venv", "environments of the Python counterparts"),
];

/// Installs what is missing; needs root.
pub(crate) fn install(checkout: &Checkout) -> Result<(), Failure> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !installed(checkout, name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (name, purpose) in PACKAGES.iter().filter(|(name, _)| missing.contains(name)) {
        say!("needs {name}: {purpose}");
    }
    if !root() {
        let list = missing.join(" ");
        return Err(Failure(format!(
            "--system installs packages as root; run as root, or first: apt-get install {list}"
        )));
    }
    run(checkout, &["update", "-qq"])?;
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    run(checkout, &[&install[..], &missing].concat())
}

fn run(checkout: &Checkout, arguments: &[&str]) -> Result<(), Failure> {
    let mut command = checkout.command("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    say!("{}", words(&command));
    let status = command.status().map_err(Failure::of("apt-get"))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure(format!("`{}` ended with {status}", words(&command))))
    }
}

fn installed(checkout: &Checkout, package: &str) -> bool {
    let query = checkout
        .command("dpkg-query")
        .args(["-W", "-f=${Status}", package])
        .output();
    query.is_ok_and(|output| output.stdout == b"install ok installed")
}

fn root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
