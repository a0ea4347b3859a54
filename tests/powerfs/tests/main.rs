//! The file system as programs see it, through the kernel. Without FUSE these tests fail; none is skipped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Instant;

use frazil_powerfs::{Keep, PowerFs, flip_bit, truncate_tail};
use rustix::fs::OFlags;
use tempfile::TempDir;

struct Machine {
    fs: PowerFs,
    dir: TempDir,
}

impl Machine {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        for name in ["backing", "mounted"] {
            fs::create_dir(dir.path().join(name)).expect("folder");
        }
        let fs = mount(&dir);
        Self { fs, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("mounted").join(name)
    }

    fn on_disk(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.dir.path().join("backing").join(name))
    }

    fn write(&self, name: &str, content: &[u8]) -> File {
        let mut file = File::create(self.path(name)).expect("created");
        file.write_all(content).expect("written");
        file
    }

    fn write_synced(&self, name: &str, content: &[u8]) {
        self.write(name, content).sync_all().expect("synced");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn lose_power(&self) -> u64 {
        self.fs.power_loss(Keep::Nothing)
    }
}

fn mount(dir: &TempDir) -> PowerFs {
    let mounted = PowerFs::mount(&dir.path().join("backing"), &dir.path().join("mounted"));
    mounted.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn what_is_not_synced_is_gone_and_what_is_synced_stays() {
    let machine = Machine::start();
    machine.write_synced("synced", b"here to stay");
    let mut file = machine.write("half", b"first,");
    file.sync_data().expect("synced");
    file.write_all(b"second").expect("written");
    drop(file);
    drop(machine.write("lost", b"closing syncs nothing"));
    assert_eq!(machine.read("half"), b"first,second");
    assert_eq!(machine.fs.unsynced_bytes(), 2 * 4096);

    assert_eq!(machine.lose_power(), 2 * 4096);

    assert_eq!(machine.read("synced"), b"here to stay");
    assert_eq!(machine.read("half"), b"first,");
    assert_eq!(machine.read("lost"), b"", "the name is durable, the content is not");
    assert_eq!(fs::metadata(machine.path("half")).expect("there").len(), 6);
    assert_eq!((machine.fs.unsynced_bytes(), machine.fs.dropped_bytes()), (0, 2 * 4096));
}

#[test]
fn the_backing_folder_holds_exactly_what_would_survive() {
    let machine = Machine::start();
    let mut file = machine.write("file", b"one");
    assert_eq!(machine.on_disk("file").expect("there"), b"");
    file.sync_all().expect("synced");
    assert_eq!(machine.on_disk("file").expect("there"), b"one");
    file.write_all(b"two").expect("written");
    assert_eq!(machine.on_disk("file").expect("there"), b"one");
}

#[test]
fn a_sync_through_any_handle_syncs_what_every_handle_wrote() {
    let machine = Machine::start();
    drop(machine.write("file", b"written by a handle that is closed"));
    OpenOptions::new().write(true).open(machine.path("file")).expect("opened").sync_all().expect("synced");
    machine.lose_power();
    assert_eq!(machine.read("file"), b"written by a handle that is closed");
}

#[test]
fn what_was_written_back_stays() {
    let machine = Machine::start();
    drop(machine.write("before", b"written back"));
    machine.fs.write_back();
    drop(machine.write("after", b"not yet"));
    machine.lose_power();
    assert_eq!((machine.read("before"), machine.read("after")), (b"written back".to_vec(), Vec::new()));
}

#[test]
fn handles_with_o_sync_and_o_dsync_sync_every_write() {
    let machine = Machine::start();
    for (name, flag) in [("sync", OFlags::SYNC), ("dsync", OFlags::DSYNC)] {
        let flag = flag.bits().cast_signed();
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).custom_flags(flag);
        options.open(machine.path(name)).expect("opened").write_all(b"durable").expect("written");
    }
    assert_eq!(machine.lose_power(), 0);
    assert_eq!((machine.read("sync"), machine.read("dsync")), (b"durable".to_vec(), b"durable".to_vec()));
}

#[test]
fn an_overwrite_in_the_middle_and_a_hole() {
    let machine = Machine::start();
    machine.write_synced("file", &[b'a'; 10_000]);
    let file = OpenOptions::new().read(true).write(true).open(machine.path("file")).expect("opened");
    file.write_all_at(b"bbb", 5_000).expect("written");
    file.write_all_at(b"c", 20_000).expect("written");
    let content = machine.read("file");
    assert_eq!((content.len(), &content[4_999..5_004]), (20_001, b"abbba".as_slice()));
    assert!(content[10_000..20_000].iter().all(|byte| *byte == 0));

    machine.lose_power();
    assert_eq!(machine.read("file"), [b'a'; 10_000]);
}

