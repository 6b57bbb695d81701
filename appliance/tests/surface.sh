#!/usr/bin/env bash
# What is in the image: each file by name, and nothing else. No file gives rights to who runs it, none is a
# script, and no program asks for a linker or another interpreter.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Every file, folder and link there may be. Modules have a rule of their own below.
allowed() {
    cat <<'EOF'
d boot
d dev
d etc
d etc/appliance
d etc/cefline
d etc/ssl
d etc/ssl/certs
d proc
d run
d sys
d tmp
d usr
d usr/bin
d usr/lib
d usr/lib/modules
d usr/sbin
d var
d var/lib
d var/lib/cefline
f etc/appliance/cefline.toml
f etc/appliance/data.seed
f etc/appliance/modules
f etc/appliance/sysctl.list
f etc/group
f etc/hosts
f etc/nsswitch.conf
f etc/os-release
f etc/passwd
f etc/ssl/certs/ca-certificates.crt
f init
f usr/bin/cefline
f usr/sbin/e2fsck
l etc/resolv.conf
EOF
}

present() { (cd "$root" && find . -mindepth 1 ! -path './usr/lib/modules/*' -printf '%y %P\n' | sort); }

same_files() { diff <(allowed | sort) <(present); }

only_modules() {
    diff <(sed 's/ *#.*//' "$root/etc/appliance/modules" | sort) <(cd "$root/usr/lib/modules" && find . -mindepth 1 -printf '%P\n' | sort)
}

modules_signed() {
    local module
    for module in "$root"/usr/lib/modules/*; do
        [ "$(tail -c 28 "$module" | tr -d '\0')" = '~Module signature appended~' ] || {
            echo "$(basename "$module") has no signature"
            return 1
        }
    done
}

# As the archive has it: unpacking drops these bits when it is not done by root.
none_in_archive() { # PATTERN of the listing's first column
    local found
    found=$(cpio --list --verbose --quiet <"$out/initrd.cpio" | awk -v pattern="$1" '$1 ~ pattern')
    [ -z "$found" ] || { echo "$found" && false; }
}

owned_by_root() {
    local found
    found=$(cpio --list --verbose --numeric-uid-gid --quiet <"$out/initrd.cpio" | awk '$3 != 0 || $4 != 0')
    [ -z "$found" ] || { echo "$found" && false; }
}

only_programs_executable() {
    diff <(printf '%s\n' init usr/bin/cefline usr/sbin/e2fsck) <(cd "$root" && find . -type f -perm /111 -printf '%P\n' | sort)
}

# Programs, modules, and everything else, told by their first bytes.
no_scripts() {
    local file found=0
    while read -r -d '' file; do
        if [ "$(head -c 2 "$file" | tr -d '\0')" = '#!' ]; then
            echo "$file is a script"
            found=1
        fi
    done < <(find "$root" -type f -print0)
    return $found
}

no_interpreter() {
    local file found=0
    while read -r -d '' file; do
        if [ "$(head -c 4 "$file" | od -An -tx1 | tr -d ' ')" = 7f454c46 ]; then
            if readelf --program-headers --dynamic --wide "$file" 2>/dev/null | grep -E 'INTERP|\(NEEDED\)'; then
                echo "$file wants an interpreter or a library"
                found=1
            fi
        fi
    done < <(find "$root" -type f -print0)
    return $found
}

no_secrets() { ! grep -rl -e 'PRIVATE KEY-----' "$root"; }

small() { # FILE BYTES
    local bytes
    bytes=$(stat -c %s "$1")
    echo "$bytes bytes"
    [ "$bytes" -le "$2" ]
}

# The options of mke2fs stand in PID 1's sources, with reasons, and in the build: they are the same.
seed_options() {
    local options word
    options=$(sed -n '/MKE2FS_CONFIG=.* mke2fs/,/data\.img$/{ s/^\/\/! *//; s/ *.$/ /; p; }' "$repository/appliance/init/src/disk/seed.rs" |
        tr -s ' ,' '[\n*]' | grep -xE -e '-[a-zA-Z]|[0-9]+|[a-z_]+(=[0-9:]+)?' | sort -u)
    [ "$(wc -l <<<"$options")" -ge 30 ] || { echo "no options found in seed.rs" && return 1; }
    for word in $options; do
        grep -qwF -e "$word" "$repository/appliance/lib/initramfs.sh" || { echo "$word is in seed.rs only" && return 1; }
    done
}

begin
build_image image --formats raw.zst "$@"
root=$out/root
unpack_uki "$(built image efi)" "$root"

expect "there are exactly the files that are allowed" same_files
expect "modules are those of the list" only_modules
expect "all modules are signed" modules_signed
expect "nothing is setuid, setgid or sticky" none_in_archive '^...[sS]|^......[sS]|^.........[tT]'
expect "nothing is a device, a pipe or a socket" none_in_archive '^[bcps]'
expect "nobody but the owner may write" none_in_archive '^[^l]....w|^[^l].......w'
expect "everything is root's" owned_by_root
expect "only three programs may be run" only_programs_executable
expect "nothing is a script" no_scripts
expect "no program has an interpreter or a library" no_interpreter
expect "no private key" no_secrets
expect "the seed of the data is made as PID 1's sources say" seed_options
expect "the compressed image is at most 25 MB" small "$(built image raw.zst)" 25000000
finish
