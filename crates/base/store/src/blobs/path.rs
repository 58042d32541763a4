//! The one spelling of a blob's path: it means the same in a folder, in a bucket and in a record.

use std::fmt;

use object_store::path::Path as Location;

use crate::files::PART_SUFFIX;

const PATH_MAX_BYTES: usize = 1024;
const SEGMENT_MAX_BYTES: usize = 200;

/// A path that no blob can have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a blob's path is segments of A-Z, a-z, 0-9, `.`, `_`, `-` and `@` joined by `/`, none of them beginning with `.` or ending with `.part`"
)]
pub struct InvalidBlobPath;

/// A checked path.
// INVARIANT: relative, no empty or dotted segment, no byte that a file system or `object_store` treats specially.
#[derive(Clone, Debug)]
pub(crate) struct BlobPath(Location);

impl BlobPath {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidBlobPath> {
        if text.len() > PATH_MAX_BYTES || !text.split('/').all(valid_segment) {
            return Err(InvalidBlobPath);
        }
        Location::parse(text).map(Self).map_err(|_| InvalidBlobPath)
    }

    pub(crate) const fn location(&self) -> &Location {
        &self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_ref()
    }
}

impl fmt::Display for BlobPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn valid_segment(segment: &str) -> bool {
    (1..=SEGMENT_MAX_BYTES).contains(&segment.len())
        && !segment.starts_with('.')
        && !segment.ends_with(PART_SUFFIX)
        && segment
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_pass_as_they_are() {
        for path in ["a", "digits/3/model.onnx", "a-b_c.D@1/x", "0/1/2"] {
            assert_eq!(BlobPath::parse(path).unwrap().to_string(), path);
        }
    }

    #[test]
    fn whatever_could_leave_the_root_or_change_meaning_is_refused() {
        let long = "a/".repeat(600) + "a";
        for path in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            ".a",
            "a/.b",
            "a\\b",
            "a b",
            "a#1",
            "a%2e",
            "é",
            "a\0",
            "a.part",
            "a/b.part",
            &"a".repeat(201),
            &long,
        ] {
            assert_eq!(BlobPath::parse(path).unwrap_err(), InvalidBlobPath, "{path:?}");
        }
    }
}
