//! The operations of the file system: every change of names goes to the backing folder at once, every change of
//! content stays in memory until a sync. Knows nothing of FUSE.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::fs::{OFlags, StatVfs, statvfs};
use rustix::io::Errno;

use crate::content::{Keep, Unsynced};
use crate::tree::{FileState, Kind, Tree};

/// How much may wait for a sync in memory. Beyond it a written file is synced at once, as a kernel writes back when
/// too much is dirty.
pub const UNSYNCED_MAX_BYTES: u64 = 1 << 30;

/// The state of a mounted file system.
#[derive(Debug)]
pub(crate) struct Disk {
    tree: Tree,
    handles: HashMap<u64, Handle>,
    last_handle: u64,
    full: bool,
    unsynced: u64,
    dropped: u64,
}

/// What a program has open.
#[derive(Debug)]
enum Handle {
    File {
        inode: u64,
        flags: OFlags,
    },
    /// The entries as they were when the folder was opened.
    Folder(Vec<Entry>),
}

/// One line of a folder's listing.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) inode: u64,
    pub(crate) is_folder: bool,
    pub(crate) name: OsString,
}

/// What `stat` shows.
#[derive(Debug)]
pub(crate) struct Attributes {
    pub(crate) inode: u64,
    /// Type, permissions and owner; size and time only if nothing is unsynced.
    pub(crate) durable: Metadata,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

impl Disk {
    /// The content of the folder `backing`.
    pub(crate) fn load(backing: &Path) -> io::Result<Self> {
        let tree = Tree::load(&backing.canonicalize()?)?;
        Ok(Self { tree, handles: HashMap::new(), last_handle: 0, full: false, unsynced: 0, dropped: 0 })
    }

    pub(crate) fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.unsynced
    }

    pub(crate) fn dropped_bytes(&self) -> u64 {
        self.dropped
    }

    /// Drops what was not synced; returns how many bytes.
    pub(crate) fn power_loss(&mut self, keep: Keep) -> io::Result<u64> {
        let mut random = match keep {
            Keep::Nothing => None,
            Keep::SomePages { seed } => Some(StdRng::seed_from_u64(seed)),
        };
        self.handles.clear();
        self.tree.close_all();
        let mut dropped = 0;
        for (path, inode) in self.tree.files() {
            let Some(unsynced) = self.tree.file(inode)?.unsynced.take() else { continue };
            dropped += match &mut random {
                None => unsynced.bytes(),
                Some(random) => unsynced.write_back_some(&open(&path)?, random)?,
            };
        }
        (self.unsynced, self.dropped) = (0, self.dropped + dropped);
        Ok(dropped)
    }

    /// Syncs every file that has a name.
    pub(crate) fn write_back(&mut self) -> io::Result<()> {
        for inode in self.tree.files().into_values() {
            self.sync(inode)?;
        }
        Ok(())
    }

    pub(crate) fn lookup(&mut self, folder: u64, name: &OsStr) -> io::Result<Attributes> {
        let inode = self.tree.lookup(folder, name)?;
        self.attributes(inode)
    }

    pub(crate) fn attributes(&mut self, inode: u64) -> io::Result<Attributes> {
        let durable = match &self.tree.node(inode)?.kind {
            Kind::File(FileState { disk: Some(disk), .. }) => disk.metadata()?,
            _ => self.tree.path(inode)?.symlink_metadata()?,
        };
        let (size, modified) = match &self.tree.node(inode)?.kind {
            Kind::File(FileState { unsynced: Some(unsynced), .. }) => (unsynced.size(), unsynced.modified()),
            _ => (durable.len(), durable.modified()?),
        };
        Ok(Attributes { inode, durable, size, modified })
    }

