#!/usr/bin/env bats
# escapepod drill: a backup is restored for the sake of it, and anything that is not as it was comes out.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154

load helper
load pod
load dunesea

setup_file() { prepare three_backups_and_ground; }
three_backups_and_ground() {
    three_backups
    mkdir ground
}

setup() { prepared; }

drill() { timeout 120 escapepod drill ./pod.conf --scratch ground "$@"; }

# The newest receipt.
receipt() { cat "$(printf '%s\n' state/pod/*/drill-*.json | sort | tail -n 1)"; }

# Nothing is left of a drill, wherever it was. What it mounts is in a namespace of its own; with -q a match counts, even if a
# process has gone meanwhile.
no_trace() {
    [[ -z $(find ground tmp -mindepth 1 | tee /dev/stderr) ]]
    run ! grep -qsF -e "$PWD/tmp" -e "$PWD/ground" /proc/[0-9]*/mountinfo
    run ! grep -F "$PWD" <(losetup -nO BACK-FILE | grep deleted)
}

# genuine: the newest receipt's MAC is the key's, over all the rest.
genuine() {
    local line
    line=$(receipt)
    printf %s "$line" | sed 's/,"mac":.*/}/' | ep-key mac pod.key --check "$(jq -r .mac <<<"$line")"
}

@test "the newest backup is proven, of a full one and of a chain, in a receipt" {
    nothing_yet
    echo first >vol/note
    escapepod backup ./pod.conf
    run -0 --separate-stderr drill
    [[ -z $stderr && ${lines[0]} = "pod: drill of generation 1 of 20"* ]]
    [[ ${lines[-1]} = "  done: 2 files, 3.0 MiB, all identical; it took "* ]]
    no_trace
    uuid=$(btrfs subvolume show "$(slots)/root" | awk '$1 == "UUID:" { print $2 }')
    wanted="[1,\"pod\",\"$store\",1,\"$uuid\",\"proven\",2,$((3 * 1048576 + 6)),0]"
    [[ $(receipt | jq -c '[.version, .domain, .store, .generation, .uuid, .result, .files, .bytes, .differences]') = "$wanted" ]]
    [[ $(receipt | jq -r '.started + .finished') =~ ^20[0-9T:-]+Z20[0-9T:-]+Z$ ]]
    [[ $(receipt | jq '.seconds') =~ ^[0-9]+$ ]]
    genuine
    three_backups
    run -0 --separate-stderr drill
    [[ $output = *"generation 4 of "*"4 backups to read"*"2 files"* ]]
    [[ $(receipt | jq .generation) -eq 4 ]]
    # The ones before that still have a snapshot: the full one, and the one before the newest.
    for generation in 1 3; do
        run -0 drill --generation "$generation"
        [[ $(receipt | jq .generation) -eq $generation ]]
    done
    run -69 --separate-stderr drill --generation 2
    [[ $stderr = *"no snapshot of the backup is here, with the UUID "*hint:* ]]
    run -10 drill --generation 9
    [[ $(receipt | jq .generation) -eq 3 ]]
    no_trace
}

@test "a volume with one of everything, over an incremental backup that punched a hole" {
    nothing_yet
    mkdir -m 2750 vol/folder
    head -c 2M /dev/urandom >vol/punched
    ln vol/big vol/folder/link
    ln -s nowhere vol/folder/symlink
    truncate -s 8M vol/hole
    mkfifo vol/fifo
    setfattr -n user.colour -v green vol/note
    setfacl -m u:1234:r vol/note
    printf x >vol/folder/$'two\nlines'
    btrfs -q subvolume create vol/nested
    escapepod backup ./pod.conf
    fallocate -p -o 0 -l 1M vol/punched
    escapepod backup ./pod.conf
    run -0 drill
    [[ $(receipt | jq -c '[.files, .filledHoles]') = '[5,1048576]' ]]
    no_trace
}

# spoilt COMMAND…: runs it in the newest snapshot here, which keeps its UUID.
spoilt() {
    local snapshot
    snapshot=$(slots)/$1
    shift
    btrfs property set -f "$snapshot" ro false
    (cd "$snapshot" && "$@")
    btrfs property set "$snapshot" ro true
}

