#!/usr/bin/env bash
# The same inputs give the same bytes: two copies of the sources in different folders, built at different
# times by different caches, agree in every file. Programs are given, or built once: that these too come out
# the same is a test of its own (APPLIANCE_REBUILD=1), since it takes two builds of cefline.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

begin
SOURCE_DATE_EPOCH=$(git -C "$repository" log -1 --format=%ct)
export SOURCE_DATE_EPOCH
version=1.0.0-reproducible
formats=raw,raw.zst,qcow2,vhd,vhdx,vmdk,iso
arguments=(--version "$version" --formats "$formats" --disk-size 2 "$@")

# What git knows, and what is changed but not yet committed.
copy_sources() { # FOLDER
    mkdir -p "$1"
    (cd "$repository" && git ls-files -z --cached --others --exclude-standard | tar --null --create --files-from=-) | tar --extract --directory "$1"
}

build_copy() { # FOLDER UMASK TIME-ZONE ARGUMENTS...
    local folder=$1 mask=$2 zone=$3
    shift 3
    (umask "$mask" && TZ=$zone "$folder/appliance/build.sh" --out "$folder/out" "$@") >"$folder.log" 2>&1 || {
        tail -20 "$folder.log"
        wrong "build.sh in $folder"
        finish
    }
}

given=()
if [ -z "${APPLIANCE_REBUILD:-}" ]; then
    mapfile -t given < <(programs_arguments)
    [ "${#given[@]}" -gt 0 ] || { wrong "APPLIANCE_PROGRAMS says where the programs are, or APPLIANCE_REBUILD=1 builds them twice" && finish; }
fi
copy_sources "$out/one"
copy_sources "$out/a-second-and-longer-path/two"
build_copy "$out/one" 022 UTC "${given[@]}" "${arguments[@]}"
sleep 2
build_copy "$out/a-second-and-longer-path/two" 077 Asia/Tokyo "${given[@]}" "${arguments[@]}"

for file in "$out"/one/out/cefline-appliance-*; do
    name=$(basename "$file")
    expect "the same bytes: ${name##*reproducible}" cmp "$file" "$out/a-second-and-longer-path/two/out/$name"
done
expect "all formats are there" test "$(find "$out/one/out" -maxdepth 1 -name 'cefline-appliance-*' | wc -l)" -eq 10
rm -rf "$out/one/out" "$out/a-second-and-longer-path/two/out"
finish
