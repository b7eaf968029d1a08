#!/usr/bin/env bats
# A machine with a Debian comes up, and reports what was put on its disk. It takes minutes.

load ../cli/helper
load machine

# comes_up FIRMWARE DRIVE
comes_up() {
    local expected
    needs_root
    make_machine disk.img "$1" 1G
    mount_machine disk.img at
    expected=$(expected_report at)
    unmount_machine at
    run -0 --separate-stderr boot_machine disk.img "$1" "$2"
    diff <(echo "$expected") <(echo "$output")
}

@test "with UEFI, on a virtio disk" {
    comes_up uefi virtio
}

@test "with a BIOS, on an NVMe disk" {
    comes_up bios nvme
}
