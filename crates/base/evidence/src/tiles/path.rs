//! Names of tiles and entry bundles (C2SP tlog-tiles, "Merkle Tree" and "Log entries"): `tile/0/x001/234.p/5`.

use std::fmt;

use super::FULL_WIDTH;

/// The highest level that the specification can name.
const MAX_LEVEL: u8 = 63;

/// The name of one tile or entry bundle.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TilePath {
    /// Hashes of the tree.
    Hashes {
        /// 0 for leaf hashes.
        level: u8,
        /// The position within the level.
        index: u64,
        /// 1 to 256.
        width: u16,
    },
    /// The entries themselves.
    Entries {
        /// The position; entry `256 * index` comes first.
        index: u64,
        /// 1 to 256.
        width: u16,
    },
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, width) = match *self {
            Self::Hashes { level, index, width } => {
                write!(f, "tile/{level}")?;
                (index, width)
            }
            Self::Entries { index, width } => {
                f.write_str("tile/entries")?;
                (index, width)
            }
        };
        // Groups of three digits; all but the last begin with an x, so no file is also a folder.
        let groups = index.checked_ilog(1000).unwrap_or(0);
        for group in (0..=groups).rev() {
            let digits = index / 1000_u64.pow(group) % 1000;
            write!(f, "/{}{digits:03}", if group == 0 { "" } else { "x" })?;
        }
        if width < FULL_WIDTH {
            write!(f, ".p/{width}")
        } else {
            Ok(())
        }
    }
}

/// The file of a tile; width 256 is a full one.
pub fn tile_path(level: u8, index: u64, width: u16) -> String {
    TilePath::Hashes { level, index, width }.to_string()
}

/// The file of an entry bundle; width 256 is a full one.
pub fn entries_path(index: u64, width: u16) -> String {
    TilePath::Entries { index, width }.to_string()
}

/// Reads the name of a tile or entry bundle. Other spellings of the same place are no names.
pub fn parse_path(path: &str) -> Option<TilePath> {
    let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (
            parse_index(index)?,
            width.parse().ok().filter(|w| *w < FULL_WIDTH)?,
        ),
        None => (parse_index(rest)?, FULL_WIDTH),
    };
    let parsed = if kind == "entries" {
        TilePath::Entries { index, width }
    } else {
        let level = kind.parse().ok().filter(|level| *level <= MAX_LEVEL)?;
        TilePath::Hashes { level, index, width }
    };
    (width > 0 && parsed.to_string() == path).then_some(parsed)
}

fn parse_index(groups: &str) -> Option<u64> {
    groups.split('/').try_fold(0_u64, |index, group| {
        let digits: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
        index.checked_mul(1000)?.checked_add(digits)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(path: TilePath, text: &str) {
        assert_eq!(path.to_string(), text);
        assert_eq!(parse_path(text), Some(path));
    }

    #[test]
    fn follows_the_specification() {
        check(
            TilePath::Hashes {
                level: 0,
                index: 1_234_067,
                width: 256,
            },
            "tile/0/x001/x234/067",
        );
        check(
            TilePath::Hashes {
                level: 1,
                index: 0,
                width: 17,
            },
            "tile/1/000.p/17",
        );
        check(
            TilePath::Hashes {
                level: 63,
                index: 999,
                width: 255,
            },
            "tile/63/999.p/255",
        );
        check(
            TilePath::Entries {
                index: 1000,
                width: 1,
            },
            "tile/entries/x001/000.p/1",
        );
        let last = TilePath::Entries {
            index: u64::MAX,
            width: 256,
        };
        check(last, "tile/entries/x018/x446/x744/x073/x709/x551/615");
    }

    #[test]
    fn refuses_other_spellings() {
        for text in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/x001",
            "tile/0/x001/x002",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/0/+01",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/+1",
            "tile/0/000.p/",
            "tile/0/000.p",
            "tile/0/000.p/1/",
            "tile/0/000/",
            "/tile/0/000",
            "tile/entry/000",
            "tile/entries/x018/x446/x744/x073/x709/x551/616",
            "tile/0/../000",
            "tile/0/٣٣٣",
        ] {
            assert_eq!(parse_path(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(level in 0..=63_u8, index: u64, width in 1..=256_u16) {
            let (hashes, entries) = (TilePath::Hashes { level, index, width }, TilePath::Entries { index, width });
            prop_assert_eq!(parse_path(&hashes.to_string()), Some(hashes));
            prop_assert_eq!(parse_path(&entries.to_string()), Some(entries));
        }

        #[test]
        fn never_panics(text in "(tile/)?[x0-9./pentris]{0,40}") {
            if let Some(path) = parse_path(&text) {
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}
