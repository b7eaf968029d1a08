#!/usr/bin/env bats
# ep-store: what it takes, what it refuses, and what is left when it is killed, starved or lied to.
# shellcheck disable=SC2016,SC2030,SC2031,SC2094,SC2154

load helper
load storage

setup() {
    cd "$BATS_TEST_TMPDIR" || exit
    make_store
}

# What a reader may find, and what a dead writer has left.
stored() { find store -type f ! -name .lock ! -name .reserve -printf '%f\n' | sort; }

@test "a blob gets its receipt and its address" {
    sealed blob 3000001 >blob
    run -0 ep-store blob "$store" --domain pod <blob
    [ "$output" = "{\"size\":3000001,\"sha256\":\"$(sha256 blob)\",\"sha512\":\"$(sha512sum blob | cut -d' ' -f1)\"}" ]
    cmp blob "$blobs/$(sha256 blob)"
    [ "$(stored)" = "$(sha256 blob)" ]
}

@test "the same blob twice is a success with the same receipt" {
    sealed blob 100000 >blob
    ep-store blob "$store" --domain pod <blob >one
    ep-store blob "$store" --domain pod <blob >two
    cmp one two
    [ "$(stored)" = "$(sha256 blob)" ]
}

@test "what is no whole sealed blob is refused, and nothing is made" {
    sealed blob 3000000 >blob
    refuses 65 "empty input" ep-store blob "$store" --domain pod </dev/null
    echo "plain text" >plain
    refuses 65 "seal it with ep-seal first" ep-store blob "$store" --domain pod <plain
    sealed metadata 400 >other
    refuses 65 "a sealed stream of kind metadata, not blob" ep-store blob "$store" --domain pod <other
    [ ! -e store/escapepod ]
    cat blob blob >double
    refuses 65 "the trailer states" ep-store blob "$store" --domain pod <double
    (cat blob && echo) >longer
    refuses 65 "does not end with its trailer" ep-store blob "$store" --domain pod <longer
    [ -z "$(stored)" ]
}

@test "a cut stream gets no receipt and leaves nothing" {
    sealed blob 3500000 >blob
    for length in 1 63 64 120 1048575 1048576 1048577 2097152 3499983 3499984 3499992 3499999; do
        head -c "$length" blob >part
        refuses 65 "standard input" timeout 20 ep-store blob "$store" --domain pod <part
        [ -z "$(stored)" ]
    done
}

@test "a producer that is killed gets no receipt, with and without pipefail" {
    sealed blob 3500000 >blob
    for option in -o +o; do
        status=0
        bash -c "set $option pipefail; (head -c 2000000 blob; kill -9 \$BASHPID) | ep-store blob '$store' --domain pod" >out 2>err || status=$?
        [ "$status" -eq 65 ]
        [ ! -s out ]
        [ -z "$(stored)" ]
    done
}

@test "usage" {
    sealed blob 200 >blob
    for domain in "" ../x .x a/b Pod "$(printf 'a%.0s' {1..254})"; do
        refuses 64 "not a valid domain" ep-store blob "$store" --domain "$domain" <blob
    done
    for url in store /store file:store file://host/store s3://bucket label: ""; do
        refuses 64 "file:/path, label:NAME, dunesea+https://HOST:PORT or ssh://USER@HOST/path" ep-store blob "$url" --domain pod <blob
    done
    refuses 64 "--domain" ep-store blob "$store" <blob
    refuses 64 "not an address of a blob" ep-store metadata "$store" --domain pod --blob 12 --follows none --parent none <blob
    refuses 64 "not an address of a blob" ep-store metadata "$store" --domain pod --blob "$(sha256 blob)" --follows None --parent none <blob
    [ -z "$(stored)" ]
}

