#!/usr/bin/env bats
# Runs that die: whichever process is killed, wherever, the head of the store stays or moves on, and the next run goes on.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154

load helper
load pod

setup_file() { prepare two_backups; }
two_backups() {
    escapepod backup ./pod.conf
    escapepod backup ./pod.conf
}

setup() { prepared; }

# The text of a stand-in that runs the tool with these arguments until a part of its output (out) or of its input (in)
# has gone through, and ends it and itself with SIGKILL; anything else runs as ever.
killed() {
    local way=$1
    shift
    # Not where the stream is reckoned beforehand.
    printf '[[ "$*" = %q* && "$*" != *--no-data* ]] || exec "$real" "$@"\n' "$*"
    echo 'mkfifo "$here/fifo.$$" && exec 7<>"$here/fifo.$$" 8<&0'
    if [[ $way = out ]]; then
        echo '"$real" "$@" <&8 >&7 7>&- & pid=$!; head -c 1500000 <&7 >"$here/part"; cat "$here/part"'
    else
        echo '"$real" "$@" <&7 7>&- & pid=$!; head -c 2500000 | tee "$here/part" >&7'
    fi
    # That it is in mid-stream and not at its end:
    echo 'kill -0 "$pid" && [[ $(wc -c <"$here/part") -ge 1500000 ]] && echo yes >"$here/killed"'
    echo 'kill -9 "$pid" "$$"'
}

# The files of the store, by their form.
forms() { find store -type f ! -name .lock -printf '%P\n' | sed -E 's/[0-9a-f]{64}/SHA256/; s/[0-9]{10}/N/' | sort | uniq -c | awk '{ printf "%s %s ", $1, $2 }'; }

# fails_without_a_trace STAGE WAY ARGUMENTS…: with that stage killed in mid-stream, a backup fails and the head stays,
# for a first (full) backup and for an incremental one; the next one succeeds.
fails_without_a_trace() {
    local stage=$1 backup before
    shift
    nothing_yet
    for backup in full incremental; do
        head -c 3M /dev/urandom >vol/big
        before=$(head_of_store)
        rm -f killed
        stand_in "$stage" < <(killed "$@")
        run timeout 60 escapepod backup ./pod.conf
        [[ $status -eq 74 ]]
        [[ $output = *"escapepod: a tool was ended by SIGKILL"*hint:* ]]
        [[ $output = *"pod: $backup backup"* && $output != *done:* ]]
        [[ $(<killed) = yes ]]
        [[ $(head_of_store) = "$before" ]]
        [[ ! -e $(slots)/current-state ]]
        [[ -z $(ls -A tmp) ]]
        no_stand_in
        run -0 escapepod backup ./pod.conf
        [[ $output = *"pod: $backup backup"*done:* ]]
    done
    [[ $(newest) = "2 incremental" ]]
    # Nothing half is left in the store.
    [[ $(forms) = "2 escapepod/pod/blobs/SHA256 2 escapepod/pod/metadata/N-SHA256 " ]]
    new_machine
    restores first
}

@test "btrfs send killed in mid-stream: the head stays, and the next backup succeeds" {
    fails_without_a_trace btrfs out send
}

@test "ep-seal killed in mid-stream: the head stays, and the next backup succeeds" {
    fails_without_a_trace ep-seal out --key "$PWD/pod.key" --report
}

@test "ep-store killed in mid-stream: the head stays, and the next backup succeeds" {
    fails_without_a_trace ep-store in blob
}

@test "in a plain pipeline, without pipefail, a killed stage gives no receipt" {
    before=$(head_of_store) blobs=$(ls store/escapepod/pod/blobs)
    head -c 3M /dev/urandom >vol/big
    btrfs -q subvolume snapshot -r vol vol/snapshot
    pipeline='btrfs send -q vol/snapshot | ep-seal --key pod.key | ep-store blob "$0" --domain pod >receipt'
    for stage in "btrfs out send" "ep-seal out --key" "ep-store in blob"; do
        read -r tool way arguments <<<"$stage"
        rm -f killed receipt
        stand_in "$tool" < <(killed "$way" "$arguments")
        run timeout 60 sh -c "$pipeline" "$store"
        if [[ $tool = ep-store ]]; then [[ $status -eq 137 ]]; else [[ $status -eq 65 ]]; fi
        [[ $(<killed) = yes ]]
        [[ ! -s receipt ]]
        [[ $(ls store/escapepod/pod/blobs) = "$blobs" ]]
        [[ $(head_of_store) = "$before" ]]
        rm stand-in/"$tool"
        no_stand_in
    done
    # It is the kill that stopped them, and nothing else.
    sh -c "$pipeline" "$store"
    grep -q '"sha512":' receipt
    btrfs -q subvolume delete vol/snapshot
    escapepod backup ./pod.conf
    [[ $(newest) = "3 incremental" ]]
}

# Ends escapepod by signal $1, when ep-meta has made the document: all is stored, nothing committed.
before_the_commit() {
    before=$(head_of_store)
    echo second >vol/note
    stand_in ep-meta <<END
[[ \$1 = create ]] || exec "\$real" "\$@"
"\$real" "\$@"
kill -$1 "\$PPID"
END
    run timeout 60 escapepod backup ./pod.conf
    no_stand_in
    [[ $(head_of_store) = "$before" ]]
}

# Ends escapepod by signal $1 right behind the commit; $2 is the tool whose call it falls on.
after_the_commit() {
    before=$(head_of_store)
    echo second >vol/note
    case $2 in
    ep-store) stand_in ep-store <<<'[[ $1 = metadata ]] || exec "$real" "$@"; "$real" "$@"; kill -'"$1"' "$PPID"' ;;
    ep-snap) stand_in ep-snap <<<'[[ $1 = rotate ]] || exec "$real" "$@"; kill -'"$1"' "$PPID"; exit 1' ;;
    esac
    run timeout 60 escapepod backup ./pod.conf
    no_stand_in
    [[ $(head_of_store) != "$before" ]]
    [[ -e $(slots)/current-state ]]
}

