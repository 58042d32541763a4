//! Checks a library before any of its code runs.
//!
//! Loading a library runs its constructors, and the binding panics on a wrong one; so the file is read, not loaded: ELF-64 (System V gABI, chapter 4 "Object Files"; symbol versions from the
//! Linux Standard Base Core, chapter "Symbol Versioning"). ONNX Runtime exports the one symbol `OrtGetApiBase` under the version `VERS_` and its release, and release 1.N has API level N.

use std::{
    fs::{self, File, Metadata},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::error::LoadError;

/// A library that may be loaded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Checked {
    /// The path with links followed.
    pub(crate) path: PathBuf,
    /// The release, such as `1.22.0`.
    pub(crate) version: String,
}

/// The API level that the binding asks for.
const MIN_LEVEL: u32 = ort::MINOR_VERSION;

pub(crate) fn check(library: &Path) -> Result<Checked, LoadError> {
    let refuse = |reason: &str| refused(library, reason.to_owned());
    if !library.is_absolute() {
        return Err(refuse("the path is not absolute"));
    }
    let path = fs::canonicalize(library).map_err(|error| refused(library, error.to_string()))?;
    for part in path.ancestors() {
        let metadata = fs::symlink_metadata(part).map_err(|error| refused(library, error.to_string()))?;
        if let Err(reason) = trusted(&metadata) {
            return Err(refused(library, format!("`{}` {reason}", part.display())));
        }
    }
    let file = File::open(&path).map_err(|error| refused(library, error.to_string()))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(refuse("it is not a regular file"));
    }
    let version = exported_version(&file, "OrtGetApiBase").map_err(|reason| refuse(reason.text()))?;
    let level = version
        .split('.')
        .nth(1)
        .and_then(|level| level.parse::<u32>().ok());
    match (version.split('.').next(), level) {
        (Some("1"), Some(level)) if level >= MIN_LEVEL => Ok(Checked { path, version }),
        _ => Err(refused(
            library,
            format!("it is ONNX Runtime {version}, and 1.{MIN_LEVEL} or newer is needed"),
        )),
    }
}

pub(crate) fn refused(library: &Path, reason: String) -> LoadError {
    LoadError::Library {
        path: library.display().to_string(),
        reason,
    }
}

/// Nobody but root and this process's user may replace it. In a sticky folder only owners replace files.
fn trusted(metadata: &Metadata) -> Result<(), &'static str> {
    let sticky = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
    if ![0, rustix::process::geteuid().as_raw()].contains(&metadata.uid()) {
        return Err("belongs to another user");
    }
    if metadata.mode() & 0o022 != 0 && !sticky {
        return Err("may be written by other users");
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NotOurs {
    Elf,
    Machine,
    Symbol,
}

impl NotOurs {
    fn text(self) -> &'static str {
        match self {
            Self::Elf => "it is not a 64-bit ELF library",
            Self::Machine => "it is for another kind of machine",
            Self::Symbol => "it is not ONNX Runtime: it does not export `OrtGetApiBase` under a version",
        }
    }
}

/// Section types.
const DYNSYM: u32 = 11;
const VERDEF: u32 = 0x6fff_fffd;
const VERSYM: u32 = 0x6fff_ffff;

/// Bounds on what is read of one section, and on how many sections there are.
const MAX_SECTION: u64 = 64 << 20;
const MAX_SECTIONS: u16 = 4096;

struct Section {
    kind: u32,
    offset: u64,
    size: u64,
    link: u32,
}

/// The version under which a library exports `symbol`, without `VERS_`.
fn exported_version(file: &File, symbol: &str) -> Result<String, NotOurs> {
    let header = read(file, 0, 64)?;
    // Magic number, 64 bits, little-endian; then type 3, a shared library.
    if header.get(..6) != Some(b"\x7fELF\x02\x01") || u16_at(&header, 16)? != 3 {
        return Err(NotOurs::Elf);
    }
    let machine = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    if u16_at(&header, 18)? != machine {
        return Err(NotOurs::Machine);
    }
    let sections = sections(file, &header)?;
    let find = |kind| {
        sections
            .iter()
            .find(|section| section.kind == kind)
            .ok_or(NotOurs::Symbol)
    };
    let content = |section: &Section| read(file, section.offset, section.size);
    let strings = |section: &Section| {
        usize::try_from(section.link)
            .ok()
            .and_then(|link| sections.get(link))
            .ok_or(NotOurs::Elf)
            .and_then(content)
    };
    let symbols = find(DYNSYM)?;
    let names = strings(symbols)?;
    let index = content(symbols)?
        .chunks_exact(24)
        .position(|entry| {
            let defined = u16_at(entry, 6).is_ok_and(|section| section != 0);
            defined && u32_at(entry, 0).is_ok_and(|name| string_at(&names, name) == Some(symbol.as_bytes()))
        })
        .ok_or(NotOurs::Symbol)?;
    let number = u16_at(&content(find(VERSYM)?)?, index.saturating_mul(2))? & 0x7fff;
    let definitions = find(VERDEF)?;
    let name = version_name(&content(definitions)?, &strings(definitions)?, number)?;
    name.strip_prefix("VERS_")
        .map(str::to_owned)
        .ok_or(NotOurs::Symbol)
}

