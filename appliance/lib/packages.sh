# shellcheck shell=bash
# Packages of Debian that are taken into the image. Which ones exactly is written in versions.lock; what comes
# from the network is compared with the SHA-256 there before anything is unpacked. apt runs with folders of
# its own: it needs no root and does not care how old the lists of the host are.

lock_file() { echo "$appliance/versions.lock"; }

# One column of the line for ROLE; a fifth one is empty where the package is in the host's own release.
locked() { # ROLE COLUMN(2 name, 3 version, 4 sha256, 5 suite)
    local found
    found=$(data_lines "$(lock_file)" | awk -v role="$1" -v column="$2" '$1 == role { print $column }')
    [ -n "$found" ] || [ "$2" = 5 ] || die "versions.lock has no line for $1"
    echo "$found"
}

own_apt() { # PROGRAM ARGUMENTS...
    local program=$1
    shift
    mkdir -p "$apt_folder/state/lists/partial" "$apt_folder/cache/archives/partial"
    "$program" -q \
        -o Dir::State="$apt_folder/state" -o Dir::State::status=/dev/null \
        -o Dir::Cache="$apt_folder/cache" -o APT::Sandbox::User= \
        "${apt_sources[@]}" "$@"
}
apt_folder=
apt_sources=()
apt_updated=no

# Which archives are asked: those of the host, or those that --archive names.
use_archives() {
    apt_folder=$packages/apt
    if [ "${#archives[@]}" -gt 0 ]; then
        # what an archive of the past says is no longer valid, by the time in it
        use_sources check-valid-until=no "${archives[@]}"
    fi
}

# A suite that the host need not have, of the archive that its own packages are from. Its lists are apart.
use_suite() { # SUITE
    local address
    if [ "${#archives[@]}" -gt 0 ]; then
        return
    fi
    # shellcheck disable=SC2016 # what is in quotes is apt's
    address=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
    [ -n "$address" ] || die "packages of $1 cannot be had: apt knows no archive of Debian 12 here"
    apt_folder=$packages/apt-$1
    apt_updated=no
    use_sources signed-by=/usr/share/keyrings/debian-archive-keyring.gpg "$address $1"
}

use_sources() { # OPTION "ADDRESS SUITE"...
    local list=$apt_folder/sources.list
    mkdir -p "$apt_folder"
    printf "deb [$1] %s main\n" "${@:2}" >"$list"
    apt_sources=(-o "Dir::Etc::sourcelist=$list" -o Dir::Etc::sourceparts=/dev/null)
}

apt_update_once() {
    [ "$apt_updated" = no ] || return 0
    if ! own_apt apt-get update >"$packages/apt.log" 2>&1; then
        cat "$packages/apt.log" >&2
        die "packages cannot be had: the lists of the archive could not be read; see above"
    fi
    apt_updated=yes
}

# Prints the path of the package for ROLE, from the cache or the archive. It is the one of the lock, or the
# build ends.
package() { # ROLE
    local name version sha suite file
    name=$(locked "$1" 2)
    version=$(locked "$1" 3)
    sha=$(locked "$1" 4)
    suite=$(locked "$1" 5)
    file=$packages/${name}_$version.deb
    if [ ! -f "$file" ] || ! echo "$sha  $file" | sha256sum --check --status; then
        (
            [ -z "$suite" ] || use_suite "$suite"
            download "$name" "$version" "$file"
        )
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
    appliance/build.sh --archive …    takes the old one from an archive that keeps the past; --help shows how"
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
    local role name suite lock
    apt_update_once
    lock=$(mktemp "$packages/lock.XXXXXX")
    sed '/^[a-z]/d; s/^# as of .*/# as of '"$(date -u +%Y%m%dT%H%M%SZ)"'/' "$(lock_file)" >"$lock"
    for role in kernel-cloud kernel-metal boot e2fsck ca-certificates score; do
        suite=
        case $role in
        kernel-cloud) name=$(newest_kernel cloud-amd64) ;;
        kernel-metal) name=$(newest_kernel amd64) ;;
        boot) name=systemd-boot-efi ;;
        e2fsck) name=e2fsck-static ;;
        ca-certificates) name=ca-certificates ;;
        score) name=kernel-hardening-checker suite=trixie-backports ;;
        esac
        newest_line "$role" "$name" "$suite" >>"$lock"
    done
    chmod 644 "$lock"
    mv "$lock" "$(lock_file)"
    data_lines "$(lock_file)"
}

newest_line() { # ROLE NAME SUITE
    (
        if [ -n "$3" ]; then
            use_suite "$3"
            apt_update_once
        fi
        own_apt apt-cache show --no-all-versions "$2"
    ) | awk -v role="$1" -v suite="$3" '
        /^Package: / { name = $2 }
        /^Version: / { version = $2 }
        /^SHA256: / { sha = $2 }
        END { print role, name, version, sha (suite == "" ? "" : " " suite) }'
}

newest_kernel() { # FLAVOUR
    own_apt apt-cache pkgnames linux-image-6.12. |
        grep -xE "linux-image-6\.12\.[0-9]+\+deb12-$1" | sort -V | tail -1
}
