#!/usr/bin/env bats
# ep-snap compare: what btrfs receive brings back is alike, and whatever a person would miss is a difference.
# shellcheck disable=SC2030,SC2031,SC2154

load helper

# One of everything in ./fs/volume, its snapshot ./fs/original, and what comes back of that in ./back/original.
setup() {
    needs_root
    cd "$BATS_TEST_TMPDIR" || return
    make_btrfs fs 256M
    make_btrfs back 256M
    btrfs -q subvolume create fs/volume
    cd fs/volume || return
    mkdir -m 2750 folder .escapepod
    head -c 3M /dev/urandom >big
    echo '#!/bin/sh' >folder/script
    chmod 4711 folder/script
    printf x >"folder/a name"$'\n'"of two lines, 'quotes' and ümlauts"
    printf x >$'folder/\xff\xfe'
    chown 1234:5678 folder/a*
    ln -s ../nowhere folder/link
    chown -h 1234:5678 folder/link
    ln big folder/big
    ln folder/link folder/link2
    truncate -s 8M hole
    printf end >>hole
    printf middle | dd of=hole bs=1 seek=3000000 conv=notrunc status=none
    fallocate -l 1M preallocated
    head -c 100K /dev/zero >zeros
    mkfifo fifo
    mknod device c 1 3
    setfattr -n user.colour -v green folder/script
    setfattr -n trusted.secret -v 0x00ff folder
    setfattr -h -n trusted.link -v 0x00 folder/link
    setfattr -n user.empty big
    setfacl -m u:1234:r,g:5678:rwx folder/script
    setfacl -d -m u:1234:r folder
    : >empty
    btrfs -q subvolume create nested
    btrfs -q subvolume create .escapepod/slot
    touch -h -d '1999-12-31 23:59:59.123456789' folder/link folder/script folder
    cd ../.. || return
    btrfs -q subvolume snapshot -r fs/volume fs/original
    btrfs -q send fs/original 2>/dev/null | btrfs -q receive back
}

# A copy of the copy, to spoil.
copy() {
    [[ ! -e back/copy ]] || btrfs -q subvolume delete back/copy
    btrfs -q subvolume snapshot back/original back/copy
}

# differs LINE…: these are all the differences.
differs() {
    local status=0
    timeout 60 ep-snap compare fs/original back/copy >is 2>err || status=$?
    diff <(printf '%s\n' "$@" | sort) <(sort is)
    [[ $status -eq 65 ]]
    grep -q '^ep-snap: .*differences\?: fs/original and back/copy' err
}

@test "what btrfs receive brought back is alike" {
    run -0 --separate-stderr timeout 60 ep-snap compare fs/original back/original --report report
    [[ -z $output && -z $stderr ]]
    [[ $(jq -c . report) = '{"entries":'$(jq .entries report)',"files":8,"bytes":'$(jq .bytes report)',"filledHoles":0,"differences":0}' ]]
    [[ $(jq .bytes report) -eq $((3 * 1048576 + 10 + 1 + 1 + 8 * 1048576 + 3 + 1048576 + 102400)) ]]
    # As is the live volume that is made of it.
    copy
    run -0 timeout 60 ep-snap compare fs/original back/copy
}

@test "each thing that may be lost is a difference, and is named" {
    local time=946684799
    copy && cd back/copy
    at() { touch -h -d '1999-12-31 23:59:59.123456789' "$@"; }
    chmod 4710 folder/script && cd ../..
    # The mask of the ACL is in the mode.
    differs "folder/script: the mode is 04710, not 0$(stat -c %a fs/original/folder/script)" \
        "folder/script: the extended attribute system.posix_acl_access has a different value"
    copy && setfacl -m u:1234:rw back/copy/folder/script
    differs "folder/script: the extended attribute system.posix_acl_access has a different value"
    copy && chown 1:5678 "$(echo back/copy/folder/a*)"
    differs "folder/a name\\x0aof two lines, 'quotes' and ümlauts: the owner is 1:5678, not 1234:5678"
    copy && chown -h 1:1 back/copy/folder/link
    differs "folder/link: the owner is 1:1, not 1234:5678"
    copy && touch -h -d '1999-12-31 23:59:59.123456780 UTC' back/copy/folder/link
    differs "folder/link: the modification time is $time.123456780, not $(stat -c %.9Y fs/original/folder/link)"
    copy && touch -d @1 back/copy/folder
    differs "folder: the modification time is 1.000000000, not $(stat -c %.9Y fs/original/folder)"
    copy && setfattr -n user.colour -v red back/copy/folder/script
    differs "folder/script: the extended attribute user.colour has a different value"
    copy && setfattr -x user.colour back/copy/folder/script
    differs "folder/script: the extended attribute user.colour is missing"
    copy && setfattr -x user.empty back/copy/big
    differs "folder/big: the extended attribute user.empty is missing"
    copy && setfattr -h -n trusted.more -v 1 back/copy/folder/link
    differs "folder/link: the extended attribute trusted.more is not in the original"
    copy && setfacl -k back/copy/folder
    differs "folder: the extended attribute system.posix_acl_default is missing"
    copy && chmod 700 back/copy
    differs ".: the mode is 0700, not 0755"
}

