#!/usr/bin/env bats
# ep-snap receive: what it makes is what was sent and what btrfs receive makes, and nothing that a stream says reaches
# elsewhere.
# shellcheck disable=SC2030,SC2031,SC2094,SC2154,SC2317

load helper

# ./fs to send from; ./back to receive into, ours in ./back/ours, those of btrfs receive in ./back/stock.
setup() {
    needs_root
    cd "$BATS_TEST_TMPDIR" || return
    make_btrfs fs 256M
    make_btrfs back 384M
    mkdir -m 0700 back/ours back/stock
    btrfs -q subvolume create fs/volume
}

# take NAME [PARENT [OPTION…]]: a snapshot ./fs/NAME of the volume, and its stream in ./NAME.
take() {
    btrfs -q subvolume snapshot -r fs/volume "fs/$1" >/dev/null
    btrfs -q send ${2:+-p "fs/$2"} "${@:3}" "fs/$1" >"$1" 2>/dev/null
}

# ours NAME [PARENT]: receives ./NAME.
ours() {
    timeout 60 ep-snap receive back/ours "$1" --received "$(uuid "fs/$1")" ${2:+--parent "$2"} --json <"$1" >record
    [[ $(jq -r '"\(.path) \(.readOnly) \(.receivedUuid)"' record) == "$PWD/back/ours/$1 true $(uuid "fs/$1")" ]]
    ep-snap check "back/ours/$1" --received "$(uuid "fs/$1")"
}

# both NAME [PARENT]: what we make of ./NAME is what was sent, and what btrfs receive makes of it.
both() {
    ours "$@"
    btrfs -q receive back/stock <"$1"
    timeout 60 ep-snap compare "back/stock/$1" "back/ours/$1"
    timeout 60 ep-snap compare "fs/$1" "back/ours/$1" --filled-holes
    [[ $(stat -c '%a %U %Y' "back/stock/$1") == "$(stat -c '%a %U %Y' "back/ours/$1")" ]]
    sync -f back
    extents "back/stock/$1" >is.stock
    extents "back/ours/$1" | diff is.stock -
}

# extents FOLDER: which files have which holes, and which share what.
extents() (cd "$1" && find . -type f -printf '%P %s %b\n' | sort && btrfs filesystem du -s --raw . | awk 'NR > 1 { print $1, $3 }')

# nothing_made: nothing is left in the folder.
nothing_made() {
    [[ -z $(ls -A back/ours) ]]
    [[ $(btrfs subvolume list back | wc -l) -eq 0 ]]
}

everything() (
    cd fs/volume || exit
    mkdir -m 2750 folder other && mkdir -p deep/er/and/er gone/with/it
    head -c 3M /dev/urandom >big && cp --reflink=always big clone && chmod 600 clone
    head -c 100K big >folder/part
    ln big folder/big && ln -s ../nowhere folder/link && ln folder/link folder/link2
    chown -h 12:34 folder/link
    truncate -s 8M hole && printf end >>hole && printf middle | dd of=hole bs=1 seek=3000000 conv=notrunc status=none
    fallocate -l 1M preallocated && head -c 100K /dev/zero >zeros && : >empty
    mkfifo fifo && mknod character c 1 3 && mknod block b 259 70000
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
    cp /bin/true able && chown 5:6 able && setcap cap_net_raw+ep able
    cp /bin/true suid && chown 7:8 suid && chmod 6755 suid
    setfattr -n user.colour -v green folder && setfattr -n user.empty empty && setfattr -h -n trusted.link -v 0x00 folder/link
    setfacl -m u:1234:r,g:5678:rwx big && setfacl -d -m u:1234:r folder
    printf x >$'folder/two\nlines' && printf y >$'folder/\xff\xfe' && : >"$(printf 'n%.0s' {1..255})"
    echo one >swap1 && echo two >swap2 && mkdir ring1 ring2 && echo r1 >ring1/f && echo r2 >ring2/f
    touch -h -d '1969-07-20 20:17:40.123456789 UTC' folder/link && chmod 1777 .
)

