#!/usr/bin/env bats
# ep-seal and ep-unseal as a person runs them.
# shellcheck disable=SC2016,SC2030,SC2031,SC2094,SC2154

load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || exit
    ep-key generate key >/dev/null
    head -c 3000001 /dev/urandom >plain
}

seal() { timeout 60 ep-seal --key key "$@"; }
unseal() { timeout 60 ep-unseal --key key "$@"; }

# packed FILE: how many bytes were compressed to so many in a sealed stream; null without compression.
packed() {
    local sealed
    sealed=$(($(stat -c %s "$1") - 136))
    if [[ $(od -An -tu1 -j 11 -N 1 "$1") -eq 0 ]]; then echo null; else echo $((sealed - 16 * ((sealed + 16399) / 16400))); fi
}

# no_tail STATUS TEXT COMMAND…: ends in that status, says that, and what left is a cut stream that nobody opens.
no_tail() {
    local wanted=$1 text=$2 status=0
    shift 2
    "$@" >left 2>err || status=$?
    [[ $status -eq $wanted ]] || { echo "status $status, not $wanted:" && cat err && return 1; }
    grep -qF -- "$text" err || { echo "no '$text' in:" && cat err && return 1; }
    run -65 unseal --check <left
    [[ ! -e report ]]
    ! grep -iE 'fatal|backtrace|stack' err
}

# A subvolume with a few files and two snapshots, and their streams: full, incremental.
make_streams() {
    needs_root
    make_btrfs fs 128M
    btrfs -q subvolume create fs/volume
    head -c 200000 /dev/urandom >fs/volume/data
    mkdir fs/volume/folder
    ln -s data fs/volume/link
    echo text >fs/volume/folder/text
    btrfs -q subvolume snapshot -r fs/volume fs/one
    echo more >>fs/volume/folder/text
    btrfs -q subvolume snapshot -r fs/volume fs/two
    btrfs -q send -f full fs/one
    btrfs -q send -f incremental -p fs/one fs/two
}

# The offset of every command of a btrfs stream.
boundaries() {
    local at=17 end length
    end=$(stat -c %s "$1")
    while ((at < end)); do
        echo "$at"
        length=$(od -An -tu4 --endian=little -j "$at" -N 4 "$1")
        at=$((at + 10 + length))
    done
}

@test "what was sealed comes back, as a blob and as metadata" {
    local length kind
    for length in 1 16383 16384 16385 3000001; do
        head -c "$length" plain >part
        for kind in blob metadata; do
            seal --kind "$kind" --compress none <part >sealed
            [[ $(stat -c %s sealed) -eq $((136 + length + 16 * (length / 16384 + 1))) ]]
            unseal --kind "$kind" <sealed | cmp - part
        done
        seal <part | unseal | cmp - part
    done
}

@test "--check verifies and writes nothing" {
    seal <plain >sealed
    run -0 unseal --check <sealed
    [[ $output == "" ]]
    head -c -1 sealed >part
    refuses 65 'truncated' unseal --check <part
    flip sealed 2000000
    refuses 65 'damaged or tampered with' unseal --check <sealed
}

@test "a cut sealed stream does not come out whole" {
    local length status
    seal <plain >sealed
    for length in 0 63 119 120 16520 2000000 $(($(stat -c %s sealed) - 16)) $(($(stat -c %s sealed) - 1)); do
        head -c "$length" sealed >part
        status=0
        unseal <part >out 2>err || status=$?
        ((status == 65))
        [[ $(stat -c %s out) -lt 3000001 ]]
        cmp -n "$(stat -c %s out)" out plain
    done
}

@test "the newest chunk stays back until the end is known, also where the last one is empty" {
    local back status
    head -c 32768 plain >part
    seal --compress none <part >sealed
    # In the length, in the trailer's magic, in the last tag.
    for back in 1 16 17; do
        cp sealed broken
        flip broken "-$back"
        status=0
        unseal <broken >out 2>err || status=$?
        ((status == 65))
        [[ $(stat -c %s out) -eq 16384 ]]
    done
}

@test "the report of input that is no btrfs stream" {
    umask 022
    echo old >report
    seal --report report --compress none <plain >sealed
    [[ $(<report) == '{"stream":"other","bytes":3000001,"complete":true}' ]]
    seal --report report <plain >sealed
    [[ $(<report) == '{"stream":"other","bytes":3000001,"complete":true,"compressed":'$(packed sealed)'}' ]]
    [[ $(stat -c %a report) == 600 ]]
}

