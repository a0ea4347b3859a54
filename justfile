# The recipes CI runs; `just` alone lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

_default:
    @just --list

# Everything CI runs: tools, fmt, lints, dependency policy, docs, all tests.
ci:
    ./scripts/test

# Installs the pinned tools the tests need (nats-server, SeaweedFS, PyIceberg, DuckDB, …) under .tools/.
tools:
    ./scripts/tools test

# Formats the code.
fmt:
    cargo fmt --all

# Checks formatting.
fmt-check:
    cargo fmt --all -- --check

# Lints with warnings denied.
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Licences, banned crates and sources of every dependency, by cargo-deny if you have it (the tests check the same list).
deny:
    cargo deny --offline --locked check --hide-inclusion-graph bans licenses sources

# Known vulnerabilities of every dependency, by cargo-deny; fetches RustSec's database with git.
audit:
    cargo deny --locked check --hide-inclusion-graph advisories

# API documentation with broken links denied.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Unit, property, integration and end-to-end tests.
test:
    cargo build --workspace --bins --tests --locked
    cargo test --workspace --locked

# Real query engines read what Frazil wrote: the part of ./scripts/interop that needs nothing but the tools of the tests.
engines:
    cargo build --workspace --bins --tests --locked
    .tools/venv/bin/python -B tests/interop --core

# Every fuzz target for ten seconds, from the committed corpus.
fuzz:
    ./scripts/fuzz --seconds 10 --jobs 2 --seed 1

# Real servers, a local warehouse, one command.
dev *ARGS:
    ./scripts/dev {{ARGS}}

# Criterion benchmarks.
bench *ARGS:
    cargo bench -p frazil-benches {{ARGS}}