more() (
    cd fs/volume || exit
    mv swap1 t && mv swap2 swap1 && mv t swap2 && mv ring1 t && mv ring2 ring1 && mv t ring2
    mv deep/er folder/er && mv folder deep/renamed && rm -r gone other && mkdir gone && echo again >gone/with
    rm fifo && echo file >fifo && rm empty && mkdir empty && rm clone && ln -s big clone
    printf XX | dd of=big bs=1 seek=1234567 conv=notrunc status=none && truncate -s 2M hole
    fallocate -p -o 4096 -l 40960 zeros && cp --reflink=always big clone2
    chown 9:9 able && setcap cap_net_admin+ep able && setfattr -x user.colour deep/renamed && setfacl -b big
    rm deep/renamed/link2 && ln deep/renamed/part part && mv deep/renamed/$'\xff\xfe' $'\xfe\n'
    echo late >>suid && chmod 4711 suid
)

@test "one of everything, and two generations on, is what was sent and what btrfs receive makes of it" {
    everything
    take one
    both one
    [[ $(getcap back/ours/one/able) == *cap_net_raw=ep ]]
    more
    take two one
    both two one
    [[ $(getcap back/ours/two/able) == *cap_net_admin=ep ]]
    rm -r fs/volume/deep && mkdir fs/volume/deep && cp --reflink=always fs/volume/big fs/volume/deep/big
    take three two
    both three two
}

@test "random trees of three generations are what btrfs receive makes of them" {
    local seed generation last=''
    for seed in 1 2; do
        last=''
        for generation in a b c; do
            "$EP_REPO/Tests/cli/jumble" fs/volume "$seed$generation" 120
            take "$seed$generation" "$last"
            both "$seed$generation" "$last"
            last=$seed$generation
        done
    done
    (($(find back/ours/1c back/ours/2c | wc -l) > 20))
}

@test "protocol 2 with data as it was compressed" {
    mount -o remount,compress=zstd fs
    (cd fs/volume && yes compressible | head -c 3M >text && head -c 1M /dev/urandom >random && yes | head -c 100 >short)
    sync -f fs
    take one '' --compressed-data
    (($(stat -c %s one) < 2 << 20))
    both one
    yes other | head -c 300K | dd of=fs/volume/text bs=4K seek=10 conv=notrunc status=none
    sync -f fs
    take two one --proto 2 --compressed-data
    both two one
    # It was not written anew: it takes as little room as where it came from.
    sync -f back
    (($(btrfs filesystem df -b back | sed -n 's/^Data.*used=//p') < 7 << 20))
}

@test "a new owner costs neither the set-user-ID bit nor capabilities" {
    (cd fs/volume && cp /bin/true suid && chmod 6755 suid && cp /bin/true able && setcap cap_net_raw+ep able)
    take one
    ours one
    (cd fs/volume && chown 5:6 suid able && chmod 6755 suid && setcap cap_net_raw+ep able)
    take two one
    # btrfs receive loses the bit, because the mode is as it was.
    ours two one
    ep-snap compare fs/two back/ours/two
}

@test "what the root hands down to new files, files that have none do not get" {
    setfacl -d -m u:1234:rwx fs/volume && btrfs property set fs/volume compression zstd
    (cd fs/volume && echo x >with && echo x >without && mkdir folder && setfacl -bk without folder && setfattr -x btrfs.compression without)
    take one
    ours one
    ep-snap compare fs/one back/ours/one
    (cd fs/volume && echo x >new && setfacl -b new && setfattr -x btrfs.compression new)
    take two one
    ours two one
    ep-snap compare fs/two back/ours/two
    setfacl -k fs/volume && setfattr -x btrfs.compression fs/volume
    echo x >fs/volume/newer
    take three two
    ours three two
    ep-snap compare fs/three back/ours/three
    [[ -z $(getfattr -m - back/ours/three 2>/dev/null) ]]
}

