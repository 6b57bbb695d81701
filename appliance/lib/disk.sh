# shellcheck shell=bash
# The disk: a GPT with one partition, the ESP. The second, for the spool, is made by PID 1 in the room behind
# it when the appliance starts for the first time. All by programs that write into files: no mounts, no root.

# Room for two slots and for a third UKI while an update is written, with as much to spare: 25 MiB each today.
esp_mib=128

# A FAT32 with systemd-boot and one UKI.
make_esp() { # UKI NAME-OF-THE-UKI BOOT OUTPUT MIB
    local tree=$work/esp
    rm -rf "$tree" "$4"
    mkdir -p "$tree/EFI/BOOT" "$tree/EFI/Linux" "$tree/loader"
    cp "$3" "$tree/EFI/BOOT/BOOTX64.EFI"
    cp "$1" "$tree/EFI/Linux/$2"
    # timeout 0: no menu; editor no: nobody at the console changes the command line
    printf '%s\n' 'timeout 0' 'editor no' 'auto-entries no' 'auto-firmware no' 'console-mode keep' >"$tree/loader/loader.conf"
    same_time "$tree"
    truncate -s $(($5 * mib)) "$4"
    mkfs.vfat --invariant -F 32 -s 1 -n CEFLINE-ESP -i "$(hex_of "esp $version" 8)" "$4" >/dev/null
    (cd "$tree" && TZ=UTC mcopy -s -m -i "$4" EFI loader ::)
}

# The disk as it is written to a machine: as small as it can be. Whoever has a larger one loses nothing: PID 1
# takes all the room there is.
make_disk() { # ESP OUTPUT
    rm -f "$2"
    truncate -s $(((esp_mib + 2) * mib)) "$2"
    sgdisk --disk-guid "$(uuid_of "disk $version")" \
        --set-alignment 2048 --new "1:2048:+${esp_mib}M" --typecode 1:ef00 --change-name 1:cefline-esp \
        --partition-guid "1:$(uuid_of "esp $version")" "$2" >/dev/null
    dd if="$1" of="$2" bs=1M seek=1 conv=notrunc,sparse status=none
}

# The same disk for virtual machines: with room for the spool. The file has holes there.
grow_disk() { # DISK OUTPUT GIB
    cp --sparse=always "$1" "$2"
    truncate -s $(($3 * 1024 * mib)) "$2"
    sgdisk --move-second-header "$2" >/dev/null
}
