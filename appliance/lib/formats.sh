# shellcheck shell=bash
# One disk in the forms that hypervisors and clouds take. qemu-img writes most; what it makes up by chance
# (identities of a file, the time) is replaced by what follows from the version.

make_format() { # FORMAT
    local file=$out/$name.$1
    rm -f "$file"
    case $1 in
    raw) cp --sparse=always "$work/disk.raw" "$file" ;;
    raw.zst) zstd -q -9 -T1 "$work/disk.raw" -o "$file" ;;
    qcow2) qemu-img convert -q -f raw -O qcow2 -c "$work/large.raw" "$file" ;;
    vhd) make_vhd "$work/large.raw" "$file" ;;
    vhdx) make_vhdx "$work/large.raw" "$file" ;;
    vmdk) make_vmdk "$work/large.raw" "$file" ;;
    iso) make_iso "$file" ;;
    *) die "no such format: $1" ;;
    esac
}

# ---- VHD, fixed: the disk, then a footer of 512 bytes. Azure wants the disk in whole MiB.

make_vhd() { # DISK OUTPUT
    cp --sparse=always "$1" "$2"
    vhd_footer "$(stat -c %s "$1")" | hex_to_bytes >>"$2"
}

text_hex() { printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n'; }

# The footer in hexadecimal. All numbers have the largest byte first.
vhd_footer() { # BYTES
    local head tail sum=0 i all
    # cookie, features (one reserved bit), version 1.0, no further header, seconds since 2000
    head=$(text_hex conectix)$(printf '%08x%08x%016x%08x' 2 65536 -1 $((SOURCE_DATE_EPOCH - 946684800)))
    # who made it: one of the names for which readers take the size below and not that of the geometry
    head+=$(text_hex 'win ')$(printf '%08x' 655360)$(text_hex Wi2k)
    # original size, present size, geometry, type 2: fixed
    head+=$(printf '%016x%016x' "$1" "$1")$(vhd_geometry $(($1 / 512)))$(printf '%08x' 2)
    # the identity; no saved state; zeros to the end
    tail=$(uuid_of "vhd $version" | tr -d - | tr 'A-F' 'a-f')$(printf '%0856d' 0)
    all=$head$tail
    for ((i = 0; i < ${#all}; i += 2)); do
        sum=$((sum + 16#${all:i:2}))
    done
    printf '%s%08x%s' "$head" $((~sum & 0xffffffff)) "$tail"
}

# Cylinders, heads and sectors by the rule of the format's specification.
vhd_geometry() { # SECTORS
    local total=$1 sectors heads tracks
    if [ "$total" -gt $((65535 * 16 * 255)) ]; then
        total=$((65535 * 16 * 255))
    fi
    if [ "$total" -ge $((65535 * 16 * 63)) ]; then
        sectors=255 heads=16
        tracks=$((total / sectors))
    else
        sectors=17
        tracks=$((total / sectors))
        heads=$(((tracks + 1023) / 1024))
        if [ "$heads" -lt 4 ]; then
            heads=4
        fi
        if [ "$tracks" -ge $((heads * 1024)) ] || [ "$heads" -gt 16 ]; then
            sectors=31 heads=16
            tracks=$((total / sectors))
        fi
        if [ "$tracks" -ge $((heads * 1024)) ]; then
            sectors=63 heads=16
            tracks=$((total / sectors))
        fi
    fi
    printf '%04x%02x%02x' $((tracks / heads)) "$heads" "$sectors"
}

# ---- VHDX: qemu-img makes up three identities and a number. They stand in each of the two headers, under a
# checksum; the third identity is the disk's serial number in the metadata.

make_vhdx() { # DISK OUTPUT
    local place
    qemu-img convert -q -f raw -O vhdx -o subformat=dynamic "$1" "$2"
    # of the two the one with the larger number counts
    renew_vhdx_header "$2" 65536 0100000000000000
    renew_vhdx_header "$2" 131072 0200000000000000
    # the log, of 1 MiB, has been played in: what is left in it means nothing
    dd if=/dev/zero of="$2" bs=1M seek=1 count=1 conv=notrunc status=none
    place=$(vhdx_serial_place "$2")
    put_hex "$2" "$place" "$(hex_of "vhdx disk $version" 32)"
}

renew_vhdx_header() { # FILE OFFSET NUMBER
    local header log
    # whose log it is (nobody's), versions, its length and place
    log=$(read_hex "$1" $(($2 + 48)) 32)
    [ "$log" = 0000000000000000000000000000000000000100000010000000100000000000 ] || die "qemu-img has left changes in the log of the VHDX"
    put_hex "$1" $(($2 + 4)) "00000000$3$(hex_of "vhdx file $version" 32)$(hex_of "vhdx data $version" 32)"
    header=$(read_hex "$1" "$2" 4096)
    put_hex "$1" $(($2 + 4)) "$(crc32c_of_hex "$header")"
}

# Where the serial number is: the table of regions says where the metadata are, and the table there says where
# in them. Both tables have an identity, then a place, in each entry of 32 bytes.
vhdx_serial_place() { # FILE
    local metadata serial
    metadata=$(vhdx_entry "$1" $((196608 + 16)) 06a27c8b90479a4bb8fe575f050f886e)
    serial=$(vhdx_entry "$1" $((metadata + 32)) ab12cabee6b2234593efc309e000c746)
    echo $((metadata + serial))
}

vhdx_entry() { # FILE FIRST-ENTRY IDENTITY
    local entry i
    for ((i = 0; i < 8; i++)); do
        entry=$(read_hex "$1" $(($2 + 32 * i)) 32)
        if [ "${entry:0:32}" = "$3" ]; then
            echo $((16#${entry:38:2}${entry:36:2}${entry:34:2}${entry:32:2}))
            return
        fi
    done
    die "the VHDX that qemu-img wrote is not laid out as expected"
}

# CRC-32C, as VHDX has it: smallest byte first.
crc32c_of_hex() { # HEX
    local crc=$((0xffffffff)) i bit byte table=()
    for ((i = 0; i < 256; i++)); do
        byte=$i
        for ((bit = 0; bit < 8; bit++)); do
            byte=$(((byte >> 1) ^ (0x82f63b78 * (byte & 1))))
        done
        table[i]=$byte
    done
    for ((i = 0; i < ${#1}; i += 2)); do
        crc=$(((crc >> 8) ^ table[(crc ^ 16#${1:i:2}) & 255]))
    done
    crc=$(printf '%08x' $((crc ^ 0xffffffff)))
    echo "${crc:6:2}${crc:4:2}${crc:2:2}${crc:0:2}"
}

# ---- VMDK, streamOptimized (what an OVA has in it): qemu-img makes up the content's identity, a number in
# the text that describes the disk.

make_vmdk() { # DISK OUTPUT
    local bytes=10240
    qemu-img convert -q -f raw -O vmdk -o subformat=streamOptimized,adapter_type=lsilogic "$1" "$2"
    dd if="$2" bs=512 skip=1 count=$((bytes / 512)) status=none | tr -d '\0' |
        sed "s/^CID=.*/CID=$(hex_of "vmdk $version" 8 | tr 'A-F' 'a-f')/" >"$work/descriptor"
    grep -q '^CID=' "$work/descriptor" || die "the VMDK that qemu-img wrote has no description where one was expected"
    truncate -s "$bytes" "$work/descriptor"
    dd if="$work/descriptor" of="$2" bs=512 seek=1 conv=notrunc status=none
}

# ---- ISO: the same UKI on an ESP of its own, for a CD drive (virtual ones too) and, written as it is, for a
# USB stick. There are no slots on it, and nothing is written to it: the spool is on a disk of the machine that
# has a partition named cefline-data.

make_iso() { # OUTPUT
    local tree=$work/iso size
    # the UKI, systemd-boot, and the least that FAT32 has
    size=$((($(stat -c %s "$work/signed.efi") + mib - 1) / mib + 3))
    if [ "$size" -lt 36 ]; then
        size=36
    fi
    make_esp "$work/signed.efi" cefline.efi "$work/signed-boot.efi" "$work/iso-esp.img" "$size"
    rm -rf "$tree"
    mkdir -p "$tree"
    os_release >"$tree/os-release"
    same_time "$tree"
    SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH TZ=UTC xorriso -as mkisofs -quiet -V CEFLINE -r \
        -append_partition 2 0xef "$work/iso-esp.img" -appended_part_as_gpt -partition_offset 16 \
        -e --interval:appended_partition_2:all:: -no-emul-boot \
        -o "$1" "$tree" 2>"$work/xorriso.log" || {
        cat "$work/xorriso.log" >&2
        die "the ISO could not be made; see above"
    }
}
