#!/usr/bin/env bats
# A machine that is encrypted with LUKS is lost, comes back with a passphrase that is new, and boots. It takes a quarter of an
# hour.
# shellcheck disable=SC2154

load ../cli/helper
load machine
load locked

@test "a Debian with an encrypted root and encrypted swap space, its /boot an ext4" {
    needs_root
    cd "$BATS_TEST_TMPDIR" || return
    make_locked_machine
    make_rescue "$BOOT/locked-script"
    mount_machine rescue.img at
    echo "$locked $locked_swap $swap" >at/root/uuids
    unmount_machine at
    truncate -s 1200M new.img
    truncate -s 1G copy.img
    BOOT_CPU=max BOOT_LIMIT=1800 run -0 --separate-stderr boot_machine rescue.img bios virtio old.img plain.img new.img copy.img
    { sed -n 's/^expected //p' <<<"$output" && expected_locked; } >expected
    rm old.img plain.img
    TYPED="new  words 1" run -0 --separate-stderr boot_machine new.img uefi nvme
    diff expected <(echo "$output")

    # The copy that the drill has made: its passphrase is typed on its keyboard.
    mount_machine rescue.img at
    cp -r at/root/drill/{capsule,secret} .
    unmount_machine at
    attach_disk copy.img
    timeout 900 ep-layout boot capsule --disk "$disk" <secret >outcome
    jq -e '.state == "running"' outcome
    partx -d "$disk"
    detach_disk "$disk"
}