@test "the reports of a full and an incremental btrfs stream" {
    make_streams
    local bytes
    bytes=$(stat -c %s full)
    seal --report report --compress none <full | unseal | cmp - full
    [[ $(<report) == '{"stream":"btrfs","type":"full","uuid":"'$(uuid fs/one)'","parentUuid":null,"protocol":1,"bytes":'$bytes',"complete":true}' ]]
    bytes=$(stat -c %s incremental)
    seal --report report <incremental >sealed
    unseal <sealed | cmp - incremental
    [[ $(<report) == '{"stream":"btrfs","type":"incremental","uuid":"'$(uuid fs/two)'","parentUuid":"'$(uuid fs/one)'","protocol":1,"bytes":'$bytes',"complete":true,"compressed":'$(packed sealed)'}' ]]
}

@test "btrfs send as the command, to btrfs receive" {
    make_streams
    mkdir fs/here
    seal --report report -- btrfs -q send fs/one | unseal | btrfs -q receive fs/here
    [[ $(<report) == *'"type":"full","uuid":"'$(uuid fs/one)'"'*'"complete":true,"compressed":'* ]]
    ep-snap check fs/here/one --received "$(uuid fs/one)"
    cmp fs/one/data fs/here/one/data
}

@test "a btrfs stream that is cut between any two commands" {
    make_streams
    local stream at count=0
    for stream in full incremental; do
        for at in $(boundaries "$stream"); do
            head -c "$at" "$stream" >part
            no_tail 65 'the btrfs stream is truncated' seal --report report <part
            count=$((count + 1))
        done
    done
    ((count > 24))
    head -c -1 full >part
    no_tail 65 'the btrfs stream is truncated' seal --report report <part
    head -c 100000 full >part
    no_tail 65 'the btrfs stream is truncated' seal --report report -- cat part
}

@test "a btrfs stream with something behind its end" {
    make_streams
    { cat full && echo; } >garbage
    no_tail 65 'extra data after the END command' seal --report report <garbage
    cat full incremental >two
    no_tail 65 'extra data after the END command' seal --report report <two
    btrfs -q send -f both fs/one fs/two
    no_tail 65 'hint: send one subvolume only' seal --report report <both
}

@test "a btrfs stream that is damaged in its first command" {
    make_streams
    flip full 50
    no_tail 65 'wrong checksum of a command' seal --report report <full
}

@test "a command that exits with 0" {
    seal --report report -- cat plain | unseal | cmp - plain
    [[ $(<report) == '{"stream":"other","bytes":3000001,"complete":true,"compressed":'* ]]
    seal -- cat <plain | unseal | cmp - plain
}

@test "a command that fails, dies, says nothing or is not there" {
    no_tail 65 'sh exited with status 7' seal --report report -- sh -c 'cat plain; exit 7'
    no_tail 65 'sh was killed by signal 9' seal --report report -- sh -c 'cat plain; kill -KILL $$'
    refuses 65 'empty input: output of false' seal --report report -- false
    refuses 65 'empty input: output of true' seal --report report -- true
    refuses 69 'no such program: no-such-program' seal --report report -- no-such-program
    touch script
    refuses 77 'cannot run: permission denied: ./script' seal --report report -- ./script
    [[ ! -e report ]]
}

@test "a producer that is killed in front of the pipe: only the btrfs stream shows it" {
    make_streams
    mkfifo pipe
    sh -c 'head -c 150000 full; kill -KILL $$' >pipe &
    no_tail 65 'the btrfs stream is truncated' seal <pipe
    sh -c 'head -c 150000 plain; kill -KILL $$' >pipe &
    seal <pipe >sealed
    unseal --check <sealed
}

@test "empty input is refused, and nothing leaves" {
    refuses 65 'empty input: standard input' seal </dev/null
    refuses 65 'empty input: standard input' unseal </dev/null
}

@test "what is no sealed stream is refused" {
    refuses 65 'not a sealed stream' unseal <plain
    seal <plain >sealed
    echo >>sealed
    no_tail 65 'trailer' unseal <sealed
}

@test "another key, and the other kind" {
    ep-key generate other >/dev/null
    seal --compress none <plain >sealed
    refuses 65 "sealed with another key: its id is $(ep-key id key), this key's is $(ep-key id other)" \
        timeout 20 ep-unseal --key other <sealed
    refuses 65 'a sealed stream of kind blob, not metadata' unseal --kind metadata <sealed
    printf '\002' | dd of=sealed bs=1 seek=10 conv=notrunc status=none
    refuses 65 'wrong salt or commitment' unseal --kind metadata <sealed
}

