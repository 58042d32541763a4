//! Where each setting comes from: flags over `STOCKADE_*` over the file over defaults.
//!
//! `STOCKADE_A__B` sets `b` in section `a`. The value is read as TOML, and as text where it is not TOML.

use std::{collections::BTreeMap, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use super::{InvalidSetting, error};
use crate::failure::{Exit, Failure};

/// Who set a value.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// Nobody: the built-in default.
    Default,
    /// `stockade.toml`.
    File,
    /// An environment variable.
    Environment(String),
    /// A command-line option.
    Flag(String),
}

/// Names with a meaning of their own, which are not settings; the last three are the test run's.
const RESERVED: [&str; 6] = [
    "STOCKADE_DIR",
    "STOCKADE_LOG",
    "STOCKADE_ONNXRUNTIME",
    "STOCKADE_SKIPPED",
    "STOCKADE_SYSTEM",
    "STOCKADE_TEST_DATA",
];

/// The largest `stockade.toml` that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// All settings that somebody set, and who did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    pub(crate) table: Table,
    pub(crate) origins: BTreeMap<String, Origin>,
}

impl Layers {
    /// Reads the file alone, so that a mistake in it is shown where it is.
    pub(crate) fn from_file<T: DeserializeOwned>(path: &Path) -> Result<Self, Failure> {
        let mut layers = Self::default();
        let Some(text) = read(path)? else {
            return Ok(layers);
        };
        let spanned = |error: &toml::de::Error| error::in_file(path, &text, error);
        let table: Table = toml::from_str(&text).map_err(|error| spanned(&error))?;
        toml::from_str::<T>(&text).map_err(|error| spanned(&error))?;
        layers.merge(table, "", &|_| Origin::File);
        Ok(layers)
    }

    /// Adds what the environment says. `variables` are all of the process's.
    pub(crate) fn add_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), Failure> {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix("STOCKADE_") else {
                continue;
            };
            if RESERVED.contains(&name.as_str()) {
                continue;
            }
            let path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
            self.set(&path, parse_value(&text), Origin::Environment(name))?;
        }
        Ok(())
    }

    /// Sets one value, by the path to it.
    pub(crate) fn set(&mut self, path: &[String], value: Value, origin: Origin) -> Result<(), Failure> {
        let mut table = Table::new();
        let Some((last, sections)) = path.split_last() else {
            return Ok(());
        };
        table.insert(last.clone(), value);
        for section in sections.iter().rev() {
            table = Table::from_iter([(section.clone(), Value::Table(table))]);
        }
        let by = origin.clone();
        self.merge(table, "", &move |_| by.clone());
        Ok(())
    }

    /// The typed configuration, or who set the value that is wrong.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        T::deserialize(Value::Table(self.table.clone())).map_err(|error| {
            let who: Vec<String> = self
                .origins
                .values()
                .filter_map(|origin| match origin {
                    Origin::Environment(name) => Some(format!("`{name}`")),
                    Origin::Flag(name) => Some(format!("`--{name}`")),
                    Origin::Default | Origin::File => None,
                })
                .collect();
            Failure::from_error(Exit::Usage, &InvalidSetting::new(error.message()))
                .hint(format!("one of these set it: {}", who.join(", ")))
        })
    }

    fn merge(&mut self, from: Table, prefix: &str, origin: &dyn Fn(&str) -> Origin) {
        let mut flat = Vec::new();
        flatten(&from, prefix, &mut flat);
        for (path, _) in flat {
            let by = origin(&path);
            self.origins.insert(path, by);
        }
        merge_tables(&mut self.table, from);
    }
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_FILE => {
            return Err(Failure::new(
                Exit::Usage,
                format!("`{shown}` is larger than 1 MiB"),
            ));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::new(
                Exit::Usage,
                format!("cannot read `{shown}`: {error}"),
            ));
        }
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(
            Failure::new(Exit::Usage, format!("cannot read `{shown}`: {error}"))
                .hint("the file must be readable and UTF-8"),
        ),
    }
}

/// TOML where it parses as a value, text otherwise: `8`, `true` and `["a"]` are TOML, `127.0.0.1:0` is text.
fn parse_value(text: &str) -> Value {
    toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn merge_tables(into: &mut Table, from: Table) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge_tables(old, new),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

/// Every leaf of a table with its dotted path. Arrays are leaves.
pub(crate) fn flatten(table: &Table, prefix: &str, into: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Table(inner) => flatten(inner, &path, into),
            leaf => into.push((path, leaf.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_wins_over_the_file_and_says_so() {
        let mut layers = Layers::default();
        layers.merge(toml::from_str("a = 1\n[b]\nc = 2").unwrap(), "", &|_| {
            Origin::File
        });
        let variables = [
            ("STOCKADE_B__C", "7"),
            ("STOCKADE_D", "127.0.0.1:0"),
            ("OTHER", "1"),
            ("STOCKADE_DIR", "x"),
        ];
        layers
            .add_environment(variables.map(|(n, v)| (n.to_owned(), v.to_owned())))
            .unwrap();
        assert_eq!(
            layers.table,
            toml::from_str::<Table>("a = 1\nd = '127.0.0.1:0'\n[b]\nc = 7").unwrap()
        );
        assert_eq!(
            layers.origins["b.c"],
            Origin::Environment("STOCKADE_B__C".to_owned())
        );
        assert_eq!(layers.origins["a"], Origin::File);
    }
}
