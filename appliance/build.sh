#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Builds the appliance: a disk that starts into cefline and has nothing else on it.
#
#   appliance/build.sh [OPTIONS]      the images go to target/appliance
#
# No root, no mounts, no loop devices; from the network only what versions.lock names, once. The same sources,
# programs and lock give the same bytes.
set -euo pipefail
# a command in $( ) that fails ends the build as well
shopt -s inherit_errexit

usage() {
    cat <<'EOF'
usage: appliance/build.sh [OPTIONS]
  --out DIR                where the images go (target/appliance)
  --kernel cloud|metal     for virtual machines (cloud), or with the drivers of real ones
  --version V              version of the image (that of cefline and the minute of the last commit)
  --formats LIST           of raw,raw.zst,qcow2,vhd,vhdx,vmdk,iso with commas (all but raw)
  --disk-size GIB          size of the disk in qcow2, vhd, vhdx and vmdk (16)
  --sign-key FILE          key for Secure Boot, with
  --sign-certificate FILE  its certificate, and
  --sign-password-file FILE  if the key has a password
  --test-key               sign with the test key of Debian's package ovmf, which everybody has
  --cefline FILE           a static cefline instead of building one
  --init FILE              a static PID 1 instead of building one
  --make-seed FILE         its tool for the build, make-seed, instead of building that
  --cmdline-extra TEXT     more for the command line of the kernel: for tests
  --archive "URL SUITE"    packages from there and from nowhere else, as in a line of sources.list; may be given
                           more than once. For what has left Debian's archive: one that keeps the past, at the
                           time that versions.lock names
  --fetch                  bring the packages of versions.lock, and build no image
  --package ROLE           bring one of them, say where it is, and build no image
  --renew-lock             write the newest versions into versions.lock, and no image
  --install-tools          install what the build needs (as root), and build no image
SOURCE_DATE_EPOCH is the time in all files; without it, that of the last commit.
EOF
}

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
appliance=$repository/appliance
. "$appliance/lib/common.sh"
. "$appliance/lib/packages.sh"
. "$appliance/lib/programs.sh"
. "$appliance/lib/initramfs.sh"
. "$appliance/lib/uki.sh"
. "$appliance/lib/disk.sh"
. "$appliance/lib/formats.sh"
. "$appliance/lib/sbom.sh"

out=$repository/target/appliance
packages=$repository/target/appliance/packages
kernel=cloud
version=
formats=raw.zst,qcow2,vhd,vhdx,vmdk,iso
disk_gib=16
sign_key='' sign_certificate='' sign_password_file='' test_key=no
cefline='' init='' seed_tool='' programs_built_here=no
cmdline_extra=
action=build role='' archives=()

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
        --test-key) test_key=yes ;;
        --fetch) action=fetch ;;
        --renew-lock) action=renew ;;
        --install-tools) action=install ;;
        --help | -h) usage && exit 0 ;;
        --*)
            [ $# -ge 2 ] || die "$1 wants a value, or is not known; --help shows what is"
            parse_value "$1" "$2"
            shift
            ;;
        *) die "what is \"$1\"? --help shows what is known" ;;
        esac
        shift
    done
}

parse_value() { # OPTION VALUE
    case $1 in
    --out) out=$(mkdir -p "$2" && cd "$2" && pwd) ;;
    --kernel) kernel=$2 ;;
    --version) version=$2 ;;
    --formats) formats=$2 ;;
    --disk-size) disk_gib=$2 ;;
    --sign-key) sign_key=$(realpath "$2") ;;
    --sign-certificate) sign_certificate=$(realpath "$2") ;;
    --sign-password-file) sign_password_file=$(realpath "$2") ;;
    --cefline) cefline=$(realpath "$2") ;;
    --init) init=$(realpath "$2") ;;
    --make-seed) seed_tool=$(realpath "$2") ;;
    --cmdline-extra) cmdline_extra=" $2" ;;
    --archive) archives+=("$2") ;;
    --package) action=package role=$2 ;;
    *) die "$1 is not known; --help shows what is" ;;
    esac
}

