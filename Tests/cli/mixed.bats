#!/usr/bin/env bats
# A store in which somebody moved files about: nothing is taken for what it is not.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154

load helper
load pod

setup_file() { prepare two_domains; }
two_domains() {
    three_backups
    make_btrfs other 256M
    echo other >other/note
    # Another domain under the same key: the seal alone does not tell them apart.
    escapepod backup ./pod.conf --volume other --domain other
    cp -a store whole
}

setup() {
    prepared
    pod=store/escapepod/pod other=store/escapepod/other
    entries=("$pod"/metadata/*)
    entries=("${entries[@]##*/}")
    blobs=("${entries[@]#*-}")
    foreign=("$other"/metadata/*)
    foreign=("${foreign[@]##*/}")
}

# The store as it was before somebody moved files.
mended() {
    rm -rf store
    cp -a whole store
}

# refused COMMAND…: each ends in 65; the head stays, nothing is restored, and no snapshot or cleartext is left.
refused() {
    local command before
    before=$(head_of_store)
    for command; do
        # shellcheck disable=SC2086
        run -65 --separate-stderr timeout 60 escapepod $command ./pod.conf
        [[ $output != *receiving* && $output != *done* && -n $stderr ]] || { echo "$output" "$stderr" && return 1; }
    done
    [[ $(head_of_store) = "$before" && ! -e vol/back && ! -e $(slots)/current-state && -z $(ls -A tmp) ]] ||
        { echo "$before, now $(head_of_store)" && ls -A vol "$(slots)" tmp && return 1; }
}
restore="restore --to vol/back"

# not_restored: what is wrong with a blob is found before anything is written, or on the way; it never appears under the name.
not_restored() {
    refused "$restore --verify-first"
    run -65 timeout 60 escapepod restore ./pod.conf --to vol/back
    [[ $output = *"receiving"* && $output != *done* && ! -e vol/back ]]
    # What was whole is there for the next one.
    ep-snap scratch vol --for "restore pod" --drop
}

@test "another domain's metadata as the newest: backup, restore, list, status, init, ep-plan, ep-meta" {
    cp "$other/blobs/${foreign[0]#*-}" "$pod/blobs/"
    for name in "0000000004-${foreign[0]#*-}" "${entries[2]}"; do
        cp "$other/metadata/${foreign[0]}" "$pod/metadata/$name"
        refused backup "$restore" list status
        # As on a new machine, where nothing is known of the volume.
        run -65 timeout 60 escapepod status --store "$store" --domain pod --key pod.key
        run -65 timeout 60 escapepod init ./new.conf --volume "$volume" --store "$store" --domain pod --key pod.key
        [[ ! -e new.conf ]]
        ep-fetch last "$store" --domain pod | ep-unseal --kind metadata --key pod.key >document
        refuses 65 "belongs to other, not to pod" ep-meta check --domain pod <document
        ep-snap list vol --name x --json >snapshots
        refuses 65 "belongs to other, not to pod" ep-plan --domain pod --snapshots snapshots <document
        mended
    done
}

@test "another domain's metadata in the middle or at the start: restore and list" {
    for entry in "${entries[@]:0:2}"; do
        cp "$other/metadata/${foreign[0]}" "$pod/metadata/$entry"
        refused "$restore" list
        mended
    done
}

@test "all of another domain in this one's folder" {
    rm -r "$pod"
    cp -a "$other" "$pod"
    refused backup "$restore" list status
}

@test "the metadata of another backup of the domain: never taken for the one that it is filed as" {
    cp "$pod/metadata/${entries[2]}" "$pod/metadata/${entries[0]}"
    refused "$restore" list
    mended
    cp "$pod/metadata/${entries[0]}" "$pod/metadata/${entries[2]}"
    refused "$restore" list
    # To a backup it is an old head, and nothing can be committed on it.
    run -65 timeout 60 escapepod status ./pod.conf
    [[ $output = *"warning: rollback: "* && $output = *"the store returned the metadata of a backup other than "* ]]
    before=$(head_of_store)
    run -75 timeout 60 escapepod backup ./pod.conf
    [[ $output = *"warning: rollback: "* && $output != *done:* && $(head_of_store) = "$before" ]]
}

