#!/usr/bin/env bash
# The plug is pulled five times in the middle of a stream, while the service is away. Every row that was
# counted as safe on the disk before a cut is in the table once the service is back.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"

cuts=${APPLIANCE_CUTS:-5}
begin
# rows of its own would be counted with those that are sent
heartbeat=off prepare </dev/null
begin_outage
new_machine image
use_kernel image

safe=()
spooled_some() { [ "$(metric rows_spooled_total)" -ge 1000 ]; }
for cut in $(seq "$cuts"); do
    start_machine "$out/configuration.img"
    wait_line 'appliance: READY' "$boot_time" || finish
    (exec "$APPLIANCE_PROGRAMS/cefline" send "127.0.0.1:$syslog_port" --count 1000000 --seed $((100 + cut)) --connections 2 >"$out/send-$cut.log" 2>&1) &
    sender=$!
    children+=("$sender")
    wait_for "rows in the spool" 60 spooled_some || finish
    # this page is from before the cut, so what it counts is safe
    safe[cut]=$(metric rows_spooled_total)
    pull_plug
    kill "$sender" 2>/dev/null || true
    wait "$sender" 2>/dev/null || true
    printf '        cut %s with %s rows safe\n' "$cut" "${safe[cut]}"
done

end_outage
start_machine "$out/configuration.img"
wait_line 'appliance: READY' "$boot_time" || finish
for cut in $(seq "$cuts"); do
    there() { [ "$(rows "$(ids_of $((100 + cut)))")" -ge "${safe[cut]}" ]; }
    expect "cut $cut: every safe row is in the table" wait_for "${safe[cut]} rows" 180 there
done
press_power_button
wait_off 120
finish
