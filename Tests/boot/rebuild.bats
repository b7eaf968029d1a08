#!/usr/bin/env bats
# A machine is lost, comes back on another disk from the store and the key alone, and boots as what it was.

load ../cli/helper
load machine

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

@test "a boot loader alone, with both" {
    local firmware
    touch expected_attention
    for firmware in uefi bios; do
        backed_up "$firmware" 384M tiny_machine
        comes_back "$firmware" 512M virtio
        rm -r new.img pod.conf pod.key store && mkdir store
    done
}
