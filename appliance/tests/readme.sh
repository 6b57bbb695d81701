#!/usr/bin/env bash
# "Try it" of appliance/README.md, word by word: what stands in its boxes is taken out of the page and run, in a
# folder that has of the repository only what the page asks for. It ends with a running appliance that has
# nothing to complain of, and with all that was sent in the table.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readme=$repository/appliance/README.md
folder=$out/repository

# The box that follows the mark NAME, as it is.
box() { # NAME
    local text
    text=$(awk -v mark="<!-- test: $1 -->" '
        $0 == mark { marked = 1; next }
        marked && /^```/ { if (inside) exit; inside = 1; next }
        marked && inside' "$readme")
    [ -n "$text" ] || { wrong "the page has no box with the mark \"$1\"" && finish; }
    printf '%s\n' "$text"
}

# Runs a box from the folder, as a person would in a terminal; what it says goes into a file.
run_box() { # NAME
    (cd "$folder" && exec bash -euo pipefail -c "$(box "$1")") >"$out/$1.log" 2>&1
}

# One that goes on until it is stopped has a group of processes of its own, which is stopped as a whole.
start_box() { # NAME
    (cd "$folder" && exec setsid bash -euo pipefail -c "$(box "$1")") >"$out/$1.log" 2>&1 </dev/null &
    children+=("-$!")
}

# Of the repository: build.sh, and the cefline that it leaves. If the programs are there already they are not
# built once more.
make_folder() {
    local release=$folder/target/x86_64-unknown-linux-gnu/release
    mkdir -p "$folder/appliance" "$release"
    mapfile -t arguments < <(programs_arguments)
    {
        echo '#!/usr/bin/env bash'
        printf 'exec %q --out %q' "$repository/appliance/build.sh" "$folder/target/appliance"
        printf ' %q' "${arguments[@]}"
        # shellcheck disable=SC2016 # for the script that is written
        echo ' "$@"'
    } >"$folder/appliance/build.sh"
    chmod +x "$folder/appliance/build.sh"
    ln -s "$APPLIANCE_PROGRAMS/cefline" "$release/cefline"
}

# The image is built where the network is, since packages may have to be fetched; all else happens in vm.sh's
# namespace, in which this script begins anew.
if [ -z "${APPLIANCE_NAMESPACE:-}" ]; then
    begin
    make_folder
    expect "the image is built" run_box build
    [ "$failures" -eq 0 ] || { tail -n 20 "$out/build.log" && finish; }
fi
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"

console=$out/machine.log
: >"$console"
mark=0
start_box stand-in
wait_for "the stand-in's secret" 20 test -s "$folder/target/try/configuration/client-secret" || finish
wait_for "the stand-in to run" 20 grep -q 'what has arrived' "$out/stand-in.log" || finish
start_box machine
wait_line 'appliance: READY in [0-9.]+ s' "$boot_time" || finish
ok "$(said 'appliance: READY in [0-9.]+ s')"
for shown in 'appliance: version .* slot A kernel ' 'appliance: network .* 10\.0\.2\.15/24 gateway 10\.0\.2\.2 dns 10\.0\.2\.3' \
    'appliance: configuration from DISK: .*\(vfat, CONFIG\): ca\.pem cefline\.toml client-secret'; do
    expect "the console shows what the page shows: $shown" line "$shown"
done
wait_line 'appliance: check ended with' 180 || finish
expect "cefline check --live has nothing to complain of" line 'appliance: check ended with 0'
expect "messages are sent, and asked for" run_box send
sent=$(box send | grep -o -e '--count [0-9]*' | grep -o '[0-9]*')
own='| where DeviceVendor != "cefline"'
arrived() { [ "$(rows "$own")" -ge "$sent" ]; }
wait_for "all $sent rows" 120 arrived && ok "all $sent rows arrive"
expect "each once" test "$(rows "$own | distinct ExtID")" -eq "$sent"
finish
