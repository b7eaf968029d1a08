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

uuid() { btrfs subvolume show "$1" | awk '$1 == "UUID:" { print $2 }'; }
received() { btrfs subvolume show "$1" | awk '$1 == "Received" { print $3 }'; }

# The taken slots with their UUIDs, on one line.
state() { ep-snap list "$volume" --store usb | awk 'NR > 1 { printf "%s=%s ", $1, $2 }'; }

# Fills all four slots, as two backups and a half leave them.
fill() {
    local slot
    mkdir -p "$slots"
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
    run -0 --separate-stderr ep-snap create "$volume" --store usb --json
    expected='^\{"slot":"current-state","path":"'$slots'/current-state","uuid":"'$(uuid "$slots/current-state")'",'
    expected+='"receivedUuid":null,"generation":[0-9]+,"created":"20[0-9-]+T[0-9:]+Z","readOnly":true\}$'
    [[ $output =~ $expected ]]
    [[ $stderr == "" ]]
    [[ $(<"$slots/current-state/file") == first ]]
    [[ $(stat -c %a "$volume/.escapepod") == 700 ]]
    run ! touch "$slots/current-state/file"
}

@test "create leaves a taken slot alone and says what to do" {
    make_volume
    ep-snap create "$volume" --store usb
    before=$(state)
    run -75 ep-snap create "$volume" --store usb
    [[ $output == *"the slot is taken: $slots/current-state"*hint:*turn*discard* ]]
    [[ $(state) == "$before" ]]
}

