#!/usr/bin/env bats
# A machine is lost, comes back on another disk from the store and the key alone, and boots as what it was.

load ../cli/helper
load machine
load lost

@test "a Debian, with UEFI, onto a larger disk with another controller" {
    backed_up uefi 1G machine
    comes_back uefi 1500M nvme
}

@test "a Debian whose initramfs has the driver of the old disk alone, onto another" {
    make_machine disk.img uefi 1G
    mount_machine disk.img at
    rm at/etc/initramfs-tools/conf.d/modules
    printf '%s\n' btrfs virtio_pci virtio_blk >at/etc/initramfs-tools/modules
    sed -i 's/^MODULES=.*/MODULES=list/' at/etc/initramfs-tools/initramfs.conf
    chroot at update-initramfs -u
    echo MODULES=dep >at/etc/initramfs-tools/conf.d/driver-policy
    run ! grep nvme <(chroot at sh -c 'lsinitramfs /boot/initrd.img-*')
    escapepod init ./pod.conf --system --volume "$PWD/at" --store "file://$PWD/store" --domain pod \
        --passphrase-command 'echo ten words'
    escapepod backup ./pod.conf
    # The image that it lies on has no driver.
    sed -i 's/"driver":""/"driver":"virtio_blk"/' at/.escapepod-system/machine.json
    sed 's/^system=.*//; s/^member=.*//; s|^volume=.*|volume='"$PWD"'/at/.escapepod-system|' pod.conf >capsule.conf
    escapepod backup ./capsule.conf
    expected_report at >expected
    unmount_machine at
    rm -r disk.img state
    comes_back uefi 1500M nvme
}

@test "a Debian, with a BIOS, onto a smaller disk" {
    backed_up bios 1500M machine
    comes_back bios 1200M virtio
}

@test "a drill starts a copy beside the machine, and says what is wrong with one that does not come up" {
    make_machine disk.img uefi 1G
    mount_machine disk.img at
    # It reports, and turns itself off, where it is not to.
    systemctl --root at -q disable report.service
    escapepod init ./pod.conf --system --volume "$PWD/at" --store "file://$PWD/store" --domain pod \
        --passphrase-command 'echo ten words'
    escapepod backup ./pod.conf
    mkdir scratch
    run -0 timeout 900 escapepod drill ./pod.conf --boot --scratch "$PWD/scratch"
    [[ $output == *"it started in "*", and is running; it took "* ]]
    jq -e '.result == "proven" and .generation == 1 and .state == "running" and .failed == []' state/pod/*/drill-*.json
    [[ -z $(find scratch tmp -mindepth 1) && $(losetup -nO BACK-FILE | grep -c "$PWD") = 1 && ! -e at/etc/systemd/system/escapepod-drill.service ]]

    # Its unit fails, and so does its file system table.
    printf '[Service]\nExecStart=/bin/false\n' >at/etc/systemd/system/report.service
    ln -s ../report.service at/etc/systemd/system/sysinit.target.wants/
    escapepod backup ./pod.conf
    run -3 timeout 900 escapepod drill ./pod.conf --boot --scratch "$PWD/scratch"
    [[ $output == *"in the copy, a unit has failed: report.service"* && $output == *"and is degraded"* ]]
    sed -i '/GNU\|^linux/s/root=UUID=[^ ]*/root=UUID=none/' at/boot/grub/grub.cfg
    escapepod backup ./pod.conf
    run -65 timeout 900 escapepod drill ./pod.conf --boot --scratch "$PWD/scratch"
    [[ $output == *"turned itself off before it said that it has started"* ]]
    [[ -z $(find scratch tmp -mindepth 1) && $(losetup -nO BACK-FILE | grep -c "$PWD") = 1 ]]
    jq -se 'map(.result) == ["proven", "proven", "failed"]' state/pod/*/drill-*.json
    unmount_machine at
}