@test "a chain goes on from what was received, below a mount of one subvolume" {
    echo one >fs/volume/note && take one && echo two >fs/volume/note && take two one
    ours one
    # The top level is out of reach.
    btrfs -q subvolume create back/home && mkdir -m 0700 back/home/in home
    mount -o subvol=home "$(findmnt -no SOURCE back)" home
    timeout 60 ep-snap receive home/in one --received "$(uuid fs/one)" <one
    run ! btrfs -q receive home/in <two
    [[ ! -e home/in/two ]] || btrfs -q subvolume delete home/in/two
    timeout 60 ep-snap receive home/in 'any name' --received "$(uuid fs/two)" --parent one <two
    [[ $(<'home/in/any name/note') == two ]]

    # As after a restore: the next stream names its parent by the UUID that this was received with.
    btrfs -q subvolume snapshot home/in/one home/live && echo three >home/live/note
    btrfs -q subvolume snapshot -r home/live home/three
    btrfs -q subvolume snapshot -r home/in/one home/slot
    btrfs -q send -p home/slot home/three >three
    timeout 60 ep-snap receive back/ours three --received "$(uuid home/three)" --parent one <three
    [[ $(<back/ours/three/note) == three ]]
    ep-snap compare home/three back/ours/three
}

@test "a stream that was made to do harm does none, and leaves nothing" {
    local stream
    mkdir streams outside && echo whole >outside/victim
    "$EP_REPO/Tests/cli/hostile" streams 00010203-0405-0607-0809-0a0b0c0d0e0f "$PWD/outside"
    look() { find outside -printf '%p %y %m %U %n %s %T@ %C@\n' && cat outside/victim; }
    look >before
    for stream in streams/[!c]* streams/cut; do
        refuses 65 'standard input' timeout 20 ep-snap receive back/ours x \
            --received 00010203-0405-0607-0809-0a0b0c0d0e0f <"$stream" || { echo "$stream" && return 1; }
        look | diff before -
        [[ -z $(ls -A back/ours) ]]
    done
    nothing_made
    for stream in streams/called-*; do
        timeout 20 ep-snap receive back/ours x --received 00010203-0405-0607-0809-0a0b0c0d0e0f <"$stream"
        [[ $(ls -A back/ours) == x && $(ls -A back) == $'ours\nstock' ]]
        btrfs -q subvolume delete back/ours/x
    done
    refuses 65 'named a\x0a\x1b[31mb' timeout 20 ep-snap receive back/ours x \
        --received 11111111-0405-0607-0809-0a0b0c0d0e0f <streams/called-lines
}

# half_received: ep-snap receive in the background, as $pid, that has half of ./one and waits for the rest on descriptor 7.
half_received() {
    [[ -p feed ]] || mkfifo feed
    # In the background, INT would be ignored, and HUP by all that nohup starts.
    env --default-signal ep-snap receive back/ours one --received "$(uuid fs/one)" <feed 3>&- 2>err &
    pid=$!
    exec 7>feed
    head -c $(($(stat -c %s one) / 2)) one >&7
    growing() { [[ -e back/ours/one/big && $(stat -c %s back/ours/one/big) -gt 1000000 ]]; }
    eventually growing
}

@test "ended in the middle: a signal leaves nothing, kill -9 what the next one deletes" {
    local signal status
    head -c 3M /dev/urandom >fs/volume/big && take one
    for signal in INT TERM HUP; do
        half_received
        kill -"$signal" "$pid"
        status=0 && wait "$pid" || status=$?
        exec 7>&-
        ((status > 128))
        nothing_made
    done
    half_received
    kill -9 "$pid"
    wait "$pid" || :
    exec 7>&-
    [[ -e back/ours/one/big ]]
    run -65 ep-snap check back/ours/one --received "$(uuid fs/one)"
    both one
}

@test "a fault at any call leaves nothing, and a kill what the next one deletes" {
    everything && rm fs/volume/big fs/volume/clone fs/volume/hole && take one && more && take two one
    ours one
    local call when fault status receive
    receive=(timeout 20 ep-snap receive back/ours two --received "$(uuid fs/two)" --parent one)
    for call in ioctl renameat openat2 syncfs; do
        for fault in signal=KILL error=EIO; do
            for when in 1 2 3 5 8 13; do
                status=0
                timeout 60 strace -o trace -e "inject=$call:$fault:when=$when" "${receive[@]}" <two >out 2>err || status=$?
                if ((status == 0)); then
                    btrfs -q subvolume delete back/ours/two
                    break
                fi
                [[ $fault == signal=KILL || ! -e back/ours/two ]] || grep 'incomplete and could not be deleted' err
                ((status == 137 || status == 74))
                "${receive[@]}" <two >out
                ep-snap check back/ours/two --received "$(uuid fs/two)"
                btrfs -q subvolume delete back/ours/two
            done
        done
    done
}

