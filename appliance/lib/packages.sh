# shellcheck shell=bash
# Packages of Debian that are taken into the image. Which ones exactly is written in versions.lock; what comes
# from the network is compared with the SHA-256 there before anything is unpacked. apt runs with folders of
# its own: it needs no root and does not care how old the lists of the host are.

lock_file() { echo "$appliance/versions.lock"; }

# One column of the line for ROLE.
locked() { # ROLE COLUMN(2 name, 3 version, 4 sha256)
    local found
    found=$(data_lines "$(lock_file)" | awk -v role="$1" -v column="$2" '$1 == role { print $column }')
    [ -n "$found" ] || die "versions.lock has no line for $1"
    echo "$found"
}

own_apt() { # PROGRAM ARGUMENTS...
    local program=$1
    shift
    mkdir -p "$packages/apt/state/lists/partial" "$packages/apt/cache/archives/partial"
    "$program" -q \
        -o Dir::State="$packages/apt/state" -o Dir::State::status=/dev/null \
        -o Dir::Cache="$packages/apt/cache" -o APT::Sandbox::User= \
        "${apt_sources[@]}" "$@"
}
apt_sources=()
apt_updated=no

apt_update_once() {
    [ "$apt_updated" = no ] || return 0
    if ! own_apt apt-get update >"$packages/apt.log" 2>&1; then
        cat "$packages/apt.log" >&2
        die "the lists of Debian's packages could not be read; see above"
    fi
    apt_updated=yes
}

# Debian's archive of the past, at the time that versions.lock names. Only when asked for by --snapshot: it is
# slow, and what is no longer in the archive is old for a reason.
use_snapshot() {
    local time list
    time=$(sed -n 's/^# as of //p' "$(lock_file)")
    [ -n "$time" ] || die "versions.lock does not say of which time it is"
    mkdir -p "$packages/apt"
    list=$packages/apt/snapshot.list
    {
        echo "deb [check-valid-until=no] http://snapshot.debian.org/archive/debian/$time bookworm main"
        echo "deb [check-valid-until=no] http://snapshot.debian.org/archive/debian-security/$time bookworm-security main"
    } >"$list"
    apt_sources=(-o "Dir::Etc::sourcelist=$list" -o Dir::Etc::sourceparts=/dev/null)
}

# Prints the path of the package for ROLE, from the cache or the archive. It is the one of the lock, or the
# build ends.
package() { # ROLE
    local name version sha file
    name=$(locked "$1" 2)
    version=$(locked "$1" 3)
    sha=$(locked "$1" 4)
    file=$packages/${name}_$version.deb
    if [ ! -f "$file" ] || ! echo "$sha  $file" | sha256sum --check --status; then
        download "$name" "$version" "$file"
        echo "$sha  $file" | sha256sum --check --status ||
            die "$name $version has the SHA-256 $(sha256sum "$file" | cut -d' ' -f1), but versions.lock says $sha: do not use it before you know why"
    fi
    echo "$file"
}

download() { # NAME VERSION FILE
    local folder
    apt_update_once
    folder=$(mktemp -d "$packages/download.XXXXXX")
    if ! (cd "$folder" && own_apt apt-get download "$1=$2") >"$packages/apt.log" 2>&1; then
        cat "$packages/apt.log" >&2
        rm -rf "$folder"
        die "$1 $2 cannot be had. If it has left the archive, a newer one has taken its place:
    appliance/build.sh --renew-lock   writes the newest versions into versions.lock; look at the difference, test, commit
    appliance/build.sh --snapshot …   takes the old one from snapshot.debian.org once more"
    fi
    mv "$folder"/*.deb "$3"
    rm -rf "$folder"
}

unpack_package() { # ROLE FOLDER
    local deb
    deb=$(package "$1")
    rm -rf "$2"
    mkdir -p "$2"
    dpkg-deb --extract "$deb" "$2"
}

# Writes versions.lock anew with the newest versions that the archive has. The kernel stays on its line.
renew_lock() {
    local role name lock
    apt_update_once
    lock=$(mktemp "$packages/lock.XXXXXX")
    sed '/^[a-z]/d; s/^# as of .*/# as of '"$(date -u +%Y%m%dT%H%M%SZ)"'/' "$(lock_file)" >"$lock"
    for role in kernel-cloud kernel-metal boot e2fsck ca-certificates; do
        case $role in
        kernel-cloud) name=$(newest_kernel cloud-amd64) ;;
        kernel-metal) name=$(newest_kernel amd64) ;;
        boot) name=systemd-boot-efi ;;
        e2fsck) name=e2fsck-static ;;
        ca-certificates) name=ca-certificates ;;
        esac
        own_apt apt-cache show --no-all-versions "$name" |
            awk -v role="$role" '
                /^Package: / { name = $2 }
                /^Version: / { version = $2 }
                /^SHA256: / { sha = $2 }
                END { print role, name, version, sha }' >>"$lock"
    done
    chmod 644 "$lock"
    mv "$lock" "$(lock_file)"
    data_lines "$(lock_file)"
}

newest_kernel() { # FLAVOUR
    own_apt apt-cache pkgnames linux-image-6.12. |
        grep -xE "linux-image-6\.12\.[0-9]+\+deb12-$1" | sort -V | tail -1
}