@test "a store that is not there, is a file, is read-only, is forbidden" {
    sealed blob 200 >blob
    refuses 69 "the store is not available" ep-store blob "$store/absent" --domain pod <blob
    refuses 69 "the store is not a directory" ep-store blob "file:$PWD/blob" --domain pod <blob
    refuses 69 "the store is not available" ep-store metadata "$store/absent" --domain pod --blob "$(sha256 blob)" --follows none --parent none < <(sealed metadata 200)
    needs_root
    make_btrfs drive 120M
    mount -o remount,ro drive
    refuses 77 "read-only" ep-store blob "file:$PWD/drive" --domain pod <blob
    mount -o remount,rw drive
    store_blob blob "file:$PWD/drive"
    mount -o remount,ro drive
    refuses 77 "read-only" ep-store blob "file:$PWD/drive" --domain pod <blob
    chmod 0711 "$BATS_TEST_TMPDIR" && chmod 0755 store
    refuses 77 "permission denied" setpriv --reuid 65534 --clear-groups "$(command -v ep-store)" blob "$store" --domain pod <blob
}

@test "metadata: the head moves only from where it was planned" {
    for name in one two three; do sealed blob 500 >$name && store_blob $name; done
    store_backup "$(sha256 one)" none
    refuses 75 "the head has moved; it is now $(sha256 one)" store_backup "$(sha256 two)" none
    refuses 75 "the head has moved" store_backup "$(sha256 two)" "$(sha256 three)"
    store_backup "$(sha256 two)" "$(sha256 one)"
    refuses 65 "already in the history" store_backup "$(sha256 one)" "$(sha256 two)"
    [ "$(ep-fetch list "$store" --domain pod)" = "$(sha256 one)
$(sha256 two)" ]
    # The answer was lost, the question comes again.
    ep-store metadata "$store" --domain pod --blob "$(sha256 two)" --follows "$(sha256 one)" --parent none <"meta.$(sha256 two)"
    [ "$(find "$metadata" -type f | wc -l)" -eq 2 ]
}

@test "metadata: its blob must be there, whole" {
    sealed blob 500 >blob
    refuses 10 "no blob" store_backup "$(sha256 blob)" none
    store_blob blob
    truncate -s 499 "$blobs/$(sha256 blob)"
    refuses 65 "the stored blob is damaged" store_backup "$(sha256 blob)" none
    truncate -s 10 "$blobs/$(sha256 blob)"
    refuses 65 "the stored blob is damaged" store_backup "$(sha256 blob)" none
    refuses 10 "no backup of pod" ep-fetch last "$store" --domain pod
}

@test "metadata: what is no whole sealed metadata is refused" {
    sealed blob 500 >blob && store_blob blob
    sealed metadata 1000 >whole
    sealed metadata 1200000 >huge
    head -c 999 whole >part
    for input in /dev/null blob part huge; do
        refuses 65 "standard input" ep-store metadata "$store" --domain pod --blob "$(sha256 blob)" --follows none --parent none <$input
    done
    [ "$(stored)" = "$(sha256 blob)" ]
}

@test "metadata: the longest document that there may be, with its newline, and no longer one" {
    sealed blob 500 >blob && store_blob blob
    # 1 MiB and a newline in 65 chunks: prefix, trailer and a tag for each.
    length=$((1048577 + 120 + 16 + 65 * 16))
    for name in longest longer; do
        sealed metadata $length >$name
        length=$((length + 1))
    done
    refuses 65 "larger than" ep-store metadata "$store" --domain pod --blob "$(sha256 blob)" --follows none --parent none <longer
    ep-store metadata "$store" --domain pod --blob "$(sha256 blob)" --follows none --parent none <longest
    ep-fetch last "$store" --domain pod | cmp - longest
}

@test "a key: none that is not sealed; what goes with it lies in the top folder, and there alone" {
    sealed key 184 >key
    ep-key generate plain
    echo "how to open this" >README
    sealed blob 3000 >blob
    refuses 65 "not a sealed stream" ep-store key "$store" --domain pod --with README <plain
    refuses 65 "a sealed stream of kind blob, not key" ep-store key "$store" --domain pod <blob
    [ -z "$(stored)" ]
    store_blob blob
    ep-store key "$store" --domain pod --with README <key
    cmp README store/README
    [ "$(stored | wc -l)" = 3 ]
    ep-fetch key "$store" --domain pod | cmp - key
}

@test "two racers for one head: one of them gets 75" {
    for name in one two; do
        sealed blob 500 >$name && store_blob $name && sealed metadata 400 >meta.$name
    done
    for _ in 1 2 3 4 5; do
        rm -rf "$metadata"
        first=0 second=0
        ep-store metadata "$store" --domain pod --blob "$(sha256 one)" --follows none --parent none <meta.one 2>/dev/null &
        ep-store metadata "$store" --domain pod --blob "$(sha256 two)" --follows none --parent none <meta.two 2>/dev/null || second=$?
        wait $! || first=$?
        [ $((first + second)) -eq 75 ]
        [ "$(stored | grep -c ^0000000001)" -eq 1 ]
    done
}

@test "a limit on the length of files is met by parts" {
    sealed blob 10000000 >blob
    (ulimit -f 3000 && store_blob blob)
    [ "$(find "$blobs" -type f -printf '%f %s\n' | sort | cut -c65-)" = ".000 2097152
.001 2097152
.002 2097152
.003 2097152
.004 1611392" ]
    cat "$blobs"/* | cmp - blob
    ep-fetch blob "$store" --domain pod "$(sha256 blob)" | cmp - blob
    store_backup "$(sha256 blob)" none
    # Again, with a limit that cuts elsewhere, and without one.
    (ulimit -f 5000 && store_blob blob)
    [ "$(find "$blobs" -type f | wc -l)" -eq 5 ]
    ep-fetch blob "$store" --domain pod "$(sha256 blob)" | cmp - blob
    store_blob blob
    [ "$(ls "$blobs")" = "$(sha256 blob)" ]
    # Over a rotten copy.
    flip "$blobs/$(sha256 blob)" 5000
    (ulimit -f 5000 && store_blob blob)
    [ "$(find "$blobs" -type f | wc -l)" -eq 3 ]
    ep-fetch blob "$store" --domain pod "$(sha256 blob)" | cmp - blob
}

@test "a limit that leaves no room for a part is an error" {
    sealed blob 3000000 >blob
    refuses 74 "files here cannot grow to 1 MiB" bash -c "ulimit -f 500; ep-store blob '$store' --domain pod <blob | cat >out2; exit \${PIPESTATUS[0]}"
    [ ! -s out2 ]
    [ -z "$(stored)" ]
}

@test "kill -9 in mid-stream leaves no blob, and the next run cleans up" {
    store_half
    [ "$(stored | cut -c1-9)" = .partial- ]
    # Another writer leaves a living one's file alone.
    sealed blob 500 >other && store_blob other
    [ "$(stored | cut -c1-9 | head -n1)" = .partial- ]
    kill -9 "$pid"
    wait "$pid" || true
    exec 5>&-
    [ ! -s half.receipt ]
    [ "$(stored | cut -c1-9 | head -n1)" = .partial- ]
    store_blob other
    [ "$(stored)" = "$(sha256 other)" ]
    store_blob half
}

@test "SIGTERM in mid-stream leaves no blob" {
    store_half
    kill -TERM "$pid"
    wait "$pid" || true
    exec 5>&-
    [ ! -s half.receipt ]
    sealed blob 500 >other && store_blob other
    [ "$(stored)" = "$(sha256 other)" ]
}

@test "a full disk: 74, nothing left, the head unchanged" {
    needs_root
    truncate -s 40M drive.img
    mkfs.ext4 -q drive.img
    mkdir drive && mount -o loop drive.img drive
    sealed blob 500 >small
    store_blob small "file:$PWD/drive"
    store_backup "$(sha256 small)" none "file:$PWD/drive"
    before=$(find drive -type f ! -name .lock | sort)
    sealed blob 80000000 >large
    refuses 74 "no space left" timeout 60 ep-store blob "file:$PWD/drive" --domain pod <large
    grep -q "hint: free some space there" err
    [ "$(find drive -type f ! -name .lock | sort)" = "$before" ]
    [ "$(ep-fetch list "file:$PWD/drive" --domain pod)" = "$(sha256 small)" ]
}

@test "a full btrfs, which says so late: 74, nothing left" {
    needs_root
    make_btrfs drive 120M
    sealed blob 200000000 >large
    refuses 74 "no space left" timeout 60 ep-store blob "file:$PWD/drive" --domain pod <large
    [ -z "$(find drive -type f ! -name .lock)" ]
}

@test "a sync that fails is final: 74, no receipt, no name" {
    sealed blob 3000000 >blob
    for n in 1 2 3 4 5; do
        refuses 74 "cannot sync: input/output error" \
            timeout 60 strace -f -o trace -e inject=fsync:error=EIO:when=$n ep-store blob "$store" --domain pod <blob
        [ -z "$(stored)" ]
    done
    store_blob blob
    sealed metadata 400 >meta
    for n in 1 2 3 4; do
        refuses 74 "cannot sync: input/output error" \
            timeout 60 strace -f -o trace -e inject=fsync:error=EIO:when=$n \
            ep-store metadata "$store" --domain pod --blob "$(sha256 blob)" --follows none --parent none <meta
        [ "$(stored)" = "$(sha256 blob)" ]
    done
    ep-store metadata "$store" --domain pod --blob "$(sha256 blob)" --follows none --parent none <meta
    # A good blob that is stored again does not go with the failure.
    refuses 74 "cannot sync" \
        timeout 60 strace -f -o trace -e inject=fsync:error=EIO:when=5 ep-store blob "$store" --domain pod <blob
    ep-fetch blob "$store" --domain pod "$(sha256 blob)" | cmp - blob
}

@test "a write that fails is final: 74, nothing left; EINVAL only ends O_DIRECT" {
    sealed blob 5000000 >blob
    for error in EIO ENOSPC ENODEV; do
        for n in 1 3 5; do
            refuses 74 "cannot write" \
                timeout 60 strace -f -o trace -e inject=pwrite64:error=$error:when=$n ep-store blob "$store" --domain pod <blob
            [ -z "$(stored)" ]
        done
    done
    # A file system that lost its drive turns read-only.
    refuses 74 "may have failed or been unplugged" \
        timeout 60 strace -f -o trace -e inject=pwrite64:error=EROFS:when=3 ep-store blob "$store" --domain pod <blob
    refuses 74 "cannot write" timeout 60 strace -f -o trace \
        -e inject=pwrite64:error=EINVAL:when=1 -e inject=sync_file_range:error=EIO:when=2 ep-store blob "$store" --domain pod <blob
    [ -z "$(stored)" ]
    for n in 1 3; do
        timeout 60 strace -f -o trace -e inject=pwrite64:error=EINVAL:when=$n ep-store blob "$store" --domain pod <blob >out
        ep-fetch blob "$store" --domain pod "$(sha256 blob)" | cmp - blob
    done
}

@test "killed at any step of a commit, the store is as before or as after" {
    sealed blob 500 >first && store_blob first
    store_backup "$(sha256 first)" none
    sealed blob 3000000 >blob
    for step in fsync:{1,2,3,4,5} renameat:1 flock:{1,2,3} pwrite64:{1,3} ftruncate:1; do
        rm -f "$blobs/$(sha256 blob)"
        timeout 60 strace -f -o trace -e "inject=${step%:*}:signal=KILL:when=${step#*:}" \
            ep-store blob "$store" --domain pod <blob >out 2>err && false
        [ ! -s out ]
        [ ! -e "$blobs/$(sha256 blob)" ] || cmp blob "$blobs/$(sha256 blob)"
        store_blob blob
        [ "$(stored | grep -c partial)" -eq 0 ]
    done
    sealed metadata 400 >meta
    for step in fsync:{1,2,3,4} renameat2:1 flock:1 write:{1,2} fchmod:1; do
        rm -f "$metadata"/0000000002-*
        timeout 60 strace -f -o trace -e "inject=${step%:*}:signal=KILL:when=${step#*:}" \
            ep-store metadata "$store" --domain pod --blob "$(sha256 blob)" --follows "$(sha256 first)" --parent none <meta 2>err && false
        ep-fetch last "$store" --domain pod >last
        cmp last meta || cmp last "meta.$(sha256 first)"
        ep-store metadata "$store" --domain pod --blob "$(sha256 blob)" --follows "$(sha256 first)" --parent none <meta
        ep-fetch last "$store" --domain pod | cmp - meta
        [ "$(stored | grep -c partial)" -eq 0 ]
    done
}

@test "killed between the names of parts there is no blob, and the next run makes it" {
    sealed blob 5000000 >blob
    for n in 1 2 3; do
        (ulimit -f 2100 && timeout 60 strace -f -o trace -e inject=renameat:signal=KILL:when=$n \
            ep-store blob "$store" --domain pod <blob >out 2>err) && false
        refuses 10 "no blob" ep-fetch blob "$store" --domain pod "$(sha256 blob)"
        refuses 10 "no blob" store_backup "$(sha256 blob)" none
        (ulimit -f 2100 && store_blob blob)
        ep-fetch blob "$store" --domain pod "$(sha256 blob)" | cmp - blob
        rm -r store/escapepod
    done
}

@test "a receipt that nobody takes is an error" {
    sealed blob 500 >blob
    [ -e /dev/full ]
    status=0
    ep-store blob "$store" --domain pod <blob >/dev/full 2>err || status=$?
    [ $status -eq 74 ]
    grep -q "standard output" err
}

# hold FILE…: a local user without rights has a lock on each, until the test ends.
hold() {
    local file
    for file; do
        setpriv --reuid 1234 --regid 1234 --clear-groups flock -x "$file" -c 'echo held; exec sleep 60' >"$BATS_TEST_TMPDIR/held" 3>&- &
        eventually test -s "$BATS_TEST_TMPDIR/held"
        : >"$BATS_TEST_TMPDIR/held"
    done
}

@test "a local user who locks what he can open of a store holds nobody up" {
    needs_root
    chmod 0711 "$BATS_TEST_TMPDIR"
    sealed blob 3000 >one && store_blob one
    sealed blob 3000 >two
    sealed key 184 >key
    echo "how to open this" >README
    hold store store/escapepod store/escapepod/pod "$blobs"
    timeout 20 ep-store blob "$store" --domain pod <two >/dev/null
    store_backup "$(sha256 two)" none
    timeout 20 ep-store key "$store" --domain pod --with README <key
    cmp README store/README
    # What he could have locked.
    [ "$(find store -name .lock -printf '%m %s\n' | sort -u)" = "600 0" ]
    [ "$(find store -type f ! -name .lock ! -name .reserve -printf '%m\n' | sort -u)" = 644 ]
    store_half
    [ "$(stat -c %a "$blobs"/.partial-*)" = 600 ]
    kill -9 "$pid"
    exec 5>&-
}

@test "a wait for a lock has an end, and says who has it; who reads takes none" {
    for name in one two; do sealed blob 500 >$name && store_blob $name; done
    sealed metadata 400 >meta
    # Held up under the lock, at the sync of the blob's name.
    timeout 20 strace -f -o trace -e inject=fsync:delay_enter=3000000:when=2 ep-store metadata "$store" --domain pod \
        --blob "$(sha256 one)" --follows none --parent none <meta 3>&- &
    eventually test -s store/escapepod/pod/.lock
    refuses 75 "; gave up after 1 s: $PWD/store/escapepod/pod/.lock" timeout 20 ep-store metadata "$store" --domain pod \
        --blob "$(sha256 two)" --follows none --parent none --patience 1 <meta
    grep -qE "process [0-9]+, .*ep-store metadata $store --domain pod" err
    timeout 20 strace -f -o reading -e trace=flock,openat ep-fetch blob "$store" --domain pod "$(sha256 one)" | cmp - one
    lacks 'flock|\.lock|O_RDWR|O_CREAT' reading
    wait $!
    ep-fetch last "$store" --domain pod | cmp - meta
}

@test "a lock is no file that somebody else has put there" {
    sealed blob 500 >blob && store_blob blob
    echo precious >precious
    for thing in "ln -s $PWD/precious" "ln $PWD/precious" mkfifo mkdir; do
        rm -rf store/escapepod/pod/.lock
        $thing store/escapepod/pod/.lock
        timeout 20 ep-store blob "$store" --domain pod <blob >out 2>err && false
        grep -q "store/escapepod/pod/.lock" err
    done
    [ "$(<precious)" = precious ]
}

@test "a store is not reached through a link that others can have put there" {
    needs_root
    sealed blob 500 >blob
    mkdir open target && chmod 1777 open
    chmod 0777 target
    setpriv --reuid 1234 --regid 1234 --clear-groups ln -s "$PWD/target" open/store
    refuses 77 "refusing to follow a symbolic link that others could have created: $PWD/open/store" \
        ep-store blob "file:$PWD/open/store" --domain pod <blob
    refuses 77 "refusing to follow a symbolic link" ep-fetch last "file:$PWD/open/store" --domain pod
    sealed key 184 >key
    setpriv --reuid 1234 --regid 1234 --clear-groups ln -s /etc/shadow open/README
    refuses 77 "refusing to follow a symbolic link that others could have created: open/README" \
        ep-store key "$store" --domain pod --with open/README <key
    [ -z "$(ls -A target)" ]
    # His own he may follow, and root may follow root's.
    chmod 0711 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/test" "$BATS_TEST_TMPDIR"
    setpriv --reuid 1234 --regid 1234 --clear-groups "$(command -v ep-store)" blob "file:$PWD/open/store" --domain pod <blob
    ln -s target link
    store_blob blob "file:$PWD/link"
}

@test "the files for whoever finds a store go through no link, and into no file that is there" {
    sealed key 184 >key
    echo "how to open this" >README
    echo precious >precious
    chmod 0600 precious
    for name in README README.new .escapepod-README; do
        for how in "ln -sf" "ln -f"; do
            $how "$PWD/precious" store/$name
            ep-store key "$store" --domain pod --with README <key
            cmp README store/README
            [ ! -L store/README ]
        done
    done
    [ "$(<precious)" = precious ]
    [ "$(stat -c %a precious)" = 600 ]
}

@test "where renameat2 and others are missing, as in FUSE, NFS and old kernels, a store and a key are made all the same" {
    sealed blob 3000000 >blob
    sealed metadata 400 >meta
    for error in ENOSYS EINVAL EOPNOTSUPP; do
        rm -rf store/escapepod key
        without=(timeout 60 strace -f -o trace -e "inject=renameat2,sync_file_range:error=$error")
        [ $error = ENOSYS ] || without+=(-e inject=linkat:error=EPERM)
        "${without[@]}" ep-store blob "$store" --domain pod <blob >receipt
        "${without[@]}" ep-store metadata "$store" --domain pod --blob "$(sha256 blob)" --follows none --parent none <meta
        ep-fetch last "$store" --domain pod | cmp - meta
        "${without[@]}" ep-key generate key >id
        refuses 74 "will not overwrite" "${without[@]}" ep-key generate key
        [ -z "$(find . -name '.partial-*' -o -name '.escapepod-*')" ]
    done
    # A folder that cannot be synced by itself.
    rm key
    rm -rf store/escapepod
    timeout 60 strace -f -o trace -P "$PWD" -e inject=fsync:error=EINVAL ep-key generate key >id
    timeout 60 strace -f -o trace -P "$PWD/$metadata" -P "$PWD/$blobs" -e inject=fsync:error=EINVAL \
        ep-store blob "$store" --domain pod <blob >receipt
    grep -q syncfs trace
}

@test "name prints a name for a folder, by the URL alone" {
    run -0 ep-store name "file:///no/such//place/"
    [[ $output = "$(ep-store name file:/no/such/place)" && $output =~ ^file-no-such-place-[0-9a-f]{16}$ ]]
    [[ $(ep-store name file:/no/such-place) != "$output" ]]
    refuses 64 "unknown kind of store: ftp:x" ep-store name ftp:x
}
