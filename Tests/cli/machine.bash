# A machine's disk on a loop device, and disks for it to come back on; loaded after helper. Nothing of it can boot: Tests/boot has
# what does.
# shellcheck shell=bash disable=SC2034,SC2154

# attach IMAGE [OPTION…]: sets disk to its loop device.
attach() {
    disk=$(losetup -f --show "${@:2}" "$1")
    # Of a file before this one.
    forget
}

# forget: the kernel forgets the partitions of the disk. Whoever looks for a drive has them open now and then.
forget() {
    [[ ! -e ${disk}p1 && ! -e ${disk}p2 ]] || eventually partx -d "$disk" 2>/dev/null
}

# detach: the disk and what is mounted of it.
detach() {
    local at
    while read -r _ at _; do [[ $at != "$PWD/m" && $at != "$PWD"/m/* ]] || umount "$at"; done < <(tac /proc/self/mounts)
    forget
    losetup -d "$disk"
    disk=''
}

# empty_disk SIZE [OPTION…]: sets disk.
empty_disk() {
    rm -f empty.img
    truncate -s "$1" empty.img
    attach empty.img "${@:2}"
}

# make_machine [uefi|gpt|dos]: machine.img, its root at ./m with home at ./m/home: a firmware's partition, the root, and a swap
# area behind that. The BIOS' loader is no real one.
make_machine() {
    local root
    rm -f machine.img
    truncate -s 300M machine.img
    case ${1:-uefi} in
    uefi) printf '%s\n' 'label: gpt' 'size=40M, type=uefi, name="EFI system"' ;;
    gpt) printf '%s\n' 'label: gpt' 'size=1M, type=21686148-6449-6E6F-744E-656564454649' ;;
    dos) printf '%s\n' 'label: dos' 'size=40M, type=ef' ;;
    esac >table
    printf '%s\n' 'size=200M, type=linux, bootable' 'size=32M, type=swap' >>table
    [[ ${1:-uefi} = dos ]] || sed -i 's/, bootable/, name="the root"/' table
    sfdisk -q --no-reread --no-tell-kernel machine.img <table
    if [[ ${1:-uefi} != uefi ]]; then
        head -c 440 /dev/urandom | dd of=machine.img conv=notrunc status=none
        head -c 30000 /dev/urandom | dd of=machine.img bs=512 seek="$([[ $1 = dos ]] && echo 1 || echo 2048)" conv=notrunc status=none
    fi
    attach machine.img
    partx -a "$disk"
    if [[ ${1:-uefi} != gpt ]]; then
        mkfs.vfat -F 32 -s 1 -n ESP "${disk}p1" >/dev/null
        mkdir -p efi/EFI/BOOT && echo loader >efi/EFI/BOOT/BOOTX64.EFI && echo hidden >efi/.hidden
        mcopy -s -i "${disk}p1" efi/EFI efi/.hidden :: 2>/dev/null
    fi
    mkfs.btrfs -q -L root "${disk}p2"
    mkswap -q -L swap "${disk}p3"
    mkdir -p m
    mount "${disk}p2" m
    btrfs -q subvolume create m/@ && mkdir m/@/srv
    for root in @home @/srv/data; do btrfs -q subvolume create "m/$root"; done
    btrfs subvolume set-default "$(btrfs inspect-internal rootid m/@)" m
    umount m
    mount_machine
    mkdir -p m/{etc,boot/grub,lib/modules/6.1,home} && touch m/boot/vmlinuz-6.1
    mount -o subvol=@home "${disk}p2" m/home
    echo pod >m/etc/hostname
    echo "search --fs-uuid $(uuid_of 2)" >m/boot/grub/grub.cfg
    fstab >m/etc/fstab
    echo data >m/srv/data/x
    head -c 300K /dev/urandom >m/home/y
}

# uuid_of NUMBER: of what is in that partition.
uuid_of() { blkid -p -s UUID -o value "$disk$([[ $disk = *[0-9] ]] && echo p)$1"; }

# fstab: of the machine that is attached.
fstab() {
    printf '%s\n' "UUID=$(uuid_of 2) / btrfs subvol=@ 0 0" \
        "UUID=$(uuid_of 2) /home btrfs defaults,subvolid=$(btrfs inspect-internal rootid m/home) 0 0" \
        "UUID=$(uuid_of 3) none swap sw 0 0"
}

# mount_machine: root and home of the disk that is attached.
mount_machine() {
    mount -o subvol=@ "${disk}p2" m
    [[ ! -d m/home ]] || mount -o subvol=@home "${disk}p2" m/home
}

# capsule [OPTION…]: ./capsule, of the machine.
capsule() {
    rm -rf capsule
    mkdir -m 0700 capsule
    ep-layout capture capsule --root "$PWD/m" --member "root /" --member "home /home" --member "srv-data /srv/data" "$@"
}
