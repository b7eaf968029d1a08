#!/usr/bin/env bats
# What a send stream does not carry and chattr(1) sets comes back: no copy-on-write, immutable, append-only.
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154

load helper
load pod

setup_file() { prepare three_backups_with_flags; }

# The files of 3 MiB are those that are copied by sharing, the small ones in memory.
three_backups_with_flags() {
    mkdir vol/vm vol/"odd"$'\n'"name" vol/deep vol/deep/er
    chattr +C vol/vm vol/"odd"$'\n'"name"
    head -c 3M /dev/urandom >vol/vm/disk
    truncate -s 9M vol/vm/disk && printf end >>vol/vm/disk
    ln vol/vm/disk vol/disk
    echo small >vol/vm/small && chmod 4711 vol/vm/small && chown 12:34 vol/vm/small
    cp /bin/true vol/vm/ping && setcap cap_net_raw+ep vol/vm/ping
    setfattr -n user.colour -v green vol/vm/ping
    : >vol/vm/empty && mkfifo vol/vm/pipe && ln -s disk vol/vm/link
    printf x >vol/"odd"$'\n'"name"/$'\xff\xfe'
    echo x >vol/deep/er/fixed && echo log >vol/log && echo both >vol/both
    touch -d '1999-12-31 23:59:59.123456789' vol/vm/small vol/vm/disk vol/vm vol/log
    chattr +i vol/deep/er/fixed vol/deep/er vol/deep
    chattr +a vol/log vol/vm/empty
    chattr +ia vol/both
    escapepod backup ./pod.conf
    echo second >>vol/log
    cp --reflink=always vol/vm/disk vol/vm/copy
    chattr +i vol/vm/copy
    escapepod backup ./pod.conf
    echo third >vol/note
    chattr -C vol/vm && chattr -ia vol/both
    escapepod backup ./pod.conf
}

setup() { prepared; }

# flags DIR: what lsattr shows of it, but for the snapshots.
flags() (cd "$1" && find . -path ./.escapepod -prune -o \( -type f -o -type d \) -print0 | sort -z | xargs -0 lsattr -d | awk '{ print $1, $2 }')

# same DIR: all that was in the volume.
same() {
    diff <(flags vol) <(flags "$1")
    # The time of the root is not always sent last.
    diff <(tree vol | grep -av '^ d ') <(tree "$1" | grep -av '^ d ')
}

# record: what the volume has recorded, an entry on each line.
record() { tr '\0' '\n' <vol/.escapepod/.flags; }

