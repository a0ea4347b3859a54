use std::io::Read;

use proptest::prelude::*;
use rand::SeedableRng;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Write { offset: u64, length: usize, byte: u8 },
    Resize(u64),
    Sync,
    PowerLoss,
}

fn step() -> impl Strategy<Value = Step> {
    let size = 0..4 * PAGE;
    prop_oneof![
        4 => (size.clone(), 1..2 * PAGE as usize, 1..=u8::MAX)
            .prop_map(|(offset, length, byte)| Step::Write { offset, length, byte }),
        2 => size.prop_map(Step::Resize),
        1 => Just(Step::Sync),
        1 => Just(Step::PowerLoss),
    ]
}

fn durable(disk: &File) -> Vec<u8> {
    let mut content = vec![0; disk.metadata().expect("a file").len() as usize];
    disk.read_exact_at(&mut content, 0).expect("readable");
    content
}

proptest! {
    /// 1. Programs see what a plain file would show. 2. The disk holds what was synced last, and nothing else.
    #[test]
    fn content_is_a_plain_file_and_the_disk_is_its_last_sync(steps in prop::collection::vec(step(), 1..40)) {
        let disk = tempfile::tempfile().expect("file");
        let mut unsynced = Unsynced::new(&disk).expect("open");
        let (mut seen, mut synced) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Write { offset, length, byte } => {
                    unsynced.write(&disk, offset, &vec![byte; length]).expect("writable");
                    let end = offset as usize + length;
                    seen.resize(seen.len().max(end), 0);
                    seen[offset as usize..end].fill(byte);
                }
                Step::Resize(size) => {
                    unsynced.resize(size);
                    seen.resize(size as usize, 0);
                }
                Step::Sync => {
                    std::mem::replace(&mut unsynced, Unsynced::new(&disk).expect("open")).sync(&disk).expect("sync");
                    // The view was made before the sync, of a file that has changed since.
                    unsynced = Unsynced::new(&disk).expect("open");
                    synced.clone_from(&seen);
                }
                Step::PowerLoss => {
                    unsynced = Unsynced::new(&disk).expect("open");
                    seen.clone_from(&synced);
                }
            }
            prop_assert_eq!(unsynced.size(), seen.len() as u64);
            prop_assert_eq!(&unsynced.read(&disk, 0, u64::MAX).expect("readable"), &seen);
            prop_assert_eq!(&durable(&disk), &synced);
        }
    }

    /// Whatever chance writes back, each sector is that of the last sync, or the one seen last, or a hole.
    #[test]
    fn what_survives_by_chance_is_old_or_new_or_zero(seed: u64, old in 0..3 * PAGE, new in 0..3 * PAGE, cut in 0..3 * PAGE) {
        let disk = tempfile::tempfile().expect("file");
        disk.write_all_at(&vec![1; old as usize], 0).expect("writable");
        let mut unsynced = Unsynced::new(&disk).expect("open");
        unsynced.resize(cut.min(old));
        unsynced.write(&disk, 0, &vec![2; new as usize]).expect("writable");
        let bytes = unsynced.bytes();
        let dropped = unsynced.write_back_some(&disk, &mut StdRng::seed_from_u64(seed)).expect("writable");
        prop_assert!(dropped <= bytes);
        for (index, sector) in durable(&disk).chunks(SECTOR as usize).enumerate() {
            let start = index as u64 * SECTOR;
            for (at, byte) in sector.iter().enumerate() {
                let at = start + at as u64;
                let possible = match byte {
                    2 => at < new,
                    1 => at < old,
                    _ => at >= cut.min(old),
                };
                prop_assert!(possible, "byte {at} is {byte}");
            }
        }
    }
}

#[test]
fn chance_keeps_some_pages_and_drops_others_the_same_way_for_one_seed() {
    let outcome = |seed| {
        let mut disk = tempfile::tempfile().expect("file");
        let mut unsynced = Unsynced::new(&disk).expect("open");
        unsynced.write(&disk, 0, &vec![1; 100 * PAGE as usize]).expect("writable");
        let dropped = unsynced.write_back_some(&disk, &mut StdRng::seed_from_u64(seed)).expect("writable");
        let mut content = Vec::new();
        disk.read_to_end(&mut content).expect("readable");
        (dropped, content)
    };
    assert_eq!(outcome(1), outcome(1));
    assert_ne!(outcome(1), outcome(2));
    let (dropped, _) = outcome(1);
    assert!((20..80).contains(&(dropped / PAGE)), "{dropped} bytes of 100 pages were dropped");
}