# again PATH: its time of modification is the original's.
again() { touch -h -r "fs/original/$1" "back/copy/$1"; }

@test "content, links, kinds and names" {
    copy && flip back/copy/big 2000000 && again big
    differs "folder/big: the content differs from byte 2000000 on"
    copy && printf X >>back/copy/big && again big
    differs "folder/big: has 3145729 bytes, not 3145728"
    copy && rm back/copy/empty
    differs "empty: is missing"
    copy && rm "$(echo back/copy/folder/$'\xff'*)" && touch $'back/copy/folder/\xfe\x1b[31m' && again folder
    differs 'folder/\xff\xfe: is missing' 'folder/\xfe\x1b[31m: is not in the original'
    copy && ln -sfn ../Nowhere back/copy/folder/link && chown -h 1234:5678 back/copy/folder/link &&
        setfattr -h -n trusted.link -v 0x00 back/copy/folder/link && again folder/link && again folder
    differs "folder/link: the hard link count is 1, not 2" "folder/link: the symbolic link has a different target" \
        "folder/link2: the hard link count is 1, not 2" "folder/link2: is no longer hard-linked to its other names"
    copy && cp -a --remove-destination back/copy/folder/big back/copy/big && again folder
    differs "big: the hard link count is 1, not 2" "folder/big: the hard link count is 1, not 2" \
        "big: is no longer hard-linked to its other names"
    copy && ln -f back/copy/big back/copy/empty
    run -65 --separate-stderr timeout 60 ep-snap compare fs/original back/copy
    grep -qx 'empty: the hard link count is 3, not 1' <<<"$output"
    copy && rm back/copy/fifo && mkdir back/copy/fifo
    differs "fifo: is a folder, not a named pipe"
    copy && rm back/copy/device && mknod back/copy/device c 1 5 && again device
    differs "device: the device number differs"
    # A name that is a folder with much in it is one difference.
    copy && rm -r back/copy/folder
    differs "folder: is missing" "big: the hard link count is 1, not 2"
}

@test "a hole that is filled, and zeros that became one, are differences, unless they may be" {
    copy && fallocate -l 1M -z back/copy/hole
    # No zeros but preallocated room: that reads and counts as a hole.
    again hole
    run -0 timeout 60 ep-snap compare fs/original back/copy
    head -c 1M /dev/zero | dd of=back/copy/hole bs=1M conv=notrunc status=none && again hole
    differs "hole: the holes differ: 1048576 bytes are in a hole on one side and zeros on the other"
    run -0 timeout 60 ep-snap compare fs/original back/copy --filled-holes --report report
    [[ -z $output && $(jq .filledHoles report) -eq 1048576 ]]
    printf X | dd of=back/copy/hole bs=1 seek=5 conv=notrunc status=none && again hole
    run -65 timeout 60 ep-snap compare fs/original back/copy --filled-holes
    [[ ${lines[0]} = "hole: the content differs from byte 5 on" ]]
    copy && fallocate -p -o 0 -l 40960 back/copy/zeros && again zeros
    differs "zeros: the holes differ: 40960 bytes are in a hole on one side and zeros on the other"
}

@test "files of holes, together longer than a number can say" {
    for name in 1 2 3; do truncate -s 9223372036854775807 "fs/volume/huge$name"; done
    btrfs -q subvolume snapshot -r fs/volume fs/huge
    btrfs -q subvolume snapshot -r fs/volume fs/again
    timeout 20 ep-snap compare fs/huge fs/again --report record
    grep '"bytes":9223372036854775807,' record
}

@test "a deep tree and a wide one, in bounded memory" {
    mkdir fs/volume/wide
    (cd fs/volume/wide && seq 20000 | xargs touch)
    deep=fs/volume/deep
    mkdir "$deep"
    (cd "$deep" && for _ in {1..100}; do mkdir a-folder-with-a-long-name && cd a-folder-with-a-long-name; done && echo end >file)
    btrfs -q subvolume snapshot -r fs/volume fs/more
    btrfs -q send -p fs/original fs/more 2>/dev/null | btrfs -q receive back
    run -0 --separate-stderr timeout 120 env time -f %M ep-snap compare fs/more back/more
    [[ -z $output && $stderr -lt 24576 ]]
}

@test "what is no subvolume, or not there" {
    refuses 65 'not the root of a btrfs subvolume: ' timeout 20 ep-snap compare fs/original/folder back/original
    refuses 69 'no such subvolume: nowhere' timeout 20 ep-snap compare fs/original nowhere
    refuses 64 '' timeout 20 ep-snap compare fs/original
}
