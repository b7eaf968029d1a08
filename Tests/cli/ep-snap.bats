#!/usr/bin/env bats
# ep-snap on real btrfs.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154

load helper

# A volume that is no top level, with a file in it, and its slots' directory.
make_volume() {
    needs_root
    make_btrfs fs 256M
    volume=$PWD/fs/volume
    slots=$volume/.escapepod/usb
    btrfs -q subvolume create "$volume"
    echo first >"$volume/file"
}

received() { btrfs subvolume show "$1" | awk '$1 == "Received" { print $3 }'; }

# The taken slots with their UUIDs, on one line.
state() { ep-snap list "$volume" --name usb | awk 'NR > 1 { printf "%s=%s ", $1, $2 }'; }

# Fills all four slots, as two backups and a half leave them.
fill() {
    local slot
    (umask 077 && mkdir -p "$slots")
    for slot in root last-parent current-parent current-state; do
        [[ ! -e $slots/$slot ]] || btrfs -q subvolume delete "$slots/$slot" >/dev/null
        btrfs -q subvolume snapshot -r "$volume" "$slots/$slot" >/dev/null
    done
    root=$(uuid "$slots/root")
    parent=$(uuid "$slots/current-parent")
    current=$(uuid "$slots/current-state")
}

@test "create takes a read-only snapshot and prints its record" {
    make_volume
    run -0 --separate-stderr ep-snap create "$volume" --name usb --json
    expected='^\{"slot":"current-state","path":"'$slots'/current-state","uuid":"'$(uuid "$slots/current-state")'",'
    expected+='"receivedUuid":null,"generation":[0-9]+,"created":"20[0-9-]+T[0-9:]+Z","readOnly":true,"changed":false\}$'
    [[ $output =~ $expected ]]
    [[ $stderr == "" ]]
    [[ $(<"$slots/current-state/file") == first ]]
    [[ $(stat -c %a "$volume/.escapepod") == 700 ]]
    run ! touch "$slots/current-state/file"
}

@test "create leaves a taken slot alone and says what to do" {
    make_volume
    ep-snap create "$volume" --name usb
    before=$(state)
    run -75 ep-snap create "$volume" --name usb
    [[ $output == *"the slot is occupied: $slots/current-state"*hint:*rotate*discard* ]]
    [[ $(state) == "$before" ]]
}

