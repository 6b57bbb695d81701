#!/usr/bin/env bash
# Many power cuts on a real file system: CEFLINE_POWER_CUTS of them for each test (1000).
# Needs root, FUSE and loop devices; says so and is content without them. Opens no port but on the
# loopback address. CEFLINE_POWER_SEED repeats a run, CEFLINE_POWER_PROFILE=dev builds faster.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CEFLINE_POWER_CUTS="${CEFLINE_POWER_CUTS:-1000}"
profile="${CEFLINE_POWER_PROFILE:-release}"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "$CEFLINE_POWER_CUTS power cuts for each test"
cargo test --locked --profile "$profile" --test power_cut -- --nocapture 2>&1 | tee "$log"
if grep -q '^skipped: ' "$log"; then
    echo
    echo "no power was cut, and nothing is proved:"
    sed -n 's/^skipped: /  /p' "$log" | sort
fi
