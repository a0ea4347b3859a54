//! Names and inodes in memory, loaded from the backing folder at the mount. Does no input or output after that.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::content::Unsynced;

/// The inode number that FUSE gives to the root.
pub(crate) const ROOT: u64 = 1;

/// Names below one folder. Inode numbers are never used again.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    nodes: HashMap<u64, Node>,
    last: u64,
}

/// A file or folder.
#[derive(Debug)]
pub(crate) struct Node {
    /// Folder and name in it; none for the root and for a file that was unlinked and is still open.
    place: Option<(u64, OsString)>,
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A folder with its entries.
    Folder(BTreeMap<OsString, u64>),
    /// A file.
    File(FileState),
}

/// What is known of a file beyond what the disk holds.
#[derive(Debug, Default)]
pub(crate) struct FileState {
    /// Changes since the last sync.
    pub(crate) unsynced: Option<Unsynced>,
    /// The file on disk, while programs have it open.
    pub(crate) disk: Option<File>,
    /// Open handles.
    pub(crate) handles: u32,
}

impl Tree {
    /// Reads the names below `root`.
    pub(crate) fn load(root: &Path) -> io::Result<Self> {
        let node = Node { place: None, kind: Kind::Folder(BTreeMap::new()) };
        let mut tree = Self { root: root.to_owned(), nodes: HashMap::from([(ROOT, node)]), last: ROOT };
        tree.load_folder(ROOT, root)?;
        Ok(tree)
    }

    fn load_folder(&mut self, folder: u64, path: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                let inode = self.insert(folder, &entry.file_name(), Kind::Folder(BTreeMap::new()))?;
                self.load_folder(inode, &entry.path())?;
            } else if kind.is_file() {
                self.insert(folder, &entry.file_name(), Kind::File(FileState::default()))?;
            } else {
                let text = format!("{} is neither a file nor a folder", entry.path().display());
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
        }
        Ok(())
    }

    /// Every file with a name, with its path, in the order of the paths.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, u64> {
        let files = self.nodes.iter().filter(|(_, node)| matches!(node.kind, Kind::File(_)));
        files.filter_map(|(inode, _)| Some((self.path(*inode).ok()?, *inode))).collect()
    }

    /// `ENOENT` if there is no such node.
    pub(crate) fn node(&self, inode: u64) -> io::Result<&Node> {
        Ok(self.nodes.get(&inode).ok_or(Errno::NOENT)?)
    }

    /// `EISDIR` if it is a folder.
    pub(crate) fn file(&mut self, inode: u64) -> io::Result<&mut FileState> {
        match &mut self.nodes.get_mut(&inode).ok_or(Errno::NOENT)?.kind {
            Kind::File(file) => Ok(file),
            Kind::Folder(_) => Err(Errno::ISDIR.into()),
        }
    }

    /// `ENOTDIR` if it is a file.
    pub(crate) fn entries(&self, folder: u64) -> io::Result<&BTreeMap<OsString, u64>> {
        match &self.node(folder)?.kind {
            Kind::Folder(entries) => Ok(entries),
            Kind::File(_) => Err(Errno::NOTDIR.into()),
        }
    }

    /// The folder that holds a folder; the root holds itself.
    pub(crate) fn parent(&self, folder: u64) -> io::Result<u64> {
        Ok(self.node(folder)?.place.as_ref().map_or(ROOT, |(parent, _)| *parent))
    }

    /// `ENOENT` if the folder has no such entry.
    pub(crate) fn lookup(&self, folder: u64, name: &OsStr) -> io::Result<u64> {
        Ok(*self.entries(folder)?.get(name).ok_or(Errno::NOENT)?)
    }

    /// Path in the backing folder; `ENOENT` if the file has no name any more.
    pub(crate) fn path(&self, inode: u64) -> io::Result<PathBuf> {
        match &self.node(inode)?.place {
            Some((parent, name)) => Ok(self.path(*parent)?.join(name)),
            None if inode == ROOT => Ok(self.root.clone()),
            None => Err(Errno::NOENT.into()),
        }
    }

    /// Adds an entry; returns its inode number.
    pub(crate) fn insert(&mut self, folder: u64, name: &OsStr, kind: Kind) -> io::Result<u64> {
        self.last += 1;
        let inode = self.last;
        self.entries_mut(folder)?.insert(name.to_owned(), inode);
        self.nodes.insert(inode, Node { place: Some((folder, name.to_owned())), kind });
        Ok(inode)
    }

    /// Removes an entry. A file that is open stays, without a name, until [`Tree::forget`].
    pub(crate) fn remove(&mut self, folder: u64, name: &OsStr) -> io::Result<u64> {
        let inode = self.entries_mut(folder)?.remove(name).ok_or(Errno::NOENT)?;
        let node = self.nodes.get_mut(&inode).expect("entries have nodes");
        node.place = None;
        if !matches!(&node.kind, Kind::File(file) if file.handles > 0) {
            self.nodes.remove(&inode);
        }
        Ok(inode)
    }

    /// Gives an entry another place; what is there goes.
    pub(crate) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> io::Result<()> {
        let inode = self.lookup(from.0, from.1)?;
        if self.lookup(to.0, to.1).is_ok_and(|there| there != inode) {
            self.remove(to.0, to.1)?;
        }
        self.entries_mut(from.0)?.remove(from.1);
        self.entries_mut(to.0)?.insert(to.1.to_owned(), inode);
        self.nodes.get_mut(&inode).expect("entries have nodes").place = Some((to.0, to.1.to_owned()));
        Ok(())
    }

    /// Ends a file without a name, when nobody has it open any more.
    pub(crate) fn forget(&mut self, inode: u64) {
        if inode != ROOT && self.nodes.get(&inode).is_some_and(|node| node.place.is_none()) {
            self.nodes.remove(&inode);
        }
    }

    /// Ends every handle, and with them the files without a name.
    pub(crate) fn close_all(&mut self) {
        self.nodes.retain(|inode, node| *inode == ROOT || node.place.is_some());
        for node in self.nodes.values_mut() {
            if let Kind::File(file) = &mut node.kind {
                (file.handles, file.disk) = (0, None);
            }
        }
    }

    fn entries_mut(&mut self, folder: u64) -> io::Result<&mut BTreeMap<OsString, u64>> {
        match &mut self.nodes.get_mut(&folder).ok_or(Errno::NOENT)?.kind {
            Kind::Folder(entries) => Ok(entries),
            Kind::File(_) => Err(Errno::NOTDIR.into()),
        }
    }
}
