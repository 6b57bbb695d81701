# shellcheck shell=bash
# The bill of materials, CycloneDX 1.5: each crate of cefline and of PID 1 that is in the programs, and each
# package of Debian that something in the image is from, with licence and SHA-256.

make_sbom() { # UKI OUTPUT
    crates_of "$repository" >"$work/crates-cefline.json"
    crates_of "$appliance/init" >"$work/crates-init.json"
    jq --null-input --sort-keys \
        --arg version "$version" --arg time "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
        --arg serial "urn:uuid:$(uuid_of "sbom $version $kernel" | tr 'A-F' 'a-f')" \
        --arg uki "$(sha256sum "$1" | cut -d' ' -f1)" --arg kernel "$kernel" \
        --arg rust "$(rustc --version | cut -d' ' -f2)" \
        --slurpfile cefline "$work/crates-cefline.json" --slurpfile init "$work/crates-init.json" \
        --slurpfile packages <(debian_packages) '
        def sha: [{alg: "SHA-256", content: .}];
        ($cefline[0] + $init[0]) as $crates |
        {
            bomFormat: "CycloneDX", specVersion: "1.5", version: 1, serialNumber: $serial,
            metadata: {
                timestamp: $time,
                component: {
                    type: "operating-system", "bom-ref": "appliance", name: "cefline-appliance",
                    version: $version, hashes: ($uki | sha),
                    properties: [{name: "cefline:kernel", value: $kernel}]
                }
            },
            components: (
                [$crates[] | .component] + [$packages[] | .component]
                + [{type: "library", "bom-ref": "rust-std", name: "rust-std", version: $rust,
                    licenses: [{expression: "MIT OR Apache-2.0"}]}]
                | unique_by(."bom-ref")
            ),
            dependencies: (
                [{ref: "appliance", dependsOn: ([$crates[] | select(.root) | .component."bom-ref"] + [$packages[] | .component."bom-ref"] | unique)}]
                + [$crates | group_by(.component."bom-ref")[] |
                    {ref: .[0].component."bom-ref", dependsOn: ([.[].needs[]] | unique)}]
            )
        }' >"$2"
}

# The crates that one program is made of, as a list of {root, needs, component}: what is only for its tests,
# or only for building it, is not in the program and not here. Checksums are those of Cargo.lock.
crates_of() { # FOLDER
    lock_checksums "$1/Cargo.lock" >"$work/checksums.json"
    (cd "$1" && cargo metadata --locked --format-version 1 --filter-platform "$rust_target") |
        jq --slurpfile sums "$work/checksums.json" '
        def ref: "pkg:cargo/\(.name)@\(.version)";
        (reduce .packages[] as $p ({}; .[$p.id] = $p)) as $package |
        (reduce .resolve.nodes[] as $n ({}; .[$n.id] =
            [$n.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg])) as $needs |
        def reach($seen; $left):
            if ($left | length) == 0 then $seen
            else ([$left[] | $needs[.][]] | unique | map(select($seen[.] | not))) as $next
                | reach(reduce $next[] as $n ($seen; .[$n] = true); $next) end;
        .resolve.root as $root |
        [reach({($root): true}; [$root]) | keys[] | . as $id | $package[$id] | {
            root: ($id == $root),
            needs: [$needs[$id][] | $package[.] | ref],
            component: ({
                type: (if $id == $root then "application" else "library" end),
                "bom-ref": ref, purl: ref, name, version
            } + (if .license then {licenses: [{expression: (.license | gsub(" ?/ ?"; " OR "))}]} else {} end)
              + ($sums[0]["\(.name) \(.version)"] as $sum |
                 if $sum then {hashes: [{alg: "SHA-256", content: $sum}]} else {} end))
        }]'
}

lock_checksums() { # CARGO-LOCK
    awk -F'"' '
        /^name = / { name = $2 }
        /^version = / { version = $2 }
        /^checksum = / { print name " " version "\t" $2 }' "$1" |
        jq --raw-input --slurp '[split("\n")[] | select(. != "") | split("\t") | {key: .[0], value: .[1]}] | from_entries'
}

debian_packages() {
    local role license
    for role in "kernel-$kernel" boot e2fsck ca-certificates; do
        case $role in
        kernel-*) license='GPL-2.0-only WITH Linux-syscall-note' ;;
        boot) license='LGPL-2.1-or-later' ;;
        e2fsck) license='GPL-2.0-only' ;;
        ca-certificates) license='MPL-2.0' ;;
        esac
        debian_component "$(locked "$role" 2)" "$(locked "$role" 3)" "$(locked "$role" 4)" "$license"
    done
    # the C library that is linked into both programs is that of the machine they were built on
    if [ "$programs_built_here" = yes ]; then
        debian_component libc6-dev "$(dpkg-query -W -f '${Version}' libc6-dev)" '' 'LGPL-2.1-or-later'
    fi
}

debian_component() { # NAME VERSION SHA256 LICENCE
    jq --null-input --arg name "$1" --arg version "$2" --arg sha "$3" --arg license "$4" '
        "pkg:deb/debian/\($name | @uri)@\($version | @uri)" as $ref |
        {component: ({type: "library", "bom-ref": $ref, purl: $ref, name: $name, version: $version,
            licenses: [{expression: $license}]}
            + (if $sha == "" then {} else {hashes: [{alg: "SHA-256", content: $sha}]} end))}'
}
