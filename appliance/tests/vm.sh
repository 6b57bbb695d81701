# shellcheck shell=bash
# shellcheck disable=SC2054  # commas in what QEMU is told are its own
# What the tests that boot the appliance share: a machine (QEMU, never KVM), a stand-in for Sentinel with a
# name that the guest must look up, and a configuration disk.
#
# All of it runs in a network namespace of its own, where nothing but loopback is: no packet leaves, and no
# port of the host is in the way.

if [ -z "${APPLIANCE_NAMESPACE:-}" ]; then
    # the last thing that comes from the network
    "$(dirname "${BASH_SOURCE[0]}")/../build.sh" --fetch
    export APPLIANCE_NAMESPACE=1
    if [ "$(id -u)" -eq 0 ]; then
        exec unshare --net -- "$0" "$@"
    fi
    exec unshare --map-root-user --net -- "$0" "$@"
fi
ip link set lo up

# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Ports of the host that lead into the guest; and those that only the host has.
syslog_port=5514 metrics_port=9514 ssh_port=2222 monitor_port=4444
emulator_port=8443 control_port=8444
# The host, as the guest sees it, and the name that the stand-in's certificate has.
host_address=10.0.2.2 host_name=ingest.test

# A boot by OVMF takes 20 to 25 s here, with Secure Boot 50 s; the machine may be busy.
boot_time=180
children=()
trap 'stop_all' EXIT
stop_all() {
    local child
    for child in "${children[@]}"; do
        kill -KILL "$child" 2>/dev/null || true
    done
    wait 2>/dev/null || true
}

# ---- programs

# The cefline that is in the image also runs here: as the stand-in, the sender and the one that asks.
cefline() {
    "${APPLIANCE_PROGRAMS:?where cefline, appliance-init and make-seed are}/cefline" "$@"
}

# Starts the stand-in. Its authority is a new one at each start, so an outage is one that stands still.
start_emulator() {
    (exec "$APPLIANCE_PROGRAMS/cefline" emulate --listen "127.0.0.1:$emulator_port" --control "127.0.0.1:$control_port" \
        --name "$host_name" --ca-file "$out/ca.pem" --secret-file "$out/client-secret") >"$out/emulator.log" 2>&1 &
    emulator=$!
    children+=("$emulator")
    wait_for "the emulator to run" 20 grep -q 'what has arrived' "$out/emulator.log"
}

begin_outage() { kill -STOP "$emulator"; }
end_outage() { kill -CONT "$emulator"; }

# A name server that knows only the stand-in.
start_names() {
    dnsmasq --keep-in-foreground --no-resolv --no-hosts --no-daemon --user=root --bind-interfaces \
        --listen-address=127.0.0.1 --address="/$host_name/$host_address" >"$out/names.log" 2>&1 &
    children+=("$!")
}

# Rows that the stand-in has taken, and how many of them have an id of their own.
rows() { # [KQL AFTER THE TABLE]
    cefline query --url "http://127.0.0.1:$control_port" --format json "CommonSecurityLog ${1:-} | count" | grep -o '[0-9]*' | tail -1
}
ids_of() { # SEED
    printf '| where DeviceVendor != "cefline" and ExtID startswith "cf%x-" | distinct ExtID' "$1"
}

# ---- waiting: for a condition, with a deadline, never for a time

wait_for() { # WHAT SECONDS COMMAND...
    local what=$1 deadline=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            wrong "waited in vain for $what"
            return 1
        fi
        sleep 0.2
    done
}
# A line of the console of the machine that was started last; lines before `mark` are not seen.
line() { grep -aqE "$1" < <(tail -n "+$((mark + 1))" "$console"); }
wait_line() { # REGEX SECONDS
    if ! wait_for "\"$1\" on the console" "$2" line "$1"; then
        tail -n 30 "$console" | sed 's/^/        /'
        return 1
    fi
}
mark_console() { mark=$(wc -l <"$console"); }
said() { tail -n "+$((mark + 1))" "$console" | tr -d '\r' | grep -aoE "$1" | tail -n 1; }

# ---- a configuration disk, as appliance/README.md has an operator make it

# The configuration that points at the stand-in; more of it on standard input.
write_configuration() { # FOLDER
    mkdir -p "$1"
    cp "$out/ca.pem" "$out/client-secret" "$1"
    cat >"$1/appliance.toml" <<EOF
hostname = "collector-7"
[network]
dns = ["$host_address"]
EOF
    {
        cat <<EOF
[listen]
tcp = ["0.0.0.0:514"]
[sentinel]
endpoint = "https://$host_name:$emulator_port"
endpoint_check = false
rules = ["dcr-00000000000000000000000000000000"]
stream = "Custom-CommonSecurityLog"
ca_file = "/etc/cefline/ca.pem"
heartbeat = "${heartbeat:-1 min}"
[sentinel.identity]
kind = "client_secret"
authority = "https://$host_name:$emulator_port"
tenant_id = "11111111-1111-1111-1111-111111111111"
client_id = "22222222-2222-2222-2222-222222222222"
secret_file = "/etc/cefline/client-secret"
[metrics]
listen = "0.0.0.0:9514"
EOF
        cat
    } >"$1/cefline.toml"
}

