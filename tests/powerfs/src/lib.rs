//! A file system for tests that can lose power, after the model of LazyFS.
//!
//! [`PowerFs`] is a FUSE file system in this process over a plain folder, the *backing* folder, which stands for
//! the disk: it holds at every moment exactly what would survive a power loss.
//!
//! ```text
//!  nats-server ── write ──►  mount point ── FUSE ──►  pages in this process's memory
//!                 fsync ─────────────────────────────►      │ copied
//!                                                           ▼
//!                                                     backing folder ("the disk")
//! ```
//!
//! # The model
//!
//! * The content and the size of a file live in memory, in pages of 4096 bytes, until `fsync` or `fdatasync` of any
//!   handle of that file, or a write through a handle opened with `O_SYNC` or `O_DSYNC`. Closing, renaming and
//!   `fsync` of a directory sync no content.
//! * Names and folders (create, mkdir, rename, unlink, rmdir) and permissions are durable at once, in the order in
//!   which they were made. Of a file created or renamed without a sync the name survives, without the content.
//! * A sync copies the pages with plain writes. The disk is the backing folder, not the medium below it: nothing
//!   here is `fsync`ed, so a crash of this machine loses what a test thinks durable. Only tests may stand on this.
//! * [`PowerFs::power_loss`] drops what was not synced, all of it or, with [`Keep::SomePages`], a random part of it:
//!   a kernel writes pages back when and in which order it likes, and a page may be torn at a sector of 512 bytes.
//!   Handles from before fail with `EIO` for ever, as after a reboot there is nobody who could use them.
//!
//! # What it does not model
//!
//! * Directory entries are durable without `fsync` of their folder. POSIX promises less, and ext4 may lose a name
//!   or reorder a rename: a program that forgets to sync the folder passes here.
//! * A sync is all or nothing: power never fails in the middle of one, and a disk never lies about a flush.
//! * Without a power loss nothing is written back by itself, however long one waits, up to
//!   [`UNSYNCED_MAX_BYTES`]. This is the worst case for the program under test.
//! * No hard or symbolic links, no extended attributes, no `fallocate`, no shared mappings: the calls fail.
//!   Owners and times of last access are not kept.
//!
//! A process that is killed while a file system is mounted leaves a dead mount behind (`umount -l` removes it).

mod content;
mod damage;
mod disk;
mod mount;
mod tree;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

pub use content::Keep;
pub use damage::{flip_bit, truncate_tail};
pub use disk::UNSYNCED_MAX_BYTES;

use disk::Disk;
use mount::Mount;

/// A mounted file system. Dropping it unmounts; what was not synced by then is lost.
#[derive(Debug)]
pub struct PowerFs {
    disk: Arc<Mutex<Disk>>,
    mount_point: PathBuf,
    // None only while dropping.
    session: Option<fuser::BackgroundSession>,
}

impl PowerFs {
    /// Mounts the content of the folder `backing` at the folder `mount_point`; a thread of this process serves it.
    ///
    /// # Errors
    /// If a folder is missing, or FUSE is not to be had: that takes `/dev/fuse` and the right to mount. A test
    /// must fail then; without this file system it proves nothing.
    pub fn mount(backing: &Path, mount_point: &Path) -> io::Result<Self> {
        let disk = Arc::new(Mutex::new(Disk::load(backing)?));
        let session = fuser::spawn_mount(Mount::new(disk.clone()), mount_point, &mount::options());
        let session = session.map_err(|error| {
            let text = format!(
                "cannot mount a FUSE file system at {}: {error} (it takes /dev/fuse and root or CAP_SYS_ADMIN)",
                mount_point.display()
            );
            io::Error::new(error.kind(), text)
        })?;
        Ok(Self { disk, mount_point: mount_point.to_owned(), session: Some(session) })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Power fails and comes back: drops what was not synced, and invalidates every open handle. Returns the bytes
    /// that were dropped, in whole pages. To be called after the processes that used the file system were killed.
    ///
    /// # Panics
    /// If the backing folder cannot be written.
    pub fn power_loss(&self, keep: Keep) -> u64 {
        self.disk().power_loss(keep).expect("the backing folder is writable")
    }

    /// Everything written so far becomes durable, as by `sync`, or because a kernel had the time to write it back.
    ///
    /// # Panics
    /// If the backing folder cannot be written.
    pub fn write_back(&self) {
        self.disk().write_back().expect("the backing folder is writable");
    }

    /// From now on whatever would make a file or the tree grow fails with `ENOSPC`, until it is set back.
    pub fn disk_full(&self, full: bool) {
        self.disk().set_full(full);
    }

    /// Bytes that a power loss would drop now, in whole pages.
    pub fn unsynced_bytes(&self) -> u64 {
        self.disk().unsynced_bytes()
    }

    /// Bytes dropped by all power losses so far, in whole pages; of a torn page its dropped sectors.
    pub fn dropped_bytes(&self) -> u64 {
        self.disk().dropped_bytes()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().expect("the serving thread does not panic")
    }
}

impl Drop for PowerFs {
    fn drop(&mut self) {
        let unmounted = self.session.take().map(fuser::BackgroundSession::umount_and_join);
        if let Some(Err(_)) = unmounted {
            // Somebody still has a file open: the mount goes now, the thread ends with the last handle.
            let _ = rustix::mount::unmount(&self.mount_point, rustix::mount::UnmountFlags::DETACH);
        }
    }
}
