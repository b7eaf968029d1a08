#!/usr/bin/env bats
# escapepod and its snapshots in a volume: owners who plant, rollbacks, changed slots, names of stores, what cannot be sent.
# shellcheck disable=SC2030,SC2031,SC2034,SC2119,SC2120,SC2154

load helper
load pod

setup_file() { prepare backup; }

setup() { prepared; }

backup() { timeout 60 escapepod backup ./pod.conf "$@"; }
status() { timeout 60 escapepod status ./pod.conf "$@"; }

@test "a volume whose owner planted .escapepod, or a link in its place, is refused before anything is stored" {
    nothing_yet
    chmod 0777 vol
    btrfs -q subvolume create vol/precious
    mkdir -p "vol/precious/$(ep-store name "$store")/root"
    for plant in "ln -s precious" "mkdir -m 0777"; do
        (cd vol && $plant .escapepod)
        run -77 backup
        [[ $output = *"$volume/.escapepod"*hint:*"move it away"* && $(head_of_store) = none ]]
        rm -r vol/.escapepod
    done
    backup
    # What the owner put there between two backups.
    mv vol/.escapepod vol/aside
    ln -s aside vol/.escapepod
    run -77 backup
    [[ -d $(echo vol/aside/*)/root ]]
    rm vol/.escapepod && mv vol/aside vol/.escapepod
    run -0 backup
    [[ $(newest) = "2 incremental" ]]
}

@test "a slot that was changed is no parent: what was deleted stays deleted" {
    btrfs property set "$(slots)/root" ro false
    rm "$(slots)/root/note" vol/note
    btrfs property set "$(slots)/root" ro true
    run -0 backup
    [[ ${lines[0]} = "pod: full backup of "* && ${lines[1]} = *"is here, in root, but has changed since" ]]
    run -0 backup
    [[ $(newest) = "3 incremental" ]]
    new_machine
    timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ -e new/pod/big && ! -e new/pod/note ]]
}

@test "a rollback as snapper does it: full, with the reason, the stubs go, and the backups go on" {
    btrfs -q subvolume create vol/@
    echo first >vol/@/note
    volume=$PWD/vol/@ store=file://$PWD/other
    mkdir other
    configure
    backup
    btrfs -q subvolume snapshot vol/@ vol/@new
    mv vol/@ vol/@old && mv vol/@new vol/@
    run -0 backup --dry-run
    [[ ${lines[0]} = "pod: full "* && ${lines[1]} = *"the volume was replaced by a snapshot of itself, so its slots are stubs (root); that of generation 1 "*" is still on the file system, as @old/.escapepod/"*/root ]]
    keep_key
    run -0 status
    [[ $output = *"next backup    full: the volume was replaced by a snapshot of itself"* ]]
    run -0 backup
    [[ $(newest) = "2 full" && $(ls "$(slots)") = root ]]
    run -0 backup
    [[ $(newest) = "3 incremental" ]]
}

@test "stores that were called alike have each its own snapshots and witness" {
    nothing_yet
    mkdir -p s/a
    mkdir s-a
    for store in "file://$PWD/s/a" "file://$PWD/s-a"; do
        configure
        backup
    done
    [[ $(echo vol/.escapepod/* | wc -w) -eq 2 && $(echo state/pod/* | wc -w) -eq 2 ]]
    # Whichever way the URL is spelled.
    for store in "file://$PWD/s/a" "file:$PWD//s-a/." "file:$PWD/s/./a/"; do
        configure
        run -0 backup
        [[ $output = *"pod: incremental"* ]]
    done
}

@test "a path that cannot be sent is named, and status knows of the failure until a backup succeeds" {
    keep_key
    run -0 status
    python3 - vol <<'END'
import os, sys
at = os.open(sys.argv[1], os.O_RDONLY)
for _ in range(21):
    os.mkdir("d" * 200, dir_fd=at)
    at = os.open("d" * 200, os.O_RDONLY, dir_fd=at)
END
    for type in incremental full; do
        [[ $type = incremental ]] || btrfs -q subvolume delete "$(slots)"/*
        run -65 backup
        [[ $output = *"send ioctl failed with -36"*"a path of 4"*" bytes or more, but btrfs send carries at most 4095: ddd"*hint:*rename* ]]
        [[ $output != *"run the same again"* && ! -e $(slots)/current-state && -z $(ls -A tmp) ]]
    done
    run -3 --separate-stderr status
    [[ $stderr = *"warning: the last backup failed with status 65 on 20"*": a backup, full, generation 2"*hint:* ]]
    run -3 --separate-stderr status --json
    [[ $(jq -c '[.status, .lastFailure.exit, (.warnings | length)]' <<<"$output") = '[3,65,1]' ]]
    # Of a plan that fails nobody needs to know.
    rm -r vol/ddd*
    run -74 backup --dry-run --key absent
    [[ $(jq .exit "$(echo state/pod/*)/failed.json") = 65 ]]
    backup
    run -0 status --json
    [[ $(jq .lastFailure <<<"$output") = null ]]
    # Nor does one hide that the store was gone.
    mv store gone
    run -69 backup
    mv gone store
    run -3 status
    [[ $output = *"the last backup failed with status 69"* ]]
}

@test "zeros in place of holes are said before they are stored, and so are quotas" {
    nothing_yet
    truncate -s 200M vol/image
    head -c 1M /dev/urandom | dd of=vol/image bs=1M seek=100 conv=notrunc status=none
    run -0 backup
    [[ $output != *zeros* && $output != *quotas* ]]
    fallocate -p -o $((100 << 20)) -l 4096 vol/image
    btrfs quota enable vol
    run -0 backup
    [[ $output = *"warning: quotas are on there"*"  100.0 MiB of zeros: image has a new hole, "*done:* ]]
}

@test "the name of a nested subvolume cannot steer the terminal" {
    btrfs -q subvolume create vol/$'x\n  done: all of it\e[2J'
    run -0 backup --dry-run
    [[ ${lines[2]} = "  left out, a subvolume of its own: $volume/x\\x0a  done: all of it\\x1b[2J" && ${#lines[@]} -eq 3 ]]
}
