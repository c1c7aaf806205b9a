//! Tuned choices as a file: winners by adapter, driver and bucket of sizes, in versioned JSON.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Choices, Error, Loop, Result, Site};

const FORMAT: &str = "tilewright-tuning";
const VERSION: u32 = 2;

/// Winners of one adapter with one driver. They say nothing about another.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// The adapter's key.
    pub adapter: String,
    /// The driver's name and version.
    pub driver: String,
    entries: BTreeMap<Site, (Loop, f64)>,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct File {
    format: String,
    version: u32,
    adapter: String,
    driver: String,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    bucket: Site,
    #[serde(rename = "loop")]
    of: Loop,
    /// Time of the default over that of the winner.
    ratio: f64,
}

/// What stands in a file of any version.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

impl Tuning {
    /// Nothing tuned yet.
    #[must_use]
    pub fn new(adapter: impl Into<String>, driver: impl Into<String>) -> Self {
        Self {
            adapter: adapter.into(),
            driver: driver.into(),
            entries: BTreeMap::new(),
        }
    }

    /// Notes the winner of a site's bucket; `ratio` is the time of the default over its time.
    pub fn set(&mut self, site: &Site, of: Loop, ratio: f64) {
        self.entries.insert(site.bucket(), (of, ratio));
    }

    /// Takes over what `newer` has; its entries win.
    ///
    /// # Errors
    /// [`Error::Tuning`] where it is for another adapter or driver.
    pub fn merge(&mut self, newer: &Self) -> Result<()> {
        newer.is_for(&self.adapter, &self.driver)?;
        let entries = newer.entries.iter();
        self.entries.extend(entries.map(|(k, v)| (k.clone(), *v)));
        Ok(())
    }

    /// The buckets with winner and ratio, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&Site, Loop, f64)> {
        self.entries.iter().map(|(site, (of, r))| (site, *of, *r))
    }

    /// The choices for this adapter and driver.
    ///
    /// # Errors
    /// [`Error::Tuning`] where they are not the ones that it was made with.
    pub fn choices(&self, adapter: &str, driver: &str) -> Result<Choices> {
        self.is_for(adapter, driver)?;
        let mut choices = Choices::new();
        for (site, of, _) in self.entries() {
            choices.tune(site, of);
        }
        Ok(choices)
    }

    fn is_for(&self, adapter: &str, driver: &str) -> Result<()> {
        if self.adapter == adapter && self.driver == driver {
            return Ok(());
        }
        Err(wrong(format!(
            "made with {}, driver {}, not with {adapter}, driver {driver}",
            self.adapter, self.driver
        )))
    }

    /// The file's text.
    ///
    /// # Errors
    /// [`Error::Tuning`] for a ratio that is no number.
    pub fn to_json(&self) -> Result<String> {
        let entries = self.entries();
        let entries = entries.map(|(bucket, of, ratio)| Entry {
            bucket: bucket.clone(),
            of,
            ratio,
        });
        let file = File {
            format: FORMAT.into(),
            version: VERSION,
            adapter: self.adapter.clone(),
            driver: self.driver.clone(),
            entries: entries.collect(),
        };
        serde_json::to_string_pretty(&file).map_err(|e| wrong(e.to_string()))
    }

    /// From a file's text.
    ///
    /// # Errors
    /// [`Error::Tuning`] for another format or version, or a text that is none.
    pub fn from_json(text: &str) -> Result<Self> {
        let bad = |e: serde_json::Error| wrong(e.to_string());
        let head: Head = serde_json::from_str(text).map_err(bad)?;
        if head.format != FORMAT || head.version != VERSION {
            let Head { format, version } = head;
            return Err(wrong(format!(
                "format `{format}` version {version}, expected `{FORMAT}` version {VERSION}"
            )));
        }
        let file: File = serde_json::from_str(text).map_err(bad)?;
        let mut tuning = Self::new(file.adapter, file.driver);
        for entry in file.entries {
            tuning.set(&entry.bucket, entry.of, entry.ratio);
        }
        Ok(tuning)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Tuning`], with the path.
    pub fn load(path: &Path) -> Result<Self> {
        let at = |e: String| wrong(format!("{}: {e}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| at(e.to_string()))?;
        Self::from_json(&text).map_err(|e| match e {
            Error::Tuning { what } => at(what),
            other => other,
        })
    }

    /// Writes a file beside `path` and renames it, so that nobody ever reads half of one.
    ///
    /// # Errors
    /// [`Error::Tuning`], with the path.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = self.to_json()? + "\n";
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        std::fs::write(&part, text)
            .and_then(|()| std::fs::rename(&part, path))
            .map_err(|e| wrong(format!("{}: {e}", path.display())))
    }
}

fn wrong(what: String) -> Error {
    Error::Tuning { what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::tests::site;
    use tilewright_device::Caps;

    fn tuning() -> Tuning {
        let mut tuning = Tuning::new("card", "driver 1");
        let sizes = [(100, 64, 70), (512, 512, 512), (1, 8, 300)];
        for (i, (m, n, k)) in sizes.into_iter().enumerate() {
            let all = crate::candidates(&Caps::software(8), m, n, k, 1);
            tuning.set(&site(m, n, k), *all.last().unwrap(), 1.0 + i as f64 / 8.0);
        }
        tuning
    }

    #[test]
    fn a_file_gives_back_what_was_written() {
        let tuning = tuning();
        let text = tuning.to_json().unwrap();
        assert_eq!(Tuning::from_json(&text).unwrap(), tuning);
        let folder = std::env::temp_dir().join(format!("tuning-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("tuning.json");
        tuning.save(&path).unwrap();
        assert_eq!(Tuning::load(&path).unwrap(), tuning);
        let files = std::fs::read_dir(&folder).unwrap().count();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(files, 1);
        let missing = Tuning::load(&path).unwrap_err().to_string();
        assert!(missing.contains("tuning.json"), "{missing}");
    }

    #[test]
    fn other_formats_and_versions_are_refused() {
        let text = tuning().to_json().unwrap();
        for (from, to) in [
            ("\"version\": 2", "\"version\": 1"),
            ("tilewright-tuning", "something"),
        ] {
            assert!(text.contains(from));
            let error = Tuning::from_json(&text.replace(from, to)).unwrap_err();
            let told = error.to_string();
            assert!(
                told.contains("expected `tilewright-tuning` version 2"),
                "{told}"
            );
        }
        assert!(Tuning::from_json("{}").is_err());
        assert!(Tuning::from_json(&text.replace("\"reg\"", "\"no such loop\"")).is_err());
    }

    #[test]
    fn choices_are_for_the_adapter_and_driver_alone() {
        let tuning = tuning();
        let choices = tuning.choices("card", "driver 1").unwrap();
        assert_eq!(choices.tuned().count(), 3);
        for (adapter, driver) in [("card", "driver 2"), ("other", "driver 1")] {
            let error = tuning.choices(adapter, driver).unwrap_err().to_string();
            assert!(error.contains("made with card, driver driver 1"), "{error}");
            let mut other = Tuning::new(adapter, driver);
            assert!(other.merge(&tuning).is_err());
        }
    }

    #[test]
    fn newer_entries_win() {
        let (mut old, mut new) = (tuning(), Tuning::new("card", "driver 1"));
        new.set(&site(100, 64, 70), Loop::SAFE[0], 2.0);
        old.merge(&new).unwrap();
        assert_eq!(old.entries().count(), 3);
        assert!(old.entries().any(|e| e.1 == Loop::SAFE[0] && e.2 == 2.0));
    }
}
