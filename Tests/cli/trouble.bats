#!/usr/bin/env bats
# Backups in a bad world: a store that is full, gone or damaged, a wrong key, slots that somebody emptied.
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154

load helper
load pod

setup_file() { prepare three_backups; }

setup() { prepared; }

# refused STATUS WORDS [OPTION…]: a backup ends so, the head stays, and nothing of it is left here.
refused() {
    local status_wanted=$1 words=$2 before
    shift 2
    before=$(head_of_store)
    run "-$status_wanted" timeout 60 escapepod backup ./pod.conf "$@"
    [[ $output = *"$words"* && $output != *done:* ]] || { echo "no '$words' in: $output" && return 1; }
    [[ $(head_of_store) = "$before" ]]
    [[ ! -e $(slots)/current-state && -z $(ls -A tmp) ]]
}

# The file of the head's metadata.
head_file() {
    local found=(store/escapepod/pod/metadata/*)
    echo "${found[-1]}"
}

@test "a full disk on the store: 74, the head stays, and the next backup succeeds when there is room" {
    nothing_yet
    truncate -s 8M disk.img
    mkfs.ext4 -q -O ^has_journal -m 0 disk.img
    mount -o loop disk.img store
    for backup in full incremental; do
        head -c 3M /dev/urandom >vol/big
        head -c 100M /dev/zero >store/ballast || :
        truncate -s -1M store/ballast
        refused 74 "no space left on device: $PWD/store"
        # Nothing half takes the little room that there is.
        [[ $(df --output=avail -B1 store | tail -n 1) -ge 1000000 ]]
        rm store/ballast
        run -0 escapepod backup ./pod.conf
        [[ $output = *"pod: $backup backup"*done:* ]]
    done
    # Without room for the metadata.
    echo second >vol/note
    stand_in ep-store <<'END'
[[ $1 != metadata ]] || head -c 100M /dev/zero >"$here/store/ballast"
exec "$real" "$@"
END
    before=$(head_of_store)
    run -74 timeout 60 escapepod backup ./pod.conf
    [[ $(head_of_store) = "$before" ]]
    no_stand_in
    rm store/ballast
    run -0 escapepod backup ./pod.conf
    [[ $(newest) = "3 incremental" ]]
}

@test "a store that is absent, a file, or read-only" {
    nothing_yet
    store=file://$PWD/absent
    configure
    run -69 timeout 60 escapepod backup ./pod.conf
    [[ $output = *"$PWD/absent"*hint:* ]]
    [[ ! -e absent ]]
    : >file
    store=file://$PWD/file
    configure
    run -69 timeout 60 escapepod backup ./pod.conf
    [[ $output = *"$PWD/file"* ]]
    drives_alone
    store=label:no-such-drive
    configure
    run -69 timeout 60 escapepod backup ./pod.conf
    [[ $output = *"no-such-drive"* ]]
    [[ ! -e vol/.escapepod ]]

    store=file://$PWD/store
    configure
    mount --bind store store
    mount -o remount,bind,ro store
    run -77 timeout 60 escapepod backup ./pod.conf
    [[ $output = *"read-only file system: $PWD/store"*hint:* ]]
    [[ ! -e $(slots)/current-state && -z $(ls -A store) ]]
    mount -o remount,bind,rw store
    escapepod backup ./pod.conf
}

@test "a domain with a path in it: 64, in every command" {
    nothing_yet
    before=$(listing .)
    for command in backup list status; do
        run -64 timeout 60 escapepod "$command" ./pod.conf --domain ../x
        [[ $output = *../x* ]]
    done
    run -64 timeout 60 escapepod restore ./pod.conf --domain ../x --to vol/new
    [[ $output = *../x* ]]
    [[ ! -e x && ! -e store/x && -z $(ls -A store) && ! -e vol/.escapepod ]]
}

@test "snapshots deleted by hand: a full backup, and the plan says why" {
    btrfs -q subvolume delete "$(slots)"/{current-parent,root}
    echo fourth >vol/note
    run -0 escapepod backup ./pod.conf
    [[ ${lines[0]} = "pod: full backup of "*"generation 4" ]]
    [[ ${lines[1]} = *"generation 3"* ]]
    [[ ${lines[1]} != *"no backup of pod"* && ${lines[1]} != *"has its snapshot here"* ]]
    [[ $(newest) = "4 full" ]]
    echo fifth >vol/note
    run -0 escapepod backup ./pod.conf
    [[ $(newest) = "5 incremental" ]]
    new_machine
    restores fifth
}

@test "two backups at once: one gets 75 and changes nothing, the other completes" {
    stand_in ep-seal <<'END'
[[ ! -e "$here/waits" ]] || exec "$real" "$@"
touch "$here/waits"
for ((i = 0; i < 300; i++)); do [[ ! -e "$here/go" ]] || break; sleep 0.1; done
exec "$real" "$@"
END
    timeout 60 escapepod backup ./pod.conf >first.out 2>&1 &
    first=$!
    eventually test -e waits
    before=$(btrfs subvolume list -u vol)
    run -75 timeout 60 escapepod backup ./pod.conf
    [[ $output =~ "another run is in progress: $volume: process "[0-9]+", escapepod backup".*hint: ]]
    [[ $(btrfs subvolume list -u vol) = "$before" && $(newest) = "3 incremental" ]]
    touch go
    wait "$first"
    [[ $(newest) = "4 incremental" ]]
    escapepod backup ./pod.conf
    [[ $(newest) = "5 incremental" ]]
}

@test "two machines with one domain: the slower one gets 75, and no backup of the faster one is lost" {
    make_btrfs other 256M
    echo other >other/note
    sed "s,^volume=.*,volume=$PWD/other," pod.conf >other.conf
    stand_in ep-meta <<'END'
[[ $1 != create || -e "$here/once" ]] || { touch "$here/once" && escapepod backup "$here/other.conf" >&2; }
exec "$real" "$@"
END
    run -75 timeout 60 escapepod backup ./pod.conf
    no_stand_in
    [[ $(newest) = "4 full" ]]
    run -0 escapepod backup ./pod.conf
    [[ $output = *"pod: full backup"* ]]
    [[ $(newest) = "5 full" ]]
}

@test "a wrong key: 65 in every command, and nothing happens" {
    ep-key generate other.key >/dev/null
    refused 65 "another key" --key other.key
    for command in list status "restore --to vol/new"; do
        # shellcheck disable=SC2086
        run -65 timeout 60 escapepod $command --store "$store" --domain pod --key other.key
        [[ $output = *"another key"* ]]
    done
    [[ ! -e vol/new ]]
    refused 74 "no such file or directory: no.key" --key no.key
    run -0 escapepod backup ./pod.conf
    [[ $(newest) = "4 incremental" ]]
}

@test "a head that opens under no key of ours: 65, and an earlier generation is still to be had" {
    ep-key generate other.key >/dev/null
    head -c 1000 /dev/urandom | ep-seal --key other.key >rubbish
    ep-store blob "$store" --domain pod <rubbish
    entry=$(head_file)
    ep-seal --key other.key --kind metadata <rubbish |
        ep-store metadata "$store" --domain pod --blob "$(sha256sum <rubbish | cut -d' ' -f1)" --follows "${entry##*-}" --parent none
    refused 65 "another key"
    run -65 timeout 60 escapepod restore ./pod.conf --to vol/back
    # What was put there by somebody who may append and has no key.
    run -0 timeout 60 escapepod restore ./pod.conf --to vol/back --generation 3
    [[ $(<vol/back/note) = third ]]
}

@test "a head with a flipped byte, or cut: 65, and never taken for none" {
    cp "$(head_file)" good
    # Magic, kind, key id, salt, commitment, text, tag, trailer's length.
    for at in 0 10 20 70 100 200 -20 -1; do
        flip "$(head_file)" "$at"
        refused 65 metadata
        run -65 timeout 60 escapepod status ./pod.conf
        run -65 timeout 60 escapepod list ./pod.conf
        run -65 timeout 60 escapepod restore ./pod.conf --to vol/new
        cp good "$(head_file)"
    done
    for length in 0 1 119 150 -1; do
        truncate -s "$length" "$(head_file)"
        refused 65 metadata
        cp good "$(head_file)"
    done
    [[ ! -e vol/new ]]
    run -0 escapepod backup ./pod.conf
    [[ $(newest) = "4 incremental" ]]
}

@test "the metadata of another domain in this one's folder: 65" {
    nothing_yet
    escapepod backup ./pod.conf
    make_btrfs other 256M
    escapepod backup ./pod.conf --volume other --domain other
    foreign=$(echo store/escapepod/other/metadata/*)
    cp store/escapepod/other/blobs/* store/escapepod/pod/blobs/
    cp "$foreign" "store/escapepod/pod/metadata/0000000002-${foreign##*-}"
    refused 65 "other"
    run -65 timeout 60 escapepod list ./pod.conf
    run -65 timeout 60 escapepod restore ./pod.conf --to vol/new
    # In place of one's own, too.
    cp "$foreign" "$(echo store/escapepod/pod/metadata/0000000001-*)"
    rm "store/escapepod/pod/metadata/0000000002-${foreign##*-}"
    refused 65 "other"
    run -65 timeout 60 escapepod restore ./pod.conf --to vol/new
    [[ ! -e vol/new ]]
    # All of it, under another's name.
    cp -a store/escapepod/other store/escapepod/third
    for command in list status verify sheet; do
        run -65 timeout 60 escapepod "$command" --store "$store" --domain third --key pod.key
        [[ $output = *"metadata of other"* || $output = *"metadata of a backup other"* || $output = *"no metadata of third"* ]]
    done
}

@test "nested subvolumes are named in the plan; the slots are not" {
    btrfs -q subvolume create vol/machines
    run -0 escapepod backup ./pod.conf
    [[ $output = *"left out, a subvolume of its own: "*machines* ]]
    [[ $(grep -c 'left out' <<<"$output") -eq 1 ]]
    # Whatever it is called, it steers no terminal.
    mv vol/machines "vol/"$'evil\n\e[2Jname'
    run -0 escapepod backup ./pod.conf
    [[ $output = *'left out, a subvolume of its own: '*'evil\x0a\x1b[2Jname'* && $output != *$'\e'* ]]
}

@test "nobody else can hold a lock of ours: not by the volume, and not where the locks lie" {
    chmod 755 . vol
    setpriv --reuid=65534 --clear-groups flock vol sleep 60 3>&- &
    locked() { ! flock -n vol true; }
    eventually locked
    run -0 timeout 60 escapepod backup ./pod.conf
    # A folder that others can write to is none for locks.
    refuses 77 "others can change or read this folder: /run/escapepod" unshare --mount --propagation slave bash -c '
        mount -t tmpfs none /run && mkdir -m 0755 /run/escapepod && timeout 60 escapepod backup ./pod.conf'
    refuses 77 "others can change or read this folder: /run/escapepod" unshare --mount --propagation slave bash -c '
        mount -t tmpfs none /run && mkdir -m 0700 /run/theirs && chown 65534 /run/theirs
        ln -s theirs /run/escapepod && timeout 60 escapepod backup ./pod.conf'
    [[ $(newest) = "4 incremental" ]]
}

@test "a script that cannot fork ends in 74, or is done, and leaves nothing of its work" {
    local call status
    for call in 1 2 3 4 7 10; do
        status=0
        strace -qq -o /dev/null -e trace=clone -e inject=clone:error=ENOMEM:when="$call" \
            bash "$EP_REPO/bin/escapepod" list ./pod.conf >out 2>err || status=$?
        [[ $status -eq 74 || $status -eq 0 ]] || { echo "fork $call: status $status: $(<err)" && return 1; }
        [[ -z $(ls -A tmp) ]]
    done
}

@test "the work folder goes, even if the rm of it is killed" {
    stand_in rm <<<'[[ $1 != -rf || -e $here/killed ]] || { : >"$here/killed"; kill -KILL $$; }; exec "$real" "$@"'
    PATH=$PWD/stand-in:$PATH run -0 escapepod backup ./pod.conf
    [[ -e killed && -z $(ls -A tmp) ]]
}
