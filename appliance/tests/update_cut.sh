#!/usr/bin/env bash
# The plug is pulled five times, at different moments, while an update is being written into the other slot.
# After each cut the machine starts from a slot that was known to be good, and at the end the update is in
# place. It takes some minutes, so it is not among those that `run` runs of itself: run it after a change to
# disk/slots.rs, `appliance/tests/run update_cut`.
#
# The moments go by what has been written to the disk, which is made slow for it (QEMU does so in bursts, so they
# are met by and large): at the first bytes, about a
# quarter, a half, three quarters, and when all but the last sector must be there. What QEMU has taken when it is
# killed stays, so this is a disk without a cache of its own.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"

begin
build_image first --formats raw --version 1.0.0
build_image second --formats raw --version 1.1.0
start_names
start_emulator
write_configuration "$out/configuration" </dev/null
make_disk "$out/configuration.img" "$out/configuration"
cp "$(built second efi)" "$out/configuration/update.efi"
make_disk "$out/update.img" "$out/configuration"
esp=$((2048 * 512))
update_bytes=$(stat -c %s "$(built second efi)")

# ---- what is on the ESP, read from outside while nothing runs

slots() { mdir -i "$disk@@$esp" -b ::/EFI/Linux 2>/dev/null | grep -o 'cefline-.*' | sort | paste -sd' '; }
# The first slot is as it was shipped: whole, and without a counter.
first_is_whole() {
    rm -f "$out/slot.efi"
    mcopy -i "$disk@@$esp" ::/EFI/Linux/cefline-a.efi "$out/slot.efi" && cmp "$out/slot.efi" "$(built first efi)"
}
# Of another file of a slot: whole, or without its first sector, so that no boot loader takes it for a program.
others_are_whole_or_nothing() {
    local name
    for name in $(slots); do
        [ "$name" != cefline-a.efi ] || continue
        rm -f "$out/slot.efi"
        mcopy -i "$disk@@$esp" "::/EFI/Linux/$name" "$out/slot.efi" || return
        cmp -s "$out/slot.efi" "$(built second efi)" || [ ! -s "$out/slot.efi" ] ||
            cmp -n 512 "$out/slot.efi" /dev/zero || { echo "$name is neither" && return 1; }
    done
}

# ---- a slow disk, and what has been written to it

monitor() { # COMMAND
    local monitor
    exec {monitor}<>"/dev/tcp/127.0.0.1/$monitor_port" || return
    printf '%s\ninfo status\n' "$1" >&"$monitor"
    timeout 5 sed '/VM status/q' <&"$monitor" || true
    exec {monitor}>&-
}
written() { monitor 'info blockstats' | grep -a '^system' | grep -ao 'wr_bytes=[0-9]*' | cut -d= -f2; }
make_slow() { monitor "block_set_io_throttle system 0 0 $((3 * 1024 * 1024)) 0 0 0" | grep -q 'VM status'; }
has_written() { [ "$(written)" -ge "$1" ]; }
cut_or_done() { line 'appliance: update: version' || has_written "$1"; }

# ---- the data partition is made and the slot known to be good before anything is cut

new_machine first
start_machine "$out/configuration.img"
wait_line 'appliance: READY' "$boot_time" || finish
press_power_button
wait_off 120

# ---- the cuts

cuts=0
for share in 0 25 50 75 100; do
    before=$(slots)
    start_machine "$out/update.img"
    wait_for "QEMU's monitor" 20 make_slow
    wait_line 'appliance: version 1\.[01]\.0 slot [aAbB]' "$boot_time" || finish
    if line 'appliance: version 1\.1\.0'; then
        printf '        the update was in place after cut %s already\n' "$cuts"
        pull_plug
        break
    fi
    wait_line 'appliance: configuration from' 60 || finish
    base=$(written)
    wait_for "$share % of the update on the disk" 120 cut_or_done $((base + 1 + update_bytes * share / 100)) || finish
    at=$(($(written) - base))
    pull_plug
    cuts=$((cuts + 1))
    printf '        cut %s after %s of %s KiB: %s, before: %s\n' "$cuts" $((at / 1024)) $((update_bytes / 1024)) "$(slots)" "$before"
    expect "cut $cuts: the good slot is whole" first_is_whole
    expect "cut $cuts: the other one is whole, or nothing" others_are_whole_or_nothing
done
expect "at least four cuts were while it was written" test "$cuts" -ge 4

# ---- and then it comes into place

start_machine "$out/update.img"
wait_line 'appliance: version 1\.1\.0 slot [bB]' $((2 * boot_time)) || finish
wait_line 'appliance: READY' 60
wait_line 'appliance: blessed slot [bB]' 30 && ok "the update is in place, and is kept"
press_power_button
wait_off 120
expect "the good slot is whole" first_is_whole
other_is_whole() { mcopy -n -i "$disk@@$esp" ::/EFI/Linux/cefline-b.efi "$out/other.efi" && cmp "$out/other.efi" "$(built second efi)"; }
expect "so is the update" other_is_whole
dd if="$disk" of="$out/esp.img" bs=512 skip=2048 count=262144 status=none
fsck.vfat -n "$out/esp.img" >"$out/esp.log" 2>&1 || true
sed 's/^/        /' "$out/esp.log"
no_room_lost() { ! grep -qi 'unused\|orphan\|lost' "$out/esp.log"; }
expect "no room on the ESP is lost" no_room_lost
finish