make_disk() { # FILE FOLDER
    rm -f "$1"
    truncate --size 64M "$1"
    mkfs.vfat -n CONFIG "$1" >/dev/null
    mcopy -i "$1" "$2"/* ::
}

# What most tests begin with: an image, the stand-in and its name, and a disk that points at it. More of the
# configuration on standard input.
prepare() { # [ARGUMENTS OF build.sh...]
    build_image image --formats raw "$@"
    start_names
    start_emulator
    write_configuration "$out/configuration"
    make_disk "$out/configuration.img" "$out/configuration"
}

# ---- a machine

# Copies the image of a build, with room for data.
new_machine() { # BUILD
    disk=$out/$1-disk.raw
    cp --reflink=auto "$(built "$1" raw)" "$disk"
    truncate --size 2G "$disk"
    cp /usr/share/OVMF/OVMF_VARS_4M.fd "$out/vars.fd"
    firmware=(-machine q35
        -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd
        -drive "if=pflash,format=raw,file=$out/vars.fd")
    console=$out/console.log
    : >"$console"
    mark=0
}

# Firmware that starts only what is signed with the test key.
use_secure_boot() {
    cp /usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd "$out/vars.fd"
    firmware=(-machine q35,smm=on -global driver=cfi.pflash01,property=secure,value=on
        -global ICH9-LPC.disable_s3=1
        -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd
        -drive "if=pflash,format=raw,file=$out/vars.fd")
}

# No firmware: QEMU starts the kernel in the UKI itself, which takes a third of the time. For tests to which the
# way into the kernel does not matter; there is no slot then.
use_kernel() { # BUILD
    local uki section
    uki=$(built "$1" efi)
    for section in linux initrd cmdline; do
        objcopy --dump-section ".$section=$out/$section" "$uki" "$out/uki.copy"
    done
    rm "$out/uki.copy"
    firmware=(-machine q35 -kernel "$out/linux" -initrd "$out/initrd" -append "$(tr -d '\0' <"$out/cmdline")")
}

# la57=off: with it, QEMU 7.2 makes kernels of two processors fail now and then.
start_machine() { # [CONFIGURATION DISK]
    local drives=(-drive "if=none,id=system,format=raw,file=$disk" -device virtio-blk-pci,drive=system)
    if [ -n "${1:-}" ]; then
        drives+=(-drive "if=none,id=configuration,format=raw,readonly=on,file=$1" -device virtio-blk-pci,drive=configuration)
    fi
    mark_console
    started=$SECONDS
    qemu-system-x86_64 -accel tcg -cpu max,la57=off -smp 2 -m 1024 -display none \
        "${firmware[@]}" "${drives[@]}" "${machine_extra[@]}" \
        -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$syslog_port-:514,hostfwd=tcp:127.0.0.1:$metrics_port-:9514,hostfwd=tcp:127.0.0.1:$ssh_port-:22" \
        -device virtio-net-pci,netdev=net,romfile= \
        -chardev "file,id=serial,path=$console,append=on" -serial chardev:serial \
        -monitor "tcp:127.0.0.1:$monitor_port,server=on,wait=off" >"$out/qemu.log" 2>&1 &
    machine=$!
    children+=("$machine")
}
machine_extra=()

# The power button; and the plug.
press_power_button() {
    local monitor
    exec {monitor}<>"/dev/tcp/127.0.0.1/$monitor_port"
    printf 'system_powerdown\ninfo status\n' >&"$monitor"
    # its answer to the second line comes after it has done the first
    timeout 10 grep -qm 1 'VM status' <&"$monitor" || true
    exec {monitor}>&-
}
is_off() { ! kill -0 "$machine" 2>/dev/null; }
wait_off() { wait_for "the machine to be off" "$1" is_off; }
pull_plug() {
    kill -KILL "$machine" 2>/dev/null || true
    wait "$machine" 2>/dev/null || true
}

# A page of the guest's metrics server, or nothing.
page() { # PATH
    local request
    exec {request}<>"/dev/tcp/127.0.0.1/$metrics_port" || return
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&"$request"
    timeout 5 cat <&"$request" || true
    exec {request}>&-
}
metric() { # NAME
    page /metrics | tr -d '\r' | awk -v name="$1" '$1 ~ "^cefline_" name "($|{)" { sum += $2 } END { printf "%d\n", sum }'
}
