#!/usr/bin/env bats
# The main job: a volume survives the total loss of its machine, with the store and the key alone.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154

load helper
load pod

# One of everything that a file system holds.
varied() {
    mkdir -m 2750 vol/folder
    echo '#!/bin/sh' >vol/folder/script
    chmod 4711 vol/folder/script
    echo of another >"vol/folder/a name with spaces, 'quotes' and ümlauts"
    chown 1234:5678 vol/folder/a*
    ln -s ../nowhere vol/folder/symlink
    ln vol/big vol/folder/hardlink
    truncate -s 8M vol/hole
    printf end >>vol/hole
    mkfifo vol/fifo
    setfattr -n user.colour -v green vol/note
    setfattr -n trusted.secret -v 0x00ff vol/folder
    : >vol/empty
    touch -d '1999-12-31 23:59:59.123456789' vol/note vol/folder
}

# goes_through: full and two incrementals, the loss, the restore, and the next backup; `store` and pod.conf are set.
goes_through() {
    varied
    escapepod backup ./pod.conf
    rm vol/empty
    mv vol/folder/script vol/program
    head -c 1M /dev/urandom | dd of=vol/big bs=1M seek=1 conv=notrunc status=none
    escapepod backup ./pod.conf
    tree vol >tree.2
    setfattr -x user.colour vol/note
    echo more >>vol/note
    escapepod backup ./pod.conf
    tree vol >tree.3
    run -1 cmp -s tree.2 tree.3
    # Later than the last backup.
    echo lost >vol/lost

    mv pod.conf lost.conf
    new_machine
    run -0 escapepod restore --store "$store" --domain pod --key pod.key --to new/pod
    [[ $output = *"3 backups to read"*"done: $PWD/new/pod is generation 3"* ]]
    tree new/pod >is
    diff tree.3 is
    [[ $(stat -c '%b' new/pod/hole) -lt 100 ]]
    touch new/pod/writable
    [[ $(ls -A new) = pod ]]

    volume=$PWD/new/pod
    configure
    [[ $(cd "$(slots)" && echo *) = "current-parent last-parent root" ]]
    run -0 escapepod backup ./pod.conf
    [[ $output = *"pod: incremental backup"*"generation 4"* ]]
    [[ $(newest) = "4 incremental" ]]

    # And this one comes back too, as does an earlier one.
    tree new/pod >tree.4
    run -0 escapepod restore ./pod.conf --to new/again
    tree new/again >is
    diff tree.4 is
    run -0 escapepod restore ./pod.conf --to new/earlier --generation 2
    [[ $output = *"2 backups to read"* ]]
    tree new/earlier >is
    diff tree.2 is
    [[ $(cd new && echo *) = "again earlier pod" ]]
    [[ -z $(ls -A tmp) ]]
}

@test "an incremental backup starts 24 programs" {
    make_pod
    escapepod backup ./pod.conf
    echo more >>vol/note
    # What is little to store takes as long as they do.
    strace -f -qq -z -e trace=execve -e signal=none -o starts escapepod backup ./pod.conf
    [[ $(newest) = "2 incremental" && $(grep -c execve starts) -le 24 ]] || { cat starts && return 1; }
    [[ $(grep -c 'execve("[^"]*/ep-' starts) -le 17 ]]
}

@test "from a folder, a volume comes back whole, and its next backup is incremental" {
    make_pod
    goes_through
}

@test "from a drive found by its label, a volume comes back whole, and the drive is unmounted after each run" {
    drives_alone
    # A label of this test's own, lest it write to a drive that somebody has plugged in.
    make_pod "label:ep-test-$BASHPID"
    truncate -s 64M drive.img
    mkfs.ext4 -q -L "${store#label:}" drive.img
    device=$(losetup -f --show drive.img)
    goes_through
    is_free "$device"
    mkdir drive
    mount "$device" drive
    [[ $(ls drive/escapepod) = pod ]]
    run -1 grep -raF -e '#!/bin/sh' -e "a name with spaces" drive/escapepod
}

