# shellcheck shell=bash
# The UKI: one program of the firmware that has in it the kernel, its command line and the initramfs, so that
# one signature covers all of the system.

# The command line as the kernel takes it. Longer ones the kernel cuts without a word.
command_line() {
    local line
    line=$(data_lines "$appliance/kernel.cmdline" | paste -sd' ')$cmdline_extra
    [ "${#line}" -le 2047 ] || die "the command line has ${#line} bytes; the kernel takes 2047"
    printf '%s' "$line"
}

# The sections are put behind those of the stub, each at the next page: where these are is read from the stub.
make_uki() { # INITRAMFS OUTPUT
    local stub=$work/boot/usr/lib/systemd/boot/efi/linuxx64.efi.stub
    local next section file arguments=()
    os_release >"$work/osrel"
    command_line >"$work/cmdline"
    printf '%s' "$kernel_release" >"$work/uname"
    next=$(end_of_sections "$stub")
    for section in osrel:osrel uname:uname cmdline:cmdline linux:linux initrd:initrd; do
        case $section in
        linux:*) file=$(find "$work/kernel/boot" -name 'vmlinuz-*') ;;
        initrd:*) file=$1 ;;
        *) file=$work/${section#*:} ;;
        esac
        next=$(page_up "$next")
        arguments+=(--add-section ".${section%:*}=$file" --change-section-vma ".${section%:*}=$next")
        next=$((next + $(stat -c %s "$file")))
    done
    objcopy "${arguments[@]}" "$stub" "$2"
    no_time "$2"
}

# objcopy writes the time of day into the header, and a checksum over that, neither of which any firmware reads.
# A signature brings a checksum of its own.
no_time() { # PE-FILE
    local head
    head=$(read_hex "$1" 60 4)
    head=$((16#${head:6:2}${head:4:2}${head:2:2}${head:0:2}))
    put_hex "$1" $((head + 8)) 00000000
    put_hex "$1" $((head + 88)) 00000000
}

end_of_sections() { # FILE
    objdump --section-headers --wide "$1" |
        awk '$1 ~ /^[0-9]+$/ { print $3, $4 }' |
        while read -r size address; do echo $((16#$size + 16#$address)); done | sort -n | tail -1
}

page_up() { echo $((($1 + 4095) / 4096 * 4096)); }

# Signs a program of the firmware, or copies it when there is no key. The time in the signature is that of the
# sources; RSA signatures of the same bytes are the same.
sign() { # INPUT OUTPUT
    if [ -z "$sign_key" ]; then
        cp "$1" "$2"
        return
    fi
    local password=()
    if [ -n "$sign_password_file" ]; then
        password=(-readpass "$sign_password_file")
    fi
    rm -f "$2"
    osslsigncode sign -h sha256 -time "$SOURCE_DATE_EPOCH" -certs "$sign_certificate" -key "$sign_key" \
        "${password[@]}" -in "$1" -out "$2" >"$work/sign.log" 2>&1 || {
        cat "$work/sign.log" >&2
        die "signing failed; see above"
    }
}
