# What make install puts in place, on a machine that has no Swift.

load helper

setup_file() {
    make -C "$BATS_TEST_DIRNAME/../.." install DESTDIR="$BATS_FILE_TMPDIR/root" PREFIX=/usr >&2
}

setup() {
    bin=$BATS_FILE_TMPDIR/root/usr/bin
}

@test "all of it takes at most 40 MB" {
    [ "$(du -s --block-size=1 "$BATS_FILE_TMPDIR/root" | cut -f1)" -le 40000000 ]
}

@test "the tools run without Swift" {
    needs_root
    local swift
    swift=$(readlink -f "$(command -v swift)")
    cd "$BATS_TEST_TMPDIR"
    cat >run <<'END'
set -e
mount -t tmpfs none "${1%/usr/bin/*}"
! command -v swift
for tool in "$2"/*; do "$tool" --version >/dev/null; done
"$2"/ep-key generate key >/dev/null
echo "from a machine without Swift" | "$2"/ep-seal --key key | "$2"/ep-unseal --key key
END
    run -0 --separate-stderr timeout 60 unshare --mount env -u LD_LIBRARY_PATH sh run "$swift" "$bin"
    [ "$output" = "from a machine without Swift" ]
}

@test "every tool and its page are there, and no other library of the build machine's" {
    local tool
    for tool in escapepod ep-snap ep-seal ep-unseal ep-key ep-meta ep-plan ep-store ep-fetch; do
        [ -x "$bin/$tool" ]
        [ -s "$BATS_FILE_TMPDIR/root/usr/share/man/man1/$tool.1" ]
        [ "$tool" = escapepod ] || ! readelf -d "$bin/$tool" | grep -E 'R(UN)?PATH' | grep -vF "[\$ORIGIN/../lib/escapepod]"
    done
}

@test "what a store gets for a stranger is there" {
    [ -x "$BATS_FILE_TMPDIR/root/usr/share/escapepod/escapepod-open" ]
    [ -s "$BATS_FILE_TMPDIR/root/usr/share/escapepod/RECOVERY.txt" ]
}
