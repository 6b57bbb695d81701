#!/usr/bin/env bash
# Under firmware that starts only what is signed: the signed image starts; one that is not signed is refused,
# and so is a signed one of which a single byte was changed.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"

begin
build_image signed --formats raw --test-key
build_image unsigned --formats raw

# What the firmware says when it refuses; that it is slow must not be taken for a refusal.
refusal='Access [Dd]enied|Security [Vv]iolation'

new_machine signed
use_secure_boot
start_machine
wait_line 'appliance: version' "$boot_time" && ok "the signed image starts"
expect "no kernel ran before it that the firmware had refused" test "$(grep -acE "$refusal" "$console")" -eq 0
expect "the kernel knows that it was started securely" wait_line 'appliance: configuration from' 60
pull_plug

new_machine unsigned
use_secure_boot
start_machine
wait_line "$refusal" "$boot_time" && ok "the unsigned image is refused: $(said "$refusal")"
not_started() { ! line 'appliance: |Linux version'; }
expect "and no kernel runs" not_started
pull_plug

# one byte in the middle of the UKI, where the initramfs is, on the disk itself: the boot loader still starts
new_machine signed
use_secure_boot
esp=$((2048 * 512))
uki=$(mdir -i "$disk@@$esp" -b ::/EFI/Linux | grep -o '::/EFI/Linux/.*' | head -1)
mcopy -i "$disk@@$esp" "$uki" "$out/uki.efi"
byte_at=$(($(stat -c %s "$out/uki.efi") / 2))
byte=$(od -An -tu1 -j "$byte_at" -N 1 "$out/uki.efi")
printf '%b' "\\x$(printf '%02x' $((byte ^ 1)))" | dd of="$out/uki.efi" bs=1 seek="$byte_at" conv=notrunc status=none
mdel -i "$disk@@$esp" "$uki"
mcopy -i "$disk@@$esp" "$out/uki.efi" "$uki"
start_machine
wait_line "$refusal" "$boot_time" && ok "the tampered image is refused: $(said "$refusal")"
expect "and no kernel runs" not_started
pull_plug
finish
