#!/usr/bin/env bash
# Writes the manual and the completions of a program that runs here: release/pages.sh PROGRAM OUTPUT
set -euo pipefail

program=$(realpath "$1") output=$2
: "${SOURCE_DATE_EPOCH:?}"
rm -rf "$output"
mkdir -p "$output/completions"
"$program" man "$output/man"
gzip -9n "$output"/man/*.8
"$program" completions bash >"$output/completions/dockwarden"
"$program" completions zsh >"$output/completions/_dockwarden"
"$program" completions fish >"$output/completions/dockwarden.fish"
