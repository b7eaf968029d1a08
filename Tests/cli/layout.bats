#!/usr/bin/env bats
# ep-layout: a machine's disk described, and made again on others.
# shellcheck disable=SC2094,SC2154

load helper
load machine

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    needs_root
    export TMPDIR=$PWD/tmp
    mkdir tmp at
}

# makes [OPTION…]: the disk is made, and nothing stays mounted.
makes() {
    ep-layout apply capsule --disk "$disk" --at "$PWD/at" "$@" 2>err || { cat err && return 1; }
    umount at/* && rmdir at/*
}

# layout: what the attached disk is, without its own name and its id.
layout() {
    sfdisk -d "$disk" | sed -E "/^(label-id|device|last-lba)/d; s|$disk||"
    local part
    for part in "$disk"p*; do blkid -p -o export -s TYPE -s UUID -s LABEL "$part" | sed 1d; done
}

# refused STATUS TEXT OPTION…: by plan and apply, and the disk is as it was.
refused() {
    cp --sparse=always "$image" before
    refuses "$1" "$2" ep-layout plan capsule --disk "$disk" --firmware uefi "${@:3}"
    refuses "$1" "$2" ep-layout apply capsule --disk "$disk" --firmware uefi --at "$PWD/at" "${@:3}"
    cmp "$image" before
}

@test "which subvolumes a machine is, and what does not come back" {
    make_machine
    ep-layout members --root "$PWD/m" >out 2>err
    diff - out <<<$'root /\nsrv-data /srv/data\nhome /home'
    diff - err <<END
the machine's disk is $disk, 300.0 MiB:
  ${disk}p1  40.0 MiB  vfat  'ESP'  EFI system partition
  ${disk}p2  200.0 MiB  btrfs  'root'  /, /srv/data, /home
  ${disk}p3  32.0 MiB  swap  'swap'
END
    ep-layout members --root "$PWD/m" --leave-out /home >out
    diff - out <<<$'root /\nsrv-data /srv/data'
    btrfs -q subvolume create m/new
    btrfs -q subvolume snapshot -r m/home m/home/snapshot
    run -3 --separate-stderr capsule
    echo "$stderr" >err
    grep -qF 'left out: /new: a subvolume that is not in the configuration' err
    run ! grep -F /home/snapshot err
    ep-layout members --root "$PWD/m" 2>err >out
    grep -qF 'left out: /home/snapshot: a read-only subvolume' err
    # Whoever may make subvolumes may make many, and give them any name.
    for n in {1..40}; do btrfs -q subvolume snapshot -r m/home "m/home/s$n"; done
    btrfs -q subvolume create $'m/home/\xff'
    rm -r capsule/efi.tar && touch capsule/{old.tar,boot-code}
    run -3 ep-layout capture capsule --root "$PWD/m" --member "root /" --member "home /home" --member "srv-data /srv/data"
    jq -r '."left-out"[]' capsule/machine.json >notes
    [[ $(wc -l <notes) = 32 && $(tail -n 1 notes) = "and "*" more" ]]
    [[ $(ls capsule) = $'efi.tar\nmachine.json\ntable.sfdisk' ]]
    [[ $(stat -c %a capsule/machine.json capsule/table.sfdisk capsule/efi.tar | sort -u) = 600 ]]
    refuses 65 "no such subvolume: /gone" ep-layout capture capsule --root "$PWD/m" --member "root /" --member "gone /gone"
    chmod 750 capsule
    refuses 77 "not a private folder" ep-layout capture capsule --root "$PWD/m" --member "root /"
    refuses 65 "not on btrfs" ep-layout members --root "$PWD/tmp"
    detach
}

@test "what cannot come back is named, all of it, and can be left out" {
    make_machine
    mkswap -q -L x "${disk}p3"
    mkfs.ext4 -q -F "${disk}p3" && mkdir m/var && mount "${disk}p3" m/var
    printf 'LUKS\xba\xbe\x00\x01' | dd of="${disk}p1" conv=notrunc status=none && dd if=/dev/zero of="${disk}p1" bs=8 seek=1 count=9000 conv=notrunc status=none
    truncate -s 120M other.img && mkfs.btrfs -q other.img && mkdir m/other && mount -o loop other.img m/other
    echo "/dev/x /other btrfs" >>m/etc/fstab
    mkdir m/top && mount -o subvolid=5 "${disk}p2" m/top
    refuses 65 "a file system of the kind ext4: /var" ep-layout members --root "$PWD/m"
    grep -qF "cannot come back: it is on another disk, " err
    grep -qF "encrypted with LUKS, and not open: ${disk}p1" err
    grep -qF "the top level of a btrfs is mounted" err
    grep -qF -- "hint: leave it out with --leave-out /var" err
    ep-layout members --root "$PWD/m" --leave-out /var --leave-out "${disk}p1" --leave-out /other --leave-out /top >out
    diff - out <<<$'root /\nsrv-data /srv/data\nhome /home'
    detach
}

@test "the same disk again: table, file systems, UUIDs, labels, the loader's files" {
    make_machine
    capsule
    layout >before
    detach
    empty_disk 300M
    ep-layout plan capsule --disk "$disk" --firmware uefi >plan
    grep -qF 'the disk is empty' plan
    makes --firmware uefi
    layout | diff before -
    mcopy -s -i "${disk}p1" :: back 2>/dev/null
    diff -r efi back
    detach
}

@test "a larger disk, and one that is too small" {
    make_machine
    capsule
    layout >before
    detach
    empty_disk 400M
    makes --firmware uefi
    layout | diff before - >changed || :
    [[ $(grep -c '^[<>]' changed) = 4 ]]
    [[ $(blockdev --getsize64 "${disk}p2") = $((300 << 20)) ]]
    detach
    empty_disk 180M
    image=empty.img
    refused 74 "the disk is too small: 180.0 MiB"
    detach
}

@test "sectors of 4,096 bytes" {
    make_machine
    capsule
    detach
    empty_disk 300M --sector-size 4096
    makes --firmware uefi
    [[ $(sfdisk -J "$disk" | jq '.partitiontable | .sectorsize, .partitions[1].start * .sectorsize') = $'4096\n42991616' ]]
    mcopy -i "${disk}p1" ::EFI/BOOT/BOOTX64.EFI back 2>/dev/null
    cmp back efi/EFI/BOOT/BOOTX64.EFI
    detach
}

@test "a BIOS' loader, from a GPT and from a DOS table, is where it was" {
    local table offset
    for table in gpt dos; do
        make_machine "$table"
        capsule
        layout >before
        offset=$([[ $table = dos ]] && echo 512 || echo 1048576)
        { head -c 440 machine.img && tail -c +$((offset + 1)) machine.img | head -c 30000; } | sha256sum >loader
        detach
        empty_disk 300M
        makes --firmware bios
        layout | diff before -
        { head -c 440 "$disk" && tail -c +$((offset + 1)) "$disk" | head -c 30000; } | sha256sum | diff loader -
        refuses 65 "cannot be started by UEFI" ep-layout plan capsule --disk "$disk" --firmware "$([[ $table = gpt ]] && echo uefi || echo bios)" ||
            [[ $table = dos ]]
        detach
    done
}

@test "a boot partition of its own: features, owners, modes, attributes" {
    make_machine
    mkfs.ext4 -q -F -O ^metadata_csum,^64bit -U 11111111-2222-3333-4444-555555555555 "${disk}p3"
    rm -r m/boot/* && mount "${disk}p3" m/boot
    mkdir m/boot/grub && echo kernel >m/boot/vmlinuz-6.1 && chown 3:4 m/boot/grub && chmod 751 m/boot/grub
    setfattr -n user.x -v y m/boot/vmlinuz-6.1 && setfacl -m u:7:r m/boot/vmlinuz-6.1
    capsule 2>/dev/null
    (cd m/boot && find . -printf '%p %m %U:%G %T@\n' | sort && getfattr -dm - vmlinuz-6.1) >before
    tune2fs -l "${disk}p3" | grep -E '^Filesystem (UUID|features)' | sed 's/needs_recovery //' >features
    detach
    empty_disk 300M
    makes --firmware uefi
    mount "${disk}p3" m
    (cd m && find . -printf '%p %m %U:%G %T@\n' | sort && getfattr -dm - vmlinuz-6.1) | diff before -
    umount m
    tune2fs -l "${disk}p3" | grep -E '^Filesystem (UUID|features)' | diff features -
    detach
}

@test "nothing is destroyed by mistake: a disk that is in use, not empty, a store, protected, or a twin's" {
    local image=empty.img machine
    make_machine
    capsule
    machine=$disk
    empty_disk 300M
    refused 77 "${machine}p1 has the UUID of one of the machine's file systems"
    disk=$machine detach
    refuses 69 "no such disk: /dev/none" ep-layout plan capsule --disk /dev/none --firmware uefi

    # One byte at its end, and nothing that anybody knows.
    printf x | dd of="$disk" bs=1 seek=$(((300 << 20) - 1)) conv=notrunc status=none
    sync "$disk"
    refused 77 "the disk is not empty"
    grep -qF "name it by --size $((300 << 20))" err
    refused 77 "the disk is another one than was named" --size 1000
    refused 77 "the disk is another one than was named" --serial 1000
    mkfs.ext4 -q -F -L escapepod "$disk"
    refused 77 "the disk carries a store" --size $((300 << 20))
    mkfs.ext4 -q -F -L other "$disk"
    mkdir mnt && mount "$disk" mnt
    refuses 75 "the disk is in use" ep-layout apply capsule --disk "$disk" --firmware uefi --at "$PWD/at" --size $((300 << 20))
    umount mnt
    # Another test may have begun in a mount namespace of its own meanwhile.
    eventually is_free "$disk"
    ep-layout plan capsule --disk "$disk" --firmware uefi --size $((300 << 20)) >plan
    grep -qF "what is there now is lost" plan
    grep -qF "ext4 'other'" plan
    makes --firmware uefi --size $((300 << 20))
    refuses 64 "a partition, and not a disk" ep-layout plan capsule --disk "${disk}p2" --firmware uefi
    detach
    empty_disk 300M --read-only
    refused 77 "write-protected" --size $((300 << 20))
    losetup -d "$disk"
}

@test "the plan is every command, and writes nothing" {
    make_machine
    capsule
    detach
    empty_disk 300M
    ep-layout plan capsule --disk "$disk" --firmware uefi --json >plan
    cmp -n $((300 << 20)) empty.img /dev/zero
    jq -r '.steps[].command[0]' plan | diff - <(printf '%s\n' sfdisk partx mkfs.vfat mkfs.btrfs mkswap sfdisk)
    # By hand, they make the same.
    makes --firmware uefi
    layout >made
    detach
    empty_disk 300M
    sed "s|$(jq -r .disk plan)|$disk|g" plan >mine
    local index
    for index in {0..4}; do
        mapfile -t command < <(jq -r ".steps[$index].command[]" mine)
        jq -rj ".steps[$index].input" mine | "${command[@]}" >/dev/null
    done
    layout | diff made -
    detach
}
