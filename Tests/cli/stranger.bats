#!/usr/bin/env bats
# A stranger with the store, a key and contrib/RECOVERY.txt, but without escapepod, gets everything back.
# shellcheck disable=SC2154

load helper
load pod

setup_file() { prepare store_of_three; }

# Three backups of vol, the trees that they were of in tree.1 to tree.3, and in the store what a stranger finds beside them.
store_of_three() {
    chmod 640 vol/note
    setfattr -n user.mark -v x vol/note
    ln vol/big vol/hard && ln -s big vol/soft && truncate -s 1M vol/hole
    escapepod backup ./pod.conf
    tree vol >tree.1
    head -c 3M /dev/urandom >vol/big
    echo second >vol/note
    escapepod backup ./pod.conf
    tree vol >tree.2
    echo third >vol/note && rm vol/soft
    escapepod backup ./pod.conf
    tree vol >tree.3
    cp "$EP_REPO/contrib/RECOVERY.txt" "$EP_REPO/contrib/escapepod-open" store/
    new_machine
}

setup() { prepared; }

# follow LINE NAME=VALUE…: types what RECOVERY.txt says for a machine without escapepod, with these values in place of
# its own, and LINE behind step 2, into a shell that knows nothing of escapepod.
follow() {
    local steps=$BATS_TEST_TMPDIR/steps line=$1 value
    sed -n '/^WITHOUT ESCAPEPOD/,$ s/^    //p' store/RECOVERY.txt >"$steps"
    for value in domain=pod "target=$PWD/new" "${@:2}"; do
        grep -q "^${value%%=*}=" "$steps"
        sed -i "s|^${value%%=*}=.*|$value|" "$steps"
    done
    sed -i "/tee /a $line" "$steps"
    (cd store && env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin TMPDIR="$BATS_TEST_TMPDIR" timeout 120 bash "$steps")
}

@test "the whole chain, with the key" {
    follow : "key=$PWD/pod.key" words=/nowhere >said
    run ! grep STOP said
    tree new/restored | diff tree.3 -
    [[ $(grep -E '^[0-9]+ (full|incremental) ' said | cut -d ' ' -f 1,2 | xargs) == '1 full 2 incremental 3 incremental' ]]
}

@test "an earlier backup, of parts, with the wrapped key and the words" {
    mkdir store/escapepod/pod/keys
    (umask 077 && echo correct horse >words)
    wrapped_key >store/escapepod/pod/keys/0000000001-any
    rm pod.key
    local blob
    for blob in store/escapepod/pod/blobs/*; do
        split -b 1M -d -a 3 "$blob" "$blob."
        rm "$blob"
    done
    # shellcheck disable=SC2016
    follow 'sed -i 3d "$list"' key=escapepod/pod/keys/0000000001-any "words=$PWD/words" >said
    run ! grep STOP said
    tree new/restored | diff tree.2 -
}

@test "a blob that is damaged or gone stops it, and there is nothing that looks restored" {
    local blob
    blob=store/escapepod/pod/blobs/$(basename "$(find store/escapepod/pod/metadata -name '0000000002-*')" | cut -d - -f 2)
    cp "$blob" kept
    flip "$blob" 5000
    run ! follow : "key=$PWD/pod.key"
    [[ $output == *'STOP: backup 2 is damaged or not here'* && ! -e new/restored && ! -e new/backup-3 ]]
    btrfs -q subvolume delete new/*
    rm "$blob"
    run ! follow : "key=$PWD/pod.key"
    [[ $output == *'STOP: backup 2 is damaged or not here'* && ! -e new/restored && ! -e new/backup-3 ]]
}

@test "documents of another computer, or in another order, are not listed" {
    cp -r store/escapepod/pod store/escapepod/other
    run ! follow : domain=other "key=$PWD/pod.key" words=/nowhere
    [[ $output == *'STOP: a document is not in its place'* && -z $(ls -A new) ]]
    # The newest in front.
    mv store/escapepod/pod/metadata/0000000003-* store/escapepod/pod/metadata/0000000000-moved
    run ! follow : "key=$PWD/pod.key" words=/nowhere
    [[ $output == *'STOP: a document is not in its place'* && -z $(ls -A new) ]]
    mv store/escapepod/pod/metadata/0000000000-moved store/escapepod/pod/metadata/0000000003-moved
    rm store/escapepod/pod/metadata/0000000002-*
    run ! follow : "key=$PWD/pod.key" words=/nowhere
    [[ $output == *'STOP: a document is not in its place'* && -z $(ls -A new) ]]
}

# seals STREAM: the store has this as its only backup, of a machine that was somebody else's.
seals() {
    local uuid=00010203-0405-0607-0809-0a0b0c0d0e0f sha256
    rm -rf store/escapepod/pod && mkdir -p store/escapepod/pod/blobs store/escapepod/pod/metadata
    ep-seal --key pod.key <"$1" >blob
    sha256=$(sha256sum <blob | cut -d ' ' -f 1)
    mv blob "store/escapepod/pod/blobs/$sha256"
    printf '{"domain":"pod","generation":1,"type":"full","date":"2026-11-23T06:10:00Z","sha256":"%s","uuid":"%s"}\n' \
        "$sha256" "$uuid" | ep-seal --key pod.key --kind metadata >store/escapepod/pod/metadata/0000000001-"$sha256"
}

@test "a stream that was made to do harm, sealed with the key, does none, whatever it is called" {
    mkdir streams outside && echo whole >outside/victim
    "$EP_REPO/Tests/cli/hostile" streams 00010203-0405-0607-0809-0a0b0c0d0e0f "$PWD/outside"
    local stream
    for stream in make-through-link write-through-link dots write-to-device called-dots called-slash; do
        seals "streams/$stream"
        run ! follow : "key=$PWD/pod.key" words=/nowhere
        [[ $output == *'STOP: backup 1 is damaged or not here'* && ! -e new/restored ]]
        [[ $(ls outside) == victim && $(<outside/victim) == whole ]]
        btrfs subvolume list new | cut -d ' ' -f 9- | while read -r made; do btrfs -q subvolume delete "new/$made"; done
        rm -f new/new
    done
    for stream in dot-name dash spaces long lines star; do
        seals "streams/called-$stream"
        follow : "key=$PWD/pod.key" words=/nowhere >said
        run ! grep STOP said
        [[ $(ls -A new) == $'backup-1\nrestored' && -e new/restored/folder ]]
        btrfs -q subvolume delete new/restored new/backup-1
    done
}
