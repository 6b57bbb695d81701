# shellcheck shell=bash
# What the tests of the appliance share. A test is a script that ends with 0 when all it looked at was right;
# it says each thing it looked at. It uses these variables, if they are there, and builds what is missing:
#
#   APPLIANCE_PROGRAMS   folder with cefline, appliance-init and make-seed, all static
#   APPLIANCE_OUT        where images and logs go (target/appliance/tests)

set -euo pipefail
shopt -s inherit_errexit
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$tests/../.." && pwd)
test_name=$(basename "$0" .sh)
out=${APPLIANCE_OUT:-$repository/target/appliance/tests}/$test_name
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C

failures=0
ok() { printf 'ok      %s\n' "$*"; }
wrong() {
    printf 'WRONG   %s\n' "$*"
    failures=$((failures + 1))
}

# Is said at the end of each test: the whole of it in one line.
finish() {
    if [ "$failures" -gt 0 ]; then
        printf '%s: %s wrong\n' "$test_name" "$failures"
        exit 1
    fi
    printf '%s: all right\n' "$test_name"
}

expect() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@" >"$out/expect.log" 2>&1; then
        ok "$what"
    else
        wrong "$what"
        sed 's/^/        /' "$out/expect.log" | tail -20
    fi
}

begin() {
    rm -rf "$out"
    mkdir -p "$out"
}

# The programs, built once for all tests.
programs_arguments() {
    local folder=${APPLIANCE_PROGRAMS:-}
    if [ -n "$folder" ]; then
        printf '%s\n' --cefline "$folder/cefline" --init "$folder/appliance-init" --make-seed "$folder/make-seed"
    fi
}

# Builds an image into a folder below $out; its log is beside it.
build_image() { # FOLDER ARGUMENTS...
    local folder=$1 arguments
    shift
    mapfile -t arguments < <(programs_arguments)
    if ! "$repository/appliance/build.sh" --out "$out/$folder" "${arguments[@]}" "$@" >"$out/$folder.log" 2>&1; then
        tail -20 "$out/$folder.log"
        wrong "build.sh $*"
        finish
    fi
}

# The one file with this ending that a build has left.
built() { # FOLDER ENDING
    local files=("$out/$1"/cefline-appliance-*."$2")
    printf '%s\n' "${files[0]}"
}

# The initramfs of a UKI, as files. Those of the system are not run by it, only looked at.
unpack_uki() { # UKI FOLDER
    mkdir -p "$2"
    objcopy --dump-section ".initrd=$out/initrd.zst" "$1" "$out/uki.copy"
    rm "$out/uki.copy"
    zstd -q -d -f "$out/initrd.zst" -o "$out/initrd.cpio"
    (cd "$2" && cpio --extract --quiet --preserve-modification-time <"$out/initrd.cpio")
}
