#!/usr/bin/env bash
# A configuration disk that somebody made badly or with intent: the appliance says what is wrong, without
# obeying it, starts nothing, and stays up to be read instead of restarting for ever.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"

begin
prepare </dev/null
# a key with an escape sequence in it, a network that is none, junk with odd names, a file that is too long
printf '"\\u001b[2Jowned" = 1\n' >"$out/configuration/appliance.toml"
for number in $(seq 40); do : >"$out/configuration/a b$number"; done
truncate --size 3M "$out/configuration/long"
make_disk "$out/configuration.img" "$out/configuration"
# and a second one, whose links lead to files of the system
if command -v xorriso >/dev/null; then
    mkdir "$out/links"
    ln -s /init "$out/links/update.efi"
    ln -s /etc/shadow "$out/links/client-secret"
    mkfifo "$out/links/fifo"
    echo '[sentinel]' >"$out/links/cefline.toml"
    xorriso -as mkisofs -quiet -R -V CIDATA -o "$out/links.iso" "$out/links" 2>"$out/iso.log"
    # shellcheck disable=SC2054  # commas are QEMU's
    machine_extra=(-drive "if=none,id=links,format=raw,readonly=on,file=$out/links.iso" -device virtio-blk-pci,drive=links)
fi
new_machine image
use_kernel image
start_machine "$out/configuration.img"
wait_line 'appliance: cefline is not started: appliance.toml' "$boot_time" || finish
expect "the key is named" line 'unknown field.*owned'
wait_line '^state +cefline is not started' 30
silent() { ! tail -n "+$((mark + 1))" "$console" | grep -aq $'\033'; }
expect "and is nothing that a terminal would obey" silent
expect "junk is named in a few lines" line 'left out: and [0-9]+ more'
no_line() { ! line "$1"; }
expect "a link is no update" no_line 'appliance: update:'
sleep 15
expect "the machine stays up" no_line 'restarting'
press_power_button
wait_off 60 && ok "and goes off by its button"
finish
