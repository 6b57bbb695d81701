#!/usr/bin/env bash
# The appliance starts from a CD drive. A disk without a partition named cefline-data is not written to, and
# cefline is not started; once the disk has one, the spool is on it.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"

begin
prepare --formats raw,iso </dev/null
new_machine image
machine_extra=(-drive "if=none,id=cd,format=raw,readonly=on,file=$(built image iso)" -device "ide-cd,drive=cd")

# ---- a disk that is somebody else's
rm "$disk"
truncate --size 1G "$disk"
start_machine "$out/configuration.img"
wait_line 'appliance: version .* slot none' "$boot_time" || finish
ok "it starts from the CD drive"
wait_line 'appliance: cefline is not started: it would lose its spool: no disk has a GPT partition named cefline-data' 60 &&
    ok "without a partition for the spool cefline is not started"
pull_plug
is_empty() { cmp -n "$(stat -c %s "$disk")" "$disk" /dev/zero; }
expect "nothing was written to the disk" is_empty

# ---- the same, with a partition as appliance/README.md has it made
sgdisk --new 1:0:0 --typecode 1:8300 --change-name 1:cefline-data "$disk" >/dev/null
start_machine "$out/configuration.img"
wait_line 'appliance: READY' "$boot_time" || finish
expect "the spool is on the disk" line 'appliance: data: /dev/vda1 with 1022 MiB'
expect "a message gets through" cefline send "127.0.0.1:$syslog_port" --count 100 --seed 8
arrived() { [ "$(rows "$(ids_of 8)")" -eq 100 ]; }
wait_for "its row" 60 arrived
press_power_button
wait_off 90
finish