#[test]
fn truncation_is_content_too() {
    let machine = Machine::start();
    machine.write_synced("cut", &[b'a'; 10_000]);
    machine.write_synced("cut and grown", &[b'a'; 10_000]);
    machine.write_synced("replaced", b"old");
    let open = |name| OpenOptions::new().write(true).open(machine.path(name)).expect("opened");
    open("cut").set_len(5).expect("cut");
    open("cut and grown").set_len(5).expect("cut");
    open("cut and grown").set_len(9_000).expect("grown");
    drop(machine.write("replaced", b"new"));
    assert_eq!(machine.read("cut"), b"aaaaa");
    let grown = machine.read("cut and grown");
    assert_eq!((grown.len(), &grown[..6]), (9_000, b"aaaaa\0".as_slice()));
    assert!(grown[5..].iter().all(|byte| *byte == 0), "what was cut does not come back");
    assert_eq!(machine.read("replaced"), b"new");

    machine.lose_power();
    assert_eq!(machine.read("cut"), [b'a'; 10_000]);
    assert_eq!(machine.read("cut and grown"), [b'a'; 10_000]);
    assert_eq!(machine.read("replaced"), b"old");

    open("cut").set_len(5).expect("cut");
    open("cut").sync_all().expect("synced");
    machine.lose_power();
    assert_eq!(machine.read("cut"), b"aaaaa");
}

#[test]
fn append_writes_at_the_end() {
    let machine = Machine::start();
    machine.write_synced("file", b"one,");
    let open = || OpenOptions::new().append(true).open(machine.path("file")).expect("opened");
    let (mut first, mut second) = (open(), open());
    first.write_all(b"two,").expect("written");
    second.write_all(b"three").expect("written");
    assert_eq!(machine.read("file"), b"one,two,three");
}

#[test]
fn names_are_durable_at_once_and_content_moves_with_them_unsynced() {
    let machine = Machine::start();
    fs::create_dir_all(machine.path("a/b")).expect("folders");
    machine.write_synced("a/old", b"old");
    drop(machine.write("a/new", b"new"));
    // The classic mistake: replacing a file by one that was never synced.
    fs::rename(machine.path("a/new"), machine.path("a/old")).expect("renamed");
    fs::rename(machine.path("a"), machine.path("z")).expect("renamed");
    machine.write_synced("z/gone", b"x");
    fs::remove_file(machine.path("z/gone")).expect("removed");
    assert_eq!(machine.read("z/old"), b"new");

    machine.lose_power();
    assert_eq!(machine.read("z/old"), b"", "neither the old content nor the new");
    let mut names: Vec<_> =
        fs::read_dir(machine.path("z")).expect("there").map(|e| e.expect("entry").file_name()).collect();
    names.sort();
    assert_eq!(names, ["b", "old"]);
    assert_eq!(fs::metadata(machine.path("a")).expect_err("renamed").kind(), ErrorKind::NotFound);

    drop(machine.write("z/next", b"next"));
    File::open(machine.path("z/next")).expect("opened").sync_all().expect("synced");
    fs::rename(machine.path("z/next"), machine.path("z/old")).expect("renamed");
    machine.lose_power();
    assert_eq!(machine.read("z/old"), b"next");
}

#[test]
fn a_file_that_is_open_outlives_its_name() {
    let machine = Machine::start();
    let mut file = File::options().read(true).write(true).create_new(true).open(machine.path("file")).expect("opened");
    file.write_all(b"content").expect("written");
    fs::remove_file(machine.path("file")).expect("removed");
    file.sync_all().expect("synced");
    file.write_all(b" and more").expect("written");
    file.seek(SeekFrom::Start(0)).expect("seek");
    let mut content = String::new();
    file.read_to_string(&mut content).expect("readable");
    assert_eq!((content.as_str(), file.metadata().expect("stat").len()), ("content and more", 16));
    drop(file);
    machine.write_synced("file", b"another");
    machine.lose_power();
    assert_eq!(machine.read("file"), b"another");
    assert_eq!(machine.fs.unsynced_bytes(), 0);
}

#[test]
fn folders_behave() {
    let machine = Machine::start();
    fs::create_dir(machine.path("full")).expect("folder");
    for index in 0..300 {
        machine.write_synced(&format!("full/{index}"), b"x");
    }
    File::open(machine.path("full")).expect("opened").sync_all().expect("a folder can be synced");
    assert_eq!(fs::read_dir(machine.path("full")).expect("there").count(), 300);
    assert_eq!(fs::remove_dir(machine.path("full")).expect_err("full").kind(), ErrorKind::DirectoryNotEmpty);
    let exclusive = File::create_new(machine.path("full/0")).expect_err("there");
    assert_eq!(exclusive.kind(), ErrorKind::AlreadyExists);
    fs::remove_dir_all(machine.path("full")).expect("removed");
    assert_eq!(fs::read_dir(machine.path("")).expect("there").count(), 0);
}

#[test]
fn locks_work() {
    let machine = Machine::start();
    let (first, second) = (machine.write("lock", b""), File::open(machine.path("lock")).expect("opened"));
    first.lock().expect("locked");
    assert!(matches!(second.try_lock(), Err(fs::TryLockError::WouldBlock)));
    first.unlock().expect("unlocked");
    second.try_lock().expect("locked");
}

