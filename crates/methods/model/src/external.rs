//! Weights that lie outside the ONNX file.
//!
//! ONNX, "External Data": a tensor names a location relative to the model, an offset and a length. The location is foreign text, so it is parsed before any implementation sees it:
//! relative, no `..`, no empty part, no NUL. A folder also refuses symbolic links in any part of the path.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use bytes::Bytes;

/// Where the weights outside the ONNX file come from.
pub trait ExternalData {
    /// Reads `length` bytes at `offset` of the file named `location`, or everything from `offset` where `length` is `None`.
    ///
    /// `location` is relative and has no `.` or `..` part. At most `max_bytes` may be returned.
    fn read(
        &self,
        location: &str,
        offset: u64,
        length: Option<u64>,
        max_bytes: u64,
    ) -> Result<Bytes, ExternalDataError>;
}

/// Weights outside the ONNX file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ExternalDataError {
    /// The caller gave no place to read from.
    #[error(
        "the weights lie in the separate file `{location}`, which was not given\nhint: give the folder of the model together with the model"
    )]
    NotGiven {
        /// The file that the model names.
        location: String,
    },
    /// The location leaves the model's folder, or is no plain relative path.
    #[error("the external weights `{location}` are not a plain path below the model's folder")]
    NotRelative {
        /// The file that the model names.
        location: String,
    },
    /// A part of the path is a symbolic link, or the end is not a regular file.
    #[error("the external weights `{location}` are not a regular file reached without symbolic links")]
    NotRegular {
        /// The file that the model names.
        location: String,
    },
    /// The file ends before the weight does.
    #[error("the external weights `{location}` end before offset {end}")]
    TooShort {
        /// The file that the model names.
        location: String,
        /// The first byte after the weight.
        end: u64,
    },
    /// The bound on weights is reached.
    #[error("the external weights `{location}` are larger than the {max_bytes} bytes that remain allowed")]
    TooLarge {
        /// The file that the model names.
        location: String,
        /// Bytes that remain allowed.
        max_bytes: u64,
    },
    /// Reading failed.
    #[error("the external weights `{location}` could not be read")]
    Io {
        /// The file that the model names.
        location: String,
        /// Why.
        source: io::Error,
    },
}

/// No weights outside the ONNX file.
#[derive(Clone, Copy, Debug)]
pub struct NoExternalData;

impl ExternalData for NoExternalData {
    fn read(&self, location: &str, _: u64, _: Option<u64>, _: u64) -> Result<Bytes, ExternalDataError> {
        Err(ExternalDataError::NotGiven {
            location: location.to_owned(),
        })
    }
}

/// The folder that holds the ONNX file.
#[derive(Clone, Debug)]
pub struct ExternalFolder {
    folder: PathBuf,
}

impl ExternalFolder {
    /// Weights are read from below `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Opens a file below the folder, refusing symbolic links in each part.
    fn open(&self, location: &str) -> Result<File, ExternalDataError> {
        let io = |source| ExternalDataError::Io {
            location: location.to_owned(),
            source,
        };
        let mut path = self.folder.clone();
        for part in location.split('/') {
            path.push(part);
            if fs::symlink_metadata(&path).map_err(io)?.file_type().is_symlink() {
                return Err(ExternalDataError::NotRegular {
                    location: location.to_owned(),
                });
            }
        }
        let file = open_no_follow(&path).map_err(io)?;
        if file.metadata().map_err(io)?.is_file() {
            Ok(file)
        } else {
            Err(ExternalDataError::NotRegular {
                location: location.to_owned(),
            })
        }
    }
}

impl ExternalData for ExternalFolder {
    fn read(
        &self,
        location: &str,
        offset: u64,
        length: Option<u64>,
        max_bytes: u64,
    ) -> Result<Bytes, ExternalDataError> {
        check_location(location)?;
        let io = |source| ExternalDataError::Io {
            location: location.to_owned(),
            source,
        };
        let mut file = self.open(location)?;
        let size = file.metadata().map_err(io)?.len();
        let length = length.unwrap_or_else(|| size.saturating_sub(offset));
        let too_large = || ExternalDataError::TooLarge {
            location: location.to_owned(),
            max_bytes,
        };
        let end = offset.checked_add(length).ok_or_else(too_large)?;
        if end > size {
            return Err(ExternalDataError::TooShort {
                location: location.to_owned(),
                end,
            });
        }
        if length > max_bytes {
            return Err(too_large());
        }
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(|_| too_large())?);
        let read = file.take(length).read_to_end(&mut bytes).map_err(io)?;
        if u64::try_from(read) == Ok(length) {
            Ok(Bytes::from(bytes))
        } else {
            Err(ExternalDataError::TooShort {
                location: location.to_owned(),
                end,
            })
        }
    }
}

/// Refuses a location that is not a plain relative path.
pub(crate) fn check_location(location: &str) -> Result<(), ExternalDataError> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if location.len() <= 4096 && !location.contains(['\0', '\\']) && location.split('/').all(plain) {
        Ok(())
    } else {
        Err(ExternalDataError::NotRelative {
            location: location.chars().take(256).collect(),
        })
    }
}

#[cfg(unix)]
fn open_no_follow(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};

    // NONBLOCK: opening a named pipe must not wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open_no_follow(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_stays_below_the_folder() {
        for location in ["w", "a/b.bin", "a.b/..c"] {
            assert!(check_location(location).is_ok(), "{location}");
        }
        for location in [
            "",
            "/w",
            "../w",
            "a/../../w",
            "a//b",
            "./w",
            "a/.",
            "w\0",
            "a\\..\\w",
        ] {
            assert!(
                matches!(
                    check_location(location),
                    Err(ExternalDataError::NotRelative { .. })
                ),
                "{location:?}"
            );
        }
    }

    #[test]
    fn a_folder_reads_ranges_and_refuses_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("sub/w"), b"0123456789").unwrap();
        let data = ExternalFolder::new(folder.path());
        assert_eq!(data.read("sub/w", 2, Some(3), 100).unwrap(), "234");
        assert_eq!(data.read("sub/w", 8, None, 100).unwrap(), "89");
        assert!(matches!(
            data.read("sub/w", 8, Some(3), 100),
            Err(ExternalDataError::TooShort { .. })
        ));
        assert!(matches!(
            data.read("sub/w", u64::MAX, Some(3), 100),
            Err(ExternalDataError::TooLarge { .. })
        ));
        assert!(matches!(
            data.read("sub/w", 0, None, 9),
            Err(ExternalDataError::TooLarge { .. })
        ));
        assert!(matches!(
            data.read("sub", 0, None, 9),
            Err(ExternalDataError::NotRegular { .. })
        ));
        assert!(matches!(
            data.read("absent", 0, None, 9),
            Err(ExternalDataError::Io { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_links_are_refused_in_each_part() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("w"), b"secret").unwrap();
        std::os::unix::fs::symlink(outside.path().join("w"), folder.path().join("w")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("sub")).unwrap();
        let data = ExternalFolder::new(folder.path());
        for location in ["w", "sub/w"] {
            let error = data.read(location, 0, None, 100).unwrap_err();
            assert!(matches!(error, ExternalDataError::NotRegular { .. }), "{error}");
        }
    }
}
