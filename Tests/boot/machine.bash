# Machines on disk images, and qemu to boot them. Nothing here uses escapepod or knows it. Who sources it has set -e; what a
# failure leaves mounted or attached has the path of the image, as cleanup of ../cli/helper.bash expects it.
# shellcheck shell=bash

BOOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# What a base system has: what boots, what puts a boot loader in place, and what the tools need that run inside.
BASE=acl,attr,btrfs-progs,cryptsetup-initramfs,dosfstools,e2fsprogs,efibootmgr,fdisk,grub-efi-amd64-bin,grub-pc-bin,grub2-common,initramfs-tools,kmod
BASE+=,libblkid1,libbtrfsutil1,libcurl4,libssl3,linux-image-cloud-amd64,mtools,openssl,systemd-sysv,udev,util-linux,zstd

# base_system DIR: fills the folder with a minimal Debian of this host's release, with a kernel. It is made once, and kept.
base_system() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/escapepod-tests suite site tar
    # shellcheck disable=SC2016 # apt-get puts them in
    read -r suite site < <(apt-get indextargets --format '$(CODENAME) $(SITE)' 'Created-By: Packages' 'Label: Debian')
    # Another list, or another way to trim, is another system.
    tar=$cache/$suite-$({ echo "$BASE" && declare -f trim_base; } | cksum | cut -d ' ' -f 1).tar
    mkdir -p "$cache"
    (
        flock 9
        [[ -e $tar ]] || make_base "$suite" "$site" "$tar"
    ) 9>"$cache/lock"
    tar -C "$1" -x -p --numeric-owner --xattrs --xattrs-include='*' -f "$tar"
}

# make_base SUITE SITE TAR
make_base() {
    local tree
    rm -rf --one-file-system "${3%/*}/$1"-*
    tree=$(mktemp -d "$3.XXXXXXXX")
    debootstrap --variant=minbase --include="$BASE" "$1" "$tree" "$2" >"$3.log" 2>&1 || { tail -n 20 "$3.log" >&2 && return 1; }
    trim_base "$tree" >>"$3.log" 2>&1 || { tail -n 20 "$3.log" >&2 && return 1; }
    tar -C "$tree" -c --numeric-owner --xattrs -f "$3.new" .
    rm -rf --one-file-system "$tree"
    mv "$3.new" "$3"
}

# trim_base DIR: takes out what the host gave it and what it does without, and makes an initramfs for any disk of qemu's.
trim_base() {
    rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/* "$1"/usr/share/{doc,i18n,locale,man} \
        "$1"/etc/{resolv.conf,systemd/system/timers.target.wants/*,systemd/system/*/e2scrub_reap.service} &&
        echo machine >"$1/etc/hostname" &&
        echo 0123456789abcdef0123456789abcdef >"$1/etc/machine-id" &&
        echo MODULES=list >"$1/etc/initramfs-tools/conf.d/modules" &&
        printf '%s\n' btrfs virtio_pci virtio_blk nvme ahci sd_mod >>"$1/etc/initramfs-tools/modules" &&
        chroot "$1" passwd -d root &&
        chroot "$1" update-initramfs -u
}

# make_machine IMAGE uefi|bios SIZE: a disk with a Debian that boots, reports what it is (see report) and turns itself off.
make_machine() {
    make_disk "$@" system
}

# make_tiny_machine IMAGE uefi|bios SIZE: the same disk without a system: the boot loader itself reports the digests of its
# files.
make_tiny_machine() {
    make_disk "$@" tiny
}

