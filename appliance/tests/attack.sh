#!/usr/bin/env bash
# An image whose cefline attacks from inside, from each kind of thread, once its sandbox is closed: every
# attempt is refused, at least 40 of them. The image is one for tests: its cefline has the feature
# `self-attack`, and its command line asks for it.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"

begin
prepare --cmdline-extra cefline.test </dev/null
new_machine image
use_kernel image
start_machine "$out/configuration.img"
wait_line 'self-attack: [0-9]+ of [0-9]+ refused' "$boot_time" || finish
result=$(said 'self-attack: [0-9]+ of [0-9]+ refused')
mapfile -t numbers < <(grep -o '[0-9]*' <<<"$result")
refused=${numbers[0]} tried=${numbers[1]}
printf '        %s\n' "$result"
expect "at least 40 attacks" test "$tried" -ge 40
expect "all of them refused" test "$refused" -eq "$tried"
not_refused() { ! line 'NOT REFUSED'; }
expect "none is said not to be refused" not_refused
expect "a message gets through all the same" cefline send "127.0.0.1:$syslog_port" --count 100 --seed 8
arrived() { [ "$(rows "$(ids_of 8)")" -eq 100 ]; }
wait_for "its row" 60 arrived
tail -n "+$((mark + 1))" "$console" | grep -aoE 'self-attack .*' | tr -d '\r' >"$out/attacks.txt" || true
finish
