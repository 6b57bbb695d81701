# shellcheck shell=bash
# The initramfs, which is the whole system. Every file of it is put there by a line below; nothing is copied
# by folder, so that nothing comes along. tests/surface.sh has the list once more and compares.

make_initramfs() { # OUTPUT
    local root=$work/root
    rm -rf "$root"
    mkdir -p "$root"
    make_folders "$root"
    take_program "$init" "$root/init"
    take_program "$cefline" "$root/usr/bin/cefline"
    install -D -m 755 "$work/e2fsck/sbin/e2fsck.static" "$root/usr/sbin/e2fsck"
    make_etc "$root/etc"
    make_ca_bundle "$root/etc/ssl/certs/ca-certificates.crt"
    make_modules "$root"
    make_seed "$root/etc/appliance/data.seed"
    pack "$root" "$1"
}

# /dev, /proc and so on are mounted over by PID 1. /dev/console, which the kernel opens for PID 1, is in the
# small initramfs that every kernel has built in.
make_folders() { # ROOT
    local folder
    for folder in proc sys dev run tmp boot etc/cefline var/lib/cefline; do
        mkdir -p "$1/$folder"
    done
}

make_etc() { # FOLDER
    mkdir -p "$1/appliance"
    os_release >"$1/os-release"
    printf '%s\n' 'root:x:0:0:root:/:/nonexistent' 'cefline:x:514:514:cefline:/var/lib/cefline:/nonexistent' >"$1/passwd"
    printf '%s\n' 'root:x:0:' 'cefline:x:514:' >"$1/group"
    echo 'hosts: files dns' >"$1/nsswitch.conf"
    printf '%s\n' '127.0.0.1 localhost' '::1 localhost' >"$1/hosts"
    # init writes the name servers there
    ln -s /run/resolv.conf "$1/resolv.conf"
    install -m 644 "$appliance/sysctl.list" "$1/appliance/sysctl.list"
    install -m 644 "$appliance/cefline.toml" "$1/appliance/cefline.toml"
}

# Goes into the UKI as well: systemd-boot sorts by it and shows it, and an update is told from it.
os_release() {
    printf '%s\n' 'NAME=cefline-appliance' 'ID=cefline' "PRETTY_NAME=\"cefline appliance $version\"" "VERSION_ID=$version"
}

# The authorities that Debian trusts, in the order of their file names, as its own tool has them.
make_ca_bundle() { # OUTPUT
    mkdir -p "$(dirname "$1")"
    find "$work/ca-certificates/usr/share/ca-certificates/mozilla" -name '*.crt' -print0 |
        LC_ALL=C sort -z | xargs -0 cat >"$1"
}

# The modules, unpacked: their signatures are at their end, and the kernel checks them. Their order in
# /etc/appliance/modules is the order of loading. Behind a name there, as comments, are the machines that it is
# for, and the modules that must be loaded before it; what is needed by modules for different machines is for all
# of these.
make_modules() { # ROOT
    local tree=$work/kernel lists name machines path file
    local -a order=()
    local -A for_machines=()
    lists=("$appliance/modules.list")
    if [ "$kernel" = metal ]; then
        lists+=("$appliance/modules.metal.list")
    fi
    depmod --basedir "$tree" "$kernel_release"
    mkdir -p "$1/usr/lib/modules"
    while read -r name machines; do
        module_files "$tree" "$kernel_release" "$name" >"$work/needed"
        while read -r path; do
            file=$(basename "${path%.xz}")
            if [ -n "${for_machines[$file]:-}" ]; then
                for_machines[$file]+=" ${machines:-all}"
                continue
            fi
            for_machines[$file]=${machines:-all}
            order+=("$file")
            xz --decompress --stdout "$path" >"$1/usr/lib/modules/$file"
            check_signature "$1/usr/lib/modules/$file"
        done <"$work/needed"
    done < <(data_lines "${lists[@]}")
    for file in "${order[@]}"; do
        module_line "$file" "${for_machines[$file]}" "$(needs_of "$tree/lib/modules/$kernel_release/modules.dep" "$file")"
    done >"$1/etc/appliance/modules"
}

module_line() { # FILE MACHINES NEEDS
    local line=$1
    case " $2 " in
    *' all '*) ;;
    *) line+=" # for: $(tr ' ' '\n' <<<"$2" | sort -u | paste -sd' ')" ;;
    esac
    echo "$line${3:+ # needs: $3}"
}

# The files that a file needs, by depmod's table.
needs_of() { # TABLE FILE
    awk -v file="$2.xz:" '
        { name = $1; sub(/.*\//, "", name) }
        name == file { for (i = 2; i <= NF; i++) { sub(/.*\//, "", $i); sub(/\.xz$/, "", $i); print $i } }' "$1" | paste -sd' '
}

# The files that a module needs, itself last; none if the kernel has it built in.
module_files() { # TREE RELEASE NAME
    modprobe --dirname "$1" --set-version "$2" --show-depends "$3" 2>/dev/null >"$work/depends" ||
        die "the kernel $2 has no module $3 (modules.list, modules.metal.list)"
    awk '$1 == "insmod" && !seen[$2]++ { print $2 }' "$work/depends"
}

check_signature() { # FILE
    [ "$(tail -c 28 "$1" | tr -d '\0')" = '~Module signature appended~' ] ||
        die "$(basename "$1") is not signed: the kernel of the appliance would refuse it"
}

# An empty ext4, of which the parts that are not zero are kept: PID 1 makes the data partition of them, and so
# no program that makes file systems is in the image. Why these options: appliance/init/src/disk/seed.rs.
make_seed() { # OUTPUT
    local image=$work/data.img features=none none=00000000-0000-4000-8000-000000000000
    features+=,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file
    features+=,huge_file,dir_nlink,extra_isize,metadata_csum,metadata_csum_seed
    rm -f "$image"
    truncate -s 256M "$image"
    # every option is here; the file only knows the name of the kind
    printf '[fs_types]\n ext4 = {\n inode_size = 256\n }\n small = {\n inode_size = 256\n }\n' >"$work/mke2fs.conf"
    MKE2FS_CONFIG=$work/mke2fs.conf E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -F -t ext4 \
        -b 4096 -I 256 -i 1048576 -m 0 -e remount-ro -L cefline-data -J size=32 -U $none -O $features \
        -E nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner=514:514,resize=4294967295,hash_seed=$none \
        "$image"
    "$seed_tool" "$image" "$1"
}

pack() { # ROOT OUTPUT
    local level=12
    find "$1" -type d -exec chmod 755 {} +
    chmod 700 "$1/etc/cefline" "$1/var/lib/cefline"
    find "$1" -type f ! -perm /111 -exec chmod 644 {} +
    same_time "$1"
    (cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
        cpio --null --create --format=newc --owner=0:0 --reproducible --quiet) >"$work/initramfs.cpio"
    # Level 12 takes 2 s and 19 takes 15, for a tenth less: only the many drivers of real machines need that
    # to stay below 25 MB.
    if [ "$kernel" = metal ]; then
        level=19
    fi
    zstd -q "-$level" -T1 --force "$work/initramfs.cpio" -o "$2"
}