# make_disk IMAGE uefi|bios SIZE system|tiny: a partition table with an ESP or a BIOS boot partition, a btrfs root and, last,
# swap space; subvolumes @, @home and, nested, @/srv/data, with files of many kinds; and a boot loader.
make_disk() {
    local at=$1.at disk root swap esp
    rm -f "$1"
    truncate -s "$3" "$1"
    partition "$1" "$2"
    root=$(</proc/sys/kernel/random/uuid) swap=$(</proc/sys/kernel/random/uuid)
    esp=$(printf '%04X-%04X' $((SRANDOM & 65535)) $((SRANDOM & 65535)))
    attach_disk "$1"
    mkfs.btrfs -q -U "$root" "${disk}p2" >/dev/null
    mkswap -q -U "$swap" "${disk}p3"

    mkdir -p "$at"
    mount "${disk}p2" "$at"
    # What is put back on an empty file system gets the lowest numbers. Here they are taken.
    btrfs -q subvolume create "$at/gone"
    btrfs -q subvolume create "$at/@"
    btrfs -q subvolume create "$at/@home"
    btrfs -q subvolume delete "$at/gone"
    mkdir "$at/@/home"
    umount "$at"
    mount_root "$at"

    [[ $4 = tiny ]] || base_system "$at"
    mkdir -p "$at/srv" "$at/boot/grub"
    btrfs -q subvolume create "$at/srv/data"
    put_files "$at/srv/data"
    put_files "$at/home"
    put_"$4" "$at" "$2"
    put_loader "$2"
    unmount_machine "$at"
    rmdir "$at"
}

# partition IMAGE uefi|bios
partition() {
    local size=64 type=uefi mib=$(($(stat -c %s "$1") >> 20))
    [[ $2 = uefi ]] || size=1 type=21686148-6449-6E6F-744E-656564454649
    # The first MiB and the last are the table's.
    sfdisk -q "$1" <<END
label: gpt
size=${size}MiB, type=$type
size=$((mib - size - 64 - 2))MiB, type=linux
size=64MiB, type=swap
END
}

# put_files DIR: what a file system can hold.
put_files() {
    (
        cd "$1" || exit
        mkdir "a folder" no-cow
        seq 30000 >lines
        head -c 300000 /dev/urandom >bytes
        ln lines "a folder/lines, again"
        ln -s ../lines "a folder/link"
        truncate -s 2M sparse
        head -c 5000 /dev/urandom | dd of=sparse bs=4096 seek=300 conv=notrunc status=none
        : >empty
        : >$'-odd \\ name,\n\'of\' "two lines" \xff '
        mkfifo fifo
        chattr +C no-cow
        head -c 100000 /dev/urandom >no-cow/image
        cp bytes immutable
        chattr +i immutable
        cp lines setuid
        chown 1000:1001 lines setuid
        chmod 4750 setuid
        setfattr -n user.note -v "of a user" bytes
        setfattr -n trusted.note -v "of root" bytes
        setfacl -m u:1000:rw,g:1001:r bytes
        setfacl -d -m u:1000:rwx "a folder"
        btrfs property set "a folder" compression zstd
        touch -d '1999-12-31 23:59:59.123456789' empty
    )
}

# put_system DIR uefi|bios: the files that make a base system this machine.
put_system() {
    local home
    # It is another number on another disk: there, the second line has to be adapted.
    home=$(btrfs inspect-internal rootid "$1/home")
    cat >"$1/etc/fstab" <<END
UUID=$root / btrfs defaults,subvol=@ 0 0
UUID=$root /home btrfs defaults,subvolid=$home,subvol=/@home 0 0
UUID=$swap none swap sw 0 0
END
    if [[ $2 = uefi ]]; then
        mkdir "$1/boot/efi"
        echo "UUID=$esp /boot/efi vfat umask=0077 0 1" >>"$1/etc/fstab"
    fi
    cat >"$1/boot/grub/grub.cfg" <<END
serial --unit=0 --speed=115200
terminal_output serial
linux /@/vmlinuz root=UUID=$root rootflags=subvol=@ ro console=ttyS0 quiet panic=-1
initrd /@/initrd.img
boot
END
    install -t "$1/usr/local/sbin" "$BOOT/list-tree" "$BOOT/report"
    cat >"$1/etc/systemd/system/report.service" <<'END'
[Unit]
Description=Says on the second serial port what this machine is
# It tells which units failed, so it is the last, and also comes where the others do not.
DefaultDependencies=no
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/report
StandardOutput=tty
TTYPath=/dev/ttyS1

[Install]
WantedBy=multi-user.target emergency.target
END
    systemctl --root "$1" -q enable report.service
}

