//! The disk of a log node: it can fill up and lose power.

use std::path::{Path, PathBuf};

use frazil_powerfs::{Keep, PowerFs};

/// A mounted disk.
#[derive(Debug)]
pub struct Disk {
    mounted: PowerFs,
    path: PathBuf,
}

impl Disk {
    /// Mounts the disk of `name` at `dir/name`; what would survive lies in `dir/name.disk`.
    ///
    /// # Panics
    /// If FUSE is missing.
    pub fn mount(dir: &Path, name: &str) -> Self {
        let (backing, path) = (dir.join(format!("{name}.disk")), dir.join(name));
        for folder in [&backing, &path] {
            std::fs::create_dir_all(folder).expect("the run's folder is writable");
        }
        let mounted = PowerFs::mount(&backing, &path).unwrap_or_else(|error| panic!("FUSE is needed: {error}"));
        Self { mounted, path }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether writes that need room fail.
    pub fn full(&self, full: bool) {
        self.mounted.disk_full(full);
    }

    /// Drops what was not synced, all of it or some pages; returns how many bytes were lost. Its user was killed before.
    pub fn lose_power(&self, seed: Option<u64>) -> u64 {
        self.mounted.power_loss(seed.map_or(Keep::Nothing, |seed| Keep::SomePages { seed }))
    }
}
