#!/usr/bin/env bats
# A volume with compression: its data go and come as the file system has them.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154

load helper
load pod

setup_file() { prepare a_compressed_volume; }

# Two backups of a volume that is mounted with compression.
a_compressed_volume() {
    mount -o remount,compress=zstd:3 vol
    lines
    escapepod backup ./pod.conf
    echo second >vol/note
    seq 100000 300000 >>vol/lines
    escapepod backup ./pod.conf
    mkdir kept && cp vol/* kept
}

# lines: what compresses well, and what does not; across extents, a tail, a clone of it, and a file that begins in the middle of one.
lines() {
    seq 1000000 >vol/lines
    sync -f vol
    cp --reflink=always vol/lines vol/clone
    head -c 1M /dev/urandom >vol/bytes
    printf tail >>vol/clone
    # A part of a compressed extent, at another place; nothing else has the rest of it.
    : >vol/part
    seq 1000000 2000000 >vol/whole
    sync -f vol
    python3 - <<'END'
import fcntl, os, struct
source, target = os.open("vol/whole", os.O_RDONLY), os.open("vol/part", os.O_WRONLY)
fcntl.ioctl(target, 0x4020940D, struct.pack("qQQQ", source, 36864, 40960, 0))
END
    rm vol/whole
}

# restored NOTE: a restore brings all of it back.
restored() {
    timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $(<new/pod/note) = "$1" && $(ls -A new) = pod ]]
    diff -r --exclude=.escapepod kept new/pod
}

setup() { prepared; }

document() { ep-fetch last "$store" --domain pod | ep-unseal --kind metadata --key pod.key; }

# encoded FILE: whether any extent of it is compressed.
encoded() { filefrag -v "$1" | grep -q encoded; }

@test "a compressed volume is stored as it is, and comes back so" {
    encoded vol/lines
    [[ $(document | jq -c '[.type, .producer["send-protocol"]]') = '["incremental",2]' ]]
    # What compresses takes less than half.
    (($(du -cb store/escapepod/pod/blobs/* | tail -n 1 | cut -f 1) < $(stat -c %s vol/lines) / 2 + (9 << 19)))
    new_machine
    restored second
    encoded new/pod/lines && encoded new/pod/part
    run ! encoded new/pod/bytes
    # There the next one is not compressed, and a chain may have both.
    sed "s|^volume=.*|volume=$PWD/new/pod|" pod.conf >there.conf
    echo third >new/pod/note
    escapepod backup ./there.conf
    [[ $(document | jq -c '[.type, .producer["send-protocol"]]') = '["incremental",null]' ]]
    escapepod restore ./there.conf --to "$PWD/new/again"
    diff -r --exclude=.escapepod new/pod new/again
}

@test "the property of its root says it, too" {
    [[ -z $(ep-snap look vol | head -n 1) ]]
    btrfs property set vol compression lzo
    [[ $(ep-snap look vol) = "--proto 2 --compressed-data" ]]
    btrfs property set vol compression no
    [[ -z $(ep-snap look vol) ]]
    mount -o remount,compress-force=zstd vol
    [[ -z $(ep-snap look vol) ]]
    btrfs property set vol compression ""
    btrfs -q subvolume create vol/inside
    [[ $(ep-snap look vol) = "--proto 2 --compressed-data"$'\n'"$PWD/vol/inside" ]]
    # A program of before.
    stand_in btrfs <<<'[[ $1 != --version ]] || exec echo btrfs-progs v5.10.1; exec "$real" "$@"'
    [[ $(ep-snap look vol | head -n 1) = "" ]]
}

@test "a drill finds it identical, and progress counts what the data stand for" {
    run -0 timeout 60 escapepod drill ./pod.conf --scratch "$PWD/tmp"
    [[ $output = *"all identical"* ]]
    rm -rf state
    seq 2000000 >vol/more
    snapshot=$(slots)/current-parent
    wanted=$(ep-snap estimate "$snapshot")
    btrfs send -q --proto 2 --compressed-data "$snapshot" >stream
    run -0 script -qec "ep-seal --key pod.key --progress --expect $wanted <stream >sealed" /dev/null
    # But for what the headers take.
    [[ $output =~ "of "[0-9.]+" MiB  "(99|100)" %" ]]
    (($(stat -c %s stream) < wanted / 2))
}

@test "a file system that does not take compressed data gets what they stand for" {
    new_machine
    # Compressed data need checksums.
    mount -o remount,nodatasum new
    restored second
    run ! encoded new/pod/lines
}

@test "each compression of btrfs comes back, as it is or decompressed" {
    make_btrfs new 256M
    mkdir -m 0700 new/as-it-is new/decompressed
    for kind in zlib lzo zstd; do
        mount -o remount,compress-force=$kind vol
        rm vol/lines vol/clone vol/part
        lines
        btrfs -q subvolume snapshot -r vol "vol/$kind"
        btrfs send -q --proto 2 --compressed-data "vol/$kind" >stream
        mount -o remount,datasum new
        run -0 ep-snap receive new/as-it-is $kind --received "$(uuid "vol/$kind")" <stream
        [[ $output != *compressed* ]]
        encoded new/as-it-is/$kind/lines
        mount -o remount,nodatasum new
        run -0 ep-snap receive new/decompressed $kind --received "$(uuid "vol/$kind")" <stream
        [[ $(grep -c "does not take compressed data as they are" <<<"$output") = 1 ]]
        run ! encoded new/decompressed/$kind/lines
        diff -r --exclude=.escapepod "vol/$kind" new/as-it-is/$kind
        diff -r --exclude=.escapepod "vol/$kind" new/decompressed/$kind
        btrfs -q subvolume delete "vol/$kind"
    done
}

@test "with stock tools alone" {
    new_machine
    for blob in $(cd store/escapepod/pod/metadata && echo *); do
        python3 "$EP_REPO/contrib/escapepod-open" --key pod.key <"store/escapepod/pod/blobs/${blob##*-}" | btrfs -q receive new
        mv new/current-state "new/$blob"
    done
    diff -r --exclude=.escapepod kept "new/$blob"
}

@test "how hard a backup is compressed is said on the command line or in the configuration, and it says how long it was" {
    local sealed
    # mode: byte 11 of the newest blob.
    mode() { od -An -tu1 -j 11 -N 1 "store/escapepod/pod/blobs/$(document | jq -r .sha256)"; }
    [[ $(mode) -eq 1 ]]
    document | jq -e '.uncompressed > .size and .parent.uncompressed > .parent.size'
    sealed=$(document | jq .size)
    document | ep-meta show | grep -F "sealed ($sealed bytes), compressed from "
    # What a restore needs goes by that.
    [[ $(ep-fetch history "$store" --domain pod | ep-unseal --kind metadata --key pod.key | ep-meta chain --domain pod --store "$store" |
        head -n 1 | cut -d ' ' -f 6) -eq $(document | jq '.uncompressed + .parent.uncompressed') ]]
    escapepod backup ./pod.conf --compress none
    [[ $(mode) -eq 0 ]]
    document | jq -e 'has("uncompressed") | not'
    echo compress=none >>pod.conf
    escapepod backup ./pod.conf
    [[ $(mode) -eq 0 ]]
    escapepod backup ./pod.conf --compress 19
    [[ $(mode) -eq 1 ]]
    run -64 escapepod backup ./pod.conf --compress 20
    sed -i s/compress=.*/compress=20/ pod.conf
    run -65 escapepod backup ./pod.conf
    [[ $output == *"compress is none, or 1 to 19: ./pod.conf"* ]]
    escapepod init "$PWD/other.conf" --volume "$volume" --store "$store" --domain other --compress 3 --passphrase-command 'echo words'
    grep -x compress=3 other.conf
    new_machine
    timeout 60 escapepod restore --store "$store" --domain pod --key pod.key --to new/pod
    diff -r --exclude=.escapepod kept new/pod
}