# put_tiny DIR: what the boot loader does by itself.
put_tiny() {
    {
        echo "serial --unit=1 --speed=115200"
        echo "terminfo -g 250x100 serial_com1 dumb"
        echo "terminal_output serial_com1"
        echo "echo; echo report"
        tiny_report "$1" | sed -n 's/^[^ ]*  /hashsum --hash sha256 /p'
        echo "echo up"
        echo halt
    } >"$1/boot/grub/grub.cfg"
}

# tiny_report DIR: a SHA-256 of each file with a plain name. GRUB does not read holes.
tiny_report() {
    (
        cd "$1" || exit
        find srv home -type f ! -path '*/.escapepod/*' -name '[a-z]*' ! -path '* *' ! -name sparse | LC_ALL=C sort | xargs sha256sum
    ) | sed 's|  srv/|  /@/srv/|; s|  home/|  /@home/|'
    echo up
}

# expected_report DIR: what the machine that is mounted there will report when it boots.
expected_report() {
    [[ -e $1/etc/fstab ]] || { tiny_report "$1" && return; }
    local from
    from=$(findmnt -n -v -o SOURCE "$1")
    echo "tree $("$BOOT/list-tree" "$1" | sha256sum | cut -d ' ' -f 1)"
    if [[ -e $1/boot/efi ]]; then
        echo "esp $(mcopy -i "${from%2}1" ::/EFI/BOOT/BOOTX64.EFI - 2>/dev/null | sha256sum | cut -d ' ' -f 1)"
    fi
    echo "mount / $(id_of "$from") /@"
    echo "mount /home $(id_of "$from") /@home"
    [[ ! -e $1/boot/efi ]] || echo "mount /boot/efi $(id_of "${from%2}1") /"
    echo "swap $(id_of "${from%2}3")"
    printf 'subvolume %s\n' @ @home srv/data
    echo up
}

# id_of DEVICE: the UUID of its file system.
id_of() { blkid -p -s UUID -o value "$1"; }

# put_loader uefi|bios: GRUB, on $disk, which finds its configuration by the UUID $root.
put_loader() {
    local made=$at.grub first modules
    mkdir "$made"
    cat >"$made/early.cfg" <<END
search --no-floppy --fs-uuid --set=root $root
set prefix=(\$root)/@/boot/grub
normal
END
    modules=(part_gpt btrfs search search_fs_uuid normal linux serial terminal terminfo echo halt hashsum gcry_sha256)
    if [[ $1 = uefi ]]; then
        grub-mkimage -O x86_64-efi -p /boot/grub -c "$made/early.cfg" -o "$made/BOOTX64.EFI" "${modules[@]}"
        mkfs.vfat -C -F 32 -i "${esp/-/}" "$made/esp" 65536 >/dev/null
        mmd -i "$made/esp" ::EFI ::EFI/BOOT
        mcopy -i "$made/esp" "$made/BOOTX64.EFI" ::EFI/BOOT/
        dd if="$made/esp" of="${disk}p1" bs=1M conv=fsync status=none
    else
        # As grub-install does it, which refuses loop devices: the first sector of the disk has the number of the core's first
        # one, and that has where the rest of it begins.
        first=$(<"/sys/class/block/${disk#/dev/}p1/start")
        grub-mkimage -O i386-pc -p /boot/grub -c "$made/early.cfg" -o "$made/core" "${modules[@]}" biosdisk
        poke "$made/core" 500 "$((first + 1))"
        head -c 440 /usr/lib/grub/i386-pc/boot.img >"$made/boot"
        poke "$made/boot" 92 "$first"
        dd if="$made/core" of="${disk}p1" conv=fsync status=none
        dd if="$made/boot" of="$disk" conv=fsync,notrunc status=none
    fi
    rm -r "$made"
}

