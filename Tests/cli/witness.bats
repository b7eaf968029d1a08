#!/usr/bin/env bats
# A store that forgets or shows another history: the machine notices, its backups go on, and a restore has a floor.
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154

load helper
load pod
load dunesea

setup_file() { prepare three_backups_and_copies; }

# Backups of the notes "first", "second" and "third", with the store as it was before the last two in store.1 and store.2.
three_backups_and_copies() {
    backups first
    cp -a store store.1
    backups second
    cp -a store store.2
    backups third
}

setup() { prepared; }

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

# warned NAME TYPE GENERATION NOTE [TYPE]: a backup of that note is made all the same, and that warning ends it in 3; the
# next one has none and builds on it. The second TYPE is what a list calls it, where that is another.
warned() {
    echo "$4" >vol/note
    run -3 --separate-stderr timeout 60 escapepod backup ./pod.conf
    [[ ${stderr_lines[0]} = "escapepod: warning: $1: the store"* ]] || { echo "$stderr" && return 1; }
    [[ ${stderr_lines[1]} = "escapepod: hint: "* && ${#stderr_lines[@]} -eq 2 ]]
    [[ $output = "pod: $2 backup of $volume to $store, generation $3"*done:* ]]
    [[ $(newest) = "$3 ${5-$2}" && $(jq .generation "$(witness)") -eq $3 ]]
    [[ -z $(ls -A tmp) ]]
    run -0 --separate-stderr timeout 60 escapepod backup ./pod.conf
    [[ -z $stderr && $(newest) = "$(($3 + 1)) incremental" ]]
}

@test "a backup leaves the store's head as the witness, for its owner's eyes; nothing else touches it" {
    nothing_yet
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
    becomes store.2
    warned rollback incremental 4 fourth
    [[ $(escapepod list ./pod.conf | awk '{ printf "%s ", $1 }') = "GENERATION 1 2 4 5 " ]]
    escapepod restore ./pod.conf --to vol/back --generation 4
    [[ $(<vol/back/note) = fourth ]]
    new_machine
    restores fourth
}

@test "rolled back to the full backup: incremental from that one" {
    becomes store.1
    warned rollback incremental 4 fourth
    new_machine
    restores fourth
}

@test "rolled back to a backup whose snapshot is gone: from the full one, whose is still here, and counted on" {
    backups fourth
    becomes store.2
    warned rollback incremental 5 fifth differential
    new_machine
    restores fifth
}

@test "a store that was emptied: full, counted on, and linked to what was lost" {
    digest=$(head -c -1 "$(witness)" | sha512sum | cut -d' ' -f1)
    rm -r store/escapepod
    run -10 --separate-stderr timeout 60 escapepod status ./pod.conf
    [[ $stderr = *"rollback: the store has no backup of pod, not even generation 3 of "* ]]
    # Nothing is taken for done before it is.
    run -3 --separate-stderr timeout 60 escapepod backup ./pod.conf --dry-run
    [[ $stderr = *rollback:* && $output != *done:* && $(head_of_store) = none ]]
    warned rollback full 4 fourth
    local first
    first=$(ep-fetch list "$store" --domain pod | sed -n 1p)
    ep-fetch document "$store" --domain pod "$first" | ep-unseal --kind metadata --key pod.key >opened
    [[ $(jq -r '[.generation, .previous.generation, .previous.metadataSha512] | join(" ")' opened) = "4 3 $digest" ]]
    new_machine
    restores fourth
}

# Another machine with the same key makes backups of these notes on a store with the first two of ours; it is ./theirs.
another_machine() {
    cp -a store.2 theirs
    make_btrfs other 256M
    for note; do
        echo "$note" >other/note
        ESCAPEPOD_STATE=$PWD/elsewhere escapepod backup ./pod.conf --volume other --store "file://$PWD/theirs"
    done
}

@test "a fork, as far as the witness: another machine's backup in place of ours" {
    another_machine theirs
    becomes theirs
    run -3 --separate-stderr escapepod status ./pod.conf
    [[ $stderr = *"warning: fork: the store's newest backup is generation 3 of "*", which does not descend from generation 3 of "* ]]
    warned fork full 4 fourth
    new_machine
    # The store is whole by itself: ours was made on theirs.
    restores fourth
    escapepod restore ./pod.conf --to new/theirs --generation 3
    [[ $(<new/theirs/note) = theirs ]]
}

@test "a fork, further on than the witness, by one and by more" {
    another_machine one two three four
    cp -a theirs all
    for ahead in 1 2; do
        # The store has generations 3 to 6 of theirs; those that ours is ahead of are taken away.
        becomes all
        entries=(store/escapepod/pod/metadata/*)
        rm "${entries[@]:ahead+3}"
        run -3 --separate-stderr timeout 60 escapepod backup ./pod.conf --dry-run
        [[ $stderr = *"fork: the store's newest backup is generation $((ahead + 3)) of "* ]]
    done
    becomes all
    warned fork full 7 fourth
}

@test "backups of ours in front, theirs behind: a fork, and no more" {
    another_machine one two three
    # Generation 3 of ours, 4 and 5 of theirs, which were not made on it.
    ours=(store/escapepod/pod/metadata/0000000003-*)
    cp -a theirs/escapepod/pod/. store/escapepod/pod/
    for theirs in theirs/escapepod/pod/metadata/0000000003-*; do rm "store/${theirs#theirs/}"; done
    [[ -e ${ours[0]} ]]
    run -3 --separate-stderr timeout 60 escapepod backup ./pod.conf --dry-run
    [[ $stderr = *"fork: the store's newest backup is generation 5 of "* ]]
}

@test "the same on a drive" {
    drives_alone
    nothing_yet
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
    nothing_yet
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
    warned rollback incremental 6 fifth differential
    stop_dunesea
    rm -r dunesea/escapepod
    start_dunesea --listen "${DUNESEA_URL#*//}"
    warned rollback full 8 sixth
    run -65 timeout 60 escapepod restore ./pod.conf --to vol/back --at-least-generation 10
    escapepod restore ./pod.conf --to vol/back --at-least-generation 9
    stop_dunesea
}

@test "a machine whose own state went back to an older one: no warning, by one and by more" {
    cp -a state old
    backups fourth fifth sixth
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
    cp "$(witness)" older
    backups fourth
    stand_in ep-snap <<<'[[ $1 != rotate ]] || { kill -KILL $PPID; exit; }; exec "$real" "$@"'
    echo fifth >vol/note
    run escapepod backup ./pod.conf
    no_stand_in
    [[ $(newest) = "5 incremental" && -e $(slots)/current-state ]]
    cp older "$(witness)"
    echo sixth >vol/note
    run -0 --separate-stderr timeout 60 escapepod backup ./pod.conf
    [[ $stderr = "" && $(newest) = "6 incremental" && $(jq .generation "$(witness)") -eq 6 ]]
}

@test "killed at each step of keeping the witness: it is the one before or this one, and there is no warning" {
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
    [[ $(newest) = "9 incremental" && $(jq .generation "$(witness)") -eq 9 ]]
}

@test "the witness is on stable storage before it has its name, and its folder behind it" {
    nothing_yet
    strace -f -qq -y -o trace -e trace=fsync,rename,renameat,renameat2 escapepod backup ./pod.conf
    awk '/fsync.*state\/pod\/[^\/]*\/\.escapepod-/ { file = NR } /rename.*"witness.json"/ { name = NR }
        /fsync.*state\/pod\/[^\/]*>/ { folder = NR }
        END { exit !(file && file < name && name < folder) }' trace
}

@test "a witness that cannot be kept: the backup is done, and the warning says what is missing" {
    folder=$(dirname "$(witness)")
    mount --bind "$folder" "$folder"
    mount -o remount,bind,ro "$folder"
    echo fourth >vol/note
    run -3 --separate-stderr timeout 60 escapepod backup ./pod.conf
    umount "$folder"
    [[ $stderr = *"escapepod: warning: this machine will not notice if the store forgets this backup: $(witness)"*hint:* ]]
    [[ $output = *done:* && $(newest) = "4 incremental" && ! -e $(slots)/current-state ]]
    run -0 --separate-stderr timeout 60 escapepod backup ./pod.conf
    [[ -z $stderr ]]
}

@test "a damaged witness: 65 and its name; moved away, all is well" {
    truncate -s 100 "$(witness)"
    for command in backup status "restore --to vol/back"; do
        # shellcheck disable=SC2086
        run -65 timeout 60 escapepod $command ./pod.conf
        [[ $output = *"$(witness)"* ]]
    done
    [[ ! -e vol/back && $(newest) = "3 incremental" ]]
    escapepod restore ./pod.conf --to vol/back --generation 1
    rm "$(witness)"
    backups fourth
}

@test "two stores of one machine each have a witness, and two domains of one store" {
    mkdir store2
    escapepod backup ./pod.conf --store "file://$PWD/store2"
    escapepod backup ./pod.conf --domain other
    [[ $(jq .generation state/pod/*-store-*/witness.json state/pod/*-store2-*/witness.json state/other/*-store-*/witness.json |
        tr '\n' ' ') = "3 1 1 " ]]
    run -0 --separate-stderr escapepod backup ./pod.conf
    [[ -z $stderr ]]
}

@test "restore --at-least-generation: shows what there is, and refuses what is older" {
    new_machine
    before=$(listing new)
    becomes store.2
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
    [[ $stderr = "pod: nothing here can tell whether the store has newer backups than generation 2 of 20"* ]]
    [[ ${lines[0]} = "pod: generation 2 of 20"* ]]
    run -0 --separate-stderr timeout 60 escapepod restore ./pod.conf --to new/pod --at-least-generation 2
    [[ ${lines[0]} = "pod: generation 2 of 20"* && -z $stderr && $(<new/pod/note) = second ]]
}

@test "restore where there is a witness: no older than that one, unless a generation is asked for" {
    becomes store.2
    run -65 timeout 60 escapepod restore ./pod.conf --to vol/back
    [[ $output = *"the newest backup in the store is generation 2 of "*", but there was a generation 3: $store"*"--generation 2"* ]]
    run -65 timeout 60 escapepod restore ./pod.conf --to vol/back --at-least-generation 1
    [[ ! -e vol/back ]]
    run -0 timeout 60 escapepod restore ./pod.conf --to vol/back --generation 2
    [[ $(<vol/back/note) = second ]]
}
