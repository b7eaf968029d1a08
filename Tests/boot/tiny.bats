#!/usr/bin/env bats
# A machine that is a boot loader and its files boots within seconds.

load ../cli/helper
load machine

# starts FIRMWARE DRIVE: it finds its files, and says what is in them.
starts() {
    local expected
    needs_root
    make_tiny_machine disk.img "$1" 256M
    mount_machine disk.img at
    expected=$(expected_report at)
    unmount_machine at
    run -0 --separate-stderr boot_machine disk.img "$1" "$2"
    [ "${#lines[@]}" -gt 10 ]
    diff <(echo "$expected") <(echo "$output")
}

@test "UEFI starts it" {
    starts uefi virtio
}

@test "a BIOS starts it" {
    starts bios virtio
}

@test "a file that changed is seen, and so is a disk that does not boot" {
    needs_root
    make_tiny_machine disk.img bios 256M
    mount_machine disk.img at
    expected_report at >before
    flip at/srv/data/lines 1000
    expected_report at >after
    unmount_machine at
    run -0 --separate-stderr boot_machine disk.img bios
    [ "$output" = "$(<after)" ]
    [ "$output" != "$(<before)" ]

    dd if=/dev/zero of=disk.img bs=440 count=1 conv=notrunc status=none
    BOOT_LIMIT=10 run -1 boot_machine disk.img bios
    [[ $output != *up ]]
}
