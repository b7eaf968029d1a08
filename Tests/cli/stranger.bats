#!/usr/bin/env bats
# A stranger with the store, a key and contrib/RECOVERY.txt, but without escapepod, gets everything back.
# shellcheck disable=SC2154

load helper
load pod

setup() {
    cd "$BATS_TEST_TMPDIR" || exit
}

# store_of_three: three backups of vol, the trees that they were of in tree.1 to tree.3, and in the store what a
# stranger finds beside them.
store_of_three() {
    make_pod
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
    (cd store && env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin timeout 120 bash "$steps")
}

@test "the whole chain, with the key" {
    store_of_three
    follow : "key=$PWD/pod.key" words=/nowhere >said
    run ! grep STOP said
    tree new/restored | diff tree.3 -
    [[ $(cut -d ' ' -f 1,2 new/list | xargs) == '1 full 2 incremental 3 incremental' ]]
}

@test "an earlier backup, of parts, with the wrapped key and the words" {
    store_of_three
    (umask 077 && ep-key passphrase >words)
    mkdir store/escapepod/pod/keys
    timeout 60 ep-key wrap --passphrase-file words pod.key >store/escapepod/pod/keys/0000000001-any
    rm pod.key
    local blob
    for blob in store/escapepod/pod/blobs/*; do
        split -b 1M -d -a 3 "$blob" "$blob."
        rm "$blob"
    done
    # shellcheck disable=SC2016
    follow 'sed -i 3d "$target/list"' key=escapepod/pod/keys/0000000001-any "words=$PWD/words" >said
    run ! grep STOP said
    tree new/restored | diff tree.2 -
}

@test "a blob that is damaged or gone stops it, and there is nothing that looks restored" {
    store_of_three
    local blob
    blob=store/escapepod/pod/blobs/$(basename "$(find store/escapepod/pod/metadata -name '0000000002-*')" | cut -d - -f 2)
    cp "$blob" kept
    printf X | dd of="$blob" bs=1 seek=5000 conv=notrunc status=none
    run ! follow : "key=$PWD/pod.key"
    [[ $output == *'STOP: backup 2 is damaged or not here'* && ! -e new/restored && ! -e new/3 ]]
    btrfs subvolume delete new/1/* >/dev/null
    rm -r new/1 "$blob"
    run ! follow : "key=$PWD/pod.key"
    [[ $output == *'STOP: backup 2 is damaged or not here'* && ! -e new/restored && ! -e new/3 ]]
}