    /// Creates and opens a file; returns its handle.
    pub(crate) fn create(&mut self, folder: u64, name: &OsStr, mode: u32, flags: i32) -> io::Result<(Attributes, u64)> {
        self.check_room()?;
        let path = self.tree.path(folder)?.join(name);
        let disk = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)?;
        let state = FileState { unsynced: None, disk: Some(disk), handles: 0 };
        let inode = self.tree.insert(folder, name, Kind::File(state))?;
        let handle = self.open(inode, flags)?;
        Ok((self.attributes(inode)?, handle))
    }

    /// Opens a file; returns the handle.
    pub(crate) fn open(&mut self, inode: u64, flags: i32) -> io::Result<u64> {
        self.with_disk(inode)?.handles += 1;
        let flags = OFlags::from_bits_retain(flags.cast_unsigned());
        Ok(self.add_handle(Handle::File { inode, flags }))
    }

    /// Ends a handle. It syncs nothing.
    pub(crate) fn close(&mut self, handle: u64) -> io::Result<()> {
        // Handles from before a power loss are unknown.
        let Some(Handle::File { inode, .. }) = self.handles.remove(&handle) else { return Ok(()) };
        let file = self.tree.file(inode)?;
        file.handles -= 1;
        if file.handles == 0 {
            file.disk = None;
            let lost_with_name = file.unsynced.as_ref().map_or(0, Unsynced::bytes);
            if self.tree.path(inode).is_err() {
                self.unsynced -= lost_with_name;
                self.tree.forget(inode);
            }
        }
        Ok(())
    }

    pub(crate) fn read(&mut self, handle: u64, offset: u64, length: u32) -> io::Result<Vec<u8>> {
        let (inode, _) = self.handle(handle)?;
        let file = self.with_disk(inode)?;
        let disk = file.disk.as_ref().expect("just opened");
        if let Some(unsynced) = &file.unsynced {
            return unsynced.read(disk, offset, length.into());
        }
        let mut data = vec![0; length as usize];
        let mut filled = 0;
        while filled < data.len() {
            match disk.read_at(&mut data[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        data.truncate(filled);
        Ok(data)
    }

    /// Writes, in memory unless the handle is one with `O_SYNC` or `O_DSYNC`.
    pub(crate) fn write(&mut self, handle: u64, offset: u64, data: &[u8]) -> io::Result<()> {
        let (inode, flags) = self.handle(handle)?;
        let size = self.attributes(inode)?.size;
        let offset = if flags.contains(OFlags::APPEND) { size } else { offset };
        if offset + data.len() as u64 > size {
            self.check_room()?;
        }
        self.change(inode, |unsynced, disk| unsynced.write(disk, offset, data))?;
        if flags.intersects(OFlags::SYNC | OFlags::DSYNC) || self.unsynced > UNSYNCED_MAX_BYTES {
            self.sync(inode)?;
        }
        Ok(())
    }

    /// Sets the size, in memory.
    pub(crate) fn resize(&mut self, inode: u64, size: u64) -> io::Result<()> {
        if size > self.attributes(inode)?.size {
            self.check_room()?;
        }
        self.change(inode, |unsynced, _| {
            unsynced.resize(size);
            Ok(())
        })
    }

    /// Sets the permissions, at once.
    pub(crate) fn set_mode(&mut self, inode: u64, mode: u32) -> io::Result<()> {
        std::fs::set_permissions(self.tree.path(inode)?, Permissions::from_mode(mode & 0o7777))
    }

    /// `fsync` of an open handle.
    pub(crate) fn sync_handle(&mut self, handle: u64) -> io::Result<()> {
        let (inode, _) = self.handle(handle)?;
        self.sync(inode)
    }

    pub(crate) fn mkdir(&mut self, folder: u64, name: &OsStr, mode: u32) -> io::Result<Attributes> {
        self.check_room()?;
        DirBuilder::new().mode(mode).create(self.tree.path(folder)?.join(name))?;
        let inode = self.tree.insert(folder, name, Kind::Folder(BTreeMap::new()))?;
        self.attributes(inode)
    }

    pub(crate) fn rmdir(&mut self, folder: u64, name: &OsStr) -> io::Result<()> {
        std::fs::remove_dir(self.tree.path(folder)?.join(name))?;
        self.tree.remove(folder, name)?;
        Ok(())
    }

    pub(crate) fn unlink(&mut self, folder: u64, name: &OsStr) -> io::Result<()> {
        self.forget_content(folder, name)?;
        std::fs::remove_file(self.tree.path(folder)?.join(name))?;
        self.tree.remove(folder, name)?;
        Ok(())
    }

    /// Renames; what is at the new name goes, unless `replace` is false.
    pub(crate) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), replace: bool) -> io::Result<()> {
        let inode = self.tree.lookup(from.0, from.1)?;
        match self.tree.lookup(to.0, to.1) {
            Ok(there) if there == inode => return Ok(()),
            Ok(_) if !replace => return Err(Errno::EXIST.into()),
            _ => {}
        }
        std::fs::rename(self.tree.path(from.0)?.join(from.1), self.tree.path(to.0)?.join(to.1))?;
        self.forget_content(to.0, to.1)?;
        self.tree.rename(from, to)
    }

    /// Opens a folder; returns the handle of its listing.
    pub(crate) fn open_folder(&mut self, folder: u64) -> io::Result<u64> {
        let is_folder = |inode: u64| self.tree.node(inode).is_ok_and(|node| matches!(node.kind, Kind::Folder(_)));
        let own = [(folder, "."), (self.tree.parent(folder)?, "..")];
        let own = own.map(|(inode, name)| Entry { inode, is_folder: true, name: name.into() });
        let entries = self.tree.entries(folder)?.iter();
        let entries = entries.map(|(name, inode)| (name.clone(), *inode, is_folder(*inode)));
        let entries = entries.map(|(name, inode, is_folder)| Entry { inode, is_folder, name });
        let listing = own.into_iter().chain(entries).collect();
        Ok(self.add_handle(Handle::Folder(listing)))
    }

    pub(crate) fn listing(&self, handle: u64) -> io::Result<&[Entry]> {
        match self.handles.get(&handle) {
            Some(Handle::Folder(entries)) => Ok(entries),
            _ => Err(Errno::IO.into()),
        }
    }

    /// Room as the backing folder has it; none if the disk is full.
    pub(crate) fn room(&self) -> io::Result<StatVfs> {
        let mut room = statvfs(self.tree.path(crate::tree::ROOT)?)?;
        if self.full {
            (room.f_bfree, room.f_bavail) = (0, 0);
        }
        Ok(room)
    }

    fn sync(&mut self, inode: u64) -> io::Result<()> {
        let Some(unsynced) = self.tree.file(inode)?.unsynced.take() else { return Ok(()) };
        self.unsynced -= unsynced.bytes();
        let result = unsynced.sync(self.with_disk(inode)?.disk.as_ref().expect("just opened"));
        self.close_unused(inode)?;
        result
    }

    fn change(&mut self, inode: u64, work: impl FnOnce(&mut Unsynced, &File) -> io::Result<()>) -> io::Result<()> {
        let file = self.with_disk(inode)?;
        let disk = file.disk.as_ref().expect("just opened");
        if file.unsynced.is_none() {
            file.unsynced = Some(Unsynced::new(disk)?);
        }
        let unsynced = file.unsynced.as_mut().expect("just made");
        let before = unsynced.bytes();
        let result = work(unsynced, disk);
        self.unsynced = self.unsynced - before + self.tree.file(inode)?.unsynced.as_ref().map_or(0, Unsynced::bytes);
        self.close_unused(inode)?;
        result
    }

    /// The content of a file that loses its name now and that nobody has open.
    fn forget_content(&mut self, folder: u64, name: &OsStr) -> io::Result<()> {
        let Ok(inode) = self.tree.lookup(folder, name) else { return Ok(()) };
        if let Kind::Folder(_) = self.tree.node(inode)?.kind {
            return Ok(());
        }
        let file = self.tree.file(inode)?;
        if file.handles == 0 {
            self.unsynced -= file.unsynced.take().map_or(0, |unsynced| unsynced.bytes());
        }
        Ok(())
    }

    fn with_disk(&mut self, inode: u64) -> io::Result<&mut FileState> {
        if self.tree.file(inode)?.disk.is_none() {
            let disk = open(&self.tree.path(inode)?)?;
            self.tree.file(inode)?.disk = Some(disk);
        }
        self.tree.file(inode)
    }

    fn close_unused(&mut self, inode: u64) -> io::Result<()> {
        let file = self.tree.file(inode)?;
        if file.handles == 0 {
            file.disk = None;
        }
        Ok(())
    }

    fn add_handle(&mut self, handle: Handle) -> u64 {
        self.last_handle += 1;
        self.handles.insert(self.last_handle, handle);
        self.last_handle
    }

    /// `EIO` for a handle from before a power loss.
    fn handle(&self, handle: u64) -> io::Result<(u64, OFlags)> {
        match self.handles.get(&handle) {
            Some(Handle::File { inode, flags }) => Ok((*inode, *flags)),
            _ => Err(Errno::IO.into()),
        }
    }

    fn check_room(&self) -> io::Result<()> {
        if self.full { Err(Errno::NOSPC.into()) } else { Ok(()) }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}
