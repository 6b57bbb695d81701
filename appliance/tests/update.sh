#!/usr/bin/env bash
# An update is one signed file: it is put into the other slot, started, and kept once it works. One that does
# not work is tried three times; then the old slot is back, with the spool as it was.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"

begin
build_image first --formats raw --version 1.0.0
build_image second --formats raw --version 1.1.0
# its PID 1 is a program that ends at once
build_image broken --formats raw --version 1.2.0 --init "$APPLIANCE_PROGRAMS/make-seed" --cmdline-extra panic=1
start_names
start_emulator
write_configuration "$out/configuration" <<'EOF'
[runtime]
stop_time_max = "1 s"
EOF
begin_outage
make_disk "$out/configuration.img" "$out/configuration"
with_update() { # BUILD
    cp "$(built "$1" efi)" "$out/configuration/update.efi"
    make_disk "$out/$1.img" "$out/configuration"
    rm "$out/configuration/update.efi"
}
with_update second
with_update broken

# ---- the first version, with rows in its spool since nobody takes them
new_machine first
start_machine "$out/configuration.img"
wait_line 'appliance: READY' "$boot_time" || finish
expect "the first version is in slot A" line 'appliance: version 1\.0\.0 slot [aA]'
expect "5,000 messages are sent while the service is away" cefline send "127.0.0.1:$syslog_port" --count 5000 --seed 9
spooled() { [ "$(metric rows_spooled_total)" -ge 5000 ]; }
wait_for "5,000 rows in the spool" 60 spooled
press_power_button
wait_off 120

# ---- the second version
start_machine "$out/second.img"
wait_line 'appliance: update: ' "$boot_time"
wait_line 'appliance: version 1\.1\.0 slot [bB]' "$boot_time" || finish
ok "the second version runs from slot B"
wait_line 'appliance: READY' 60
wait_line 'appliance: blessed slot [bB]' 60 && ok "and is kept"
recovered() { [ "$(metric rows_recovered_total)" -ge 5000 ]; }
expect "its spool has the rows of the first" wait_for "rows" 30 recovered
press_power_button
wait_off 120

# ---- a broken third one: three tries, and back
start_machine "$out/broken.img"
wait_line 'appliance: update: ' "$boot_time"
mark_console
wait_line 'appliance: version 1\.1\.0 slot [bB]' 400 || finish
tries=$(tail -n "+$((mark + 1))" "$console" | grep -ac 'Kernel panic')
expect "the broken version was tried three times (${tries})" test "$tries" -eq 3
wait_line 'appliance: READY' 60 && ok "then the second one is back"
expect "its spool still has the rows" wait_for "rows" 30 recovered

# ---- the service is there again
end_outage
arrived() { [ "$(rows "$(ids_of 9)")" -eq 5000 ]; }
expect "all 5,000 rows arrive" wait_for "the rows" 120 arrived
pull_plug
finish