# goes_on GENERATION: the run that follows goes on from this one, incrementally, and one can restore it all.
goes_on() {
    echo third >vol/note
    run -0 escapepod backup ./pod.conf
    [[ $output = *"pod: incremental backup"*"(generation $1, "*"done:"* ]]
    [[ $(newest) = "$(($1 + 1)) incremental" ]]
    [[ ! -e $(slots)/current-state ]]
    [[ -z $(ls -A tmp) ]]
    new_machine
    restores third
}

@test "killed before the commit: the next backup throws away what was not committed, and goes on" {
    before_the_commit KILL
    [[ $status -eq 137 ]]
    [[ -e $(slots)/current-state ]]
    goes_on 2
}

@test "SIGTERM before the commit: takes its snapshot away, and the next backup goes on" {
    before_the_commit TERM
    [[ $status -eq 143 ]]
    [[ ! -e $(slots)/current-state && -z $(ls -A tmp) ]]
    goes_on 2
}

@test "SIGINT before the commit: takes its snapshot away, and the next backup goes on" {
    before_the_commit INT
    [[ $status -eq 130 ]]
    [[ ! -e $(slots)/current-state && -z $(ls -A tmp) ]]
    goes_on 2
}

@test "killed behind the commit: the next backup rotates the slots, and goes on" {
    after_the_commit KILL ep-store
    [[ $status -eq 137 ]]
    goes_on 3
}

@test "SIGTERM behind the commit: the next backup rotates the slots, and goes on" {
    after_the_commit TERM ep-store
    [[ $status -eq 143 && -z $(ls -A tmp) ]]
    goes_on 3
}

@test "SIGINT behind the commit: the next backup rotates the slots, and goes on" {
    after_the_commit INT ep-store
    [[ $status -eq 130 && -z $(ls -A tmp) ]]
    goes_on 3
}

@test "killed before the slots are rotated: the next backup rotates them, and goes on" {
    after_the_commit KILL ep-snap
    [[ $status -eq 137 ]]
    goes_on 3
}

@test "killed behind the commit of a full backup: the next one is incremental" {
    nothing_yet
    stand_in ep-snap <<'END'
[[ $1 = rotate ]] || exec "$real" "$@"
kill -KILL "$PPID"
END
    run -137 timeout 60 escapepod backup ./pod.conf
    no_stand_in
    [[ $(newest) = "1 full" ]]
    run -3 escapepod status ./pod.conf
    [[ $output = *"next backup    incremental"* ]]
    run -0 escapepod backup ./pod.conf --dry-run
    [[ $output = *"incremental backup"* && -e $(slots)/current-state ]]
    goes_on 1
}

@test "Ctrl-C in mid-stream, to all processes of the run: nothing is committed, nothing is left" {
    head -c 3M /dev/urandom >vol/big
    before=$(head_of_store)
    stand_in btrfs <<'END'
[[ $1 = send && $* != *--no-data* ]] || exec "$real" "$@"
"$real" "$@" | { head -c 1500000; echo yes >"$here/killed"; kill -INT 0; }
END
    run timeout 60 setsid -w escapepod backup ./pod.conf
    [[ $status -eq 130 ]]
    [[ $(<killed) = yes ]]
    no_stand_in
    [[ $(head_of_store) = "$before" ]]
    [[ ! -e $(slots)/current-state && -z $(ls -A tmp) ]]
    escapepod backup ./pod.conf
    [[ $(newest) = "3 incremental" ]]
}

@test "a signal between any two stages of a pipeline ends the run" {
    nothing_yet
    make_btrfs new 256M
    mkdir -p store
    ends_at_each_fork backup 11
    escapepod backup ./pod.conf
    ends_at_each_fork restore 4 --to new/pod
}

# ends_at_each_fork COMMAND LAST OPTION…: with SIGTERM at each of the six forks that lie before the last so many ones, among
# them those of the longest pipeline.
ends_at_each_fork() {
    local calls at status
    script "$1" "" "${@:3}"
    ((status == 0))
    calls=$(grep -c ^clone trace)
    for ((at = calls - $2; at > calls - $2 - 6; at--)); do
        script "$1" "$at" "${@:3}"
        ((status == 143)) || { echo "$1, fork $at of $calls: status $status" && cat said && return 1; }
    done
}

# script COMMAND FORK OPTION…: runs it anew, and sets status.
script() {
    if [[ $1 = backup ]]; then
        rm -rf store && mkdir store
    elif [[ -e new/pod ]]; then
        btrfs -q subvolume delete new/pod/.escapepod/*/* new/pod
    fi
    rm -rf state
    status=0
    # Of the script itself, not of what it starts.
    timeout -s KILL 30 strace -qq -o trace -e trace=clone,clone3 ${2:+-e "inject=clone,clone3:signal=TERM:when=$2"} \
        bash "$EP_REPO/bin/escapepod" "$1" ./pod.conf "${@:3}" >said 2>&1 || status=$?
}

@test "the script is replaced in the middle of a run: nothing of what it became runs" {
    stand_in ep-store <<<'echo "touch executed; exit 5" >>"$here/stand-in/escapepod"; exec "$real" "$@"'
    echo more >>vol/note
    run -0 escapepod backup ./pod.conf
    [[ $output == *"done:"* && ! -e executed && $(tail -n 1 stand-in/escapepod) == *executed* ]]
}