# poke FILE OFFSET NUMBER: as eight bytes, the lowest first.
poke() {
    printf %016x "$3" | sed 's/../&\n/g' | tac | tr -d '\n' | xxd -r -p | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# attach_disk IMAGE: $disk is then a loop device with partitions. They are gone when it is detached.
attach_disk() {
    disk=$(losetup -f -P --show "$1")
    # Not every kernel reads a partition table.
    partx -u "$disk"
}

# mount_root DIR: /, /home and /srv/data of $disk.
mount_root() {
    mount -t btrfs -o subvol=@ "${disk}p2" "$1"
    mount -t btrfs -o subvol=@home "${disk}p2" "$1/home"
}

# mount_machine IMAGE DIR: attaches the disk and mounts it as it is when the machine is up, but for the ESP, which not every
# kernel can read. The device is then $disk.
mount_machine() {
    attach_disk "$1"
    mkdir -p "$2"
    mount_root "$2"
}

# unmount_machine DIR: and detaches the disk; what is written is then in the image, which may boot or be attached again.
unmount_machine() {
    local from
    from=$(findmnt -n -v -o SOURCE "$1")
    umount -R "$1"
    detach_disk "${from%p[0-9]*}"
}

# detach_disk DEVICE: and waits until nobody has it, for two minutes at most.
detach_disk() {
    local image _
    image=$(losetup -n -O BACK-FILE "$1")
    losetup -d "$1"
    # A process with a mount namespace of its own may have begun while this was mounted: until it ends, the file system is, and
    # would write over what is written by way of another device.
    for _ in {1..600}; do
        [[ -n $(losetup -j "$image") ]] || return 0
        sleep 0.2
    done
    echo "still in use: $1 ($image)" >&2
    return 1
}

# boot_machine IMAGE uefi|bios [virtio|nvme [IMAGE…]]: boots it, without a network, beside the other disks, waits until it is
# off, and prints the lines that it reported, of which `up` is the last. Fails without that one after $BOOT_LIMIT seconds
# (default: 600), with the end of what is on its console. That is in IMAGE.console. $TYPED is typed there now and then.
boot_machine() {
    local firmware=() drive=virtio-blk-pci report others=() other typist
    [[ ${3-virtio} = virtio ]] || drive=nvme,serial=1
    for other in "${@:4}"; do others+=(-drive "if=virtio,format=raw,cache=unsafe,file=$other"); done
    rm -f "$1".{console,report,vars,keys.in,keys.out}
    mkfifo "$1.keys.in"
    exec {typist}<>"$1.keys.in"
    : >"$1.console"
    ln "$1.console" "$1.keys.out"
    if [[ $2 = uefi ]]; then
        # It remembers nothing: it has to find the loader as on a new machine.
        cp /usr/share/OVMF/OVMF_VARS_4M.fd "$1.vars"
        firmware=(-drive "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"
            -drive "if=pflash,format=raw,unit=1,file=$1.vars")
    fi
    # A kernel has more to test and to load on a processor that can do more.
    timeout --foreground -k 5 "${BOOT_LIMIT:-600}" qemu-system-x86_64 \
        -machine q35 -accel tcg,thread=multi -cpu "${BOOT_CPU:-qemu64}" -smp 2 -m 1024 \
        -nodefaults -no-reboot -display none -nic none -device virtio-rng-pci "${firmware[@]}" \
        -serial "pipe:$1.keys" -serial "file:$1.report" \
        -drive "if=none,id=disk,format=raw,cache=unsafe,file=$1" -device "$drive,drive=disk" "${others[@]}" &
    while kill -0 $! 2>/dev/null; do
        sleep 0.2
        [[ -z ${TYPED-} ]] || ((SECONDS % 10)) || { printf '%s\r' "$TYPED" >&"$typist" && sleep 1; }
    done
    wait $! || :
    exec {typist}>&-
    # A firmware may have written there before.
    report=$(tr -d '\r' <"$1.report" | sed '0,/^report$/d')
    printf '%s\n' "$report"
    [[ ${report##*$'\n'} = up ]] || { tail -n 30 "$1.console" >&2 && return 1; }
}
