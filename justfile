# What people and continuous integration run; `just` alone lists the recipes.

# List the recipes
default:
    @just --list

# Everything a change must pass
check:
    .ci/run

# Unit, property and integration tests
test *ARGS:
    cargo test --locked {{ARGS}}

# Random sequences of commands beside the model: just model 1000, or just model 100 SEED
model CASES="400" SEED="`date +%s`":
    DIGSTORE_MODEL_CASES={{CASES}} DIGSTORE_MODEL_SEED={{SEED}} cargo test --locked --test model -- --nocapture

# Every crash rig in full, about an hour: just torture, or just torture SEED
torture SEED="`date +%s`":
    DIGSTORE_TORTURE_SEED={{SEED}} DIGSTORE_TORTURE_IMAGES=1000000 DIGSTORE_TORTURE_RECOVERIES=100000 \
    DIGSTORE_TORTURE_LENGTH=3 DIGSTORE_TORTURE_FAULT_STEP=1 DIGSTORE_TORTURE_ROT=1000000 \
    cargo test --release --locked --test torture -- --nocapture --test-threads 1

# The binary killed, on full and failing disks, and beside others, in full: just rigs, or just rigs SEED kill
rigs SEED="`date +%s`" *ARGS:
    DIGSTORE_RIG_SEED={{SEED}} DIGSTORE_KILLS=10000 DIGSTORE_DELAYED_KILLS=10000 DIGSTORE_FULL_DISKS=500 DIGSTORE_FAULTS=2000 \
    DIGSTORE_THRASH_SECONDS=600 DIGSTORE_SWAPS=10000 DIGSTORE_TRUNCATIONS=10000 \
    cargo test --release --locked --test rigs -- --nocapture --test-threads 1 {{ARGS}}

# Bugs planted into a copy of the sources, one at a time; the tests must catch each
planted *ARGS:
    python3 tests/torture/planted.py {{ARGS}}

# What commands print, written anew to tests/snapshots
snapshots:
    INSTA_UPDATE=always cargo test --locked --test snapshots

# Save, restore and compare a directory, byte for byte
demo *DIR:
    sh docs/demo.sh {{DIR}}

# Digstore beside the installed peers: just compare --reps 3 --edit DATA...
compare *ARGS:
    cargo build --release --locked
    python3 benches/compare/compare.py {{ARGS}}

# Digstore on data of known kinds: just rows duplicate random million
rows *ARGS:
    cargo build --release --locked
    python3 benches/compare/rows.py {{ARGS}}

# Whether the plan is as fast as the best fixed setting: just adaptive tree=DIR file=FILE
adaptive *ARGS:
    cargo build --release --locked
    python3 benches/compare/adaptive.py {{ARGS}}

# Fuzzing with a nightly compiler and cargo-fuzz: just fuzz cuts -max_total_time=600
fuzz TARGET *ARGS:
    cargo +nightly fuzz run {{TARGET}} -- {{ARGS}}

# Benches of the single stages
bench *ARGS:
    cargo bench --locked {{ARGS}}

# The documentation of the crate
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked --document-private-items
