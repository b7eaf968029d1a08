# What every suite here loads: the built tools in PATH, and file systems on loop devices that never outlive a test.

bats_require_minimum_version 1.5.0

repo=$(cd "${BATS_TEST_DIRNAME:?}/../.." && pwd)
PATH="${EP_BIN:-$repo/.build/debug}:$repo/bin:$PATH"

needs_root() {
    [[ $(id -u) -eq 0 ]] || skip "needs root"
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

# make_btrfs NAME SIZE: an empty btrfs, mounted at $BATS_TEST_TMPDIR/NAME.
make_btrfs() {
    local image="$BATS_TEST_TMPDIR/$1.img"
    truncate -s "$2" "$image"
    mkfs.btrfs -q "$image"
    mkdir -p "$BATS_TEST_TMPDIR/$1"
    mount -o loop "$image" "$BATS_TEST_TMPDIR/$1"
}

# Unmounts and detaches everything below the test's own directory, the innermost first.
cleanup() {
    local target device
    findmnt -rno TARGET | grep -F "$BATS_TEST_TMPDIR/" | tac | while read -r target; do
        umount "$target" || umount -l "$target"
    done
    losetup -nO NAME,BACK-FILE | while read -r device target; do
        [[ $target != "$BATS_TEST_TMPDIR/"* ]] || losetup -d "$device"
    done
}

teardown() {
    cleanup
}
