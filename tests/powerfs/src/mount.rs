//! The kernel's side: FUSE requests to operations of the disk, and their results back.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::disk::{Attributes, Disk};

/// Sizes change with a power loss, which the kernel does not see: it must ask each time.
const ATTRIBUTES_VALID: Duration = Duration::ZERO;
/// Names change only through the mount, so the kernel knows them.
const NAMES_VALID: Duration = Duration::from_secs(3600);
const GENERATION: Generation = Generation(0);
const BLOCK: u32 = 4096;

/// How the file system is mounted: for the user who mounts it, without a helper program.
pub(crate) fn options() -> Config {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("powerfs".to_owned())];
    config
}

/// Serves one disk.
#[derive(Debug)]
pub(crate) struct Mount {
    disk: Arc<Mutex<Disk>>,
}

impl Mount {
    pub(crate) fn new(disk: Arc<Mutex<Disk>>) -> Self {
        Self { disk }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().expect("no operation panics")
    }
}

fn attributes(found: &Attributes) -> FileAttr {
    let durable = &found.durable;
    let changed = UNIX_EPOCH + Duration::from_secs(durable.ctime().unsigned_abs());
    FileAttr {
        ino: INodeNo(found.inode),
        size: found.size,
        blocks: found.size.div_ceil(512),
        atime: found.modified,
        mtime: found.modified,
        ctime: changed,
        crtime: changed,
        kind: if durable.is_dir() { FileType::Directory } else { FileType::RegularFile },
        perm: (durable.permissions().mode() & 0o7777) as u16,
        nlink: if durable.is_dir() { 2 } else { 1 },
        uid: durable.uid(),
        gid: durable.gid(),
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

fn reply_empty(reply: ReplyEmpty, result: io::Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(Errno::from(error)),
    }
}

fn reply_entry(reply: ReplyEntry, result: io::Result<Attributes>) {
    match result {
        Ok(found) => {
            reply.entry_with_ttls(&ATTRIBUTES_VALID, &NAMES_VALID, &attributes(&found), GENERATION);
        }
        Err(error) => reply.error(Errno::from(error)),
    }
}

impl Filesystem for Mount {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        reply_entry(reply, self.disk().lookup(parent.0, name));
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.disk().attributes(inode.0) {
            Ok(found) => reply.attr(&ATTRIBUTES_VALID, &attributes(&found)),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.disk();
        let set = mode.map_or(Ok(()), |mode| disk.set_mode(inode.0, mode));
        let set = set.and_then(|()| size.map_or(Ok(()), |size| disk.resize(inode.0, size)));
        match set.and_then(|()| disk.attributes(inode.0)) {
            Ok(found) => reply.attr(&ATTRIBUTES_VALID, &attributes(&found)),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        reply_entry(reply, self.disk().mkdir(parent.0, name, mode & !umask));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(reply, self.disk().unlink(parent.0, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(reply, self.disk().rmdir(parent.0, name));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            return reply.error(Errno::EINVAL);
        }
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        reply_empty(reply, self.disk().rename((parent.0, name), (new_parent.0, new_name), replace));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        match self.disk().create(parent.0, name, mode & !umask, flags) {
            Ok((found, handle)) => {
                let handle = FileHandle(handle);
                reply.created(&ATTRIBUTES_VALID, &attributes(&found), GENERATION, handle, FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.disk().open(inode.0, flags.0) {
            // Direct: no page of it may survive a power loss in the kernel.
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().read(handle.0, offset, size) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.disk().write(handle.0, offset, data) {
            Ok(()) => reply.written(u32::try_from(data.len()).expect("the kernel writes less at once")),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Closing syncs nothing.
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        reply_empty(reply, self.disk().close(handle.0));
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        reply_empty(reply, self.disk().sync_handle(handle.0));
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.disk().open_folder(inode.0) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let disk = self.disk();
        let listing = match disk.listing(handle.0) {
            Ok(listing) => listing,
            Err(error) => return reply.error(Errno::from(error)),
        };
        for (next, entry) in (1..).zip(listing).skip(offset as usize) {
            let kind = if entry.is_folder { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(entry.inode), next, kind, &entry.name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        reply_empty(reply, self.disk().close(handle.0));
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        // Names are durable already.
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.disk().room() {
            Ok(room) => reply.statfs(
                room.f_blocks,
                room.f_bfree,
                room.f_bavail,
                room.f_files,
                room.f_ffree,
                room.f_bsize as u32,
                room.f_namemax as u32,
                room.f_frsize as u32,
            ),
            Err(error) => reply.error(Errno::from(error)),
        }
    }
}
