# What people run. Each target is a line or two: read it, or run the line by hand.

CONFIG ?= config.example.yml
# Seconds that each fuzz target runs.
FUZZ_SECONDS ?= 10

# Random decisions that `make differential` compares, and where they begin.
CASES ?= 10000000
SEED ?= 1

# The program that is made into images and measured in `make test`. `make long` takes the one that is shipped: PROGRAM=static.
PROGRAM ?= static-debug

.PHONY: run build test parts unit real long canary check audit wasm try fuzz differential mutants bench bench-short bench-parts static static-debug notices sbom release reproduce version docs clean

# Build, say what to tell a registry, and serve. The example's user gets a password of its own at the first run.
run: build $(if $(filter config.example.yml,$(CONFIG)),certs/test.hash)
	target/debug/dockwarden serve --settings $(CONFIG)

# There are no examples: asked for them, cargo builds dependencies with what tests want of them, once for this and `make test`.
build:
	cargo build --locked --bins --examples --target-dir target

# Only the hash is kept. Remove the file for a new password.
certs/test.hash: | build
	@umask 077 && target/debug/dockwarden hash-password --generate >$@.new && mv $@.new $@
	@echo "It is the user test's. Its hash is in $@: remove the file for another." >&2

# Everything: plain tests, then the product against real registries and clients, which it installs where they are missing.
# Beside those that mostly wait, every fuzz target has a moment, and as it gives way to them, a longer one.
test:
	@for part in parts unit "fuzz FUZZ_SECONDS=0" $(PROGRAM) bench-short "real BESIDE='fuzz/run.sh 30'"; do \
		began=$$(date +%s); eval $(MAKE) --no-print-directory $$part || exit; echo "== $$part: $$(($$(date +%s) - began)) s"; \
	done

# The registries, directories and clients that tests start.
parts:
	tests/support/install.sh

# Tests that need no other program.
unit:
	TMPDIR=$$(tests/support/scratch.sh) cargo test --locked --workspace

# The product against real registries and clients.
real: parts $(PROGRAM)
	DOCKWARDEN_STATIC=$(CURDIR)/target/$(PROGRAM) tests/support/real.sh $(BESIDE)

# The same with all that the server can log: no secret may be in it.
canary:
	DOCKWARDEN_TEST_LOG=trace $(MAKE) --no-print-directory real

# What `make test` does for a moment only, for as long as it takes to meet what is rare: hours. Before an issue is called
# resolved.
long:
	tests/support/install.sh long
	$(MAKE) --no-print-directory release reproduce
	CARGO_PROFILE_DEV_OPT_LEVEL=3 $(MAKE) --no-print-directory fuzz FUZZ_SECONDS=600
	$(MAKE) --no-print-directory static differential
	$(MAKE) --no-print-directory bench-short PROGRAM=static
	DOCKWARDEN_LENGTH=5 $(MAKE) --no-print-directory canary PROGRAM=static
	DOCKWARDEN_CYCLES=10 DOCKWARDEN_CHANGES=200 DOCKWARDEN_STOPS=50 DOCKWARDEN_ROLLS=50 DOCKWARDEN_REVOCATIONS=200 cargo test --locked --test real -- chaos:: crash:: leaves:: lifecycle:: records::outages:: revocation::secrets:: sql::outages::
	cargo test --locked --test real -- long::
	DOCKWARDEN_TIMING_ROUNDS=10000 cargo test --locked --test real -- refusal as_long_as
	$(MAKE) --no-print-directory bench bench-parts BENCH_SECONDS=20 BENCH="--memory-seconds 600"
	$(MAKE) --no-print-directory wasm try mutants

# What must hold before anything is tested.
check: audit
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --test real -- -D warnings
	cd bench && cargo fmt --check && cargo clippy --locked --all-targets --target-dir ../target -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --lib --examples

# What we depend on, by deny.toml: licences, sources, and known vulnerabilities from the advisories beside this repository. They
# are shown to cargo-deny as the clone of RustSec's repository that it would have made: by the clone's name and time.
ADVISORIES ?= ../shared/advisory-db
CLONE = target/advisories/advisory-db-3157b0e258782691
audit:
	@test -d $(ADVISORIES)/crates || { echo "no advisories at $(ADVISORIES): put a copy of RustSec's advisory-db there, or name another place (make audit ADVISORIES=…)" >&2; exit 1; }
	mkdir -p $(CLONE)/.git
	touch $(CLONE)/.git/FETCH_HEAD
	ln -sfn $(abspath $(ADVISORIES))/crates $(CLONE)/crates
	cargo fetch --quiet --locked
	cargo deny --locked --offline check --hide-inclusion-graph
	cargo fetch --quiet --locked --manifest-path bench/Cargo.toml
	cargo deny --locked --offline --manifest-path bench/Cargo.toml --config deny.toml check advisories
	cargo fetch --quiet --manifest-path fuzz/Cargo.toml
	cargo deny --offline --manifest-path fuzz/Cargo.toml --config deny.toml check advisories

# The policy crate for a browser: there it has no system that it could ask for anything.
WASM := wasm32-unknown-unknown
wasm:
	test -d "$$(rustc --print target-libdir --target $(WASM))" || rustup target add $(WASM)
	cargo build --locked -p dockwarden-policy --target $(WASM)

