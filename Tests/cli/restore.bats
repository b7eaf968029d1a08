#!/usr/bin/env bats
# Restores that are disturbed: by a signal, by a store that is damaged, by a target without room.
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154

load helper
load pod

setup_file() { prepare lost_after_three_backups; }
lost_after_three_backups() {
    three_backups
    new_machine
}

setup() {
    prepared
    blobs=(store/escapepod/pod/metadata/*)
    blobs=("${blobs[@]##*-}")
}

# Ends the restore by signal $1 in the middle of receiving the second of three backups.
in_the_middle() {
    stand_in ep-snap <<END
[[ \$1 = receive ]] || exec "\$real" "\$@"
echo receive >>"\$here/received"
[[ \$(wc -l <"\$here/received") -eq 2 ]] || exec "\$real" "\$@"
head -c 1500000 | "\$real" "\$@"
kill -$1 "\$PPID"
END
    run timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $(wc -l <received) -eq 2 ]]
    [[ ! -e new/pod ]]
    [[ $(find new -name big -size +1000k | wc -l) -ge 1 ]]
    rm received
}

# The second run takes what the first has whole: two are left to receive.
second_run_completes() {
    sed -i '/-eq 2/,$d' stand-in/ep-snap
    echo 'exec "$real" "$@"' >>stand-in/ep-snap
    restores third
    [[ $(wc -l <received) -eq 2 ]]
    [[ -z $(ls -A tmp) ]]
    volume=$PWD/new/pod
    configure
    escapepod backup ./pod.conf
    [[ $(newest) = "4 incremental" ]]
}

@test "killed while it receives: the second restore goes on, completes, and leaves nothing" {
    in_the_middle KILL
    [[ $status -eq 137 ]]
    second_run_completes
}

@test "SIGTERM while it receives: the second restore goes on, completes, and leaves nothing" {
    in_the_middle TERM
    [[ $status -eq 143 ]]
    second_run_completes
}

@test "SIGINT while it receives: the second restore goes on, completes, and leaves nothing" {
    in_the_middle INT
    [[ $status -eq 130 ]]
    second_run_completes
}

@test "the receiver killed: 74, no target, and the second restore completes" {
    stand_in ep-snap <<'END'
[[ $1 = receive ]] || exec "$real" "$@"
head -c 1500000 | "$real" "$@"
kill -KILL $$
END
    run -74 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $output = *"ended by SIGKILL"* ]]
    [[ ! -e new/pod ]]
    no_stand_in
    restores third
}

@test "killed wherever the live volume is made: the second restore starts it anew" {
    for call in ioctl:2 ioctl:4 ioctl:8 ioctl:12 ioctl:16 renameat:1 syncfs:1 renameat2:1 syncfs:2; do
        stand_in ep-snap <<END
[[ \$1 = promote ]] || exec "\$real" "\$@"
strace -qqo /dev/null -e trace=${call%:*} -e inject=${call%:*}:signal=KILL:when=${call#*:} "\$real" "\$@" ||
    echo killed >>"\$here/killed"
kill -KILL "\$PPID"
END
        rm -f killed
        run -137 timeout 60 escapepod restore ./pod.conf --to new/pod
        [[ -e killed ]]
        no_stand_in
        # Behind its last name it is there, and only the scratch folder is left.
        if [[ -e new/pod ]]; then
            [[ $call = renameat2:1 || $call = syncfs:2 ]]
            run -74 timeout 60 escapepod restore ./pod.conf --to new/pod
            [[ $(ls -A new) = pod && $(<new/pod/note) = third ]]
        else
            restores third
        fi
        btrfs -q subvolume delete new/pod/.escapepod/*/* new/pod
    done
}

@test "killed when the target is in place: the next one says so, touches it not, and takes the rest away" {
    stand_in ep-snap <<'END'
"$real" "$@" || exit
[[ $1 != promote ]] || kill -KILL "$PPID"
END
    run -137 timeout 60 escapepod restore ./pod.conf --to new/pod
    no_stand_in
    [[ $(<new/pod/note) = third && -n $(compgen -G 'new/.escapepod-*') ]]
    before=$(listing new/pod)
    run -74 escapepod restore ./pod.conf --to new/pod
    [[ $output = *"already exists: $PWD/new/pod"* ]]
    [[ $(listing new/pod) = "$before" ]]
    [[ $(ls -A new) = pod ]]
}

@test "a target that exists is left as it is: folder, file, symlink to nowhere" {
    mkdir new/folder
    echo mine >new/file
    ln -s nowhere new/symlink
    before=$(listing new)
    for target in folder file symlink; do
        run -74 escapepod restore ./pod.conf --to "new/$target"
        [[ $output = *"already exists: $PWD/new/$target"*hint:* ]]
    done
    [[ $(listing new) = "$before" ]]
    run -69 escapepod restore ./pod.conf --to new/no/pod
    [[ $output = *"no such folder"* ]]
    run -65 escapepod restore ./pod.conf --to tmp/pod
    [[ $output = *"not on btrfs"* ]]
}

@test "a damaged blob: 65, and nothing appears under the name; with --verify-first nothing at all is written" {
    local at blob
    for blob in "${blobs[0]}" "${blobs[2]}"; do
        # In the middle, the last byte of the last tag, and that of the trailer.
        for at in $(($(stat -c %s "store/escapepod/pod/blobs/$blob") / 2)) -17 -1; do
            flip "store/escapepod/pod/blobs/$blob" "$at"
            before=$(listing new)
            run -65 timeout 60 escapepod restore ./pod.conf --to new/pod --verify-first
            [[ $output = *verifying*"$blob"* && $output != *receiving* && $(listing new) = "$before" ]]
            run -65 timeout 60 escapepod restore ./pod.conf --to new/pod
            [[ $output = *receiving*"$blob"* && $output != *verifying* ]]
            # Only the folder that nobody else can enter, with what is whole.
            [[ $(ls -A new) = .escapepod-???????????????? && $(stat -c %a new/.escapepod-*) = 700 ]]
            [[ ! -d $(echo new/.escapepod-*)/$blob || $(btrfs subvolume show new/.escapepod-*/"$blob") = *"Received UUID: "*-$'\n'* ]]
            flip "store/escapepod/pod/blobs/$blob" "$at"
        done
    done
    restores third
    # The generation before it does not need it.
    btrfs -q subvolume delete new/pod/.escapepod/*/* new/pod
    flip "store/escapepod/pod/blobs/${blobs[1]}" 2000000
    run -65 timeout 60 escapepod restore ./pod.conf --to new/pod
    run -0 escapepod restore ./pod.conf --to new/pod --generation 1
    [[ $(<new/pod/note) = first && $(ls -A new) = pod ]]
}

@test "a blob that is cut, and one that is missing: refused, and nothing appears under the name" {
    truncate -s -100 "store/escapepod/pod/blobs/${blobs[0]}"
    run -65 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ ! -e new/pod ]]
    rm "store/escapepod/pod/blobs/${blobs[0]}"
    run -10 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ ! -e new/pod && $(ls -A new) = .escapepod-???????????????? ]]
}

@test "metadata missing in the middle of the chain, or of another generation in its place: 65" {
    before=$(listing new)
    folder=store/escapepod/pod/metadata
    cp "$folder/0000000001-${blobs[0]}" "$folder/0000000002-${blobs[1]}"
    run -65 timeout 60 escapepod restore ./pod.conf --to new/pod
    rm "$folder/0000000002-${blobs[1]}"
    run -65 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $(listing new) = "$before" ]]
}

@test "too little room: 74, before anything is made" {
    head -c 300M /dev/zero >new/ballast || :
    before=$(listing new)
    run -74 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $output = *"not enough space: "*" available, 6."*" MiB needed: $PWD/new/"* ]]
    [[ $(listing new) = "$before" ]]
    rm new/ballast
    sync -f new
    restores third
}

@test "room that may not do, and quotas, are said beforehand" {
    run -0 --separate-stderr timeout 60 escapepod restore ./pod.conf --to new/pod --dry-run
    [[ $stderr != *warning* ]]
    btrfs quota enable new
    run -0 --separate-stderr timeout 60 escapepod restore ./pod.conf --to new/pod --dry-run
    [[ $stderr = *"warning: quotas are on there"* ]]
    # Every chunk given out, most of them to data that is gone again, and little left of those for metadata.
    python3 -c '
import os
with open("new/big", "wb") as big:
    for _ in range(165):
        big.write(bytes(1 << 20))
    os.fsync(big.fileno())
try:
    for number in range(2000):
        os.close(os.open(f"new/{number}", os.O_CREAT))
        os.setxattr(f"new/{number}", "user.ballast", bytes(15000))
except OSError:
    pass'
    rm new/big
    sync -f new
    run -0 --separate-stderr timeout 60 escapepod restore ./pod.conf --to new/pod --dry-run
    [[ $stderr = *"warning: all disk space is allocated"*"may run out of space halfway"* ]]
}

@test "the target fills up while it receives: 74, and the second restore completes when there is room" {
    stand_in ep-snap <<'END'
[[ $1 != receive ]] || head -c 300M /dev/zero >"$here/new/ballast"
exec "$real" "$@"
END
    run -74 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $output = *receiving*"no space left"* ]]
    [[ ! -e new/pod ]]
    no_stand_in
    rm new/ballast
    sync -f new
    restores third
}

@test "two restores at once: one gets 75 and changes nothing, the other completes" {
    stand_in ep-snap <<'END'
[[ $1 = receive && ! -e "$here/waits" ]] || exec "$real" "$@"
touch "$here/waits"
for ((i = 0; i < 300; i++)); do [[ ! -e "$here/go" ]] || break; sleep 0.1; done
exec "$real" "$@"
END
    timeout 60 escapepod restore ./pod.conf --to new/pod &
    first=$!
    eventually test -e waits
    run -75 timeout 60 escapepod restore ./pod.conf --to new/second
    [[ $output = *"another run is in progress"*hint:* ]]
    touch go
    wait "$first"
    [[ $(<new/pod/note) = third && $(ls -A new) = pod ]]
}

# others_at_work DIR: somebody else owns that folder, and has put in it all that may catch root: folders and links of every
# name that was ever used, to subvolumes of root's in ./precious.
others_at_work() {
    local name
    btrfs -q subvolume create precious/deep
    btrfs -q subvolume create precious/deep/live
    btrfs -q subvolume snapshot -r precious/deep precious/snapshot
    for name in .escapepod-restore-pod .escapepod-drill-pod .escapepod-0000000000000000; do
        ln -s "$PWD/precious/deep" "$1/$name"
    done
    mkdir -m 0777 "$1/.escapepod-1111111111111111" "$1/.escapepod-2222222222222222"
    btrfs -q subvolume create "$1/.escapepod-1111111111111111/live"
    # Root's own, and closed, but for something else.
    mkdir -m 0700 "$1/.escapepod-3333333333333333"
    btrfs -q subvolume create "$1/.escapepod-3333333333333333/live"
    mkfifo "$1/.escapepod-4444444444444444"
    chown -hR 1234 "$1"
    chown -R 0:0 "$1/.escapepod-3333333333333333"
    chmod 0777 "$1"
    before=$(cd "$1" && find . | sort)
    list=$(btrfs subvolume list precious | wc -l)
}

@test "in a folder that others may write to, nothing of theirs is entered, followed or deleted" {
    mkdir new/theirs precious
    mount --bind new precious
    others_at_work new/theirs
    # Nobody looks on while it comes back.
    stand_in ep-snap <<'END'
[[ $1 != receive ]] || for folder in "$here"/new/theirs/.escapepod-*; do
    [[ -L $folder ]] || stat -c '%A %u' "$folder"
done >>"$here/modes"
exec "$real" "$@"
END
    run -0 timeout 60 escapepod restore ./pod.conf --to new/theirs/pod
    [[ $(<new/theirs/pod/note) = third ]]
    grep -qx 'drwx------ 0' modes
    [[ $(cd new/theirs && find . -path ./pod -prune -o -print | sort) = "$before" ]]
    # One subvolume and its three slots are new.
    [[ $(btrfs subvolume list precious | wc -l) -eq $((list + 4)) ]]
    btrfs subvolume show precious/deep/live >/dev/null
}

@test "a scratch folder that is exchanged in the middle: what is restored stays out of theirs" {
    mkdir new/theirs precious
    mount --bind new precious
    others_at_work new/theirs
    stand_in ep-snap <<'END'
if [[ $1 = receive && ! -e $here/once ]]; then
    touch "$here/once"
    for folder in "$here"/new/theirs/.escapepod-*; do
        [[ ! -L $folder ]] || continue
        getfattr -n trusted.escapepod.scratch "$folder" >/dev/null 2>&1 || continue
        mv "$folder" "$here/new/theirs/moved" && ln -s ../precious/deep "$folder" && chown -h 1234 "$folder"
    done
fi
exec "$real" "$@"
END
    run timeout 60 escapepod restore ./pod.conf --to new/theirs/pod
    # All came back; only the way to the folder that is to be removed was theirs.
    [[ $status -eq 77 && $output = *"refusing to follow a symbolic link that others could have created"* ]]
    [[ $(<new/theirs/pod/note) = third ]]
    btrfs subvolume show precious/deep/live >/dev/null
}

@test "to another mount of the file system that has the chain already, and from there on" {
    restores third
    mkdir home
    mount -o subvol=pod "$(findmnt -nro SOURCE new)" home
    run -0 timeout 60 escapepod restore ./pod.conf --to home/again
    [[ $(<home/again/note) = third && $(ls -A home/again) = $'.escapepod\nbig\nnote' ]]
    [[ -z $(compgen -G 'home/.escapepod-*') ]]
    volume=$PWD/home
    configure
    run -0 escapepod backup ./pod.conf
    [[ $(newest) = "4 incremental" ]]
    volume=$PWD/home/again
    configure
    run -0 escapepod backup ./pod.conf
    [[ $(newest) = "5 "* ]]
}

# forge SNAPSHOT: a first backup of it, as somebody makes one who has the key and the store.
forge() {
    local uuid
    uuid=$(btrfs subvolume show "$1" | awk '$1 == "UUID:" { print $2 }')
    btrfs send -q "$1" | ep-seal --key pod.key --report report | ep-store blob "$store" --domain pod >receipt
    echo '[]' >none
    ep-plan --domain pod --snapshots none </dev/null >plan
    printf '{"slot":"current-state","path":"/v","uuid":"%s","receivedUuid":null,"generation":9,"created":"2026-11-23T06:10:00Z","readOnly":true,"changed":false}' \
        "$uuid" >snapshot
    ep-meta create --domain pod --plan plan --snapshot snapshot --report report --receipt receipt --btrfs-progs 6.2 |
        ep-seal --kind metadata --key pod.key |
        ep-store metadata "$store" --domain pod --blob "$(jq -r .sha256 receipt)" --follows none --parent none
}

@test "what was restored has somebody's own .escapepod: the data come back, without slots, and the status says so" {
    mount vol.img vol 2>/dev/null || make_btrfs vol 256M
    volume=$PWD/vol
    configure
    mkdir precious
    for how in "ln -s $PWD/precious" "mkdir -m 0777"; do
        rm -rf vol/* vol/.escapepod store/escapepod state
        echo hostile >vol/note
        $how vol/.escapepod
        # No backup of ours is made of such a volume; somebody with the key can make one all the same.
        run -77 timeout 60 escapepod backup ./pod.conf
        btrfs -q subvolume snapshot -r vol vol/sent
        forge vol/sent
        btrfs -q subvolume delete vol/sent
        run -3 timeout 60 escapepod restore ./pod.conf --to new/pod
        [[ $output = *"warning: "*".escapepod"*"the next backup will be full"* && $(<new/pod/note) = hostile ]]
        [[ -z $(ls -A precious) && $(ls -A new) = pod ]]
        btrfs -q subvolume delete new/pod
    done
}

@test "a scratch folder whose maker was killed before it was marked is gone with the next; nothing else is" {
    mkdir place
    # Unmarked: of a run that is at work, with something in it, open to others, or of another name.
    mkdir -m 0700 place/.escapepod-{0123456789abcdef,1123456789abcdef}
    mkdir -m 0755 place/.escapepod-2123456789abcdef
    mkdir -m 0700 place/other
    touch place/.escapepod-1123456789abcdef/x
    local held
    exec {held}<place/.escapepod-0123456789abcdef
    flock "$held"
    before=$(ls -A place)
    run ! strace -f -qq -o trace -e trace=fsetxattr -e inject=fsetxattr:error=EIO:signal=KILL ep-snap scratch place --for "a test"
    local there=(place/.escapepod-* place/other)
    ((${#there[@]} == 5))
    [[ -z $(ep-snap scratch place --for "a test" --find) && $(ls -A place) = "$before" ]]
    scratch=$(ep-snap scratch place --for "a test")
    [[ $(ep-snap scratch place --for "a test") = "$scratch" ]]
    # It goes, unless another run works in it.
    local works
    exec {works}<"$scratch"
    flock "$works"
    refuses 75 "another run is in progress: $scratch" ep-snap scratch place --for "a test" --drop
    exec {works}<&-
    ep-snap scratch place --for "a test" --drop
    ep-snap scratch place --for "a test" --drop
    [[ $(ls -A place) = "$before" ]]
    refuses 74 "not enough space" ep-snap scratch place --for "a test" --need 9000000000000000
    refuses 64 "only one of" ep-snap scratch place --for "a test" --need 1 --drop
    # On a btrfs of its own, which has no name in there, and is gone with its mount.
    mkdir own
    unshare --mount --propagation slave bash -c '[[ $(ep-snap scratch place --for "a test" --need 1000 --mount own) = own/.escapepod-* ]] &&
        [[ $(stat -f -c %T own) = btrfs && -n $(ls -A own) ]]'
    [[ $(ls -A place) = "$before" && -z $(ls -A own) ]]
    scratch=$(ep-snap scratch new --for "a test")
    touch "$scratch/left"
    [[ $(ep-snap scratch new --for "a test" --anew) = new/.escapepod-* && ! -e $scratch/left ]]
    ep-snap scratch new --for "a test" --drop
    run ! grep -F "$PWD/place" <(losetup -nO BACK-FILE)
}