@test "list shows the slots in their order, and none where there are none" {
    make_volume
    run -0 ep-snap list "$volume" --name usb --json
    [[ $output == "[]" ]]
    [[ ! -e $volume/.escapepod ]]
    fill
    [[ $(state) == "root=$root last-parent=$(uuid "$slots/last-parent") current-parent=$parent current-state=$current " ]]
    run -0 ep-snap list "$volume" --name other
    [[ ${#lines[@]} == 1 ]]
}

@test "rotate after a full backup and two incremental ones" {
    make_volume
    run -0 ep-snap rotate "$volume" --name usb --type full
    [[ $(state) == "" ]]
    for type in full incremental incremental incremental; do
        ep-snap create "$volume" --name usb
        made+=("$(uuid "$slots/current-state")")
        ep-snap rotate "$volume" --name usb --type "$type"
    done
    [[ $(state) == "root=${made[0]} last-parent=${made[2]} current-parent=${made[3]} " ]]
    ep-snap rotate "$volume" --name usb --type incremental
    [[ $(state) == "root=${made[0]} last-parent=${made[2]} current-parent=${made[3]} " ]]
    ep-snap create "$volume" --name usb
    made+=("$(uuid "$slots/current-state")")
    ep-snap rotate "$volume" --name usb --type full
    [[ $(state) == "root=${made[4]} " ]]
}

# Killed at the entry of each system call of one name in turn, and run again.
kill_turn_at() {
    local call=$1 type=$2 expected when kills=0
    for ((when = 1; when < 200; when++)); do
        fill
        expected="root=$root last-parent=$parent current-parent=$current "
        [[ $type == incremental ]] || expected="root=$current "
        if timeout 60 strace -o trace -e "inject=$call:signal=KILL:when=$when" \
            ep-snap rotate "$volume" --name usb --type "$type"; then
            [[ $(state) == "$expected" ]]
            echo "$kills" >kills
            return
        fi
        grep -q 'killed by SIGKILL' trace
        kills=$((kills + 1))
        ep-snap rotate "$volume" --name usb --type "$type"
        [[ $(state) == "$expected" ]]
    done
    return 1
}

@test "rotate goes on from wherever it was killed" {
    make_volume
    for type in full incremental; do
        kill_turn_at ioctl "$type"
        (($(<kills) >= 3))
        kill_turn_at renameat "$type"
        (($(<kills) >= 1))
    done
}

@test "discard deletes current-state and nothing else" {
    make_volume
    run -0 ep-snap discard "$volume" --name usb
    fill
    before=$(state)
    ep-snap discard "$volume" --name usb
    [[ "$(state)current-state=$current " == "$before" ]]
    run -0 ep-snap discard "$volume" --name usb
}

@test "create --anew takes the place of what a failed backup left, and nothing else; --look comes before all of it" {
    make_volume
    ep-snap create "$volume" --name usb --anew
    fill
    before=$(state)
    refuses 75 "the slot is occupied" ep-snap create "$volume" --name usb
    refuses 74 "no such file or directory: absent/looked" ep-snap create "$volume" --name usb --anew --look absent/looked
    [[ $(state) == "$before" ]]
    btrfs -q subvolume create "$volume/nested"
    ep-snap create "$volume" --name usb --anew --look looked --json >record
    ep-snap look "$volume" | cmp - looked
    [[ $(sed 1d looked) = "$volume/nested" ]]
    [[ $(state) == "${before% current-state=*} current-state=$(jq -r .uuid record) " && $(jq -r .uuid record) != "$current" ]]
}

@test "a slot that holds no snapshot is refused and left alone" {
    make_volume
    mkdir -m 0700 "$volume/.escapepod" "$slots"
    mkdir -p "$slots/current-state/keep"
    ln -s current-state "$slots/root"
    for step in "list" "create" "discard" "rotate --type full"; do
        # shellcheck disable=SC2086
        run -65 ep-snap $step "$volume" --name usb
        [[ $output == *"not a snapshot, but only snapshots belong there: $slots/"*hint:* ]]
    done
    [[ -d $slots/current-state/keep && -L $slots/root ]]
    rm -r "${slots:?}"/*
    # One that somebody works in, and one of another volume.
    ep-snap create "$volume" --name usb
    btrfs -q subvolume create "$slots/root"
    btrfs -q subvolume create fs/other
    btrfs -q subvolume snapshot fs/other "$slots/last-parent"
    for slot in root last-parent; do
        run -65 ep-snap rotate "$volume" --name usb --type full
        [[ $output == *"refusing to delete what is not a snapshot of the volume: $slots/"*hint:* && -d $slots/$slot ]]
        btrfs -q subvolume delete "$slots/$slot"
    done
    ep-snap rotate "$volume" --name usb --type full
}

# Runs COMMAND… as a user who owns the volume.
as_owner() {
    chmod a+x "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/test" "$BATS_TEST_TMPDIR"
    (cd / && setpriv --reuid 1000 --regid 1000 --clear-groups "$@")
}

@test "an owner of the volume who plants folders and links of his own gets nothing deleted, and no snapshot" {
    make_volume
    chown 1000:1000 "$volume" && chmod 0777 "$volume"
    btrfs -q subvolume create fs/precious
    mkdir fs/precious/usb
    for slot in root last-parent current-parent current-state; do
        btrfs -q subvolume snapshot -r "$volume" "fs/precious/usb/$slot"
    done
    # Made as it has to be, root's, for once.
    mkdir -m 0700 fs/closed fs/closed/usb
    for plant in "ln -s $PWD/fs/precious .escapepod" "ln -s ../closed .escapepod" \
        "mkdir -m 0700 .escapepod" "mkdir -p .escapepod/usb/current-state" "touch .escapepod"; do
        as_owner bash -c "cd '$volume' && $plant"
        for step in "list" "create" "discard" "rotate --type full" "move --to other"; do
            # shellcheck disable=SC2086
            run -77 ep-snap $step "$volume" --name usb
            [[ $output == *": $volume/.escapepod"*hint:* ]] || { echo "$plant, $step: $output" && return 1; }
        done
        rm -rf "$volume/.escapepod"
    done
    [[ $(echo fs/precious/usb/* | wc -w) == 4 && -z $(ls fs/closed/usb) ]]
    # A folder of ours that others may write to, or read.
    for mode in 0770 0711; do
        mkdir -m 0700 "$volume/.escapepod" && mkdir -m "$mode" "$slots"
        run -77 ep-snap create "$volume" --name usb
        [[ $output == *": $slots"*hint:* ]]
        rm -rf "$volume/.escapepod"
    done
    ep-snap create "$volume" --name usb
    [[ $(stat -c '%U %a' "$volume/.escapepod" "$slots") == $'root 700\nroot 700' ]]
}

@test "a volume by a path that others can bend is refused, by root's own link it is not" {
    make_volume
    mkdir -m 0777 fs/open
    as_owner ln -s "$volume" "$PWD/fs/open/link"
    run -77 ep-snap create fs/open/link --name usb
    [[ $output == *"refusing to follow a symbolic link that others could have created: "*hint:* && ! -e $volume/.escapepod ]]
    ln -s "$volume" link
    run -0 ep-snap create link --name usb --json
    [[ $output == *'"path":"'"$slots/current-state"'"'* ]]
}

@test "the owner who swaps the folder between two steps gets nothing deleted" {
    make_volume
    ep-snap create "$volume" --name usb
    chown 1000:1000 "$volume"
    btrfs -q subvolume create fs/precious
    mkdir fs/precious/usb && btrfs -q subvolume snapshot -r "$volume" fs/precious/usb/current-state
    strace -o trace -e trace=ioctl ep-snap discard "$volume" --name usb
    ep-snap create "$volume" --name usb
    # Stopped when it has looked at the snapshot, and before it deletes it.
    strace -qq -o trace -e "inject=ioctl:signal=STOP:when=$(($(grep -c ^ioctl trace) - 1))" \
        ep-snap discard "$volume" --name usb 3>&- &
    tracer=$!
    # Every call stops it for a moment, but only this signal is in the trace.
    eventually grep -q "stopped by SIGSTOP" trace
    tool=$(pgrep -x -P "$tracer" ep-snap)
    mv "$volume/.escapepod" "$volume/away"
    ln -s ../precious "$volume/.escapepod"
    kill -CONT "$tool"
    wait "$tracer"
    [[ -d fs/precious/usb/current-state && ! -e $volume/away/usb/current-state ]]
}

@test "a snapshot that was changed since says so; what does not touch its files does not" {
    make_volume
    head -c 2M /dev/urandom >"$volume/data"
    # Open and deleted, as on every live system.
    exec 4<>"$volume/gone" && rm "$volume/gone"
    ep-snap create "$volume" --name usb
    exec 4>&-
    ep-snap rotate "$volume" --name usb --type full
    changed() { ep-snap list "$volume" --name usb --json | jq -c 'map(.changed)'; }
    echo more >>"$volume/data" && sync -f fs
    cat "$slots/root/data" >/dev/null
    for flag in false true; do btrfs property set "$slots/root" ro "$flag"; done
    btrfs -q scrub start -B fs >/dev/null
    btrfs balance start --full-balance fs >/dev/null
    btrfs quota enable fs && btrfs quota rescan -w fs >/dev/null && btrfs quota disable fs
    btrfs -q subvolume snapshot "$slots/root" fs/work && rm fs/work/data && sync -f fs
    mv "$slots/root" "$slots/moved" && mv "$slots/moved" "$slots/root"
    [[ $(changed) == '[false]' ]]
    # One of a received one, too.
    btrfs send -q "$slots/root" >stream
    mkdir fs/scratch && btrfs -q receive fs/scratch <stream
    ep-snap import "$volume" --name usb --slot current-parent fs/scratch/root
    [[ $(changed) == '[false,false]' ]]
    for slot in root current-parent; do
        btrfs property set -f "$slots/$slot" ro false
        rm "$slots/$slot/data"
        btrfs property set "$slots/$slot" ro true
    done
    [[ $(changed) == '[true,true]' ]]
    run -0 ep-snap list "$volume" --name usb
    [[ ${lines[1]} == "root "*" changed" ]]
}

@test "after a rollback the slots are stubs: named, with what they were for, and cleaned" {
    make_volume
    fill
    btrfs -q subvolume snapshot "$slots/current-state" fs/rolled
    mv "$volume" fs/before && mv fs/rolled "$volume"
    run -0 ep-snap list "$volume" --name usb --json
    [[ $(jq -c 'map([.slot, .stub, .path, .elsewhere[].path])' <<<"$output") == "$(printf '[["%s",true,"%s","before/.escapepod/usb/%s"],' \
        root "$slots/root" root)"* ]]
    [[ $(jq -r '.[0].elsewhere[0].uuid' <<<"$output") == "$root" && $(jq length <<<"$output") == 3 ]]
    run -0 ep-snap list "$volume" --name usb
    [[ ${lines[1]} == root*stub ]]
    ep-snap rotate "$volume" --name usb --type full
    [[ -z $(ls "$slots") ]]
    # The snapshot that became the volume had none in its own place.
    ep-snap create "$volume" --name usb
    [[ $(ls "$slots") == current-state && $(echo fs/before/.escapepod/usb/* | wc -w) == 4 ]]
}

@test "move gives the folder another name, once" {
    make_volume
    ep-snap move "$volume" --name usb --to disk
    [[ ! -e $volume/.escapepod ]]
    fill
    before=$(state)
    ep-snap move "$volume" --name usb --to disk
    [[ ! -e $slots && $(ep-snap list "$volume" --name disk | awk 'NR > 1 { printf "%s=%s ", $1, $2 }') == "$before" ]]
    ep-snap create "$volume" --name usb
    run -75 ep-snap move "$volume" --name usb --to disk
    run -64 ep-snap move "$volume" --name usb --to ../x
}

@test "a volume that is a read-only subvolume, with a swap file in use, or full" {
    make_volume
    touch "$volume/swap file" && chmod 0600 "$volume/swap file" && chattr +C "$volume/swap file"
    fallocate -l 4M "$volume/swap file" && mkswap -q "$volume/swap file"
    swapon "$volume/swap file"
    run ep-snap create "$volume" --name usb
    swapoff "$volume/swap file"
    [[ $status == 74 && $output == *"a swap file is in use in the volume: $volume/swap file"*"hint: "*swapoff* ]]
    strace -o trace -e trace=ioctl ep-snap create "$volume" --name usb
    ep-snap discard "$volume" --name usb
    run -74 strace -o trace -e "inject=ioctl:error=ENOSPC:when=$(grep ^ioctl trace | grep -n SNAP_CREATE | head -n 1 | cut -d: -f1)" \
        ep-snap create "$volume" --name usb
    [[ $output == *"cannot take a snapshot: no space left on device: $slots/current-state"*"hint: free some space in the volume itself"* ]]
    ep-snap create "$volume" --name usb
    btrfs property set "$volume" ro true
    for step in "discard" "rotate --type full" "create"; do
        # shellcheck disable=SC2086
        run -77 ep-snap $step "$volume" --name usb
        [[ $output == *"the volume is a read-only subvolume"*": $volume"*hint:*"ro false"* ]]
    done
    btrfs property set "$volume" ro false
}

@test "what is no volume" {
    needs_root
    make_btrfs fs 256M
    run -69 ep-snap list "$PWD/absent" --name usb
    run -65 ep-snap list "$BATS_TEST_TMPDIR" --name usb
    [[ $output == *"not on a btrfs file system"* ]]
    mkdir fs/directory
    run -65 ep-snap create "$PWD/fs/directory" --name usb
    [[ $output == *"not the root of a btrfs subvolume"*hint:* ]]
    mount -o remount,ro fs
    run -77 ep-snap create "$PWD/fs" --name usb
}

@test "without the right to delete snapshots" {
    make_volume
    ep-snap create "$volume" --name usb
    run -77 setpriv --bounding-set -sys_admin ep-snap discard "$volume" --name usb
    [[ $output == *"operation not permitted: $slots/current-state"* ]]
    [[ -e $slots/current-state/file ]]
}

@test "names of stores and slots" {
    make_volume
    for name in "" . .. .x a/b ../x 'a b' $'a\nb' ä "$(printf 'x%.0s' {1..65})"; do
        run -64 ep-snap create "$volume" --name "$name"
    done
    [[ ! -e $volume/.escapepod ]]
    run -64 ep-snap import "$volume" --name usb --slot other "$volume"
    run -64 ep-snap rotate "$volume" --name usb --type other
    run -0 ep-snap create "$volume" --name "$(printf 'X%.0s' {1..64})"
    run -0 ep-snap create "$volume" --name 0._-a
}

@test "check tells a received snapshot from every other" {
    make_volume
    make_btrfs other 256M
    ep-snap create "$volume" --name usb
    sent=$(uuid "$slots/current-state")
    btrfs send -q "$slots/current-state" >stream
    btrfs -q receive other <stream
    run -0 ep-snap check other/current-state --received "$sent"
    run -0 ep-snap check other/current-state --received "${sent^^}"
    run -65 ep-snap check other/current-state --received "$(uuid other/current-state)"
    run -65 ep-snap check "$slots/current-state" --received "$sent"
    run -65 ep-snap check other/absent --received "$sent"
    btrfs -q subvolume delete other/current-state
    head -c -10 stream | run ! btrfs -q receive other
    run -65 ep-snap check other/current-state --received "$sent"
    [[ $output == *"is writable"* ]]
}

@test "import keeps the received UUID, and a stream upon it is accepted" {
    make_volume
    make_btrfs new 256M
    make_btrfs mirror 256M
    ep-snap create "$volume" --name usb
    sent=$(uuid "$slots/current-state")
    btrfs send -q "$slots/current-state" >stream
    mkdir new/scratch
    btrfs -q receive new/scratch <stream
    btrfs -q receive mirror <stream

    # The machine is lost; `new` is what its volume becomes.
    btrfs -q subvolume snapshot new/scratch/current-state new/volume
    volume=$PWD/new/volume slots=$PWD/new/volume/.escapepod/usb
    run -65 ep-snap import "$volume" --name usb --slot current-parent "$volume"
    for _ in again and again; do
        ep-snap import "$volume" --name usb --slot current-parent new/scratch/current-state
        [[ $(received "$slots/current-parent") == "$sent" ]]
    done
    [[ $(ls "$slots") == current-parent ]]
    ep-snap import "$volume" --name usb --slot current-parent "$slots/current-parent"
    run -0 ep-snap check "$slots/current-parent" --received "$sent"
    run -0 ep-snap list "$volume" --name usb --json
    [[ $output == *'"receivedUuid":"'"$sent"'"'* ]]
    btrfs -q subvolume delete new/scratch/current-state

    echo second >"$volume/file"
    ep-snap create "$volume" --name usb
    mv mirror/current-state mirror/first
    btrfs send -q -p "$slots/current-parent" "$slots/current-state" | btrfs -q receive mirror
    [[ $(<mirror/current-state/file) == second ]]
    ep-snap check mirror/current-state --received "$(uuid "$slots/current-state")"
}

@test "import goes on from wherever it was killed" {
    make_volume
    fill
    btrfs send -q "$slots/root" >stream
    mkdir fs/scratch
    btrfs -q receive fs/scratch <stream
    import=(ep-snap import "$volume" --name usb --slot last-parent fs/scratch/root)
    for call in ioctl renameat; do
        kills=0
        while ! timeout 60 strace -o trace -e "inject=$call:signal=KILL:when=$((kills + 1))" "${import[@]}"; do
            grep -q 'killed by SIGKILL' trace
            "${import[@]}"
            ep-snap check "$slots/last-parent" --received "$root"
            [[ $(echo "$slots"/*) == "$slots/current-parent $slots/current-state $slots/last-parent $slots/root" ]]
            kills=$((kills + 1))
        done
        ep-snap check "$slots/last-parent" --received "$root"
        ((kills >= 1))
    done
}

@test "import refuses what was not received, and what lies elsewhere" {
    make_volume
    make_btrfs other 256M
    fill
    before=$(state)
    run -65 ep-snap import "$volume" --name usb --slot root "$slots/current-state"
    [[ $output == *"was not received"* ]]
    btrfs send -q "$slots/root" | btrfs -q receive other
    run -65 ep-snap import "$volume" --name usb --slot root other/root
    [[ $output == *"on another file system"* ]]
    [[ $(state) == "$before" ]]
}

# Within 1 in 500 of the stream and 4 KiB: the headers of an extent's pieces are not reckoned.
estimates() {
    local estimate=$1 real=$2 difference
    difference=$((estimate > real ? estimate - real : real - estimate))
    echo "estimate $estimate, real $real"
    ((difference <= real / 500 + 4096))
}

@test "estimate comes close to the real stream, full and incremental" {
    make_volume
    head -c 20M /dev/urandom >"$volume/big"
    for i in {1..200}; do head -c "$((i * 50))" /dev/urandom >"$volume/small.$i"; done
    ep-snap create "$volume" --name usb
    ep-snap rotate "$volume" --name usb --type full
    head -c 3M /dev/urandom | dd of="$volume/big" bs=1M seek=5 conv=notrunc status=none
    rm "$volume"/small.1*
    ep-snap create "$volume" --name usb
    estimates "$(ep-snap estimate "$slots/current-state")" "$(btrfs send -q "$slots/current-state" | wc -c)"
    run -0 ep-snap estimate "$slots/current-state" --parent "$slots/root" --json
    [[ $output =~ ^\{\"bytes\":([0-9]+),\"zeros\":0,\"sparse\":null\}$ ]]
    estimates "${BASH_REMATCH[1]}" "$(btrfs send -q -p "$slots/root" "$slots/current-state" | wc -c)"
}

@test "estimate says what an incremental stream stores for holes" {
    make_volume
    mkdir "$volume/folder"
    truncate -s 300M "$volume/folder/image"
    head -c 1M /dev/urandom | dd of="$volume/folder/image" bs=1M seek=200 conv=notrunc status=none
    ep-snap create "$volume" --name usb
    run -0 ep-snap estimate "$slots/current-state"
    [[ ${#lines[@]} == 1 ]]
    ep-snap rotate "$volume" --name usb --type full
    fallocate -p -o $((200 << 20)) -l 4096 "$volume/folder/image"
    ep-snap create "$volume" --name usb
    run -0 ep-snap estimate "$slots/current-state" --parent "$slots/root" --json
    zeros=$(jq .zeros <<<"$output")
    [[ $(jq -r .sparse <<<"$output") == folder/image && $zeros -ge $((200 << 20)) && $zeros -le $((201 << 20)) ]]
    run -0 ep-snap estimate "$slots/current-state" --parent "$slots/root"
    [[ ${lines[1]} == "200.0 MiB of zeros: folder/image has a new hole, "* && ${lines[0]} -gt $zeros ]]
}

# deep DIR LENGTH: a file whose path below DIR has LENGTH bytes.
deep() {
    python3 - "$@" <<'END'
import os, sys
at, left = os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[2])
while left > 255:
    name = "d" * min(200, left - 2)
    os.mkdir(name, dir_fd=at)
    at = os.open(name, os.O_RDONLY, dir_fd=at)
    left -= len(name) + 1
os.close(os.open("f" * left, os.O_CREAT | os.O_WRONLY, dir_fd=at))
END
}

@test "a path that is too long to be sent is named" {
    make_volume
    deep "$volume" 4095
    ep-snap create "$volume" --name usb
    btrfs send -q "$slots/current-state" | cat >/dev/null
    ep-snap estimate "$slots/current-state"
    ep-snap discard "$volume" --name usb
    mkdir "$volume/other"
    deep "$volume/other" 4090
    ep-snap create "$volume" --name usb
    run ! btrfs send -q "$slots/current-state" -f stream
    run -65 ep-snap estimate "$slots/current-state"
    [[ $output == *"a path of 4096 bytes or more, but btrfs send carries at most 4095: other/ddd"*"fff"*hint:* ]]
}

@test "estimate says what is missing, and what ended btrfs" {
    make_volume
    ep-snap create "$volume" --name usb
    run -65 ep-snap estimate "$volume"
    run -65 ep-snap estimate "$slots/absent"
    run -65 ep-snap estimate "$slots/current-state" --parent "$volume"
    snap=$(command -v ep-snap)
    PATH=$PWD/none run -69 "$snap" estimate "$slots/current-state"
    mkdir fake
    printf '#!/bin/sh\n[ $# = 4 ] && exec head -c "$CUT" stream; kill -9 $$\n' >fake/btrfs
    chmod +x fake/btrfs
    btrfs send -q --no-data "$slots/current-state" >stream
    CUT=$(($(stat -c %s stream) - 1)) PATH=$PWD/fake:$PATH run -65 "$snap" estimate "$slots/current-state"
    [[ $output == *"the btrfs stream is truncated"* ]]
    PATH=$PWD/fake:$PATH run -74 "$snap" estimate "$slots/current-state" --parent "$slots/current-state"
    [[ $output == *"btrfs send was killed by signal 9"* ]]
}

@test "a volume mounted by subvol=" {
    make_volume
    mkdir mounted
    mount -o subvol=volume "$(findmnt -no SOURCE fs)" mounted
    volume=$PWD/mounted slots=$PWD/mounted/.escapepod/usb
    ep-snap create mounted --name usb
    ep-snap rotate mounted --name usb --type full
    echo second >mounted/file
    btrfs -q subvolume create mounted/nested
    run -0 ep-snap create mounted --name usb --json
    [[ $output == *'"path":"'"$slots"'/current-state"'* ]]
    run -0 ep-snap nested mounted
    [[ $output == "$PWD/mounted/nested" ]]
    estimates "$(ep-snap estimate "$slots/current-state" --parent "$slots/root")" \
        "$(btrfs send -q -p "$slots/root" "$slots/current-state" | wc -c)"
}

@test "nested lists the subvolumes that a send leaves out, but not our own" {
    make_volume
    run -0 ep-snap nested "$volume"
    [[ $output == "" ]]
    ep-snap create "$volume" --name usb
    mkdir "$volume/directory"
    btrfs -q subvolume create "$volume/directory/b c"
    btrfs -q subvolume create "$volume/directory/b c/d"
    btrfs -q subvolume create "$volume/.escapepod-not"
    btrfs -q subvolume create fs/beside
    run -0 ep-snap nested "$volume"
    [[ ${lines[*]} == "$volume/.escapepod-not $volume/directory/b c $volume/directory/b c/d" ]]
    # Names steer no terminal, and are no two lines.
    btrfs -q subvolume create "$volume/"$'z\n\e[2J\377'
    run -0 ep-snap nested "$volume"
    [[ ${#lines[@]} == 4 && ${lines[3]} == "$volume/z\x0a\x1b[2J\xff" ]]
    btrfs -q subvolume delete "$volume/"$'z\n\e[2J\377'
    btrfs -q subvolume create "$volume/directory/"$'e\n'
    run -0 ep-snap nested "$volume" --json
    [[ $(jq -r '.[-1]' <<<"$output") == "$volume/directory/e" && $output == *'/e\n"]' ]]
    btrfs -q subvolume delete "$volume/directory/"$'e\n'
    run -0 ep-snap nested "$volume" --json
    [[ $output == '["'"$volume"'/.escapepod-not","'"$volume"'/directory/b c","'"$volume"'/directory/b c/d"]' ]]
}