@test "a restore brings the flags back, and the next backup is incremental and small" {
    escapepod drill ./pod.conf --scratch "$PWD/tmp"
    rm -rf state
    make_btrfs new 256M
    timeout 60 escapepod restore ./pod.conf --to new/pod >said 2>&1
    run ! grep -E 'flag|warning' said
    [[ $(ls -A new) = pod ]]
    same new/pod
    [[ $(lsattr -d new/pod/log new/pod/deep/er/fixed new/pod/disk new/pod/vm) = *a*log*i*fixed*C*disk*---*vm ]]
    # The live volume and the snapshots that its backups build on have this data once.
    sync -f new
    [[ $(btrfs filesystem du -s --raw new/pod | awk 'NR > 1 { print $2 }') -lt 200000 ]]
    volume=$PWD/new/pod
    configure
    # The snapshot that it is held against was received, and has no flags but in its record.
    escapepod drill ./pod.conf --scratch "$PWD/tmp"
    escapepod backup ./pod.conf
    [[ $(newest) = "4 incremental" && $(stat -c %s store/escapepod/pod/blobs/* | sort -n | head -n 1) -lt 100000 ]]
    chattr -i new/pod/deep && echo x >new/pod/deep/more && chattr +i new/pod/deep
    printf X | dd of=new/pod/disk bs=1 seek=1000000 conv=notrunc status=none
    escapepod backup ./pod.conf
    [[ $(newest) = "5 incremental" ]]
    [[ $(escapepod list ./pod.conf | awk '$1 == 5 { print $5 }') = KiB ]]
    escapepod drill ./pod.conf --scratch "$PWD/tmp"
}

@test "an earlier backup has the flags of its time" {
    make_btrfs new 256M
    timeout 60 escapepod restore ./pod.conf --to new/pod --generation 1
    [[ $(lsattr -d new/pod/vm new/pod/both) = *C*vm*ia*both ]]
    [[ ! -e new/pod/vm/copy && $(<new/pod/log) = log ]]
}

@test "a drill finds each flag that is lost, and each that is new" {
    stand_in ep-snap <<'END'
"$real" "$@" || exit
[[ $1 = promote ]] || exit 0
cd "$2/restored" || exit
chattr -i deep deep/er/fixed && chattr -a log && chattr +i big && chattr +C deep
rm disk && cp vm/disk disk && touch -r vm/disk disk
END
    run -65 escapepod drill ./pod.conf --scratch "$PWD/tmp"
    for line in "deep: the inode flag i is missing" "deep/er/fixed: the inode flag i is missing" \
        "log: the inode flag a is missing" "big: the inode flag i is not in the original" \
        "deep: the inode flag C is not in the original" "disk: the inode flag C is missing"; do
        [[ $output = *"  $line"* ]] || { echo "no '$line' in: $output" && return 1; }
    done
}

@test "the record is the snapshot's own, and a second one is taken only if it has changed" {
    slots=$(slots)
    diff <(record) <(tr '\0' '\n' <"$slots/current-parent/.escapepod/.flags")
    [[ $(record | sort | head -n 2) = "C odd"$'\n'* && $(stat -c %a vol/.escapepod/.flags) = 600 ]]
    printf '%s\0' a >given && xargs -0 <given >/dev/null
    name=${slots##*/}
    created() {
        ep-snap discard vol --name "$name"
        strace -qqo trace -e trace=ioctl ep-snap create vol --name "$name" --json | jq -e '.changed == false' || return
        grep -c SNAP_CREATE trace
    }
    before=$(stat -c '%i %Y %Z' vol/.escapepod/.flags)
    [[ $(created) = "true"$'\n'1 && $(stat -c '%i %Y %Z' vol/.escapepod/.flags) = "$before" ]]
    # What has another path is recorded anew.
    mv vol/disk vol/elsewhere && mv vol/vm vol/machines
    [[ $(created) = "true"$'\n'2 ]]
    run ! grep vm/ <(record)
    record | grep -x 'C elsewhere\|C machines/disk'
    diff <(record) <(tr '\0' '\n' <"$slots/current-state/.escapepod/.flags")
    # A name that is deleted, though the file is still in use.
    exec 5<vol/log
    chattr -a vol/log && rm vol/log
    [[ $(created) = "true"$'\n'2 ]]
    run ! grep log <(record)
    exec 5<&-
    chattr -R -f -ia vol/deep vol/machines vol/both || :
    rm -rf vol/deep vol/machines vol/elsewhere vol/odd*
    [[ $(created) = "true"$'\n'2 && -f vol/.escapepod/.flags && ! -s $slots/current-state/.escapepod/.flags ]]
    [[ $(created) = "true"$'\n'1 ]]
}

@test "flags that cannot be recorded are told, and the backup is made" {
    stand_in ep-snap <<'END'
[[ $1 = create ]] || exec "$real" "$@"
exec strace -qqo "$here/trace" -P "$2/.escapepod/.flags" -e inject=write:retval=1 "$real" "$@"
END
    chattr +i vol/note
    run -3 escapepod backup ./pod.conf
    [[ $output = *"the inode flags changed while they were recorded"*"done: "*"generation 4"* ]]
    # Nothing relies on what is in that snapshot.
    no_stand_in
    [[ ! -e vol/.escapepod/.flags ]]
    escapepod backup ./pod.conf
    [[ $(record) = *"i note"* ]]
    chattr +i vol
    run -77 escapepod backup ./pod.conf
    [[ $output = *"the root of the volume is immutable or append-only"*"hint: "*"chattr -ia $PWD/vol"* ]]
    chattr -i vol
}

@test "killed wherever the flags are set: the second restore completes" {
    make_btrfs new 256M
    stand_in ep-snap <<'END'
[[ $1 = receive || $1 = promote ]] || exec "$real" "$@"
[[ -e $here/trace.$1 ]] || exec strace -qqo "$here/trace.$1" -e trace=ioctl "$real" "$@"
exec "$real" "$@"
END
    timeout 60 escapepod restore ./pod.conf --to new/pod
    same new/pod
    # Of each step, the first call that changes a flag, or shares the data of a file, and the last, and two in between.
    for step in receive promote; do
        grep -a ^ioctl "trace.$step" | grep -anE 'FS_IOC_SETFLAGS|FICLONERANGE' | cut -d: -f1 >calls
        count=$(wc -l <calls)
        [[ $count -ge 6 ]]
        sed -n "1p; $((count / 3))p; $((count / 2))p; ${count}p" calls | sed "s/^/$step /"
    done >all
    [[ $(grep -ac FICLONERANGE trace.receive) -eq 1 && $(wc -l <all) -eq 8 ]]
    echo "receive $(grep -a ^ioctl trace.receive | grep -an FICLONERANGE | cut -d: -f1)" >>all
    while read -r step when; do
        btrfs -q subvolume delete new/pod/.escapepod/*/* new/pod
        stand_in ep-snap <<END
[[ \$1 = $step ]] || exec "\$real" "\$@"
strace -qqo /dev/null -e inject=ioctl:signal=KILL:when=$when "\$real" "\$@" || echo killed >>"\$here/killed"
kill -KILL "\$PPID"
END
        rm -f killed
        run -137 timeout 60 escapepod restore ./pod.conf --to new/pod
        [[ -e killed && ! -e new/pod ]] || { echo "not killed: $step $when" && return 1; }
        no_stand_in
        timeout 60 escapepod restore ./pod.conf --to new/pod
        same new/pod
        [[ $(ls -A new) = pod ]]
    done <all
}

@test "what protects may be left until everything else is done" {
    make_btrfs new 256M
    stand_in ep-snap <<'END'
[[ $1 = promote ]] || exec "$real" "$@"
exec "$real" "$@" --unprotected
END
    timeout 60 escapepod restore ./pod.conf --to new/pod
    no_stand_in
    run ! grep -aE '^-[^ ]*[ia]' <(flags new/pod)
    diff <(flags vol | grep -a '^[^ ]*C' | awk '{ print $2 }') <(flags new/pod | grep -a '^[^ ]*C' | awk '{ print $2 }')
    echo more >>new/pod/deep/er/fixed
    ep-snap protect new/pod
    diff <(flags vol) <(flags new/pod)
    ep-snap protect new/pod
    printf 'i gone\0i note\0' >new/pod/.escapepod/.flags
    run -3 ep-snap protect new/pod
    [[ $output = *"an inode flag did not come back: gone: no such file or folder"* && $(lsattr new/pod/note) = *i*note ]]
}

@test "without room for a copy a file comes back as it can, with a warning" {
    head -c 60M /dev/urandom >vol/vm/large
    rm -rf state
    umount vol && mount -o loop vol.img vol
    chattr +C vol/vm && : >vol/vm/none && cat vol/vm/large >>vol/vm/none && rm vol/vm/large
    escapepod backup ./pod.conf
    make_btrfs new 200M
    run -3 timeout 60 escapepod restore ./pod.conf --to new/pod
    [[ $output = *"an inode flag did not come back: vm/none: no space left for a copy of the file"* ]]
    cmp vol/vm/none new/pod/vm/none
    cmp vol/disk new/pod/disk
}

@test "what an incremental stream shares, and what it takes a flag from" {
    mkdir -m 0700 new vol/received
    make_btrfs new 256M && chmod 0700 new
    chattr +C vol/vm
    for name in one two three; do head -c 3M /dev/urandom >"vol/vm/$name"; done
    cp vol/vm/one vol/plain
    take() {
        ep-snap discard vol --name test && ep-snap create vol --name test >/dev/null
        btrfs -q subvolume snapshot -r vol/.escapepod/test/current-state "vol/$1" >/dev/null
        btrfs -q send ${2:+-p "vol/$2"} "vol/$1" 2>/dev/null |
            ep-snap receive new "$1" --received "$(uuid "vol/$1")" ${2:+--parent "$2"}
        ep-snap compare "vol/$1" "new/$1" --filled-holes
        # What each file itself has; what protects, and what a folder has, is in the record alone.
        diff <(cd "vol/$1" && nocow) <(cd "new/$1" && nocow)
    }
    nocow() { find . -path ./.escapepod -prune -o -type f -exec lsattr {} + | awk '{ print ($1 ~ /C/), $2 }' | sort -k 2; }
    exclusive() { btrfs filesystem du -s --raw "$1" | awk 'NR > 1 { print $2 }'; }
    take first
    # New files that share: whole, behind bytes of their own, and of a file that was there in part.
    cp --reflink=always vol/vm/one vol/vm/new
    head -c 64K /dev/urandom >vol/vm/mixed
    cat vol/vm/one >vol/vm/other && python3 - <<'END'
import fcntl, struct
with open("vol/vm/one") as source, open("vol/vm/mixed", "r+") as target:
    fcntl.ioctl(target, 0x4020940D, struct.pack("=qQQQ", source.fileno(), 0, 1 << 20, 1 << 16))
END
    # The same inode, anew, with copy-on-write; and the other way round.
    : >vol/vm/two && chattr -C vol/vm/two && cp --reflink=always vol/plain vol/vm/two
    inode=$(stat -c %i vol/plain)
    : >vol/plain && chattr +C vol/plain && cat vol/vm/three >vol/plain
    : >vol/vm/three && chattr -C vol/vm/three && echo other >vol/vm/three
    take second first
    [[ $(stat -c %i vol/plain) = "$inode" ]]
    sync -f new
    # That is what the stream shares: one in new, and most of mixed.
    shared=$(($(exclusive vol/second) + 100000))
    [[ $(exclusive new/second) -lt $shared ]]
    # No file has a flag any more.
    find vol/vm vol/plain vol/disk vol/odd* -type f -exec chattr -ia {} +
    for file in vol/vm/* vol/plain; do
        [[ -f $file && ! -L $file ]] && : >"$file" && chattr -C "$file" && echo x >"$file"
    done
    rm -rf vol/odd* vol/vm/copy
    take third second
    run ! grep ^1 <(cd new/third && nocow)
}
