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

# Every rig in full, for hours, into docs/reliability.md; one that was stopped goes on: just torture --hours 2
torture *ARGS:
    python3 tests/torture/full.py {{ARGS}}

# The rigs of the binary with chosen counts: DIGSTORE_KILLS=500 just rigs kills
rigs *ARGS:
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

# What durability costs: just durability DATA...
durability *ARGS:
    cargo build --release --locked
    python3 benches/compare/durability.py {{ARGS}}

# gc beside restic and borg: just garbage DATA
garbage *ARGS:
    cargo build --release --locked
    python3 benches/compare/garbage.py {{ARGS}}

# Fuzzing of one format with a nightly compiler and cargo-fuzz: just fuzz oplog -max_total_time=600
fuzz NAME *ARGS:
    fuzz/run.sh {{NAME}} {{ARGS}}

# Fuzzing of every format for so long each, or of some; what was done as long is passed over: just fuzz-all 600 2 oplog
fuzz-all SECONDS="600" JOBS=num_cpus() *NAMES:
    fuzz/run.sh --all {{SECONDS}} {{JOBS}} {{NAMES}}

# Benches of the single stages
bench *ARGS:
    cargo bench --locked {{ARGS}}

# The documentation of the crate
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked --document-private-items