@test "the received UUID comes behind the data: a loss of power cannot leave the one without the other" {
    head -c 1M /dev/urandom >fs/volume/big && take one
    btrfs send -q fs/one | strace -qqo calls -e trace=pwrite64,syncfs,ioctl ep-snap receive back/ours one --received "$(uuid fs/one)"
    [[ $(grep -oE '^pwrite64|^syncfs|BTRFS_IOC_SET_RECEIVED_SUBVOL' calls | uniq) = $'pwrite64\nsyncfs\nBTRFS_IOC_SET_RECEIVED_SUBVOL' ]]
}

@test "no room in the middle leaves nothing" {
    make_btrfs small 128M
    mkdir -m 0700 small/in
    head -c 150M /dev/urandom >fs/volume/big && take one
    refuses 74 'no space left on device' timeout 60 ep-snap receive small/in one --received "$(uuid fs/one)" <one
    grep -q 'hint: free some space there' err
    [[ -z $(ls -A small/in) ]]
}

@test "memory does not grow with the stream" {
    head -c 60M /dev/urandom >fs/volume/big && (cd fs/volume && seq 3000 | xargs touch) && take one
    run -0 --separate-stderr timeout 60 env time -f %M \
        ep-snap receive back/ours one --received "$(uuid fs/one)" <one
    ((stderr < 24576))
}

@test "another stream, another parent, a name that is taken" {
    echo one >fs/volume/note && take one && echo two >fs/volume/note && take two one && take three
    local one two
    one=$(uuid fs/one) two=$(uuid fs/two)
    into() { timeout 20 ep-snap receive back/ours "$@"; }
    refuses 65 "contains another subvolume: $two, named two" into x --received "$one" <two
    refuses 65 'is incremental' into x --received "$two" <two
    refuses 74 'cannot open' into x --received "$two" --parent none <two
    ours one
    ours three
    refuses 65 'is full and has no parent' into x --received "$one" --parent three <one
    refuses 65 "builds on another subvolume: $one" into x --received "$two" --parent three <two
    btrfs -q subvolume snapshot back/ours/one back/ours/changed
    refuses 65 'the parent is writable' into x --received "$two" --parent changed <two
    # The very one that was there, but it was opened for a while.
    mkdir -m 0700 fs/in && btrfs -q subvolume snapshot -r fs/volume fs/in/base && btrfs -q send -p fs/in/base fs/two >upon 2>/dev/null
    timeout 20 ep-snap receive fs/in x --received "$two" --parent base <upon
    btrfs property set fs/in/base ro false && echo more >fs/in/base/note && btrfs property set fs/in/base ro true
    refuses 65 'the parent has changed since' timeout 20 ep-snap receive fs/in y --received "$two" --parent base <upon
    # Neither a whole one, nor another's, nor a file is deleted.
    mkdir back/ours/folder && touch back/ours/file && ln -s one back/ours/link
    local name
    for name in three folder file link; do
        refuses 75 'the name is taken' into "$name" --received "$two" --parent one <two
    done
    refuses 75 'the name is taken' into one --received "$one" <one
    [[ $(cd back/ours && echo *) == 'changed file folder link one three' ]]
    refuses 64 'cannot be its own parent' into one --received "$two" --parent one <two
    for name in '' . .. a/b /a "$(printf 'n%.0s' {1..256})"; do
        refuses 64 'not a valid name for a subvolume' into "$name" --received "$one" <one
    done
}

@test "the folder is ours alone, on btrfs, and no link of others" {
    echo one >fs/volume/note && take one
    into() { timeout 20 ep-snap receive "$@" --received "$(uuid fs/one)" <one; }
    mkdir -m 0711 back/open && mkdir -m 0700 back/others plain && chown 1234 back/others
    refuses 77 'not a private folder' into back/open x
    refuses 77 'not a private folder' into back/others x
    refuses 74 'cannot open' into back/none x
    refuses 65 'not on a btrfs' into plain x
    chmod 0777 back/open && ln -s ../ours back/open/link && chown -h 1234 back/open/link
    refuses 77 'refusing to follow a symbolic link' into back/open/link x
    nothing_made
}