# The page where rules are tried without installing anything, in target/try: files that need no server and no network. The program in
# it has about 1.8 MB, 0.6 MB compressed, and is not committed.
TRY := wasm32-wasip1
try:
	test -d "$$(rustc --print target-libdir --target $(TRY))" || rustup target add $(TRY)
	cargo build --locked --release -p dockwarden-try --target $(TRY)
	mkdir -p target/try
	cp docs/try/index.html docs/try/style.css docs/try/try.js docs/try/page.js target/try/
	{ printf 'const PROGRAM = "'; base64 -w0 target/$(TRY)/release/dockwarden-try.wasm; printf '";\n'; } > target/try/program.js

fuzz:
	fuzz/run.sh $(FUZZ_SECONDS)

# Decisions of the program, and the differences that it finds between policies, compared with those of a second evaluator, which
# was written from docs/reference/rules.md alone. The release build is asked if there is one. Then a million questions about
# edited policies are put to the engine of `diff` by itself.
PRODUCT ?= $(firstword $(wildcard target/release/dockwarden target/debug/dockwarden))
differential:
	cd tests/support/go && go build -trimpath -o $(CURDIR)/target/tools/bin/rules ./rules
	target/tools/bin/rules -product $(PRODUCT) -cases $(CASES) -seed $(SEED)
	target/tools/bin/rules -product $(PRODUCT) -compare -cases $(shell expr $(CASES) / 10) -seed $(SEED)
	DOCKWARDEN_EDITS=4000 cargo test --locked -p dockwarden-policy --test analysis -- check_16

# Breaks rules, scopes and tokens in one place after the other, and looks whether a test notices: hours. The policy crate is
# tried by itself, without the program; MUTANTS="-f crates/policy/src/scope.rs" takes one file of it. What lives on is explained
# in docs/explain/testing.md.
mutants:
	cargo mutants --version >/dev/null 2>&1 || cargo install --locked cargo-mutants
	cargo mutants --no-config --output target/policy -p dockwarden-policy $(MUTANTS)
	$(if $(MUTANTS),,cargo mutants --output target -p dockwarden)

# Measures the release build, and docker_auth beside it with PEER=path: a table, and target/bench/ with JSON and a plot.
# BENCH="--memory-seconds 600" takes the longest; BENCH="--only rs256,rules" measures some rows.
BENCH_SECONDS ?= 5
bench:
	cargo build --locked --release
	cd bench && cargo run --quiet --release -- --server ../target/release/dockwarden --seconds $(BENCH_SECONDS) $(if $(PEER),--peer $(abspath $(PEER))) $(BENCH)

# Each row for a moment, with the static program: shows in `make test` that all of it can be measured. A debug build of the
# bench, because most of that is built already.
bench-short: $(PROGRAM)
	cd bench && cargo run --locked --quiet --target-dir ../target -- --server ../target/$(PROGRAM)/dockwarden --short

# The parts of a token one by one: scopes, rules, claims, signatures.
bench-parts:
	cd bench && cargo bench

# The program as the image ships it: one file that needs no other, in target/static/.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
static:
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --target $(HOST) --target-dir target
	install -D target/$(HOST)/release/dockwarden target/static/dockwarden
	install -D target/$(HOST)/release/dockwarden.d target/static/dockwarden.d

# As static, and with the same features, which are fewer than those that the tests turn on, but not optimised: a sixth of the work,
# because much of it is compiled for the tests. They get theirs back at target/debug/dockwarden when cargo is asked for it next.
static-debug:
	cargo rustc --locked --bin dockwarden --target-dir target -- -C target-feature=+crt-static -C strip=symbols
	install -D target/debug/dockwarden target/static-debug/dockwarden
	install -D target/debug/dockwarden.d target/static-debug/dockwarden.d

# Licences and notices of what is linked into it: target/static/THIRD-PARTY-NOTICES.txt, which goes along with every copy.
notices:
	install -d target/static
	python3 release/notices.py target/static/THIRD-PARTY-NOTICES.txt $(HOST)

# What the program is made of, as CycloneDX: target/static/dockwarden.cdx.json. It does not say in which folder. SBOM=--shell: with what is
# in the image with a shell.
sbom:
	cargo cyclonedx --version >/dev/null 2>&1 || cargo install --locked cargo-cyclonedx
	cargo cyclonedx --quiet --format json --spec-version 1.5 --override-filename dockwarden.cdx
	install -d target/static
	sed 's|file://$(CURDIR)|file:///dockwarden|g' dockwarden.cdx.json >target/static/dockwarden.cdx.json
	release/sbom.py target/static/dockwarden.cdx.json $(SBOM)
	rm dockwarden.cdx.json crates/*/dockwarden.cdx.json

# All that is given away, in target/release-files: docs/how-to/release.md. `reproduce` makes it once more elsewhere, and compares.
RELEASE := target/release-files
release:
	rm -rf $(RELEASE)
	release/release.sh $(RELEASE)

reproduce:
	release/reproduce.sh $(RELEASE)

# The next version, wherever it is written: make version VERSION=0.2.0.
version:
	release/version.sh $(VERSION)

# The documentation as a site with a search and the page of `make try`, in target/docs: open target/docs/index.html.
docs: try
	mdbook --version >/dev/null 2>&1 || cargo install --locked mdbook --no-default-features --features search
	mdbook build
	cp target/try/program.js target/docs/try/

clean:
	cargo clean
	rm -rf bench/target
