# What the whole-tool tests share. Everything a test makes lies below $BATS_TEST_TMPDIR.

repo=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
PATH=${EP_BIN:-$repo/.build/debug}:$repo/bin:$PATH

needs_root() {
    [ "$(id -u)" -eq 0 ] || skip "needs root"
}

# make_btrfs NAME SIZE: a new btrfs, mounted at $BATS_TEST_TMPDIR/NAME.
make_btrfs() {
    truncate -s "$2" "$BATS_TEST_TMPDIR/$1.img"
    mkfs.btrfs -q "$BATS_TEST_TMPDIR/$1.img"
    mkdir -p "$BATS_TEST_TMPDIR/$1"
    mount -o loop "$BATS_TEST_TMPDIR/$1.img" "$BATS_TEST_TMPDIR/$1"
}

# Unmounts and detaches whatever lies below $BATS_TEST_TMPDIR.
cleanup() {
    local point device
    while read -r point; do
        umount "$point" || umount -l "$point"
    done < <(awk -v under="$BATS_TEST_TMPDIR/" 'index($5, under) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
    while read -r device; do
        losetup -d "$device"
    done < <(losetup -nO NAME,BACK-FILE 2>/dev/null | awk -v under="$BATS_TEST_TMPDIR/" 'index($2, under) == 1 { print $1 }')
}

teardown() {
    cleanup
}