@test "a reader that goes away ends the command, too" {
    local status
    timeout 20 ep-seal --key key -- sh -c 'echo $$ >child; exec yes' 2>err | head -c 10 >left
    status=("${PIPESTATUS[@]}")
    [[ ${status[0]} -eq 74 ]]
    grep -q 'the reader closed the pipe before the end: standard output' err
    run ! kill -0 "$(<child)"
    seal -- head -c 64M /dev/zero >sealed
    timeout 20 ep-unseal --key key <sealed 2>err | head -c 10 >left
    status=("${PIPESTATUS[@]}")
    [[ ${status[0]} -eq 74 ]]
    grep -q 'the reader closed the pipe before the end: standard output' err
}

@test "a full disk behind, a directory in front, a report that has no place" {
    seal <plain >sealed
    seal <plain 2>err >/dev/full || [[ $? -eq 74 ]]
    grep -q 'no space left on device: standard output' err
    unseal <sealed 2>err >/dev/full || [[ $? -eq 74 ]]
    grep -q 'no space left on device: standard output' err
    refuses 74 'is a directory: standard input' seal </
    no_tail 74 'no such file or directory: nowhere' seal --report nowhere/report <plain
}

@test "usage" {
    refuses 64 "'--key <file>'" timeout 20 ep-seal <plain
    refuses 64 "'--key <file>'" timeout 20 ep-unseal <plain
    refuses 64 "'--kind <kind>'" seal --kind letter <plain
    refuses 64 "Please provide one of 'blob', 'metadata' or 'pruning'" seal --kind key <plain
    refuses 64 "Please provide one of 'blob', 'metadata' or 'pruning'" unseal --kind key <plain
    refuses 64 "unexpected argument 'cat'" seal cat <plain
    refuses 64 "'--expect <bytes>'" seal --expect many <plain
}

# peak COMMAND…: its peak memory in KiB, into the file that the first argument names.
peak() {
    local file=$1
    shift
    timeout 300 /usr/bin/time -q -f %M -o "$file" "$@"
}

@test "memory stays the same, 64 MiB or 1 GiB" {
    local size tool compress
    for compress in none 1; do
        for size in 64M 1G; do
            head -c "$size" /dev/zero | peak "seal.$size" ep-seal --key key --compress "$compress" |
                peak "unseal.$size" ep-unseal --key key | cmp -n "$(numfmt --from=iec "$size")" - /dev/zero
        done
        for tool in seal unseal; do
            echo "ep-$tool: $(<"$tool.64M") KiB, $(<"$tool.1G") KiB"
            (($(<"$tool.64M") <= 32 * 1024 && $(<"$tool.1G") <= 32 * 1024))
            (($(<"$tool.1G") - $(<"$tool.64M") <= 2048 && $(<"$tool.64M") - $(<"$tool.1G") <= 2048))
        done
    done
}

@test "a blob is compressed at the level that is asked for, and what cannot be passes as it is" {
    local level
    seq 1000000 >text
    for level in none 1 6 7 19; do
        head -c 4000000 text | peak "memory" ep-seal --key key --compress "$level" --report report >"sealed.$level"
        (($(<memory) <= 32 * 1024))
        unseal <"sealed.$level" | cmp -n 4000000 - text
        jq -e ".bytes == 4000000 and .compressed == $(packed "sealed.$level")" report
    done
    (($(stat -c %s sealed.none) > 4000000 && $(stat -c %s sealed.1) < 2000000))
    (($(stat -c %s sealed.19) < $(stat -c %s sealed.1)))
    head -c 4000000 text | seal >sealed
    [[ $(packed sealed) == $(packed sealed.1) ]]
    (($(seal <plain | wc -c) < 3000001 + 6000))
    # A document never is.
    head -c 9001 /dev/zero | seal --kind metadata >document
    (($(stat -c %s document) > 9000))
    for level in 0 20 -1 1.5 all ''; do refuses 64 "'--compress <none|level>'" seal --compress="$level" <plain; done
    refuses 64 "only blobs are compressed" seal --kind metadata --compress 1 <plain
    seal --kind metadata --compress none <plain | unseal --kind metadata | cmp - plain
}

@test "a kernel that gives no random bytes is 74" {
    local call status found=
    # Some of them are tried again, and what the loader asks for is not ours.
    for call in 3 4 5 6; do
        status=0
        echo x | strace -f -qq -o trace -e trace=getrandom -e inject=getrandom:error=EIO:when=$call \
            ep-seal --key key >sealed 2>err || status=$?
        [[ $status -eq 0 || $status -eq 74 ]] || { cat err && return 1; }
        [[ $status -eq 0 ]] || { grep -q "cannot get random bytes" err && found=1; }
    done
    [[ -n $found ]]
}
