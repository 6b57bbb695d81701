#!/usr/bin/env bash
# The score that kernel-hardening-checker gives the kernel's configuration, the command line in the UKI, and the
# settings of the running appliance: not below the recorded one, and what it has against the command line and
# the settings is only what score.txt has a reason for. Debian's kernel is as it is: of its configuration only
# the number is looked at.
#
# The settings are those of sysctl.list. That they are in force the kernel itself says: the test starts the
# appliance, whose self-report counts those that read back differently. What is not in the list does not count.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=../lib/common.sh
. "$repository/appliance/lib/common.sh"

record=$tests/score.txt
skip() {
    printf 'skipped: score: %s\n' "$*"
    exit 0
}

# What comes from the network comes first: vm.sh goes on where there is none.
if [ -z "${APPLIANCE_NAMESPACE:-}" ]; then
    begin
    command -v python3 >/dev/null || skip "there is no python3 to run the checker"
    for role in score kernel-cloud; do
        if ! "$repository/appliance/build.sh" --package "$role" >"$out/$role.path" 2>"$out/packages.log"; then
            grep -q 'cannot be had' "$out/packages.log" && skip "$(grep -m 1 'cannot be had' "$out/packages.log")"
            cat "$out/packages.log"
            wrong "the package for $role"
            finish
        fi
        dpkg-deb --extract "$(cat "$out/$role.path")" "$out/$role"
    done
fi
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"

# ---- the appliance, and what it says of its settings
prepare </dev/null
new_machine image
use_kernel image
start_machine "$out/configuration.img"
wait_line 'appliance: self-report mem_used_mib=' "$boot_time" || finish
pull_plug
settings=$(data_lines "$repository/appliance/sysctl.list" | grep -c =)
expect "all $settings settings of the list are in force" line "self-report sysctls=${settings}[^0-9]*\$"
expect "none reads back differently" line 'self-report sysctls_differing=0'
data_lines "$repository/appliance/sysctl.list" >"$out/settings.txt"
said 'self-report modules_disabled=.*' | sed 's/.*modules_disabled=/kernel.modules_disabled = /' >>"$out/settings.txt"
tr -d '\0' <"$out/cmdline" >"$out/cmdline.txt"
echo >>"$out/cmdline.txt"

# ---- the score
check() {
    PYTHONPATH=$out/score/usr/lib/python3/dist-packages python3 -B -c 'import kernel_hardening_checker as k; k.main()' \
        -c "$out"/kernel-cloud/boot/config-* -l "$out/cmdline.txt" -s "$out/settings.txt" "$@"
}
check -m json >"$out/score.json" || wrong "the checker does not run"
check >"$out/table.txt" || true
[ "$failures" -eq 0 ] || finish

recorded() { data_lines "$record" | awk -v kind="$1" '$1 == "ok" && $2 == kind { print $3 }'; }
for kind in kconfig cmdline sysctl; do
    read -r good all < <(jq -r --arg kind "$kind" '[.[] | select(.type == $kind)] | "\(map(select(.check_result_bool)) | length) \(length)"' "$out/score.json")
    expect "$kind: $good of $all are as the checker wants them, recorded are $(recorded "$kind")" test "$good" -ge "$(recorded "$kind")"
    if [ "$good" -gt "$(recorded "$kind")" ]; then
        printf '        more than recorded: score.txt may say %s\n' "$good"
    fi
done

excepted() { data_lines "$record" | awk '$1 == "except" { print $2 }' | sort -u; }
jq -r '.[] | select(.type != "kconfig" and (.check_result_bool | not)) | .option_name' "$out/score.json" | sort -u >"$out/against.txt"
nothing_new() { ! comm -13 <(excepted) "$out/against.txt" | grep .; }
nothing_old() { ! comm -23 <(excepted) "$out/against.txt" | grep .; }
expect "nothing else is wrong than what has a reason" nothing_new
expect "each reason is still needed" nothing_old
finish
