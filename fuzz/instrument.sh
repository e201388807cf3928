#!/bin/sh
# Stands before rustc (RUSTC_WRAPPER) and counts coverage in what is fuzzed: the targets, the product with its crates, and the
# YAML parser behind it. With RUSTFLAGS every crate would have to be compiled again for this, for twice the time of all the
# fuzzing.
case "${CARGO_PRIMARY_PACKAGE-} $* " in
1\ * | *' --crate-name dockwarden '* | *' --crate-name policy '* | *' --crate-name settings '* | *' --crate-name saphyr_parser '*)
    exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$@" ;;
esac