#[test]
fn a_handle_from_before_a_power_loss_is_dead() {
    let machine = Machine::start();
    let mut file = machine.write("file", b"x");
    machine.lose_power();
    for error in [file.write_all(b"y").expect_err("dead"), file.sync_all().expect_err("dead")] {
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    }
    drop(file);
    machine.write_synced("file", b"z");
    assert_eq!(machine.read("file"), b"z");
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let machine = Machine::start();
    machine.write_synced("file", b"abc");
    let mut file = OpenOptions::new().read(true).write(true).open(machine.path("file")).expect("opened");
    machine.fs.disk_full(true);
    let refused = [
        file.write_all_at(b"d", 3).expect_err("growth"),
        file.set_len(100).expect_err("growth"),
        File::create(machine.path("another")).expect_err("growth"),
        fs::create_dir(machine.path("folder")).expect_err("growth"),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }
    assert_eq!(rustix::fs::statvfs(machine.path("")).expect("statfs").f_bavail, 0);
    file.write_all(b"ABC").expect("in place");
    file.sync_all().expect("synced");
    machine.fs.disk_full(false);
    file.write_all(b"D").expect("there is room");
    assert_eq!(machine.read("file"), b"ABCD");
    machine.lose_power();
    assert_eq!(machine.read("file"), b"ABC");
}

#[test]
fn by_chance_some_pages_survive_the_same_for_one_seed() {
    let outcome = |seed| {
        let machine = Machine::start();
        machine.write_synced("file", &[1; 50 * 4096]);
        let file = OpenOptions::new().write(true).open(machine.path("file")).expect("opened");
        file.write_all_at(&[2; 100 * 4096], 0).expect("written");
        let dropped = machine.fs.power_loss(Keep::SomePages { seed });
        (dropped, machine.read("file"))
    };
    let (dropped, content) = outcome(7);
    assert!(0 < dropped && dropped < 100 * 4096, "{dropped} bytes were dropped");
    assert!(content.contains(&1) && content.contains(&2));
    assert_eq!((dropped, content.clone()), outcome(7));
    assert_ne!((dropped, content), outcome(8));
}

#[test]
fn a_new_mount_shows_what_is_in_the_backing_folder() {
    let Machine { fs: mounted, dir } = Machine::start();
    fs::create_dir(dir.path().join("mounted/folder")).expect("folder");
    fs::write(dir.path().join("mounted/folder/lost"), b"never synced").expect("written");
    let mut file = File::create(dir.path().join("mounted/folder/kept")).expect("created");
    file.write_all(b"kept").and_then(|()| file.sync_all()).expect("synced");
    drop(file);
    drop(mounted);
    assert_eq!(fs::read_dir(dir.path().join("mounted")).expect("there").count(), 0, "still mounted");
    let _mounted = mount(&dir);
    assert_eq!(fs::read(dir.path().join("mounted/folder/kept")).expect("there"), b"kept");
    assert_eq!(fs::read(dir.path().join("mounted/folder/lost")).expect("there"), b"");
}

#[test]
fn it_unmounts_although_a_file_is_open() {
    let Machine { fs: mounted, dir } = Machine::start();
    let file = File::create(dir.path().join("mounted/file")).expect("created");
    drop(mounted);
    assert_eq!(fs::read_dir(dir.path().join("mounted")).expect("there").count(), 0, "still mounted");
    drop(file);
}

#[test]
fn damage_is_durable() {
    let machine = Machine::start();
    machine.write_synced("file", &[0; 5_000]);
    let at = flip_bit(&machine.path("file"), 42).expect("a bit turns");
    let content = machine.read("file");
    assert_eq!(content.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    assert_eq!(content[at as usize].count_ones(), 1);
    assert_eq!(truncate_tail(&machine.path("file"), 100).expect("cut"), 4_900);
    machine.lose_power();
    assert_eq!(machine.read("file"), content[..4_900]);
    assert_eq!(truncate_tail(&machine.path("file"), u64::MAX).expect("cut"), 0);
    assert_eq!(flip_bit(&machine.path("file"), 42).expect_err("empty").kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_missing_folder_is_an_error() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let error = PowerFs::mount(&dir.path().join("none"), dir.path()).expect_err("there is nothing to mount");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn two_thousand_synced_writes_take_no_more_than_a_second() {
    const WRITES: u32 = 4_000;
    let machine = Machine::start();
    let mut file = File::create(machine.path("file")).expect("created");
    let started = Instant::now();
    for _ in 0..WRITES {
        file.write_all(&[7; 4096]).expect("written");
        file.sync_all().expect("synced");
    }
    let per_second = f64::from(WRITES) / started.elapsed().as_secs_f64();
    println!("{per_second:.0} synced writes of 4 KB per second");
    assert!(per_second > 2_000.0, "only {per_second:.0} synced writes of 4 KB per second");
}