@test "a blob under another's address: restore, ep-fetch" {
    for at in 0 1 2; do
        cp "$pod/blobs/${blobs[(at + 1) % 3]}" "$pod/blobs/${blobs[at]}"
        not_restored
        run -65 bash -c 'ep-fetch blob "$0" --domain pod "$1" 2>&1 >/dev/null' "$store" "${blobs[at]}"
        [[ $output = *"its SHA-256 does not match its name"* ]]
        # Whoever reads what came out sees a cut stream.
        run -65 bash -c 'ep-fetch blob "$0" --domain pod "$1" 2>/dev/null | ep-unseal --key pod.key --check' \
            "$store" "${blobs[at]}"
        mended
    done
    cp "$other/blobs/${foreign[0]#*-}" "$pod/blobs/${blobs[1]}"
    not_restored
}

@test "a damaged blob is 65, also where a stage refuses it long before its end" {
    local blob
    head -c 40M /dev/urandom >vol/large
    escapepod backup ./pod.conf
    blob=$(ep-fetch list "$store" --domain pod | tail -n 1)
    flip "$pod/blobs/$blob" 100000
    not_restored
    [[ $output = *"its SHA-256 does not match its name"*"$blob"* ]]
}

@test "a blob under another's address: a backup with those very bytes heals it, and takes none for its own" {
    cp "$pod/blobs/${blobs[1]}" "$pod/blobs/${blobs[0]}"
    ep-store blob "$store" --domain pod <"whole/escapepod/pod/blobs/${blobs[0]}" >receipt
    cmp "$pod/blobs/${blobs[0]}" "whole/escapepod/pod/blobs/${blobs[0]}"
    rm "$pod/metadata/${entries[2]}"
    ep-unseal --kind metadata --key pod.key <"whole/escapepod/pod/metadata/${entries[2]}" |
        ep-seal --kind metadata --key pod.key >sealed
    cp "whole/escapepod/pod/metadata/${entries[0]}" "$pod/blobs/${blobs[2]}"
    refuses 65 "metadata, not blob" ep-store metadata "$store" --domain pod --blob "${blobs[2]}" --follows "${blobs[1]}" --parent none <sealed
}

@test "metadata served as a blob: restore, ep-fetch, ep-unseal" {
    for at in 0 2; do
        cp "$pod/metadata/${entries[at]}" "$pod/blobs/${blobs[at]}"
        not_restored
        refuses 65 "metadata, not blob" ep-fetch blob "$store" --domain pod "${blobs[at]}"
        mended
    done
    # Under its own address, too, and relabelled: the kind is part of what is sealed.
    sealed=$pod/metadata/${entries[0]}
    address=$(sha256sum "$sealed" | cut -d' ' -f1)
    cp "$sealed" "$pod/blobs/$address"
    refuses 65 "metadata, not blob" ep-fetch blob "$store" --domain pod "$address"
    refuses 65 "metadata, not blob" ep-unseal --key pod.key <"$sealed"
    printf '\001' | dd of="$pod/blobs/$address" bs=1 seek=10 conv=notrunc status=none
    refuses 65 "damaged or tampered with" ep-unseal --key pod.key <"$pod/blobs/$address"
    refuses 65 "blob, not metadata" ep-store metadata "$store" --domain pod --blob "$address" --follows "${blobs[2]}" --parent none \
        <"$pod/blobs/$address"
}

@test "a blob served as metadata: backup, restore, list, status" {
    for at in 0 1; do
        # One larger than any metadata, one smaller.
        cp "$pod/blobs/${blobs[at == 0 ? 0 : 2]}" "$pod/metadata/${entries[2]}"
        refused backup "$restore" list status
        mended
    done
    printf '\002' | cat <(head -c 10 "$pod/blobs/${blobs[2]}") - <(tail -c +12 "$pod/blobs/${blobs[2]}") >"$pod/metadata/${entries[2]}"
    refused backup "$restore" list status
}
