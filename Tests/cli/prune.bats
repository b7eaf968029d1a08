#!/usr/bin/env bats
# escapepod prune: what no rule keeps goes, and nothing that is needed; what went is not what was lost.
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154

load helper
load pod

setup_file() { prepare a_long_chain; }

# backs_up NOTE DAYS: a backup of that note, planned as if so many days were gone.
backs_up() {
    echo "$1" >vol/note
    later "$2" escapepod backup ./pod.conf
}

setup() { prepared; }

prune() { timeout 60 escapepod prune ./pod.conf --minimum-age 0 "$@"; }

# shown: what a list says of each generation: its type, or that it is pruned.
shown() { escapepod list ./pod.conf | awk 'NR > 1 { print /pruned/ ? "pruned" : $2 }' | xargs; }
all="full incremental incremental differential incremental"
rest="full pruned pruned differential incremental"

# blobs WHERE: how many are stored, or in the trash.
blobs() { ep-fetch blobs "$store" --domain pod | grep -c "$1\$" || :; }

comes_back() {
    timeout 60 escapepod restore ./pod.conf --to vol/back --generation "$1"
    [[ $(<vol/back/note) = "$1" ]]
    btrfs -q subvolume delete vol/back/.escapepod/*/* vol/back
}

@test "what nothing needs goes to the trash, and comes back from there until that is emptied" {
    run -0 --separate-stderr prune --keep-last 1 --dry-run
    [[ ${lines[0]} = "generation 1, full, "*": stays: "*"generation 4 builds on it"* ]]
    [[ ${lines[1]} = "generation 2, incremental, "*": goes" && ${lines[5]} = "2 of 5 backups go, with "* ]]
    [[ $(shown) = "$all" && $(blobs trash) = 0 && ! -e store/escapepod/pod/prunings ]]
    run -0 --separate-stderr prune --keep-last 1
    [[ ${lines[-1]} = "  done: 0 bytes are free again" ]]
    [[ $(shown) = "$rest" && $(blobs trash) = 2 && $(blobs stored) = 3 ]]
    # A second time there is nothing to do.
    run -0 prune --keep-last 1
    [[ $output = *"0 of 3 backups go"* && $(cd store/escapepod/pod/prunings && echo *) = 0000000001-* ]]
    run -0 --separate-stderr timeout 60 escapepod verify ./pod.conf
    [[ $output = *"5 backups, "*"; 2 were pruned"*"all of it is whole"* ]]
    comes_back 4
    run -10 timeout 60 escapepod restore ./pod.conf --to vol/back --generation 3
    [[ $output = *"generation 3 was pruned on 20"*"prune --undo"* && ! -e vol/back ]]
    # The next backup, and a look at everything, go on as before.
    backs_up 6 0
    [[ $(newest) = "6 incremental" ]]
    run -3 escapepod status ./pod.conf
    [[ $output = *"chain          4 backups to read"* ]]

    run -0 prune --undo --dry-run
    [[ $output = "2 pruned backups are still there, "*"; 0 are gone" && $(blobs trash) = 2 ]]
    run -0 prune --undo
    [[ $(shown) = "$all incremental" && $(blobs trash) = 0 ]]
    comes_back 3
    run -0 timeout 60 escapepod verify ./pod.conf

    run -0 prune --keep-last 1 --trash-age 0
    [[ ${lines[-1]} =~ "done: "[1-9][0-9]*" bytes" && $(blobs trash) = 0 && $(blobs stored) = 4 ]]
    run -0 prune --undo
    [[ $output = "0 pruned backups are still there, 0 bytes; 2 are gone" && $(shown) = "$rest incremental" ]]
    run -0 timeout 60 escapepod verify ./pod.conf
}

@test "what is lost is not pruned, and only the key's holder can say that it is" {
    local name
    name=$(basename store/escapepod/pod/metadata/0000000002-*)
    prune --keep-last 1 --trash-age 0
    # The newest of those that stay.
    rm "store/escapepod/pod/blobs/$(basename store/escapepod/pod/metadata/0000000005-* | cut -d - -f 2)"
    run -65 timeout 60 escapepod verify ./pod.conf
    [[ $output = *"generation 5: the blob is missing"* && $output != *"generation 2:"* && $output != *"generation 3:"* ]]
    # A record of another key's, one that is damaged, and none.
    ep-key generate other.key >/dev/null
    printf '{"version":1,"domain":"pod","date":"2026-11-23T06:10:00Z","policy":"x","pruned":[{"generation":5,"sha256":"%s"}],"recovered":[]}\n' \
        "$(basename store/escapepod/pod/metadata/0000000005-* | cut -d - -f 2)" >record
    local fault
    ep-seal --kind pruning --key other.key <record | ep-store pruning "$store" --domain pod >/dev/null
    run -65 timeout 60 escapepod verify ./pod.conf
    [[ $output = *"sealed with another key"*"the record of a pruning is damaged: "*"generation 5: the blob is missing"* ]]
    # What is damaged, cut or gone is said, and in no restore's way.
    rm store/escapepod/pod/prunings/0000000002-*
    cp store/escapepod/pod/prunings/0000000001-* kept
    for fault in "flip $(echo store/escapepod/pod/prunings/*) 150" "truncate -s 20 $(echo store/escapepod/pod/prunings/*)" \
        "flip $(echo store/escapepod/pod/prunings/*) 3"; do
        cp kept store/escapepod/pod/prunings/0000000001-*
        $fault
        run -65 timeout 60 escapepod verify ./pod.conf
        [[ $output = *"the record of a pruning is damaged: "*"generation 2: the blob is missing"*"generation 5: the blob is missing"* ]]
        comes_back 4
    done
    rm store/escapepod/pod/prunings/*
    run -65 timeout 60 escapepod verify ./pod.conf
    [[ $output = *"generation 2: the blob is missing"* ]]
    # The same by the right key, but of another domain; and then of this one.
    sed 's/"pod"/"other"/' record | ep-seal --kind pruning --key pod.key | ep-store pruning "$store" --domain pod >/dev/null
    run -65 timeout 60 escapepod verify ./pod.conf
    [[ $output = *"it belongs to other, not to pod"*"generation 5: the blob is missing"* ]]
    ep-seal --kind pruning --key pod.key <record | ep-store pruning "$store" --domain pod >/dev/null
    [[ $(shown) = "full incremental incremental differential pruned" ]]
}

@test "cut at each step, the next run does what is left" {
    local step
    for step in pruning discard empty-trash; do
        stand_in ep-store <<<'[[ $1 = '"$step"' ]] || exec "$real" "$@"; kill -KILL "$PPID"'
        run -137 prune --keep-last 1 --trash-age 0
        no_stand_in
        case $step in
        pruning) [[ $(shown) = "$all" && $(blobs stored) = 5 ]] ;;
        discard) [[ $(shown) = "$rest" && $(blobs stored) = 5 ]] ;;
        empty-trash) [[ $(shown) = "$rest" && $(blobs stored) = 3 && $(blobs trash) = 2 ]] ;;
        esac
        run -0 timeout 60 escapepod verify ./pod.conf
        run -0 prune --keep-last 1 --trash-age 0
        [[ $(shown) = "$rest" && $(blobs stored) = 3 && $(blobs trash) = 0 ]]
        cleanup
        cd / && prepared
    done
    prune --keep-last 1
    for step in recover pruning; do
        stand_in ep-store <<<'[[ $1 = '"$step"' ]] || exec "$real" "$@"; kill -KILL "$PPID"'
        run -137 prune --undo
        no_stand_in
        run -0 timeout 60 escapepod verify ./pod.conf
    done
    run -0 prune --undo
    [[ $(shown) = "$all" && $(blobs stored) = 5 ]]
    comes_back 3
}

@test "what no backup names goes when it is old, and what a killed writer left" {
    local stray
    ep-seal --key pod.key <<<stray >sealed
    stray=$(ep-store blob "$store" --domain pod <sealed | jq -r .sha256)
    echo half >store/escapepod/pod/blobs/.partial-0123456789abcdef
    run -0 prune --keep-last 1
    # It may be of a run that is under way.
    [[ $output != *"never committed"* && $(blobs trash) = 2 && ! -e store/escapepod/pod/blobs/.partial-0123456789abcdef ]]
    touch -d '25 hours ago' "store/escapepod/pod/blobs/$stray"
    run -0 timeout 60 escapepod prune ./pod.conf --keep-last 1 --minimum-age 2d
    [[ $output != *"never committed"* && $(blobs trash) = 2 ]]
    run -0 prune --keep-last 1 --dry-run
    [[ $output = *"also 1 blob, "*" of runs that were never committed" && $(blobs trash) = 2 ]]
    run -0 prune --keep-last 1
    [[ $(blobs trash) = 3 && -e store/escapepod/pod/trash/$stray ]]
    run -0 timeout 60 escapepod verify ./pod.conf
    run -0 prune --undo
    [[ $(shown) = "$all" && -e store/escapepod/pod/trash/$stray ]]
}

@test "a store that shows an old history is not pruned, and nothing is committed upon what is lost" {
    local name
    mkdir away && mv store/escapepod/pod/metadata/0000000005-* away/
    touch -d '9 days ago' store/escapepod/pod/blobs/*
    run -65 prune --keep-last 1
    [[ $output = *"generation 5, which this machine committed, is not there: "*hint:* && $(blobs trash) = 0 ]]
    run -65 prune --undo
    mv away/* store/escapepod/pod/metadata/
    name=$(basename store/escapepod/pod/metadata/0000000005-*)
    mv "store/escapepod/pod/blobs/${name##*-}" away/
    run -10 timeout 60 escapepod backup ./pod.conf
    [[ $output = *"what this backup builds on is not there: blob ${name##*-}"*"hint: "*"--full-every 1h"* && $(newest) = "5 incremental" ]]
    mv away/* store/escapepod/pod/blobs/
    run -0 timeout 60 escapepod backup ./pod.conf
}

@test "status says what the next prune takes, and when the store is full" {
    keep_key
    run -0 escapepod status ./pod.conf
    [[ $output != *"next prune"* ]]
    printf '%s\n' keep_last=1 minimum_age=0 >>pod.conf
    run -0 escapepod status ./pod.conf --prometheus metrics
    [[ $output = *"  next prune     2 backups would go, "*" bytes"* ]]
    grep -qE '^escapepod_prune_size_bytes\{.*\} [0-9]+$' metrics
    run -0 escapepod status ./pod.conf --json
    [[ $(jq -c '[.nextPrune.backups, .room.bytes > 0, .room.bytesPerDay > 0, .room.days > 7]' <<<"$output") = '[2,true,true,true]' ]]
    stand_in ep-fetch <<<'[[ $1 = room ]] || exec "$real" "$@"; echo 9000'
    run -3 escapepod status ./pod.conf
    [[ $output = *"warning: the store will be full in about "[0-6]" day"*hint:*"room "*", full in about "* ]]
    stand_in ep-fetch <<<'[[ $1 = room ]] || exec "$real" "$@"; echo unknown'
    run -0 escapepod status ./pod.conf
    [[ $output != *"  room "* ]]
    no_stand_in
    flip store/escapepod/pod/metadata/0000000002-* 150
    run -0 escapepod status ./pod.conf
    [[ $output = *"  next prune     not known: the metadata of blob "*" is damaged"* ]]
}

@test "what somebody planted in the store is not followed" {
    mkdir outside && ln -s "$PWD/outside" store/escapepod/pod/trash
    run -65 prune --keep-last 1
    [[ $output = *"a file or a symbolic link in place of a directory"* && -z $(ls outside) ]]
    rm store/escapepod/pod/trash
    run -0 prune --keep-last 1
    [[ $(blobs trash) = 2 ]]
    local one
    one=$(cd store/escapepod/pod/trash && set -- * && echo "$1")
    rm "store/escapepod/pod/trash/$one" && ln -s "$PWD/pod.key" "store/escapepod/pod/trash/$one"
    run prune --undo
    [[ $status = 65 && $output = *"not a regular file"* && ! -e store/escapepod/pod/blobs/$one ]]
    run prune --keep-last 1 --trash-age 0
    [[ $status = 65 && -e pod.key ]]
}

@test "a drive that is full to the last byte is pruned, and has room again" {
    cp -r store whole
    truncate -s 16M disk.img
    mkfs.ext4 -q -O ^has_journal -m 0 disk.img
    mount -o loop disk.img store && cp -r whole/escapepod store/
    # What the file system keeps for itself.
    echo 0 >"/sys/fs/ext4/$(basename "$(findmnt -no SOURCE store)")/reserved_clusters"
    keep_key
    [[ $(stat -c %s store/escapepod/pod/.reserve) = 1048576 ]]
    local n
    for n in 1 2 3; do
        head -c 100M /dev/zero >>store/ballast || :
        sync -f store
    done
    run ! dd if=/dev/zero of=store/ballast bs=4096 count=1 oflag=append conv=notrunc,fsync
    head -c 3M /dev/urandom >vol/big
    run -74 timeout 60 escapepod backup ./pod.conf
    [[ $output = *"no space left on device: "*"hint: "*"escapepod prune --trash-age 0"* ]]
    run -0 prune --keep-last 1
    [[ ! -e store/escapepod/pod/.reserve && $(shown) = "$rest" ]]
    run -0 prune --keep-last 1 --trash-age 0
    [[ $(blobs trash) = 0 && -e store/escapepod/pod/prunings ]]
    rm store/ballast
    run -0 prune --keep-last 1 --trash-age 0
    [[ -e store/escapepod/pod/.reserve ]]
    run -0 timeout 60 escapepod backup ./pod.conf
    run -0 timeout 60 escapepod verify ./pod.conf
}

@test "after a backup, by the rules in the configuration" {
    run -64 timeout 60 escapepod backup ./pod.conf --prune
    [[ $output = *"done: "*"generation 6"*"no rule says what stays"* && ! -e $(echo state/*/*)/failed.json ]]
    printf '%s\n' keep_last=1 minimum_age=0 prune=yes >>pod.conf
    run -0 timeout 60 escapepod backup ./pod.conf
    [[ $output = *"generation 7"*"2 of 7 backups go"*"bytes are free again" && $(shown) = "$rest incremental incremental" ]]
    run -0 timeout 60 escapepod backup ./pod.conf --dry-run
    [[ $output != *backups\ go* ]]
}