fn sections(file: &File, header: &[u8]) -> Result<Vec<Section>, NotOurs> {
    let (offset, size, count) = (u64_at(header, 40)?, u16_at(header, 58)?, u16_at(header, 60)?);
    if size != 64 || count > MAX_SECTIONS {
        return Err(NotOurs::Elf);
    }
    read(file, offset, u64::from(size) * u64::from(count))?
        .chunks_exact(64)
        .map(|entry| {
            Ok(Section {
                kind: u32_at(entry, 4)?,
                offset: u64_at(entry, 24)?,
                size: u64_at(entry, 32)?,
                link: u32_at(entry, 40)?,
            })
        })
        .collect()
}

/// Follows the chain of version definitions to `number`.
fn version_name(definitions: &[u8], names: &[u8], number: u16) -> Result<String, NotOurs> {
    let mut at = 0_usize;
    // The chain is at most as long as the section has entries of 20 bytes.
    for _ in 0..definitions.len() / 20 {
        let entry = definitions.get(at..).ok_or(NotOurs::Elf)?;
        if u16_at(entry, 4)? == number {
            let auxiliary = usize::try_from(u32_at(entry, 12)?).map_err(|_| NotOurs::Elf)?;
            let name = u32_at(entry.get(auxiliary..).ok_or(NotOurs::Elf)?, 0)?;
            let name = string_at(names, name).ok_or(NotOurs::Elf)?;
            return String::from_utf8(name.to_vec()).map_err(|_| NotOurs::Elf);
        }
        let next = usize::try_from(u32_at(entry, 16)?).map_err(|_| NotOurs::Elf)?;
        if next == 0 {
            break;
        }
        at = at.saturating_add(next);
    }
    Err(NotOurs::Symbol)
}

fn read(file: &File, offset: u64, size: u64) -> Result<Vec<u8>, NotOurs> {
    if size > MAX_SECTION || !file.metadata().is_ok_and(|metadata| metadata.len() >= size) {
        return Err(NotOurs::Elf);
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(|_| NotOurs::Elf)?];
    file.read_exact_at(&mut bytes, offset).map_err(|_| NotOurs::Elf)?;
    Ok(bytes)
}

fn string_at(names: &[u8], offset: u32) -> Option<&[u8]> {
    let rest = names.get(usize::try_from(offset).ok()?..)?;
    rest.split(|byte| *byte == 0).next()
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], NotOurs> {
    let part = bytes.get(offset..).and_then(|rest| rest.first_chunk::<N>());
    part.copied().ok_or(NotOurs::Elf)
}

fn u16_at(bytes: &[u8], offset: usize) -> Result<u16, NotOurs> {
    array_at(bytes, offset).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Result<u32, NotOurs> {
    array_at(bytes, offset).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Result<u64, NotOurs> {
    array_at(bytes, offset).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// This test's own C library: a real ELF library with symbol versions on every Linux with glibc.
    fn c_library() -> Option<PathBuf> {
        let maps = fs::read_to_string("/proc/self/maps").ok()?;
        maps.lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .find(|path| path.ends_with("/libc.so.6"))
            .map(PathBuf::from)
    }

    fn reason(path: &Path) -> String {
        check(path)
            .unwrap_err()
            .to_string()
            .split(": ")
            .skip(1)
            .collect::<Vec<_>>()
            .join(": ")
    }

    #[test]
    fn another_library_is_refused_without_loading_it() {
        let Some(libc) = c_library() else {
            println!("skipped: this process has no libc.so.6");
            return;
        };
        assert_eq!(reason(&libc), NotOurs::Symbol.text().to_owned());
        let file = File::open(libc).unwrap();
        // glibc exports under GLIBC_, so the chain of versions was followed and the prefix refused.
        assert_eq!(exported_version(&file, "malloc"), Err(NotOurs::Symbol));
    }

    #[test]
    fn what_others_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib.so");
        fs::write(&path, b"\x7fELF").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(reason(&path), NotOurs::Elf.text());
        for mode in [0o664, 0o646] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                reason(&path).ends_with("may be written by other users"),
                "{mode:o}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(reason(&path).ends_with("may be written by other users"));
    }

    #[test]
    fn what_is_no_library_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(reason(Path::new("lib.so")), "the path is not absolute");
        assert!(reason(&folder.path().join("absent")).contains("No such file"));
        assert_eq!(reason(folder.path()), "it is not a regular file");
        let Some(libc) = c_library() else {
            println!("skipped: this process has no libc.so.6");
            return;
        };
        let whole = fs::read(libc).unwrap();
        let path = folder.path().join("cut.so");
        for cut in [0, 5, 63, 64, 1000, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(check(&path).is_err(), "{cut}");
        }
        let mut other = whole;
        other[18] ^= 1;
        fs::write(&path, &other).unwrap();
        assert_eq!(reason(&path), NotOurs::Machine.text());
    }
}
