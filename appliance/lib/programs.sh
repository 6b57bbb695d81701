# shellcheck shell=bash
# cefline and PID 1, built static, with nothing in them of the machine they were built on.

rust_target=x86_64-unknown-linux-gnu

# Builds one program of a crate and prints where it is.
build_program() { # FOLDER PROGRAM [ARGUMENTS OF CARGO...]
    local target
    target=$(cd "$1" && cargo metadata --locked --no-deps --format-version 1 | jq -r .target_directory)
    (
        cd "$1"
        "$repository/appliance/lib/static" cargo build --locked --release --quiet --target "$rust_target" --bin "$2" "${@:3}"
    ) >&2
    echo "$target/$rust_target/release/$2"
}

# Copies a program without its symbols; one that is not static, or that tells where it was built, is refused.
take_program() { # FROM TO
    install -D -m 755 "$1" "$2"
    strip --strip-all "$2"
    if readelf -lW "$2" | grep -q INTERP; then
        die "$1 is not static: the image has no libraries (build it with -C target-feature=+crt-static)"
    fi
    if grep -qaF -e "$repository/" -e "$HOME/.cargo/" "$2"; then
        say "note: $1 has paths of this machine in it, so another machine would build other bytes"
    fi
}

# The programs for an image that is only tested, without symbols, in a folder. Its cefline is given, or built
# with the feature that its test asks for.
build_programs_for_tests() { # FOLDER [CEFLINE]
    local program=${2:-}
    [ -n "$program" ] || program=$(build_program "$repository" cefline --features self-attack)
    take_program "$program" "$1/cefline"
    for program in appliance-init make-seed; do
        take_program "$(build_program "$repository/appliance/init" "$program")" "$1/$program"
    done
}
