# What make install puts in place, on a machine that has no Swift: of the release build that there is.

load helper
load dunesea

setup_file() {
    make -C "$EP_REPO" -o build install BUILT="${EP_BIN:-.build/release}" DESTDIR="$BATS_FILE_TMPDIR/root" PREFIX=/usr >&2
}

setup() {
    cd "$BATS_TEST_TMPDIR" || return
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
    run -0 --separate-stderr timeout 60 unshare --mount --propagation slave env -u LD_LIBRARY_PATH sh run "$swift" "$bin"
    [ "$output" = "from a machine without Swift" ]
}

@test "every tool and its page are there, and no other library of the build machine's" {
    local tool
    for tool in escapepod ep-config ep-snap ep-layout ep-seal ep-unseal ep-key ep-meta ep-plan ep-store ep-fetch; do
        [ -x "$bin/$tool" ]
        [ -s "$BATS_FILE_TMPDIR/root/usr/share/man/man1/$tool.1" ]
        [ "$tool" = escapepod ] || [ "$(patchelf --print-rpath "$bin/$tool")" = "\$ORIGIN/../lib/escapepod" ]
    done
}

@test "what a store gets for a stranger is there" {
    [ -x "$BATS_FILE_TMPDIR/root/usr/share/escapepod/escapepod-open" ]
    [ -s "$BATS_FILE_TMPDIR/root/usr/share/escapepod/RECOVERY.txt" ]
}

@test "no link of udev leads to a drill's disk" {
    local rules=$BATS_FILE_TMPDIR/root/usr/lib/udev/rules.d/59-escapepod.rules
    # The file has the name that the rule goes by, and so has what is open.
    grep -qF "$(sed -n 's|.*"\*/\(.*\.img\)".*|/\1|p' "$rules")" "$EP_REPO/lib/escapepod/drill.bash"
    grep -qF '"escapepod-\(uuid)"' "$EP_REPO/Sources/Layout/Encryption.swift"
    grep -q 'ENV{DM_NAME}=="escapepod-\*", ENV{DM_UDEV_DISABLE_DISK_RULES_FLAG}="1"$' "$rules"
    grep -q 'ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1"$' "$rules"
}

@test "the timers are there, and systemd has nothing to say about them" {
    local units=$BATS_FILE_TMPDIR/root/usr/lib/systemd/system unit
    mkdir units
    for unit in "$units"/escapepod-*@.*; do
        # That this is the place is not seen here.
        sed "s|=/usr/bin/|=$bin/|" "$unit" >"units/${unit##*/}"
        sed "s|=/usr/bin/|=$bin/|" "$unit" >"units/$(basename "${unit/@/@pod}")"
    done
    [ "$(cd units && echo ./*@pod.* | tr -d ./)" = "escapepod-backup@podservice escapepod-backup@podtimer escapepod-drill@podservice escapepod-drill@podtimer" ]
    run -0 timeout 60 systemd-analyze verify --man=no units/*@pod.*
    [ -z "$output" ]
}

@test "the server comes with its pages and its unit, and with all that it loads" {
    local root=$BATS_TEST_TMPDIR/root library
    make -C "$EP_REPO" -o dunesea install-dunesea DUNESEA="$EP_DUNESEA" DESTDIR="$root" PREFIX=/opt >&2
    [ -s "$root/opt/share/man/man7/dunesea-protocol.7" ]
    [ -s "$root/opt/share/man/man8/dunesea.8" ]
    [ -x "$root$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$root/opt/lib/systemd/system/dunesea.service")" ]
    [ "$(patchelf --print-rpath "$root/opt/bin/dunesea")" = "\$ORIGIN/../lib/escapepod" ]
    for library in $(patchelf --print-needed "$EP_DUNESEA"); do
        [ -s "$root/opt/lib/escapepod/$library" ] || /sbin/ldconfig -p | grep -F "$library "
    done
    [ ! -e "$BATS_FILE_TMPDIR/root/usr/share/man/man7/dunesea-protocol.7" ]
}
