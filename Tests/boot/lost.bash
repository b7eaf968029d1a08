# A machine that is backed up, lost, and rebuilt on another disk, which has to boot.
# shellcheck shell=bash disable=SC2154

setup() {
    needs_root
    cd "$BATS_TEST_TMPDIR" || return
    mkdir tmp store
    export TMPDIR=$PWD/tmp ESCAPEPOD_STATE=$PWD/state
}

# backed_up FIRMWARE SIZE KIND: a machine of that kind is made, backed up, changed, backed up again, and lost.
backed_up() {
    "make_$3" disk.img "$1" "$2"
    mount_machine disk.img at
    escapepod init ./pod.conf --system --volume "$PWD/at" --store "file://$PWD/store" --domain pod \
        --passphrase-command 'echo ten words'
    escapepod backup ./pod.conf
    seq 1000 >at/srv/data/later
    rm at/home/lines && mkdir -p at/srv/more && mv at/srv/data/bytes at/srv/data/moved
    # A boot loader that checks files itself has their digests in its configuration.
    [[ $3 != tiny_machine ]] || put_tiny at
    escapepod backup ./pod.conf
    expected_report at >expected
    unmount_machine at
    rm -r disk.img state
}

# comes_back FIRMWARE SIZE DRIVE
comes_back() {
    truncate -s "$2" new.img
    disk=$(losetup -f --show new.img)
    status=0
    timeout 600 escapepod rebuild --store "file://$PWD/store" --domain pod --key pod.key --disk "$disk" --firmware "$1" || status=$?
    # A boot loader alone is no machine, and that is said.
    ((status == 0 || status == 3))
    [[ -e expected_attention || $status = 0 ]]
    partx -d "$disk"
    detach_disk "$disk"
    run -0 --separate-stderr boot_machine new.img "$1" "$3"
    # Of the tree, the initramfs is another one.
    diff <(changed expected) <(changed /dev/stdin <<<"$output")
}

changed() { if [[ -e capsule.conf ]]; then grep -v '^tree' "$1"; else cat "$1"; fi; }
