# shellcheck shell=bash
# What every part of build.sh uses: how it speaks, how it fails, and what all files of an image have in common.

say() { printf '  %s\n' "$*"; }
die() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

# Tools of the host that the build calls, each with the Debian package that has it. Rust is not among them:
# which one builds cefline is said by the repository, not by Debian.
tool_packages=(
    apt-get:apt dpkg-deb:dpkg git:git cc:gcc make:make jq:jq
    modprobe:kmod depmod:kmod xz:xz-utils zstd:zstd cpio:cpio objcopy:binutils readelf:binutils
    mkfs.vfat:dosfstools mcopy:mtools sgdisk:gdisk mke2fs:e2fsprogs
    qemu-img:qemu-utils xorriso:xorriso osslsigncode:osslsigncode
)

# Packages of Debian that the host lacks for the build, one a line.
missing_packages() {
    local pair
    for pair in "${tool_packages[@]}"; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
    done | sort -u
}

# All that is missing in one message: nobody likes to learn of it one after the other.
need_tools() {
    local missing
    command -v cargo >/dev/null || die "Rust is not installed: see https://rustup.rs"
    missing=$(missing_packages | paste -sd' ')
    [ -z "$missing" ] || die "tools are missing; as root: apt-get install $missing (or: appliance/build.sh --install-tools)"
}

install_tools() {
    local missing
    mapfile -t missing < <(missing_packages)
    [ "${#missing[@]}" -gt 0 ] || return 0
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
}

# The lines of a data file without comments and empty ones.
data_lines() { sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$@"; }

# A number of SIZE bits in hexadecimal that follows from a name and from nothing else: where an image needs
# something unique, it is made of its version, so that the same version has the same bytes.
hex_of() { # NAME DIGITS
    printf '%s' "$1" | sha256sum | cut -c "1-$2" | tr 'a-f' 'A-F'
}

# The same as a UUID (version 8: "made in a way of our own").
uuid_of() { # NAME
    local h
    h=$(hex_of "$1" 32)
    echo "${h:0:8}-${h:8:4}-8${h:13:3}-A${h:17:3}-${h:20:12}"
}

# One time for all files below a folder, those of the folders too.
same_time() { # FOLDER
    find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# ---- bytes, written as pairs of hexadecimal digits

hex_to_bytes() {
    local hex
    hex=$(cat)
    # shellcheck disable=SC2001,SC2059 # the format is the data: \xNN for each byte
    printf "$(sed 's/../\\x&/g' <<<"$hex")"
}

read_hex() { # FILE OFFSET BYTES
    od -An -v -tx1 -j "$2" -N "$3" "$1" | tr -d ' \n'
}

put_hex() { # FILE OFFSET HEX
    hex_to_bytes <<<"$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

mib=1048576
