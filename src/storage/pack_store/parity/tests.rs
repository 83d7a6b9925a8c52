#![expect(clippy::disallowed_methods, reason = "tests damage files by any means")]

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::storage::disk::OsDisk;
use crate::storage::queues::CancelToken;

/// What stands for a pack: parity does not look into it.
struct Place {
    dir: TempDir,
    disk: OsDisk,
    layout: Layout,
    sound: Vec<u8>,
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn id() -> PackId {
    PackId::of(b"a pack")
}

impl Place {
    fn new(layout: Layout) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::new(dir.path());
        disk.create_dir("tmp".as_ref()).unwrap();
        disk.create_dir(pack_path(&layout.pack).parent().unwrap()).unwrap();
        let sound = noise(layout.pack_len, layout.pack_len as usize);
        let place = Self { dir, disk, layout, sound };
        place.write_pack(&place.sound);
        place.make();
        place
    }

    fn make(&self) {
        make_parity(&self.disk, &self.layout, MakeParity::Durably).unwrap();
    }

    fn write_pack(&self, bytes: &[u8]) {
        fs::write(self.dir.path().join(pack_path(&self.layout.pack)), bytes).unwrap();
    }

    fn parity(&self) -> PathBuf {
        self.dir.path().join(parity_path(&self.layout.pack))
    }

    /// Zeroes shards of the pack.
    fn lose(&self, shards: impl IntoIterator<Item = u64>) {
        let mut bytes = self.sound.clone();
        for shard in shards {
            let at = (shard * u64::from(self.layout.shard_len)) as usize;
            let end = (at + self.layout.shard_len as usize).min(bytes.len());
            bytes[at..end].fill(0);
        }
        self.write_pack(&bytes);
    }

    fn healed(&self) -> Option<Vec<u8>> {
        let mended = heal(&self.disk, &self.layout.pack, &CancelToken::default()).unwrap()?;
        let mut bytes = vec![0; ReadFile::len(&mended).unwrap() as usize];
        mended.read_exact_at(&mut bytes, 0).unwrap();
        Some(bytes)
    }

    fn heals(&self) -> bool {
        self.healed().is_some_and(|bytes| bytes == self.sound)
    }

    fn state(&self) -> ParityState {
        check_parity(&self.disk, &self.layout.pack, self.layout.pack_len, true).unwrap()
    }
}

fn layout(pack_len: u64, shard_len: u32, groups: u32, recovery: u32) -> Layout {
    Layout { pack: id(), pack_len, shard_len, groups, recovery }
}

