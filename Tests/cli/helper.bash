# What every suite here loads: the built tools in PATH, and file systems on loop devices that never outlive a test.
# shellcheck shell=bash

bats_require_minimum_version 1.5.0

EP_REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PATH=${EP_BIN:-$EP_REPO/.build/debug}:$EP_REPO/bin:$PATH
export PATH

# What bats runs before each command of a test, so that it can say where one failed. Its own does the same in three times as
# many steps, which were a sixth of what all suites take.
# shellcheck disable=SC2034 # bats reads them
bats_debug_trap() {
    [[ $1 != "$BATS_ROOT"/* && -z ${BATS_INTERRUPTED+yes}${BATS_TIMED_OUT+yes} ]] || return 0
    local frame
    BATS_DEBUG_LASTLAST_STACK_TRACE=("${BATS_DEBUG_LAST_STACK_TRACE[@]}") BATS_DEBUG_LAST_STACK_TRACE=()
    BATS_DEBUG_LAST_LINENO=("${BASH_LINENO[@]}") BATS_DEBUG_LAST_SOURCE=("${BASH_SOURCE[@]}")
    for ((frame = 1; frame < ${#FUNCNAME[@]}; frame++)); do
        BATS_DEBUG_LAST_STACK_TRACE+=("${BASH_LINENO[frame - 1]} ${FUNCNAME[frame]} ${BASH_SOURCE[frame]}")
        [[ ${FUNCNAME[frame]} != "${BATS_TEST_NAME-}" && ${FUNCNAME[frame]} != @(setup|teardown)?(_file) ]] || break
    done
}

# Skips the test unless it may mount and attach.
needs_root() {
    ((EUID == 0)) || skip "needs root"
}

# drives_alone: until this test ends, no other one attaches a drive or looks for one by its label. What is attached is the
# whole machine's, and some suites run at a time.
drives_alone() {
    local lock
    exec {lock}>/run/escapepod-tests.lock
    flock -w 900 "$lock"
}

# refuses STATUS TEXT COMMAND…: ends in that status and says that text, shows no trace of a crash, and writes
# nothing to standard output. Both outputs stay in the files out and err. COMMAND bounds its own time.
refuses() {
    local wanted=$1 text=$2 status=0
    shift 2
    "$@" >out 2>err || status=$?
    [[ $status -eq $wanted ]] || { echo "status $status, not $wanted:" && cat err && return 1; }
    [[ ! -s out ]] || { echo "on standard output:" && cat out && return 1; }
    grep -qF -- "$text" err || { echo "no '$text' in:" && cat err && return 1; }
    ! grep -iE 'fatal|backtrace|stack' err
}

# eventually COMMAND…: waits until it succeeds, for a minute at most.
eventually() {
    local _
    for _ in {1..1200}; do
        ! "$@" || return 0
        sleep 0.05
    done
    echo "not within a minute: $*"
    return 1
}

# flip FILE OFFSET: turns the bits of that byte over; an offset below zero counts from the end.
flip() {
    local at=$2 byte
    ((at >= 0)) || at=$(($(stat -c %s "$1") + at))
    byte=$(od -An -tu1 -j "$at" -N 1 "$1")
    printf %b "\\x$(printf %x $((byte ^ 255)))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}

# is_free DEVICE: nobody has it mounted or open: not here, not in another namespace, not as a file system in user space.
is_free() {
    perl -MFcntl -e 'sysopen(D, $ARGV[0], O_RDWR | O_EXCL) or exit 1' "$1"
}

# make_btrfs NAME SIZE: a new file system, mounted at $BATS_TEST_TMPDIR/NAME.
make_btrfs() {
    local at=$BATS_TEST_TMPDIR/$1
    truncate -s "$2" "$at.img"
    mkfs.btrfs -q "$at.img" >/dev/null
    mkdir -p "$at"
    mount -o loop "$at.img" "$at"
}

# uuid SUBVOLUME
uuid() { btrfs subvolume show "$1" | awk '$1 == "UUID:" { print $2 }'; }

# Ends what the test still has in the background, and unmounts and detaches everything that lies under $BATS_TEST_TMPDIR,
# the newest first.
cleanup() {
    local pid at device file
    for pid in $(jobs -p); do kill -9 "$pid" 2>/dev/null || :; done
    while read -r _ at _; do
        # A space stands there as \040.
        printf -v at %b "$at"
        [[ $at != "$BATS_TEST_TMPDIR"/* ]] || umount "$at" || umount -l "$at"
    done < <(tac /proc/self/mounts)
    ((EUID == 0)) || return 0
    while read -r device file; do
        [[ $file = "$BATS_TEST_TMPDIR"/* ]] || continue
        # They would be there again with the device's next file.
        [[ ! -e ${device}p1 && ! -e ${device}p2 ]] || eventually partx -d "$device" 2>/dev/null || :
        losetup -d "$device" || :
    done < <(losetup -nO NAME,BACK-FILE)
}

setup() {
    cd "$BATS_TEST_TMPDIR" || return
}

teardown() {
    cleanup
}

teardown_file() {
    BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
    cleanup
}