@test "list shows the slots in their order, and none where there are none" {
    make_volume
    run -0 ep-snap list "$volume" --store usb --json
    [[ $output == "[]" ]]
    [[ ! -e $volume/.escapepod ]]
    fill
    [[ $(state) == "root=$root last-parent=$(uuid "$slots/last-parent") current-parent=$parent current-state=$current " ]]
    run -0 ep-snap list "$volume" --store other
    [[ ${#lines[@]} == 1 ]]
}

@test "turn after a full backup and two incremental ones" {
    make_volume
    run -0 ep-snap turn "$volume" --store usb --type full
    [[ $(state) == "" ]]
    for type in full incremental incremental incremental; do
        ep-snap create "$volume" --store usb
        made+=("$(uuid "$slots/current-state")")
        ep-snap turn "$volume" --store usb --type "$type"
    done
    [[ $(state) == "root=${made[0]} last-parent=${made[2]} current-parent=${made[3]} " ]]
    ep-snap turn "$volume" --store usb --type incremental
    [[ $(state) == "root=${made[0]} last-parent=${made[2]} current-parent=${made[3]} " ]]
    ep-snap create "$volume" --store usb
    made+=("$(uuid "$slots/current-state")")
    ep-snap turn "$volume" --store usb --type full
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
            ep-snap turn "$volume" --store usb --type "$type"; then
            [[ $(state) == "$expected" ]]
            echo "$kills" >kills
            return
        fi
        grep -q 'killed by SIGKILL' trace
        kills=$((kills + 1))
        ep-snap turn "$volume" --store usb --type "$type"
        [[ $(state) == "$expected" ]]
    done
    return 1
}

@test "turn goes on from wherever it was killed" {
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
    run -0 ep-snap discard "$volume" --store usb
    fill
    before=$(state)
    ep-snap discard "$volume" --store usb
    [[ "$(state)current-state=$current " == "$before" ]]
    run -0 ep-snap discard "$volume" --store usb
}

@test "a slot that holds no snapshot is refused and left alone" {
    make_volume
    mkdir -p "$slots/current-state/keep"
    for step in "list" "create" "discard" "turn --type full"; do
        # shellcheck disable=SC2086
        run -65 ep-snap $step "$volume" --store usb
    done
    [[ -d $slots/current-state/keep ]]
}

@test "what is no volume" {
    needs_root
    make_btrfs fs 256M
    run -69 ep-snap list "$PWD/absent" --store usb
    run -65 ep-snap list "$BATS_TEST_TMPDIR" --store usb
    [[ $output == *"not on a btrfs file system"* ]]
    mkdir fs/directory
    run -65 ep-snap create "$PWD/fs/directory" --store usb
    [[ $output == *"not the root of a btrfs subvolume"*hint:* ]]
    mount -o remount,ro fs
    run -77 ep-snap create "$PWD/fs" --store usb
}

@test "without the right to delete snapshots" {
    make_volume
    ep-snap create "$volume" --store usb
    run -77 setpriv --bounding-set -sys_admin ep-snap discard "$volume" --store usb
    [[ $output == *"cannot delete the snapshot: operation not permitted: $slots/current-state"* ]]
    [[ -e $slots/current-state/file ]]
}

@test "names of stores and slots" {
    make_volume
    for name in "" . .. .x a/b ../x 'a b' $'a\nb' ä "$(printf 'x%.0s' {1..65})"; do
        run -64 ep-snap create "$volume" --store "$name"
    done
    [[ ! -e $volume/.escapepod ]]
    run -64 ep-snap adopt "$volume" --store usb --slot other "$volume"
    run -64 ep-snap turn "$volume" --store usb --type other
    run -0 ep-snap create "$volume" --store "$(printf 'X%.0s' {1..64})"
    run -0 ep-snap create "$volume" --store 0._-a
}

@test "check tells a received snapshot from every other" {
    make_volume
    make_btrfs other 256M
    ep-snap create "$volume" --store usb
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

@test "adopt keeps the received UUID, and a stream upon it is accepted" {
    make_volume
    make_btrfs new 256M
    make_btrfs mirror 256M
    ep-snap create "$volume" --store usb
    sent=$(uuid "$slots/current-state")
    btrfs send -q "$slots/current-state" >stream
    mkdir new/scratch
    btrfs -q receive new/scratch <stream
    btrfs -q receive mirror <stream

    # The machine is lost; `new` is what its volume becomes.
    btrfs -q subvolume snapshot new/scratch/current-state new/volume
    volume=$PWD/new/volume slots=$PWD/new/volume/.escapepod/usb
    run -65 ep-snap adopt "$volume" --store usb --slot current-parent "$volume"
    for _ in again and again; do
        ep-snap adopt "$volume" --store usb --slot current-parent new/scratch/current-state
        [[ $(received "$slots/current-parent") == "$sent" ]]
    done
    [[ $(ls "$slots") == current-parent ]]
    ep-snap adopt "$volume" --store usb --slot current-parent "$slots/current-parent"
    run -0 ep-snap check "$slots/current-parent" --received "$sent"
    run -0 ep-snap list "$volume" --store usb --json
    [[ $output == *'"receivedUuid":"'"$sent"'"'* ]]
    btrfs -q subvolume delete new/scratch/current-state

    echo second >"$volume/file"
    ep-snap create "$volume" --store usb
    mv mirror/current-state mirror/first
    btrfs send -q -p "$slots/current-parent" "$slots/current-state" | btrfs -q receive mirror
    [[ $(<mirror/current-state/file) == second ]]
    ep-snap check mirror/current-state --received "$(uuid "$slots/current-state")"
}

@test "adopt goes on from wherever it was killed" {
    make_volume
    fill
    btrfs send -q "$slots/root" >stream
    mkdir fs/scratch
    btrfs -q receive fs/scratch <stream
    adopt=(ep-snap adopt "$volume" --store usb --slot last-parent fs/scratch/root)
    for call in ioctl renameat; do
        kills=0
        while ! timeout 60 strace -o trace -e "inject=$call:signal=KILL:when=$((kills + 1))" "${adopt[@]}"; do
            grep -q 'killed by SIGKILL' trace
            "${adopt[@]}"
            ep-snap check "$slots/last-parent" --received "$root"
            [[ $(echo "$slots"/*) == "$slots/current-parent $slots/current-state $slots/last-parent $slots/root" ]]
            kills=$((kills + 1))
        done
        ep-snap check "$slots/last-parent" --received "$root"
        ((kills >= 1))
    done
}

@test "adopt refuses what was not received, and what lies elsewhere" {
    make_volume
    make_btrfs other 256M
    fill
    before=$(state)
    run -65 ep-snap adopt "$volume" --store usb --slot root "$slots/current-state"
    [[ $output == *"was not received"* ]]
    btrfs send -q "$slots/root" | btrfs -q receive other
    run -65 ep-snap adopt "$volume" --store usb --slot root other/root
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
    ep-snap create "$volume" --store usb
    ep-snap turn "$volume" --store usb --type full
    head -c 3M /dev/urandom | dd of="$volume/big" bs=1M seek=5 conv=notrunc status=none
    rm "$volume"/small.1*
    ep-snap create "$volume" --store usb
    estimates "$(ep-snap estimate "$slots/current-state")" "$(btrfs send -q "$slots/current-state" | wc -c)"
    run -0 ep-snap estimate "$slots/current-state" --parent "$slots/root" --json
    [[ $output =~ ^\{\"bytes\":([0-9]+)\}$ ]]
    estimates "${BASH_REMATCH[1]}" "$(btrfs send -q -p "$slots/root" "$slots/current-state" | wc -c)"
}

@test "estimate says what is missing, and what ended btrfs" {
    make_volume
    ep-snap create "$volume" --store usb
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
    [[ $output == *"the btrfs stream is cut"* ]]
    PATH=$PWD/fake:$PATH run -74 "$snap" estimate "$slots/current-state" --parent "$slots/current-state"
    [[ $output == *"btrfs send was ended by signal 9"* ]]
}

@test "a volume mounted by subvol=" {
    make_volume
    mkdir mounted
    mount -o subvol=volume "$(findmnt -no SOURCE fs)" mounted
    volume=$PWD/mounted slots=$PWD/mounted/.escapepod/usb
    ep-snap create mounted --store usb
    ep-snap turn mounted --store usb --type full
    echo second >mounted/file
    btrfs -q subvolume create mounted/nested
    run -0 ep-snap create mounted --store usb --json
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
    ep-snap create "$volume" --store usb
    mkdir "$volume/directory"
    btrfs -q subvolume create "$volume/directory/b c"
    btrfs -q subvolume create "$volume/directory/b c/d"
    btrfs -q subvolume create "$volume/.escapepod-not"
    btrfs -q subvolume create fs/beside
    run -0 ep-snap nested "$volume"
    [[ ${lines[*]} == "$volume/.escapepod-not $volume/directory/b c $volume/directory/b c/d" ]]
    run -0 ep-snap nested "$volume" --json
    [[ $output == '["'"$volume"'/.escapepod-not","'"$volume"'/directory/b c","'"$volume"'/directory/b c/d"]' ]]
}