fn sizes() -> impl Strategy<Value = u64> {
    let near = (1u64..40, 0u64..3).prop_map(|(shards, tail)| (shards * 64 + tail).max(2) - 1);
    prop_oneof![near, 1u64..20_000]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_promised_is_healed_and_no_more(
        pack_len in sizes(), steps in 1u32..4, groups in 1u32..5, recovery in 1u32..9, seed: u64,
    ) {
        let layout = layout(pack_len, steps * 64, groups, recovery);
        prop_assume!(Layout::decode(&layout.encode()).is_ok());
        let place = Place::new(layout);
        prop_assert_eq!(place.state(), ParityState::Sound(layout));
        prop_assert_eq!(place.healed(), None);
        let pick = |group: u32, count: usize| {
            let mut order: Vec<usize> = (0..layout.group_len(group)).collect();
            order.sort_by_key(|at| checksum(&[seed, *at as u64].map(u64::to_le_bytes).concat()));
            let picked = order.into_iter().take(count);
            picked.map(move |at| layout.shard(group, at)).collect::<Vec<_>>()
        };
        place.lose((0..groups).flat_map(|group| pick(group, recovery as usize)));
        prop_assert!(place.heals());
        // One more of one group is too many.
        if layout.group_len(0) > recovery as usize {
            place.lose(pick(0, recovery as usize + 1));
            prop_assert!(!place.heals());
        }
        // Bytes behind the pack, or a tail that was cut off.
        place.write_pack(&[&place.sound[..], &[7; 100]].concat());
        prop_assert!(place.heals());
        let cut = u64::from(groups * recovery) * u64::from(layout.shard_len);
        let kept = pack_len.next_multiple_of(u64::from(layout.shard_len)).saturating_sub(cut);
        place.write_pack(&place.sound[..kept.min(pack_len) as usize]);
        prop_assert!(place.heals());
    }

    #[test]
    fn damage_of_the_parity_is_found_and_survived(
        pack_len in 1u64..9000, recovery in 2u32..6, at: prop::sample::Index, byte in 1u8..,
    ) {
        let layout = layout(pack_len, 64, 2.min(pack_len.div_ceil(64) as u32), recovery);
        let place = Place::new(layout);
        let mut bytes = fs::read(place.parity()).unwrap();
        prop_assert_eq!(bytes.len() as u64, layout.file_len());
        let index = at.index(bytes.len());
        bytes[index] ^= byte;
        fs::write(place.parity(), bytes).unwrap();
        prop_assert!(matches!(place.state(), ParityState::Damaged(_) | ParityState::Newer(_)));
        place.lose([0]);
        prop_assert!(place.heals());
        // And made anew, the same.
        place.write_pack(&place.sound);
        place.make();
        prop_assert_eq!(place.state(), ParityState::Sound(layout));
    }

    #[test]
    fn any_parity_file_gives_no_panic(
        pack_len: u64, shard_len in prop_oneof![Just(64u32), Just(4096), any::<u32>()],
        groups in prop_oneof![1u32..4, any::<u32>()], recovery in prop_oneof![1u32..4096, any::<u32>()],
        claimed in prop_oneof![1u64..20_000, any::<u64>()], rest in 0usize..20_000, seed: u64,
    ) {
        let place = Place::new(layout(pack_len % 9000 + 1, 64, 1, 1));
        let lie = Layout { pack: id(), pack_len: claimed, shard_len, groups, recovery };
        let mut bytes = lie.encode();
        let table = (Layout::decode(&bytes).is_ok() && lie.table_len(0) < 20_000)
            .then(|| lie.encode_table(0, &vec![seed; lie.table_len(0) / 8 - 1]));
        bytes.extend(table.into_iter().flatten());
        bytes.extend(noise(seed, rest));
        fs::write(place.parity(), bytes).unwrap();
        let _ = place.state();
        let _ = heal(&place.disk, &id(), &CancelToken::default()).unwrap();
    }

    #[test]
    fn every_plan_is_a_layout_that_survives_a_burst(pack_len in 1u64..3 << 30, percent in 1u8..=100) {
        let layout = lay_out(id(), pack_len, percent);
        prop_assert_eq!(Layout::decode(&layout.encode()).unwrap(), layout);
        let healed = u64::from(layout.groups) * u64::from(layout.recovery);
        // That many bytes in a row touch one shard more, where they do not begin with one.
        let burst = layout.shards().min(BURST / 4096 + 1);
        let share = layout.shards().min((layout.shards() * u64::from(percent)).div_ceil(100) + 1);
        prop_assert!(healed >= burst.max(share));
        // Not much more than was asked for.
        let most = (layout.shards() * u64::from(percent)).div_ceil(100).max(BURST / 4096) + 1;
        prop_assert!(healed <= most + u64::from(layout.groups));
    }
}

#[test]
fn a_pack_that_is_gone_comes_back_from_as_much_parity() {
    for pack_len in [1, 383, 4096, 4097, 100_000] {
        let place = Place::new(lay_out(id(), pack_len, WHOLE));
        fs::remove_file(place.dir.path().join(pack_path(&id()))).unwrap();
        assert!(place.heals(), "{pack_len}");
    }
    let place = Place::new(lay_out(id(), 1_000_000, 50));
    fs::remove_file(place.dir.path().join(pack_path(&id()))).unwrap();
    assert!(!place.heals());
}

/// Packs larger than a group: a burst is spread over all groups.
#[test]
fn a_long_burst_in_a_large_pack_is_healed() {
    let layout = lay_out(id(), (40 << 20) + 1, 3);
    assert_eq!((layout.groups, layout.recovery), (3, 103));
    let place = Place::new(layout);
    let burst = u64::from(layout.groups * layout.recovery);
    place.lose(2000..2000 + burst);
    assert!(place.heals());
    place.lose(2000..=2000 + burst);
    assert!(!place.heals());
    place.write_pack(&place.sound[..place.sound.len() - ((burst as usize - 1) << 12)]);
    assert!(place.heals());
}

/// The code is part of the format: another release of its library must make the same bytes.
#[test]
fn parity_of_known_bytes_is_known() {
    let golden = |layout: Layout| {
        let place = Place::new(layout);
        checksum(&fs::read(place.parity()).unwrap())
    };
    let sums = [
        golden(layout(300, 320, 1, 2)),
        golden(layout(1000, 64, 1, 3)),
        golden(layout(100_001, 4096, 2, 13)),
        golden(layout(1_000_000, 4096, 1, 245)),
    ];
    assert_eq!(
        sums,
        [
            4_380_688_438_584_325_023,
            3_433_079_300_980_315_342,
            15_215_015_122_093_400_207,
            4_070_665_616_302_234_067,
        ]
    );
}