# Everything that can be wrong with the options, before anything is done.
check_options() {
    local format archive
    case $kernel in cloud | metal) ;; *) die "--kernel is cloud or metal, not $kernel" ;; esac
    [[ $version =~ ^[0-9][0-9A-Za-z.~^-]*$ ]] || die "a version begins with a digit and has digits, letters and . - ~ ^, not \"$version\""
    [[ $disk_gib =~ ^[1-9][0-9]{0,3}$ ]] || die "--disk-size is 1 to 9999 GiB, not \"$disk_gib\""
    for format in ${formats//,/ }; do
        case $format in raw | raw.zst | qcow2 | vhd | vhdx | vmdk | iso) ;; *) die "no such format: $format" ;; esac
    done
    for archive in "${archives[@]}"; do
        [[ $archive =~ ^[^\ ]+\ [^\ ]+$ ]] || die "--archive is \"URL SUITE\", not \"$archive\""
    done
    if [ "$test_key" = yes ]; then
        [ -z "$sign_key$sign_certificate" ] || die "--test-key and --sign-key exclude each other"
        use_test_key
    fi
    if [ -n "$sign_key" ] && [ -z "$sign_certificate" ] || [ -z "$sign_key" ] && [ -n "$sign_certificate" ]; then
        die "--sign-key and --sign-certificate go together"
    fi
}

use_test_key() {
    sign_key=/usr/share/ovmf/PkKek-1-snakeoil.key
    sign_certificate=/usr/share/ovmf/PkKek-1-snakeoil.pem
    [ -r "$sign_key" ] || die "the test key is in Debian's package ovmf; as root: apt-get install ovmf"
    sign_password_file=$work/test-key-password
    printf 'snakeoil' >"$sign_password_file"
    say "signed with the test key: everybody has it, so it protects nothing"
}

step() { # NAME COMMAND...
    local begun now
    begun=$(date +%s%N)
    "${@:2}"
    now=$(date +%s%N)
    printf '%6d ms  %s\n' $(((now - begun) / 1000000)) "$1"
}

programs() {
    if [ -z "$cefline" ]; then
        programs_built_here=yes
        cefline=$(build_program "$repository" cefline)
    fi
    if [ -z "$init" ]; then
        init=$(build_program "$appliance/init" appliance-init)
    fi
    if [ -z "$seed_tool" ]; then
        seed_tool=$(build_program "$appliance/init" make-seed)
    fi
}

fetch() {
    local role
    for role in "kernel-$kernel" boot e2fsck ca-certificates; do
        package "$role" >/dev/null
    done
}

unpack_packages() {
    unpack_package "kernel-$kernel" "$work/kernel"
    unpack_package boot "$work/boot"
    unpack_package e2fsck "$work/e2fsck"
    unpack_package ca-certificates "$work/ca-certificates"
    # newer packages have their modules below /usr
    if [ ! -e "$work/kernel/lib" ]; then
        ln -s usr/lib "$work/kernel/lib"
    fi
    kernel_release=$(basename "$work"/kernel/lib/modules/*)
}

signed_programs() {
    make_uki "$work/initramfs.zst" "$work/unsigned.efi"
    sign "$work/unsigned.efi" "$work/signed.efi"
    sign "$work/boot/usr/lib/systemd/boot/efi/systemd-bootx64.efi" "$work/signed-boot.efi"
    cp "$work/signed.efi" "$out/$name.efi"
}

# The slot as shipped has no counter of tries: there is no other to go back to.
disks() {
    make_esp "$work/signed.efi" cefline-a.efi "$work/signed-boot.efi" "$work/esp.img" "$esp_mib"
    make_disk "$work/esp.img" "$work/disk.raw"
    grow_disk "$work/disk.raw" "$work/large.raw" "$disk_gib"
}

sums() {
    local format files=("$name.efi" "$name.cdx.json")
    for format in ${formats//,/ }; do
        files+=("$name.$format")
    done
    (cd "$out" && sha256sum "${files[@]}" >"$name.sha256")
    echo
    (cd "$out" && du --apparent-size -h "${files[@]}")
    echo "in $out"
}

build() {
    local format
    need_tools
    step "programs" programs
    step "packages of Debian" unpack_packages
    step "initramfs" make_initramfs "$work/initramfs.zst"
    step "UKI, signatures" signed_programs
    step "ESP, partition table" disks
    for format in ${formats//,/ }; do
        step "$format" make_format "$format"
    done
    step "bill of materials" make_sbom "$work/signed.efi" "$out/$name.cdx.json"
    sums
}

parse "$@"
export LC_ALL=C
if [ "$action" = install ]; then
    install_tools
    exit
fi
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git -C "$repository" log -1 --format=%ct)
fi
export SOURCE_DATE_EPOCH
if [ -z "$version" ]; then
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/Cargo.toml" | head -1)-$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M)
fi
name=cefline-appliance-$version
if [ "$kernel" = metal ]; then
    name+=-metal
fi
mkdir -p "$out" "$packages"
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
PATH=$PATH:/usr/sbin:/sbin
check_options
use_archives
case $action in
fetch) fetch ;;
package) package "$role" ;;
renew) renew_lock ;;
build) build ;;
esac
