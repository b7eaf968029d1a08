# A machine whose root and swap space are encrypted with LUKS. This kernel need have no device mapper: a guest, which has the
# tools of escapepod, encrypts it, backs it up, loses it and rebuilds it.
# shellcheck shell=bash disable=SC2154

# make_locked_machine: old.img, a disk with an ESP, an ext4 for /boot, and two partitions that are empty so far; and plain.img,
# what is to be inside of the first of them. Sets the UUIDs root, boot, esp, swap, locked and locked_swap.
make_locked_machine() {
    local at=$PWD/made plain
    root=$(new_id) boot=$(new_id) swap=$(new_id) locked=$(new_id) locked_swap=$(new_id)
    esp=$(printf '%04X-%04X' $((SRANDOM & 65535)) $((SRANDOM & 65535)))
    truncate -s 684M plain.img
    plain=$(losetup -f --show plain.img)
    mkfs.btrfs -q -U "$root" "$plain" >/dev/null
    mkdir "$at"
    mount "$plain" "$at"
    btrfs -q subvolume create "$at/@"
    btrfs -q subvolume create "$at/@home"
    mkdir "$at/@/home"
    umount "$at"
    mount -o subvol=@ "$plain" "$at"
    mount -o subvol=@home "$plain" "$at/home"
    base_system "$at"
    mkdir "$at/boot/grub"
    put_files "$at/home"
    put_system "$at" uefi
    # The swap space opens by itself, as long as its key is one.
    printf '%s\n' "crypt UUID=$locked none luks,initramfs" "space UUID=$locked_swap /etc/space.key luks" >"$at/etc/crypttab"
    (umask 077 && head -c 64 /dev/urandom >"$at/etc/space.key")
    echo "UUID=$boot /boot ext4 defaults 0 2" >>"$at/etc/fstab"
    chroot "$at" update-initramfs -u >/dev/null 2>&1
    put_boot
    umount -R "$at"
    detach_disk "$plain"
}

new_id() { cat /proc/sys/kernel/random/uuid; }

# expected_locked: what the machine will report, besides the digests of its tree and its boot loader.
expected_locked() {
    printf '%s\n' "mount / $root /@" "mount /home $root /@home" "mount /boot/efi $esp /" "swap $swap"
    printf 'subvolume %s\n' @ @home
    echo up
}

# put_boot: the disk, and on it a boot loader that reads nothing that is encrypted.
put_boot() {
    local made=$at.grub kernel
    truncate -s 1G old.img
    sfdisk -q old.img <<<$'label: gpt\nsize=48MiB, type=uefi\nsize=128MiB, type=linux\nsize=700MiB, type=linux\nsize=48MiB, type=swap'
    attach_disk old.img
    mkdir -p "$made/boot/grub"
    # The root's own /boot is below the mount.
    mv "$at"/boot/[!eg]* "$made/boot"
    rm -r "$at"/boot/grub
    kernel=$(cd "$made/boot" && echo vmlinuz-*)
    printf '%s\n' "linux /$kernel root=UUID=$root rootflags=subvol=@ ro console=ttyS0 quiet panic=-1" \
        "initrd /initrd.img-${kernel#*-}" boot >"$made/boot/grub/grub.cfg"
    mke2fs -q -t ext4 -U "$boot" -d "$made/boot" "${disk}p2"
    printf '%s\n' "search --no-floppy --fs-uuid --set=root $boot" "set prefix=(\$root)/grub" normal >"$made/early.cfg"
    grub-mkimage -O x86_64-efi -p /grub -c "$made/early.cfg" -o "$made/BOOTX64.EFI" part_gpt ext2 search search_fs_uuid normal linux
    mkfs.vfat -C -F 32 -i "${esp/-/}" "$made/esp" $((48 << 10)) >/dev/null
    mmd -i "$made/esp" ::EFI ::EFI/BOOT
    mcopy -i "$made/esp" "$made/BOOTX64.EFI" ::EFI/BOOT/
    dd if="$made/esp" of="${disk}p1" bs=1M conv=fsync status=none
    detach_disk "$disk"
    rm -r "$made"
}

# make_rescue SCRIPT: rescue.img, a machine with escapepod that runs the script, reports what it prints, and turns itself off.
make_rescue() {
    make_machine rescue.img bios 1500M
    mount_machine rescue.img at
    make -s -o build -C "$EP_REPO" install DESTDIR="$PWD/at" BUILT="$EP_BIN"
    install -m 0755 "$1" at/usr/local/sbin/report
    unmount_machine at
}
