//! A socket address for any path: `sun_path` has 108 bytes, and a folder may lie deeper.
//!
//! A longer path is reached through its folder's descriptor, `/proc/self/fd/N/control.sock` (proc(5)), on Linux.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// unix(7): 108 bytes with the closing zero; 104 on other systems.
const SUN_PATH_MAX: usize = 103;

/// A spelling of a socket's path that fits, for as long as this lives.
#[derive(Debug)]
pub(crate) struct SocketAddress {
    path: PathBuf,
    _folder: Option<File>,
}

impl SocketAddress {
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= SUN_PATH_MAX {
            return Ok(Self {
                path: path.to_owned(),
                _folder: None,
            });
        }
        Self::through_folder(path)
    }

    #[cfg(target_os = "linux")]
    fn through_folder(path: &Path) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        let folder = File::open(crate::files::parent(path)?)?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let short = Path::new("/proc/self/fd")
            .join(folder.as_raw_fd().to_string())
            .join(name);
        Ok(Self {
            path: short,
            _folder: Some(folder),
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn through_folder(_: &Path) -> io::Result<Self> {
        Err(io::Error::new(
            io::ErrorKind::InvalidFilename,
            "the path of the state folder is too long for a socket",
        ))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