@test "what gives no decision changes nothing" {
    run -64 prune
    [[ $output = *"no rule says what stays"*hint:* ]]
    run -64 prune --keep 3x
    [[ $output = *"'3x' is invalid for '--keep <periods>'"* ]]
    run -64 prune --keep-last 1 --trash-age never
    # The clock went back to before the newest backup.
    stand_in ep-meta <<<'[[ $1 = retain ]] || exec "$real" "$@"; exec "$real" "$@" --now "$((EPOCHSECONDS - 86400))"'
    run -65 prune --keep-last 1
    [[ $output = *"but the newest backup is of"*hint:* ]]
    no_stand_in
    cp store/escapepod/pod/metadata/0000000002-* kept
    flip store/escapepod/pod/metadata/0000000002-* 150
    run -65 prune --keep-last 1
    cp kept store/escapepod/pod/metadata/0000000002-*
    [[ $(shown) = "$all" && $(blobs trash) = 0 && ! -e store/escapepod/pod/prunings && -z $(ls -A tmp) ]]
    # A minimum age of a week is the default.
    run -0 timeout 60 escapepod prune ./pod.conf --keep-last 1
    [[ $output = *"0 of 5 backups go"* ]]
    printf '%s\n' keep_last=1 minimum_age=0 trash_age=x >>pod.conf
    run -65 timeout 60 escapepod prune ./pod.conf
    [[ $output = *"trash_age is an age such as 26h, 7d or 2w, or 0: ./pod.conf"* ]]
    sed -i s/trash_age=x/trash_age=0/ pod.conf
    run -0 timeout 60 escapepod prune ./pod.conf
    [[ $(shown) = "$rest" && $(blobs trash) = 0 ]]
}

@test "on a drive, also of blobs in parts; a store that takes none says so" {
    drives_alone
    local device name
    # As on a file system that has no file of more than 4 GiB.
    for name in store/escapepod/pod/metadata/*; do
        name=store/escapepod/pod/blobs/${name##*-}
        split -d -a 3 -b 200 "$name" "$name." && rm "$name"
    done
    truncate -s 64M drive.img
    mkfs.ext4 -q -L "ep-prune-$BASHPID" drive.img
    device=$(losetup -f --show drive.img)
    mkdir drive && mount "$device" drive && cp -r store/escapepod drive/ && umount drive
    store=label:ep-prune-$BASHPID
    configure
    run -0 prune --keep-last 1
    [[ $(blobs trash) = 2 && $(blobs stored) = 3 && $(shown) = "$rest" ]]
    run -0 prune --undo
    [[ $(blobs trash) = 0 && $(shown) = "$all" ]]
    run -0 prune --keep-last 1 --trash-age 0
    run -0 timeout 60 escapepod verify ./pod.conf
    mount -o ro "$device" drive
    run -77 prune --keep-last 1 --undo
    umount drive
    losetup -d "$device"
}
