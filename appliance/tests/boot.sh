#!/usr/bin/env bash
# The appliance starts by OVMF, gets its network, its configuration and its data, looks up a name, and takes
# 50,000 messages of a dozen vendors to the table, each once. Only the ports that were asked for are open. It
# tells truly what it is, and goes off by the power button with nothing left behind.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"

messages=${APPLIANCE_MESSAGES:-50000}
begin
prepare </dev/null

# ---- from the firmware to a listening port. The guest's clock is the host's: a machine that has other things
# to do is slow, so the best of three counts. On one that is always slow a clock counts that goes by 2 ns with
# each instruction, and by the host's only while the guest waits: it shows some 12.4 s, however slow the machine is.
fast=12 fast_counted=13
start() { # CLOCK
    new_machine image
    start_machine "$out/configuration.img"
    wait_line 'appliance: READY in [0-9.]+ s' "$boot_time" || finish
    ready=$(said 'READY in [0-9.]+' | grep -o '[0-9.]*$')
    printf '        READY in %s s by %s, %s s by the host from the power on\n' "$ready" "$1" $((SECONDS - started))
}
is_within() { awk -v s="$ready" -v most="$1" 'BEGIN { exit !(s <= most) }'; }
for _ in 1 2 3; do
    start "the guest's clock"
    if is_within "$fast"; then break; fi
    pull_plug
done
if is_within "$fast"; then
    expect "listening within $fast s of the guest's clock" true
else
    machine_extra=(-icount "shift=1,sleep=on")
    start "a clock that counts instructions"
    expect "listening within $fast_counted s of a clock that counts instructions" is_within "$fast_counted"
    # for all else it need not be slow
    pull_plug
    machine_extra=()
    start "the guest's clock"
fi
expect "version, slot and kernel are told" line 'appliance: version .* slot [aA] kernel 6\.12\.'
expect "the configuration came from the disk" line 'appliance: configuration from .*cefline.toml'
expect "the network is told" line 'appliance: network .*10\.0\.2\.15/24'
wait_line 'appliance: check ended with' 120
expect "cefline check --live has nothing to complain of" line 'appliance: check ended with 0'

# ---- what it says of itself
report() { # KEY REGEX
    expect "self-report: $1" line "appliance: self-report $1=$2"
}
report lockdown 'confidentiality'
report tainted 0
report modules_disabled 1
report io_uring_disabled 1
report io_uring_group 514
report sysctls_differing 0
report redirects_taken_by '[[:space:]]*$'
report mounts_lax '/:noexec,/dev:nodev[[:space:]]*$'
report cefline.Seccomp 2
report cefline.NoNewPrivs 1
report cefline.CapEff 0000000000000000
report cefline.CapPrm 0000000000000000
report cefline.CapAmb 0000000000000000
report cefline.CapBnd '0000000000000(0|4)00'
report cefline.Uid '514 514 514 514'
report cefline.Gid '514 514 514 514'
used=$(said 'self-report mem_used_mib=[0-9]+' | grep -o '[0-9]*$')
expect "at most 150 MiB in use when idle (${used:-unknown})" test "${used:-999}" -le 150

# ---- the way of the messages
began=$SECONDS
expect "$messages messages are sent" cefline send "127.0.0.1:$syslog_port" --count "$messages" --seed 7 --connections 8
arrived() { [ "$(rows "$(ids_of 7)")" -ge "$messages" ]; }
wait_for "all rows" 120 arrived
printf '        %s messages in the table after %s s\n' "$messages" $((SECONDS - began))
expect "all of them are in the table once" test "$(rows '| where DeviceVendor != "cefline" and ExtID startswith "cf7-"')" -eq "$messages"
expect "the guest's name is on the rows" test "$(rows '| where Computer == "collector-7" or CollectorHostName == "collector-7"')" -gt 0

# ---- ports: the one of the metrics is open since the configuration says so
answers() { page /metrics | grep -q rows_uploaded_total; }
expect "the metrics answer" answers
silent() { # PORT: nothing answers there, and nothing closes: the firewall drops
    local socket status=0
    exec {socket}<>"/dev/tcp/127.0.0.1/$1" || return 1
    printf 'x\n' >&"$socket"
    timeout 4 cat <&"$socket" >/dev/null || status=$?
    exec {socket}>&-
    [ "$status" -eq 124 ]
}
expect "nobody answers on port 22" silent "$ssh_port"
expect "self-report: sockets are those of the configuration" line 'appliance: self-report sockets=.*514'

# ---- the end
press_power_button
wait_off 90
expect "cefline has told what became of everything" line 'cefline: received [0-9]+ frames .* lost 0'
not_forced() { ! line 'ended by force'; }
expect "and ended by itself" not_forced
expect "the data partition is whole" sgdisk --verify "$disk"
finish
