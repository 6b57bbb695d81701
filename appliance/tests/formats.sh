#!/usr/bin/env bash
# Each form of the image is what its readers want, and has the same disk in it.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

begin
build_image image --formats raw,raw.zst,qcow2,vhd,vhdx,vmdk,iso --disk-size 3 --version 1.0.0 "$@"
raw=$(built image raw)
gib=$((1024 * 1024 * 1024))

number() { # FILE OFFSET BYTES: the largest byte first
    printf '%d' "0x$(od -An -v -tx1 -j "$2" -N "$3" "$1" | tr -d ' \n')"
}
text() { # FILE OFFSET BYTES
    dd if="$1" bs=1 skip="$2" count="$3" status=none
}

# ---- the disk

whole_partition_table() { sgdisk --verify "$1" | tee /dev/stderr | grep -q '^No problems found'; }

esp_has() { # PATH
    mdir -b -i "$raw@@1M" "::$1" | grep -qi "${1##*/}"
}

esp_is_whole() {
    dd if="$raw" of="$out/esp.img" bs=1M skip=1 count=128 status=none
    fsck.vfat -n "$out/esp.img"
}

unpacked_is_raw() { zstd -q -d -c "$(built image raw.zst)" | cmp - "$raw"; }

# The smaller disk is the larger one's beginning, but for the place of the second partition table.
same_disk() { # FORMAT FILE
    local file=$out/back.raw esp
    qemu-img convert -f "$1" -O raw "$2" "$file"
    esp=$(dd if="$file" bs=1M skip=1 count=128 status=none | sha256sum)
    [ "$(stat -c %s "$file")" -eq $((3 * gib)) ] || { echo "$(stat -c %s "$file") bytes" && return 1; }
    [ "$esp" = "$(dd if="$raw" bs=1M skip=1 count=128 status=none | sha256sum)" ] || { echo "another ESP" && return 1; }
    whole_partition_table "$file"
}

expect "raw: the partition table is whole" whole_partition_table "$raw"
expect "raw: the ESP is whole" esp_is_whole
expect "raw: systemd-boot is where firmware looks" esp_has /EFI/BOOT/BOOTX64.EFI
expect "raw: slot A is there" esp_has /EFI/Linux/cefline-a.efi
expect "raw.zst is raw" unpacked_is_raw

# ---- VHD: what Azure wants, field by field

vhd=$(built image vhd)
vhd_bytes=$(stat -c %s "$vhd")
foot=$((vhd_bytes - 512))
# One's complement of the sum of all bytes but the four of the sum itself.
vhd_sum() {
    od -An -v -tu1 -w1 -j "$foot" -N 512 "$vhd" | awk 'NR <= 64 || NR > 68 { sum += $1 } END { printf "%.0f\n", 4294967295 - sum }'
}
expect "vhd: cookie" test "$(text "$vhd" "$foot" 8)" = conectix
expect "vhd: fixed" test "$(number "$vhd" $((foot + 60)) 4)" -eq 2
expect "vhd: no header follows" test "$(od -An -tx1 -j $((foot + 16)) -N 8 "$vhd" | tr -d ' ')" = ffffffffffffffff
expect "vhd: the disk is in whole MiB" test $((foot % (1024 * 1024))) -eq 0
expect "vhd: size in the footer" test "$(number "$vhd" $((foot + 48)) 8)" -eq "$foot"
expect "vhd: original size in the footer" test "$(number "$vhd" $((foot + 40)) 8)" -eq "$foot"
expect "vhd: checksum" test "$(number "$vhd" $((foot + 64)) 4)" -eq "$(vhd_sum)"
expect "vhd: read with its size" test "$(qemu-img info --output=json -f vpc "$vhd" | jq '."virtual-size"')" -eq $((3 * gib))
expect "vhd: the same disk" same_disk vpc "$vhd"

# ---- the others, by the program that reads most of them

for format in qcow2 vhdx vmdk; do
    file=$(built image "$format")
    # qemu-img has no check of vmdk's streams beyond reading them
    if [ "$format" = vmdk ]; then
        expect "vmdk: streamOptimized" test "$(qemu-img info --output=json "$file" | jq -r '."format-specific".data."create-type"')" = streamOptimized
    fi
    expect "$format: qemu-img check" qemu-img check -q -f "$format" "$file"
    expect "$format: the same disk" same_disk "$format" "$file"
done

# ---- ISO

iso=$(built image iso)
expect "iso: El Torito for UEFI" bash -c "xorriso -indev '$iso' -report_el_torito plain 2>/dev/null | grep -q 'UEFI'"
expect "iso: name of the volume" test "$(text "$iso" $((32768 + 40)) 7)" = CEFLINE
expect "iso: a partition for sticks" bash -c "sgdisk --print '$iso' 2>/dev/null | grep -q EF00"

# ---- beside them

expect "the sums are right" bash -c "cd '$out/image' && sha256sum --check --quiet ./*.sha256"
sbom=$(built image cdx.json)
expect "bill: CycloneDX 1.5" test "$(jq -r '.bomFormat + .specVersion' "$sbom")" = CycloneDX1.5
expect "bill: cefline and PID 1 are in it" jq -e '[.components[] | select(.type == "application") | .name] | sort == ["appliance-init", "cefline"]' "$sbom"
expect "bill: each has a licence, but our own programs" jq -e '[.components[] | select(.type != "application" and (.licenses | not))] == []' "$sbom"
expect "bill: each crate of the registry has its sum" jq -e '[.components[] | select((.purl // "" | startswith("pkg:cargo")) and .type == "library" and (.hashes | not))] == []' "$sbom"
# shellcheck disable=SC2016 # $known is jq's
expect "bill: references lead somewhere" jq -e '([.components[]."bom-ref"] + ["appliance"]) as $known | [.dependencies[] | .ref, .dependsOn[]] | unique - $known == []' "$sbom"
expect "bill: kernel, loader, e2fsck and authorities" jq -e '[.components[] | select(.purl // "" | startswith("pkg:deb"))] | length >= 4' "$sbom"
rm -f "$out/back.raw" "$out/esp.img"
finish
