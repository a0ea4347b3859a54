//! The content of one file between two syncs: pages in memory above the file on disk. Knows nothing of names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use rand::Rng;
use rand::rngs::StdRng;

/// Unit in which content is kept in memory and survives or not.
pub(crate) const PAGE: u64 = 4096;
/// Unit in which a surviving page may be torn.
const SECTOR: u64 = 512;
/// One surviving page in so many is torn.
const TORN_ONE_IN: u32 = 8;

/// What a power loss leaves of the content that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: files are as at their last sync.
    Nothing,
    /// Every other page, every other truncation or extension, chosen at random by `seed`; one in eight of these
    /// pages is torn.
    SomePages {
        /// Same seed, same content: same outcome.
        seed: u64,
    },
}

/// The changes of one file since its last sync.
#[derive(Debug)]
pub(crate) struct Unsynced {
    size: u64,
    /// How much of the file on disk is still part of the content: the smallest size since the last sync.
    kept: u64,
    /// Changed pages by index. Bytes past `size` are zero.
    pages: BTreeMap<u64, Box<[u8]>>,
    modified: SystemTime,
}

impl Unsynced {
    /// No change yet to the content of `disk`.
    pub(crate) fn new(disk: &File) -> io::Result<Self> {
        let size = disk.metadata()?.len();
        Ok(Self { size, kept: size, pages: BTreeMap::new(), modified: SystemTime::now() })
    }

    /// Size of the file as programs see it.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Time of the last change.
    pub(crate) fn modified(&self) -> SystemTime {
        self.modified
    }

    /// Bytes of the changed pages.
    pub(crate) fn bytes(&self) -> u64 {
        self.pages.len() as u64 * PAGE
    }

    /// Up to `length` bytes from `offset`, fewer at the end of the file.
    pub(crate) fn read(&self, disk: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let end = self.size.min(offset.saturating_add(length));
        let mut data = Vec::with_capacity(end.saturating_sub(offset) as usize);
        let mut at = offset;
        while at < end {
            let (index, within) = (at / PAGE, (at % PAGE) as usize);
            let until = (PAGE as usize).min(within + (end - at) as usize);
            match self.pages.get(&index) {
                Some(page) => data.extend_from_slice(&page[within..until]),
                None => data.extend_from_slice(&self.load(disk, index)?[within..until]),
            }
            at += (until - within) as u64;
        }
        Ok(data)
    }

    /// Writes `data` at `offset`; a gap before it reads as zeros.
    pub(crate) fn write(&mut self, disk: &File, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut rest = data;
        let mut at = offset;
        while !rest.is_empty() {
            let (index, within) = (at / PAGE, (at % PAGE) as usize);
            let (now, later) = rest.split_at(rest.len().min(PAGE as usize - within));
            if !self.pages.contains_key(&index) {
                let page = self.load(disk, index)?;
                self.pages.insert(index, page);
            }
            let page = self.pages.get_mut(&index).expect("just inserted");
            page[within..within + now.len()].copy_from_slice(now);
            (rest, at) = (later, at + now.len() as u64);
        }
        self.size = self.size.max(at);
        self.modified = SystemTime::now();
        Ok(())
    }

    /// Cuts or extends to `size`.
    pub(crate) fn resize(&mut self, size: u64) {
        if size < self.size {
            self.kept = self.kept.min(size);
            self.pages.split_off(&size.div_ceil(PAGE));
            if let Some(page) = self.pages.get_mut(&(size / PAGE)) {
                page[(size % PAGE) as usize..].fill(0);
            }
        }
        self.size = size;
        self.modified = SystemTime::now();
    }

    /// Makes `disk` what programs see.
    pub(crate) fn sync(self, disk: &File) -> io::Result<()> {
        if self.kept < disk.metadata()?.len() {
            disk.set_len(self.kept)?;
        }
        for (index, page) in &self.pages {
            disk.write_all_at(&page[..self.used(*index) as usize], index * PAGE)?;
        }
        if disk.metadata()?.len() != self.size {
            disk.set_len(self.size)?;
        }
        Ok(())
    }

    /// Writes the part to `disk` that chance wrote back before the power failed; returns the bytes dropped.
    pub(crate) fn write_back_some(self, disk: &File, random: &mut StdRng) -> io::Result<u64> {
        if self.kept < disk.metadata()?.len() && random.random() {
            disk.set_len(self.kept)?;
        }
        let mut dropped = 0;
        for (index, page) in &self.pages {
            let used = self.used(*index);
            let survives = match (random.random(), random.random_ratio(1, TORN_ONE_IN)) {
                (false, _) => 0,
                (true, false) => PAGE,
                (true, true) => random.random_range(1..PAGE / SECTOR) * SECTOR,
            };
            disk.write_all_at(&page[..used.min(survives) as usize], index * PAGE)?;
            dropped += PAGE - survives;
        }
        if disk.metadata()?.len() < self.size && random.random() {
            disk.set_len(self.size)?;
        }
        Ok(dropped)
    }

    /// How many bytes of a page lie before the end of the file.
    fn used(&self, index: u64) -> u64 {
        PAGE.min(self.size - index * PAGE)
    }

    /// A page as it was before it is changed: from the disk as far as that is still content, else zeros.
    fn load(&self, disk: &File, index: u64) -> io::Result<Box<[u8]>> {
        let mut page = vec![0; PAGE as usize].into_boxed_slice();
        let mut filled = 0;
        let wanted = PAGE.min(self.kept.saturating_sub(index * PAGE)) as usize;
        while filled < wanted {
            match disk.read_at(&mut page[filled..wanted], index * PAGE + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests;