@test "restore --generation takes any generation of the store, also of an older chain" {
    make_pod
    three_backups
    btrfs -q subvolume delete "$(slots)"/*
    echo fourth >vol/note
    escapepod backup ./pod.conf
    [[ $(newest) = "4 full" ]]
    new_machine
    notes=(none first second third fourth)
    for generation in 1 2 3 4; do
        run -0 timeout 60 escapepod restore ./pod.conf --to "new/$generation" --generation "$generation"
        [[ $(<"new/$generation/note") = "${notes[generation]}" ]]
    done
    run -10 escapepod restore ./pod.conf --to new/5 --generation 5
    [[ $output = *"no generation 5 of pod"*hint:* ]]
    run -64 escapepod restore ./pod.conf --to new/5 --generation 0
    [[ ! -e new/5 ]]
}

@test "list and status say what there is, and 10 when there is nothing" {
    make_pod
    run -10 escapepod status ./pod.conf
    [[ $output = *"no backup of pod"* ]]
    run -10 escapepod list ./pod.conf
    run -10 escapepod restore ./pod.conf --to vol/new
    [[ ! -e vol/new ]]
    three_backups
    run -0 escapepod list ./pod.conf
    [[ ${#lines[@]} -eq 4 ]]
    [[ ${lines[1]} =~ ^\ +1\ +full\ +20[0-9TZ:-]+\ +3.[0-9]\ MiB\ +[0-9a-f]{16}$ ]]
    [[ ${lines[3]} =~ ^\ +3\ +incremental\  ]]
    keep_key
    run -0 escapepod status ./pod.conf
    [[ $output = *"generation 3, incremental"*"(0d 0h 0m ago)"*"next backup    incremental:"*"generation 3"* ]]
    # Without the volume too, as on a new machine.
    run -0 escapepod status --store "$store" --domain pod --key pod.key
    [[ $output = *"generation 3"* && $output != *"next backup"* ]]
    # Another domain has none.
    run -10 escapepod status ./pod.conf --domain other
}

@test "--dry-run prints the plan and changes nothing" {
    make_pod
    before=$(listing vol store)
    run -0 escapepod backup ./pod.conf --dry-run
    [[ $output = "pod: full backup of $volume to $store, generation 1"*"no backup of pod"* ]]
    [[ $(listing vol store) = "$before" ]]
    escapepod backup ./pod.conf
    before=$(listing vol store)
    run -0 escapepod backup ./pod.conf --dry-run
    [[ $output = *"incremental backup"*"generation 2"* ]]
    [[ $(listing vol store) = "$before" ]]
    run -0 escapepod restore ./pod.conf --to vol/back --dry-run
    [[ $output = *"generation 1 of "*"1 backup to read"* ]]
    [[ $(listing vol store) = "$before" ]]
    [[ -z $(ls -A tmp) ]]
}

@test "init makes a key for its owner's eyes and a configuration that works, and never overwrites either" {
    make_pod
    rm pod.conf pod.key
    run -0 escapepod init ./pod.conf --volume "$volume" --store "$store" --domain pod
    [[ $output = *"pod is ready"*"$(ep-key id pod.key)"*"no backup of pod yet"* ]]
    [[ $(stat -c %a pod.key) = 600 ]]
    escapepod backup ./pod.conf
    timeout 60 ep-key wrap --passphrase-command 'echo ten words' pod.key | ep-store key "$store" --domain pod
    escapepod status ./pod.conf
    sums=$(sha256sum pod.key pod.conf)
    run -74 escapepod init ./pod.conf --volume "$volume" --store "$store" --domain pod
    [[ $output = *"will not overwrite a configuration: ./pod.conf"* ]]
    # A key that is there is taken, as after a loss.
    run -0 escapepod init ./two.conf --volume "$volume" --store "$store" --domain pod --key pod.key
    [[ $output = *"which has backups of pod"* ]]
    [[ $(sha256sum pod.key pod.conf) = "$sums" ]]
    run -0 escapepod backup ./two.conf
    [[ $output = *"incremental backup"* ]]
}

@test "init makes no new key for backups that have one, and writes paths that hold from any folder" {
    make_pod
    rm pod.conf
    escapepod init ./pod.conf --volume ./vol --store "$store" --domain pod --key pod.key
    (cd / && escapepod backup "$BATS_TEST_TMPDIR/pod.conf")
    run -69 escapepod init ./new.conf --volume "$volume" --store "$store" --domain pod
    [[ $output = *"their key is not here: $PWD/new.key"*hint:* ]]
    [[ ! -e new.conf && ! -e new.key ]]
    [[ $(newest) = "1 full" ]]
}

@test "init makes nothing when the volume is none or the domain has a path in it" {
    make_pod
    mkdir plain
    run -65 escapepod init ./new.conf --volume "$PWD/plain" --store "$store" --domain pod
    run -64 escapepod init ./new.conf --volume "$volume" --store "$store" --domain ../x
    [[ ! -e new.conf && ! -e new.key ]]
    stand_in hostname <<<'echo "hostname: no idea" >&2; exit 1'
    run -69 escapepod init ./new.conf --volume "$volume" --store "$store"
    [[ $output = *"this host does not know its full name"*"hint: give --domain"* ]]
    # A program that is not there is named, and no check passes without it.
    mkdir bin
    for there in bash btrfs cat dirname ep-config ep-meta ep-snap kill mkdir mktemp readlink rm stat; do
        ln -s "$(command -v "$there")" bin/
    done
    run -69 unshare --mount --propagation slave bash -c 'for sbin in /usr/local/sbin /usr/sbin /sbin; do mount -t tmpfs none "$sbin"; done
        PATH=$PWD/bin exec bash "$1" init ./new.conf --volume "$2" --store "$3" --domain pod' - \
        "$EP_REPO/bin/escapepod" "$volume" "$store"
    [[ $output = *"no such program: ep-fetch"*hint:* ]]
    [[ ! -e new.conf && ! -e new.key ]]
}

@test "help of every command, on standard output" {
    run -0 --separate-stderr escapepod --help
    [[ $output = *"USAGE: escapepod <subcommand>"* && $stderr = "" ]]
    for command in init backup restore list verify drill status sheet; do
        run -0 --separate-stderr escapepod "$command" --help
        [[ $output = *"USAGE: escapepod $command "*--store*--key* && $stderr = "" ]]
        help=$output
        run -0 escapepod help "$command"
        [[ $output = "$help" ]]
    done
    run -0 --separate-stderr escapepod --version
    [[ $output =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]]
}

@test "usage: 64, with a word on what to do" {
    run -64 escapepod
    run -64 escapepod recover
    [[ $output = *"unexpected argument 'recover'"*hint:* ]]
    run -64 escapepod backup
    [[ $output = *"missing --volume"*hint:* ]]
    run -64 escapepod backup --to /x
    [[ $output = *"unknown option '--to'"* ]]
    run -64 escapepod restore --store
    [[ $output = *"missing value for '--store <url>'"* ]]
    run -64 escapepod restore --store file:///nowhere --domain pod --key k
    [[ $output = *"missing --to"* ]]
    run -64 escapepod restore --store file:///nowhere --domain pod --key k --to ''
    [[ $output = *"missing --to"* ]]
    run -64 escapepod restore --store file:///nowhere --domain pod --key k --to x --generation 0
    run -64 escapepod verify --store file:///nowhere --domain pod --key k --sample 101%
    run -64 escapepod init ./new.conf --volume . --store file:///nowhere --ask-passphrase --passphrase-file x
    [[ $output = *"only one of '--passphrase-file'"* ]]
    run -64 escapepod list one two
    run -64 escapepod list ..
    run -69 escapepod list ./nowhere.conf
    [[ $output = *"no configuration: ./nowhere.conf"*hint:* ]]
    echo 'colour=green' >odd.conf
    run -65 escapepod list ./odd.conf
    [[ $output = *"no such setting: ./odd.conf, line 1"* ]]
    printf 'domain=pod\r\n' >odd.conf
    run -65 escapepod list ./odd.conf
    [[ $output = *"the line ends in a carriage return, as on Windows: ./odd.conf, line 1"*"hint: sed -i"* ]]
    sed -i 's/\r$//' odd.conf
    run -64 escapepod list ./odd.conf
    printf 'domain=p\eod\n' >odd.conf
    run -65 escapepod list ./odd.conf
    [[ $output = *"a control character: ./odd.conf, line 1"* ]]
    printf 'domain=pod\ndomain=pod\n' >odd.conf
    run -65 escapepod list ./odd.conf
    [[ $output = *"domain is set twice: ./odd.conf, line 2"* ]]
}