#[test]
fn the_parity_of_another_pack_is_not_taken() {
    let place = Place::new(layout(5000, 64, 1, 4));
    let other = Layout { pack: PackId::of(b"other"), ..place.layout };
    let bytes = fs::read(place.parity()).unwrap();
    place.disk.create_dir(pack_path(&other.pack).parent().unwrap()).unwrap();
    fs::write(place.dir.path().join(parity_path(&other.pack)), bytes).unwrap();
    let state = check_parity(&place.disk, &other.pack, 5000, false).unwrap();
    assert!(matches!(state, ParityState::Damaged(_)), "{state:?}");
    assert!(heal(&place.disk, &other.pack, &CancelToken::default()).unwrap().is_none());
    let state = check_parity(&place.disk, &id(), 5001, false).unwrap();
    assert!(matches!(state, ParityState::Damaged(_)), "{state:?}");
}

#[test]
fn more_than_was_asked_for_is_enough() {
    let (less, more) = (layout(9000, 64, 1, 4), layout(9000, 64, 1, 5));
    assert!(ParityState::Sound(more).is_enough(Some(&less)));
    assert!(ParityState::Sound(less).is_enough(None) && ParityState::Missing.is_enough(None));
    assert!(!ParityState::Sound(less).is_enough(Some(&more)));
    assert!(!ParityState::Missing.is_enough(Some(&less)));
    assert!(!ParityState::Damaged(String::new()).is_enough(None));
}

#[test]
fn a_pack_takes_its_parity_along() {
    let place = Place::new(layout(5000, 64, 1, 4));
    let file_len = place.layout.file_len();
    assert!(list_lost(&place.disk).unwrap().is_empty());
    assert_eq!(parity_len(&place.disk, &id()).unwrap(), file_len);
    fs::remove_file(place.dir.path().join(pack_path(&id()))).unwrap();
    assert_eq!(list_lost(&place.disk).unwrap(), [id()]);
    place.write_pack(&place.sound);
    remove_pack(&place.disk, &id()).unwrap();
    assert!(!place.parity().exists() && super::super::list_packs(&place.disk).unwrap().is_empty());
    // Of what is gone already nothing is wrong.
    remove_pack(&place.disk, &id()).unwrap();
}

#[test]
fn so_many_bytes_in_a_row_are_healed_wherever_they_begin() {
    let burst = |pack_len: u64, percent: u8, len: usize| {
        let place = Place::new(lay_out(id(), pack_len, percent));
        for at in [0, 1, 4095, 4096, 70_000, 131_071, pack_len as usize - len] {
            let mut bytes = place.sound.clone();
            bytes[at..at + len].fill(0);
            place.write_pack(&bytes);
            assert!(place.heals(), "{len} bytes at {at} of {pack_len}");
        }
    };
    burst(300_000, 1, BURST as usize);
    burst(300_000, 40, 120_000);
    burst((17 << 20) + 5, 1, (17 << 20) / 100);
}

#[test]
fn a_group_without_sums_keeps_no_other_from_being_healed() {
    let layout = layout(9000, 64, 3, 4);
    let place = Place::new(layout);
    let mut bytes = fs::read(place.parity()).unwrap();
    layout.tables(0).iter().for_each(|at| bytes[*at as usize] ^= 1);
    fs::write(place.parity(), &bytes).unwrap();
    place.lose([1, 2]);
    assert!(place.heals());
    // Without the end of the file there is one copy of the tables.
    place.write_pack(&place.sound);
    place.make();
    let bytes = fs::read(place.parity()).unwrap();
    fs::write(place.parity(), &bytes[..layout.tables(0)[1] as usize]).unwrap();
    place.lose([0, 1, 2]);
    assert!(place.heals());
}

#[test]
fn few_bytes_of_parity_do_not_claim_a_large_pack() {
    let place = Place::new(layout(5000, 64, 1, 4));
    let lie = layout(1 << 30, 4096, 64, 1);
    let sums = vec![checksum(&[0; 4096]); lie.table_len(0) / 8 - 1];
    let bytes = [lie.encode(), lie.encode_table(0, &sums), vec![0; 4096]].concat();
    fs::write(place.parity(), bytes).unwrap();
    place.write_pack(b"");
    assert!(place.healed().is_none());
}

#[test]
fn a_stop_is_heard_while_a_pack_is_healed() {
    let place = Place::new(layout(5000, 64, 1, 4));
    place.lose([0]);
    let cancel = CancelToken::default();
    cancel.cancel();
    let healed = heal(&place.disk, &id(), &cancel);
    assert!(matches!(healed, Err(StoreError::Interrupted)), "{:?}", healed.is_ok());
}
