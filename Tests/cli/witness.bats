#!/usr/bin/env bats
# A store that forgets or shows another history: the machine notices, its backups go on, and a restore has a floor.
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154

load helper
load pod
load dunesea

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    make_pod
}

# The witness of the only store that was backed up to.
witness() { echo "$PWD"/state/pod/*/witness.json; }

# backups NOTE…: one of each note.
backups() {
    local note
    for note; do
        echo "$note" >vol/note
        escapepod backup ./pod.conf
    done
}

# becomes COPY: the store is that copy of it from here on.
becomes() {
    rm -rf store
    cp -a "$1" store
}

# warned NAME TYPE GENERATION NOTE: a backup of that note is made all the same, and that warning ends it in 3; the
# next one has none and builds on it.
warned() {
    echo "$4" >vol/note
    run -3 --separate-stderr timeout 60 escapepod backup ./pod.conf
    [[ ${stderr_lines[0]} = "escapepod: warning: $1: the store"* ]] || { echo "$stderr" && return 1; }
    [[ ${stderr_lines[1]} = "escapepod: hint: "* && ${#stderr_lines[@]} -eq 2 ]]
    [[ $output = "pod: $2 backup of $volume to $store, generation $3"*done:* ]]
    [[ $(newest) = "$3 $2" && $(jq .generation "$(witness)") -eq $3 ]]
    [[ -z $(ls -A tmp) ]]
    run -0 --separate-stderr timeout 60 escapepod backup ./pod.conf
    [[ -z $stderr && $(newest) = "$(($3 + 1)) incremental" ]]
}

@test "a backup leaves the store's head as the witness, for its owner's eyes; nothing else touches it" {
    for generation in 1 2; do
        backups "$generation"
        ep-fetch last "$store" --domain pod | ep-unseal --kind metadata --key pod.key | cmp - "$(witness)"
        [[ $(jq .generation "$(witness)") -eq $generation ]]
    done
    [[ $(stat -c %a "$(witness)" state state/pod state/pod/*/ | sort -u | tr '\n' ' ') = "600 700 " ]]
    [[ $(ls state/pod/*/) = witness.json ]]
    keep_key
    before=$(listing state)
    escapepod backup ./pod.conf --dry-run
    escapepod status ./pod.conf
    escapepod list ./pod.conf
    escapepod restore ./pod.conf --to vol/back
    [[ $(listing state) = "$before" ]]
}

@test "rolled back by one: incremental from the snapshot that is still here, and a warning once" {
    backups first second
    cp -a store old
    backups third
    becomes old
    warned rollback incremental 4 fourth
    [[ $(escapepod list ./pod.conf | awk '{ printf "%s ", $1 }') = "GENERATION 1 2 4 5 " ]]
    escapepod restore ./pod.conf --to vol/back --generation 4
    [[ $(<vol/back/note) = fourth ]]
    new_machine
    restores fourth
}

@test "rolled back to the full backup: incremental from that one" {
    backups first
    cp -a store old
    backups second third
    becomes old
    warned rollback incremental 4 fourth
    new_machine
    restores fourth
}

@test "rolled back to a backup whose snapshot is gone: full, and counted on" {
    backups first second
    cp -a store old
    backups third fourth
    becomes old
    warned rollback full 5 fifth
    new_machine
    restores fifth
}

@test "a store that was emptied: full, counted on, and linked to what was lost" {
    backups first second
    digest=$(head -c -1 "$(witness)" | sha512sum | cut -d' ' -f1)
    rm -r store/escapepod
    run -10 --separate-stderr timeout 60 escapepod status ./pod.conf
    [[ $stderr = *"rollback: the store has no backup of pod, not even generation 2 of "* ]]
    # Nothing is taken for done before it is.
    run -3 --separate-stderr timeout 60 escapepod backup ./pod.conf --dry-run
    [[ $stderr = *rollback:* && $output != *done:* && $(head_of_store) = none ]]
    warned rollback full 3 third
    local first
    first=$(ep-fetch list "$store" --domain pod | sed -n 1p)
    ep-fetch document "$store" --domain pod "$first" | ep-unseal --kind metadata --key pod.key >opened
    [[ $(jq -r '[.generation, .previous.generation, .previous.metadataSha512] | join(" ")' opened) = "3 2 $digest" ]]
    new_machine
    restores third
}

# Another machine with the same key makes backups of these notes on a copy of ./store as it is; the copy is ./theirs.
another_machine() {
    cp -a store theirs
    make_btrfs other 256M
    for note; do
        echo "$note" >other/note
        ESCAPEPOD_STATE=$PWD/elsewhere escapepod backup ./pod.conf --volume other --store "file://$PWD/theirs"
    done
}

@test "a fork, as far as the witness: another machine's backup in place of ours" {
    backups first
    another_machine theirs
    backups second
    becomes theirs
    run -3 --separate-stderr escapepod status ./pod.conf
    [[ $stderr = *"warning: fork: the store's newest backup is generation 2 of "*", which does not descend from generation 2 of "* ]]
    warned fork full 3 third
    new_machine
    # The store is whole by itself: ours was made on theirs.
    restores third
    escapepod restore ./pod.conf --to new/theirs --generation 2
    [[ $(<new/theirs/note) = theirs ]]
}

@test "a fork, further on than the witness, by one and by more" {
    backups first
    another_machine one two three four
    backups second
    cp -a theirs all
    for ahead in 1 2; do
        # The store has generations 2 to 5 of theirs; those that ours is ahead of are taken away.
        becomes all
        entries=(store/escapepod/pod/metadata/*)
        rm "${entries[@]:ahead+2}"
        run -3 --separate-stderr timeout 60 escapepod backup ./pod.conf --dry-run
        [[ $stderr = *"fork: the store's newest backup is generation $((ahead + 2)) of "* ]]
    done
    becomes all
    warned fork full 6 third
}

@test "backups of ours in front, theirs behind: a fork, and no more" {
    backups first
    another_machine one two three
    backups second
    # Generation 2 of ours, 3 and 4 of theirs, which were not made on it.
    ours=(store/escapepod/pod/metadata/0000000002-*)
    cp -a theirs/escapepod/pod/. store/escapepod/pod/
    for theirs in theirs/escapepod/pod/metadata/0000000002-*; do rm "store/${theirs#theirs/}"; done
    [[ -e ${ours[0]} ]]
    run -3 --separate-stderr timeout 60 escapepod backup ./pod.conf --dry-run
    [[ $stderr = *"fork: the store's newest backup is generation 4 of "* ]]
}

@test "the same on a drive" {
    drives_alone
    store=label:ep-test-$BASHPID
    configure
    truncate -s 64M drive.img
    mkfs.ext4 -q -L "${store#label:}" drive.img
    device=$(losetup -f --show drive.img)
    backups first second
    cp drive.img old.img
    backups third
    losetup -d "$device"
    cp old.img drive.img
    device=$(losetup -f --show drive.img)
    warned rollback incremental 4 fourth
}

@test "the same on a DuneSea server" {
    DUNESEA_DIR=$PWD/dunesea
    dunesea_token pod --append --read >token
    start_dunesea
    store=dunesea+$DUNESEA_URL
    configure
    echo "token_file=$PWD/token" >>pod.conf
    backups first second
    cp -a dunesea old
    backups third
    stop_dunesea
    mv dunesea newer
    cp -a old dunesea
    start_dunesea --listen "${DUNESEA_URL#*//}"
    warned rollback incremental 4 fourth
    stop_dunesea
    rm -r dunesea
    mv newer dunesea
    start_dunesea --listen "${DUNESEA_URL#*//}"
    warned rollback full 6 fifth
    stop_dunesea
    rm -r dunesea/escapepod
    start_dunesea --listen "${DUNESEA_URL#*//}"
    warned rollback full 8 sixth
    run -65 timeout 60 escapepod restore ./pod.conf --to vol/back --at-least-generation 10
    escapepod restore ./pod.conf --to vol/back --at-least-generation 9
    stop_dunesea
}

@test "a machine whose own state went back to an older one: no warning, by one and by more" {
    backups first
    cp -a state old
    backups second third fourth
    # Three generations further on, then one.
    for _ in 3 1; do
        rm -rf state
        cp -a old state
        run -0 --separate-stderr timeout 60 escapepod backup ./pod.conf
        [[ -z $stderr && $output = *"incremental backup"* ]]
        rm -rf old
        cp -a state old
        backups next
    done
    # Without any, as on a new machine.
    rm -rf state
    run -0 --separate-stderr timeout 60 escapepod backup ./pod.conf
    [[ -z $stderr && -e $(witness) ]]
}

@test "the same, and it died before its slots were rotated" {
    backups one
    cp "$(witness)" older
    backups two
    stand_in ep-snap <<<'[[ $1 != rotate ]] || { kill -KILL $PPID; exit; }; exec "$real" "$@"'
    echo three >vol/note
    run escapepod backup ./pod.conf
    no_stand_in
    [[ $(newest) = "3 incremental" && -e $(slots)/current-state ]]
    cp older "$(witness)"
    echo four >vol/note
    run -0 --separate-stderr timeout 60 escapepod backup ./pod.conf
    [[ $stderr = "" && $(newest) = "4 incremental" && $(jq .generation "$(witness)") -eq 4 ]]
}

@test "killed at each step of keeping the witness: it is the one before or this one, and there is no warning" {
    backups first
    for call in fsync:1 renameat:1 fsync:2; do
        cp "$(witness)" before
        stand_in ep-meta <<END
[[ "\$*" = "keep "*witness.json* ]] || exec "\$real" "\$@"
strace -qqo /dev/null -e trace=${call%:*} -e inject=${call%:*}:signal=KILL:when=${call#*:} "\$real" "\$@" || echo yes >"\$here/killed"
kill -KILL "\$PPID"
END
        run -137 timeout 60 escapepod backup ./pod.conf
        [[ -e killed ]]
        rm killed
        no_stand_in
        # Behind its last step it is the new one.
        if [[ $call = fsync:2 ]]; then run ! cmp -s before "$(witness)"; else cmp before "$(witness)"; fi
        # The slots come after it.
        [[ -e $(slots)/current-state ]]
        run -0 --separate-stderr timeout 60 escapepod backup ./pod.conf
        [[ -z $stderr && $output = *"incremental backup"*done:* ]]
        [[ $(ls state/pod/*/) = witness.json ]]
    done
    [[ $(newest) = "7 incremental" && $(jq .generation "$(witness)") -eq 7 ]]
}

@test "the witness is on stable storage before it has its name, and its folder behind it" {
    strace -f -qq -y -o trace -e trace=fsync,rename,renameat,renameat2 escapepod backup ./pod.conf
    awk '/fsync.*state\/pod\/[^\/]*\/\.escapepod-/ { file = NR } /rename.*"witness.json"/ { name = NR }
        /fsync.*state\/pod\/[^\/]*>/ { folder = NR }
        END { exit !(file && file < name && name < folder) }' trace
}

@test "a witness that cannot be kept: the backup is done, and the warning says what is missing" {
    backups first
    folder=$(dirname "$(witness)")
    mount --bind "$folder" "$folder"
    mount -o remount,bind,ro "$folder"
    echo second >vol/note
    run -3 --separate-stderr timeout 60 escapepod backup ./pod.conf
    umount "$folder"
    [[ $stderr = *"escapepod: warning: this machine will not notice if the store forgets this backup: $(witness)"*hint:* ]]
    [[ $output = *done:* && $(newest) = "2 incremental" && ! -e $(slots)/current-state ]]
    run -0 --separate-stderr timeout 60 escapepod backup ./pod.conf
    [[ -z $stderr ]]
}

@test "a damaged witness: 65 and its name; moved away, all is well" {
    backups first
    truncate -s 100 "$(witness)"
    for command in backup status "restore --to vol/back"; do
        # shellcheck disable=SC2086
        run -65 timeout 60 escapepod $command ./pod.conf
        [[ $output = *"$(witness)"* ]]
    done
    [[ ! -e vol/back && $(newest) = "1 full" ]]
    escapepod restore ./pod.conf --to vol/back --generation 1
    rm "$(witness)"
    backups second
}

@test "two stores of one machine each have a witness, and two domains of one store" {
    backups first second
    mkdir store2
    escapepod backup ./pod.conf --store "file://$PWD/store2"
    escapepod backup ./pod.conf --domain other
    [[ $(jq .generation state/pod/*-store-*/witness.json state/pod/*-store2-*/witness.json state/other/*-store-*/witness.json |
        tr '\n' ' ') = "2 1 1 " ]]
    run -0 --separate-stderr escapepod backup ./pod.conf
    [[ -z $stderr ]]
}

@test "restore --at-least-generation: shows what there is, and refuses what is older" {
    backups first second
    cp -a store old
    backups third
    new_machine
    before=$(listing new)
    becomes old
    run -65 timeout 60 escapepod restore ./pod.conf --to new/pod --at-least-generation 3
    [[ $output = *"the newest backup in the store is generation 2 of 20"*", but there was a generation 3: $store"*hint:* ]]
    # It is about the store, whichever backup one wants of it.
    run -65 timeout 60 escapepod restore ./pod.conf --to new/pod --generation 1 --at-least-generation 3 --dry-run
    for wrong in 0 -1 x 1e3 99999999999999999999; do
        run -64 timeout 60 escapepod restore ./pod.conf --to new/pod --at-least-generation "$wrong"
    done
    [[ $(listing new) = "$before" && -z $(ls -A tmp) ]]
    # Without it, on a bare machine, it only shows.
    run -0 --separate-stderr timeout 60 escapepod restore ./pod.conf --to new/pod --dry-run
    [[ ${lines[0]} = "pod: nothing here can tell whether the store has newer backups than generation 2 of 20"* ]]
    [[ ${lines[1]} = "pod: generation 2 of 20"* && -z $stderr ]]
    run -0 --separate-stderr timeout 60 escapepod restore ./pod.conf --to new/pod --at-least-generation 2
    [[ ${lines[0]} = "pod: generation 2 of 20"* && -z $stderr && $(<new/pod/note) = second ]]
}

@test "restore where there is a witness: no older than that one, unless a generation is asked for" {
    backups first second
    cp -a store old
    backups third
    becomes old
    run -65 timeout 60 escapepod restore ./pod.conf --to vol/back
    [[ $output = *"the newest backup in the store is generation 2 of "*", but there was a generation 3: $store"*"--generation 2"* ]]
    run -65 timeout 60 escapepod restore ./pod.conf --to vol/back --at-least-generation 1
    [[ ! -e vol/back ]]
    run -0 timeout 60 escapepod restore ./pod.conf --to vol/back --generation 2
    [[ $(<vol/back/note) = second ]]
}
