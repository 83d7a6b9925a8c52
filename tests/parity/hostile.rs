//! Parity files that lie.

use std::fs;
use std::process::Command;

use digstore::id::PackId;
use digstore::storage::disk::{Disk, OsDisk};
use digstore::storage::format::parity::Layout;
use digstore::storage::pack_store::{MakeParity, make_parity, parity_path};

use crate::common::{Output, Sandbox, noise, overwrite};
use crate::{fixture, large, parity_of, zero};

/// Runs a command that may have half a gigabyte of memory beyond what every process maps.
fn in_little_memory(sandbox: &Sandbox, args: &str) -> Output {
    let mut command = Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_digstore");
    command.args(["-c", &format!("ulimit -v 3000000; RAYON_NUM_THREADS=1 exec {binary} {args}")]);
    sandbox.surround(&mut command);
    Output::of(command.current_dir(&sandbox.work))
}

#[test]
fn a_parity_file_that_lies_costs_no_memory_and_heals_nothing() {
    let sandbox = fixture("5%");
    let pack = large(&sandbox);
    let len = fs::metadata(&pack).unwrap().len();
    let id: PackId = pack.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    zero(&pack, 500_000, 300_000);
    let damaged = fs::read(&pack).unwrap();
    let lies = [
        Layout { pack: id, pack_len: u64::MAX, shard_len: 4096, groups: u32::MAX, recovery: 1 },
        Layout { pack: id, pack_len: 1 << 40, shard_len: 4096, groups: 1 << 20, recovery: 4096 },
        Layout { pack: id, pack_len: len, shard_len: u32::MAX, groups: 1, recovery: u32::MAX },
        Layout { pack: id, pack_len: len, shard_len: 64, groups: 4000, recovery: 4096 },
        Layout { pack: id, pack_len: 1, shard_len: 64, groups: 1, recovery: 1 },
        Layout { pack: id, pack_len: 50_000, shard_len: 4096, groups: 2, recovery: 6 },
    ];
    for lie in lies {
        let mut bytes = lie.encode();
        // Sums that are right for zeros, so that everything that is zeros, or missing, is "sound".
        if Layout::decode(&bytes).is_ok() {
            let table = vec![0; lie.table_len(0) / 8 - 1];
            bytes.extend(lie.encode_table(0, &table));
        }
        bytes.extend(noise(3, 200_000));
        overwrite(&parity_of(&pack), &bytes);
        assert_eq!(in_little_memory(&sandbox, "store verify --data").code, 21, "{lie:?}");
        let told = in_little_memory(&sandbox, "store repair");
        assert_eq!(told.code, 21, "{lie:?}: {told:?}");
        assert!(!told.text().contains("from its parity"), "{lie:?}: {told:?}");
        assert!(fs::read(&pack).unwrap() == damaged);
    }
}

/// Parity that has two files more and one less than what is left of the pack.
#[test]
fn parity_that_lies_trades_no_file_for_others() {
    let sandbox = Sandbox::new();
    (0..8).for_each(|number| sandbox.write(format!("f{number}"), noise(number, 20_000)));
    sandbox.save("x");
    (0..8).for_each(|number| sandbox.remove(format!("f{number}")));
    let pack = sandbox.packs(1).remove(0);
    let sound = fs::read(&pack).unwrap();
    let id: PackId = pack.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let without = |files: &[u64]| {
        let mut bytes = sound.clone();
        for number in files {
            let file = noise(*number, 20_000);
            let at = bytes.windows(1000).position(|part| part == &file[..1000]).unwrap();
            bytes[at + 6000..at + 14_000].fill(0);
        }
        bytes
    };
    overwrite(&pack, &without(&[7]));
    let layout =
        Layout { pack: id, pack_len: sound.len() as u64, shard_len: 4096, groups: 1, recovery: 40 };
    let disk = OsDisk::new(sandbox.path(".digstore"));
    make_parity(&disk as &dyn Disk, &layout, MakeParity::Durably).unwrap();
    assert!(sandbox.path(".digstore").join(parity_path(&id)).exists());
    overwrite(&pack, &without(&[0, 1]));
    sandbox.run(["store", "repair", "--apply"]).expect_code(21);
    for number in 2..8 {
        let got = sandbox.ok(["get", &format!("f{number}")]).stdout;
        assert!(got == noise(number, 20_000), "f{number}");
    }
}