@test "whatever differs from the snapshot is named, and the receipt says so" {
    spoilt current-parent sh -c 'touch -r note time; echo THIRD >note; touch -r time note; rm time'
    run -65 --separate-stderr drill
    [[ $output = *"  note: the content differs from byte 0 on"* && $output != *done:* ]]
    echo "$stderr"
    [[ $stderr = *"escapepod: what came back is not what was backed up: generation 3, $store"* ]]
    [[ $(receipt | jq -c '[.generation, .result, .differences]') = '[3,"differs",1]' ]]
    genuine
    no_trace
    spoilt root chmod 600 note
    run -65 drill --generation 1
    [[ $output = *"  note: the mode is 0644, not 0600"* ]]
    # Of many, the first twenty.
    spoilt root sh -c 'seq 100 | xargs touch'
    run -65 --separate-stderr drill --generation 1
    [[ $(grep -c 'is missing\|the mode' <<<"$output") -eq 20 && $(receipt | jq .differences) -ge 101 ]]
}

@test "a backup that was broken on purpose: verify finds it whole, and the drill does not" {
    nothing_yet
    echo first >vol/note
    escapepod backup ./pod.conf
    document=$(echo store/escapepod/pod/metadata/*)
    # Its author has the key: other data, all digests and tags right.
    ep-fetch blob "$store" --domain pod "${document##*-}" | ep-unseal --key pod.key |
        "$EP_REPO/Tests/cli/reword" $'first\n' $'worst\n' | ep-seal --key pod.key | ep-store blob "$store" --domain pod >new
    ep-unseal --key pod.key --kind metadata <"$document" | jq -c --slurpfile new new '. + $new[0]' |
        ep-seal --key pod.key --kind metadata >forged
    cp forged "${document%-*}-$(jq -r .sha256 new)"
    rm "$document"
    timeout 60 escapepod verify ./pod.conf
    run -65 drill
    [[ $output = *"  note: the content differs from byte 0 on"* ]]
    [[ $(receipt | jq -r .result) = differs ]]
    no_trace
}

@test "a backup that cannot be restored: 65, and a receipt of that" {
    blob=$(ep-fetch list "$store" --domain pod | sed -n 2p)
    truncate -s -1 "store/escapepod/pod/blobs/$blob"
    run -65 --separate-stderr drill
    [[ $(receipt | jq -c '[.generation, .result]') = '[3,"failed"]' ]]
    genuine
    no_trace
    # Without its metadata one does not even know its UUID.
    : >"$(printf '%s\n' store/escapepod/pod/metadata/* | tail -n 1)"
    run -65 drill
    [[ $(receipt | jq -c '[.generation, .result]') = '[null,"failed"]' ]]
}

@test "a scratch on a btrfs of its own is used as it is, and left as it was" {
    umount ground 2>/dev/null || :
    make_btrfs fs 512M
    mkdir fs/there
    run -0 timeout 120 escapepod drill ./pod.conf --scratch fs/there
    [[ -z $(ls -A fs/there) && $(receipt | jq -r .result) = proven ]]
    [[ $(btrfs subvolume list fs | wc -l) -eq 0 ]]
    # On the volume's own it makes an image all the same.
    mkdir vol/there
    stand_in mkfs.btrfs <<<'echo yes >"$here/made"; exec "$real" "$@"'
    run -0 timeout 120 escapepod drill ./pod.conf --scratch vol/there
    [[ -e made && -z $(ls -A vol/there) ]]
}

@test "in a scratch that others may write to, nothing of theirs is entered, followed or deleted" {
    make_btrfs fs 512M
    for ground in ground fs/there; do
        mkdir -p "$ground"
        btrfs -q subvolume create "fs/precious-${ground%%/*}"
        btrfs -q subvolume create "fs/precious-${ground%%/*}/restored"
        ln -s "$PWD/fs/precious-${ground%%/*}" "$ground/.escapepod-drill-pod"
        ln -s "$PWD/fs/precious-${ground%%/*}" "$ground/.escapepod-0000000000000000"
        mkdir -m 0777 "$ground/.escapepod-1111111111111111"
        : >"$ground/escapepod-drill.1.AAAAAAAA"
        chown -hR 1234 "$ground"
        chmod 0777 "$ground"
        before=$(find "$ground" | sort)
        run -0 timeout 120 escapepod drill ./pod.conf --scratch "$ground"
        [[ $(find "$ground" | sort) = "$before" ]]
        btrfs subvolume show "fs/precious-${ground%%/*}/restored" >/dev/null
    done
}

@test "killed, it leaves nothing mounted, and the next drill removes the rest" {
    make_btrfs fs 512M
    for ground in ground fs; do
        for signal in KILL TERM; do
            stand_in ep-snap <<END
[[ \$1 = compare ]] || exec "\$real" "\$@"
kill -$signal "\$PPID"
exec sleep 1
END
            run timeout 120 escapepod drill ./pod.conf --scratch "$ground"
            case $signal in KILL) ((status == 137)) ;; TERM) ((status == 143)) ;; esac
            no_stand_in
            [[ $signal = KILL || -z $(find "$ground" tmp -mindepth 1) ]]
            run -0 timeout 120 escapepod drill ./pod.conf --scratch "$ground"
            [[ -z $(ls -A "$ground") ]]
        done
    done
    no_trace
}

@test "no room, no folder, no volume" {
    truncate -s 2M small.img
    mkfs.ext4 -q small.img
    mkdir small
    mount -o loop small.img small
    run -74 timeout 60 escapepod drill ./pod.conf --scratch small
    [[ $output = *"not enough space: "*" needed: $PWD/small"* ]]
    [[ $(ls -A small) = lost+found ]]
    run -69 timeout 60 escapepod drill ./pod.conf --scratch nowhere
    run -69 timeout 60 escapepod drill ./pod.conf --volume nowhere
    run -64 drill --generation 0
    [[ -z $(compgen -G 'state/pod/*/drill-*') ]]
}

@test "a store on a server is drilled as any other" {
    nothing_yet
    start_dunesea
    store=dunesea+$DUNESEA_URL
    dunesea_token pod --append --read >token
    configure
    echo "token_file=$PWD/token" >>pod.conf
    three_backups
    run -0 drill
    [[ $(receipt | jq -c '[.generation, .result]') = '[3,"proven"]' ]]
    no_trace
}

@test "a store on a drive is verified and drilled as any other, and the drive is unmounted after each" {
    drives_alone
    nothing_yet
    # A label of this test's own, lest it read a drive that somebody has plugged in.
    store=label:ep-test-$BASHPID
    configure
    truncate -s 64M drive.img
    mkfs.ext4 -q -L "${store#label:}" drive.img
    device=$(losetup -f --show drive.img)
    three_backups
    run -0 timeout 120 escapepod verify ./pod.conf
    [[ $output = *"3 backups"*"all of it is whole"* ]]
    run -0 drill
    [[ $(receipt | jq -c '[.generation, .result]') = '[3,"proven"]' ]]
    is_free "$device"
    no_trace
}

@test "who is not root is told so, and gets the help all the same" {
    setpriv --reuid 65534 --clear-groups test -r "$EP_REPO/lib/escapepod/drill.bash" || skip "the way there is closed to others"
    run -0 setpriv --reuid 65534 --clear-groups bash "$EP_REPO/bin/escapepod" drill --help
    [[ $output = *"USAGE: escapepod drill"* ]]
    export TMPDIR=/tmp
    run -77 setpriv --reuid 65534 --clear-groups bash "$EP_REPO/bin/escapepod" drill --volume / --store "$store" --domain pod --key k
    [[ $output = *"run it as root"* ]]
}

@test "with the PATH of cron it finds mkfs.btrfs, and where that is missing it says so" {
    PATH=${EP_BIN:-$EP_REPO/.build/debug}:$EP_REPO/bin:/usr/bin:/bin run -0 drill
    mkdir there
    run -69 unshare --mount --propagation slave bash -c 'mount --bind "$1" there && mount -t tmpfs none "$1" && ln -s "$PWD"/there/* "$1" &&
        rm "$1/mkfs.btrfs" && escapepod drill ./pod.conf --scratch ground' - \
        "$(dirname "$(readlink -f "$(command -v mkfs.btrfs)")")"
    [[ $output = *"no such program: mkfs.btrfs"*hint:* && $output != *"loop device"* ]]
}
