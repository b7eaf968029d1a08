#!/usr/bin/env bats
# label: on real drives: found, mounted for nobody else, and gone again, whatever ends the tool.
# shellcheck disable=SC2016,SC2030,SC2031,SC2094,SC2154

load helper
load storage

setup() {
    needs_root
    drives_alone
    cd "$BATS_TEST_TMPDIR" || exit
    # No other drive of this machine has this label.
    label=ep$BATS_TEST_NUMBER-$RANDOM
    store=label:$label
}

# make_drive NAME TYPE [LABEL]: a drive of 300 MB on a loop device, whose path is $device.
make_drive() {
    local label=${3:-$label}
    truncate -s 300M "$1.img"
    case $2 in
    ext4) mkfs.ext4 -q -L "$label" "$1.img" ;;
    btrfs) mkfs.btrfs -q -L "$label" "$1.img" ;;
    exfat) mkfs.exfat -L "$label" "$1.img" >/dev/null ;;
    ntfs) mkfs.ntfs -q -F -L "$label" "$1.img" >/dev/null 2>&1 ;;
    vfat) mkfs.vfat -n "${label^^}" "$1.img" >/dev/null ;;
    esac
    device=$(losetup -f --show "$1.img")
}

released() { eventually is_free "$device"; }

# A test that fails must not leave what it started; 3 is the descriptor that bats waits for.
teardown() {
    exec 5>&-
    [ -z "${pid-}" ] || kill -9 "$pid" 2>/dev/null || true
    cleanup
    [ -z "${disk-}" ] || {
        losetup -d "$device" 2>/dev/null || true
        umount "$BATS_TEST_TMPDIR/disk" 2>/dev/null || true
        kill -9 "$disk" 2>/dev/null || true
    }
}

round() {
    make_drive drive "$1"
    sealed blob 7000000 >blob
    store_blob blob
    store_backup "$(sha256 blob)" none
    [ "$(ep-fetch list "$store" --domain pod)" = "$(sha256 blob)" ]
    ep-fetch blob "$store" --domain pod "$(sha256 blob)" | cmp - blob
    released
}

@test "a drive with ext4: there and back, and unmounted" {
    round ext4
    mkdir here && mount "$device" here
    cmp blob "here/escapepod/pod/blobs/$(sha256 blob)"
}

@test "a drive with btrfs: there and back, and unmounted" { round btrfs; }

@test "a drive with exFAT, through FUSE: there and back, and unmounted" { round exfat; }

@test "a drive with NTFS, through FUSE: there and back, and unmounted" { round ntfs; }

@test "FUSE keeps a key file, and a store at a path" {
    for type in exfat ntfs; do
        make_drive $type $type
        mkdir here
        if [ $type = exfat ]; then mount.exfat-fuse "$device" here >/dev/null; else ntfs-3g "$device" here; fi
        ep-key generate here/key >id
        [ "$(ep-key id here/key 2>/dev/null)" = "$(<id)" ]
        refuses 74 "will not overwrite" ep-key generate here/key
        store="file:$PWD/here/store"
        mkdir here/store
        sealed blob 3000000 >blob && store_blob blob
        store_backup "$(sha256 blob)" none
        ep-fetch blob "$store" --domain pod "$(sha256 blob)" | cmp - blob
        umount here && rmdir here
        losetup -d "$device"
    done
}

@test "a drive with FAT is found by its label, in capitals or not" {
    make_drive drive vfat
    sealed blob 500 >blob
    if mkdir here && mount "$device" here 2>/dev/null; then
        umount here
        store_blob blob
        store_blob blob "label:${label^^}"
    else
        # A kernel without FAT: the drive is found, and the message names what is missing.
        refuses 69 "no driver for vfat" ep-store blob "$store" --domain pod <blob
        refuses 69 "no driver for vfat" ep-store blob "label:${label^^}" --domain pod <blob
    fi
    released
}

@test "no drive of this label: 69" {
    refuses 69 "no drive with this label: $store" ep-fetch last "$store" --domain pod
    make_drive drive ext4
    refuses 69 "no drive with this label" ep-fetch last "$store"x --domain pod
    # One that was there and is gone.
    refuses 10 "no backup of pod" ep-fetch last "$store" --domain pod
    losetup -d "$device"
    refuses 69 "no drive with this label" ep-fetch last "$store" --domain pod
}

@test "two drives of this label: 65, and both are named" {
    make_drive one ext4
    first=$device
    make_drive two btrfs
    refuses 65 "more than one drive with this label" ep-fetch last "$store" --domain pod
    grep -q "$first" err
    grep -q "$device" err
    losetup -d "$first"
    refuses 10 "no backup of pod" ep-fetch last "$store" --domain pod
}

@test "a file that blkid was asked about is no drive" {
    truncate -s 30M file.img && mkfs.ext4 -q -L "$label" file.img
    blkid -c "$PWD/cache" file.img >/dev/null
    refuses 69 "no drive with this label" ep-fetch last "$store" --domain pod
}

@test "a drive that is mounted is used where it is" {
    for type in ext4 btrfs exfat; do
        make_drive $type $type
        mkdir "my $type" other && mount "$device" "my $type" || mount.exfat-fuse "$device" "my $type" >/dev/null
        sealed blob 500 >blob
        strace -f -o trace -e trace=mount,unshare ep-store blob "$store" --domain pod <blob >receipt
        lacks "mount\(|unshare\(" trace
        [ -f "my $type/escapepod/pod/blobs/$(sha256 blob)" ]
        # Another file system lies over its mount point: written to the drive, never to what hides it.
        mount -t tmpfs none "my $type"
        sealed blob 500 >blob
        [ $type = exfat ] || store_blob blob
        [ -z "$(ls -A "my $type")" ]
        umount "my $type" && umount "my $type"
        rmdir other && losetup -d "$device"
    done
}

@test "a mount that is read-only gives way to one that is not; alone it is 77" {
    make_drive drive ext4
    mkdir ro rw
    mount "$device" rw
    mount --bind rw ro && mount -o remount,bind,ro ro
    sealed blob 500 >blob && store_blob blob
    umount ro rw
    mount -o ro "$device" ro
    sealed blob 500 >blob
    refuses 77 "read-only" ep-store blob "$store" --domain pod <blob
    refuses 10 "no backup of pod" ep-fetch last "$store" --domain pod
}

@test "a foreign mount whose source names the drive gets nothing" {
    for type in ext4 btrfs; do
        make_drive $type $type
        # One that every look at the mounts finds first, and one where the drive is mounted too.
        mkdir "foreign $type" "my $type"
        mount -t tmpfs "$device" "foreign $type"
        sealed blob 500 >blob && store_blob blob
        [ -z "$(ls -A "foreign $type")" ]
        mount "$device" "my $type"
        sealed blob 500 >blob && store_blob blob
        [ -f "my $type/escapepod/pod/blobs/$(sha256 blob)" ]
        [ -z "$(ls -A "foreign $type")" ]
        umount "my $type" "foreign $type"
        losetup -d "$device"
    done
}

@test "a btrfs over two devices is one drive; one that was copied is two" {
    truncate -s 200M one.img two.img
    one=$(losetup -f --show one.img)
    two=$(losetup -f --show two.img)
    mkfs.btrfs -q -L "$label" -m raid1 -d raid1 "$one" "$two"
    sealed blob 700000 >blob && store_blob blob
    ep-fetch blob "$store" --domain pod "$(sha256 blob)" | cmp - blob
    # Also where it is mounted, by whichever device.
    mkdir here && mount "$two" here
    sealed blob 500 >blob && store_blob blob
    [ -f "here/escapepod/pod/blobs/$(sha256 blob)" ]
    umount here
    btrfs device scan --forget "$one" "$two" 2>/dev/null || btrfs device scan --forget
    losetup -d "$two"
    # A copy of a device, with the same UUIDs.
    cp one.img two.img
    two=$(losetup -f --show two.img)
    refuses 65 "more than one drive with this label" ep-fetch last "$store" --domain pod
    losetup -d "$one" "$two"
    btrfs device scan --forget
}

@test "what lies on the drive, and what does not, whatever it is called and wherever it is mounted" {
    mkdir plain image
    mount -t tmpfs none plain
    for type in ext4 btrfs; do
        make_drive $type $type
        # Not mounted, it is known all the same, and where its image lies.
        ep-fetch apart "$store" --domain pod plain
        refuses 64 "the store $store is on the file system of this folder: ." ep-fetch apart "$store" --domain pod .
        mkdir my-$type bound-$type
        mount "$device" my-$type
        mkdir my-$type/x && mount --bind my-$type/x bound-$type
        [ $type = ext4 ] || btrfs -q subvolume create my-$type/sub
        for place in my-$type my-$type/x bound-$type my-$type/sub; do
            [ -d "$place" ] || continue
            for url in "$store" "label:${label^^}" "file:$PWD/my-$type" "file://$PWD/bound-$type"; do
                refuses 64 "is on the file system of this folder: $place" ep-fetch apart "$url" --domain pod "$place"
            done
        done
        for url in "$store" "file:$PWD/bound-$type"; do ep-fetch apart "$url" --domain pod plain; done
        ep-fetch apart "file:$PWD/plain" --domain pod my-$type
        # In an image that lies on it.
        truncate -s 20M my-$type/x.img && mkfs.ext4 -q my-$type/x.img
        mount -o loop my-$type/x.img image
        refuses 64 "is on the file system of this folder: my-$type" ep-fetch apart "file:$PWD/image" --domain pod my-$type
        ep-fetch apart "file:$PWD/my-$type" --domain pod image
        umount image bound-$type
        # The image's device is let go of a moment later.
        eventually umount my-$type
        losetup -d "$device"
    done
    mkdir plain/store
    refuses 64 "is on the file system of this folder: plain" ep-fetch last "file:$PWD/plain/store" --domain pod --apart plain
    refuses 10 "no backup of pod" ep-fetch last "file:$PWD/plain/store" --domain pod --apart .
    refuses 69 "no drive with this label" ep-fetch apart "$store" --domain pod plain
    refuses 69 "the store is not available" ep-fetch apart "file:$PWD/absent" --domain pod plain
    ep-fetch apart dunesea+https://127.0.0.1:1 --domain pod plain
}

@test "a subvolume that is mounted is not the drive" {
    make_drive drive btrfs
    mkdir top sub
    mount "$device" top
    btrfs -q subvolume create top/sub
    umount top
    mount -o subvol=sub "$device" sub
    sealed blob 500 >blob && store_blob blob
    [ -z "$(ls -A sub)" ]
    umount sub
    mount "$device" top
    [ -f "top/escapepod/pod/blobs/$(sha256 blob)" ]
}

@test "the private mount is in no tree of mounts, and the drive is free when the tool ends" {
    for type in ext4 exfat; do
        make_drive $type $type
        store_half
        # With -q a match counts, even if a process has gone meanwhile.
        run ! grep -qs " $device " /proc/[0-9]*/mountinfo
        run ! is_free "$device"
        [ "$(stat -c %a /run/escapepod/drive)" = 700 ]
        tail -c 20000000 half >&5
        exec 5>&-
        wait "$pid"
        grep -q "$(sha256 half)" half.receipt
        is_free "$device"
        losetup -d "$device"
        rm feed
    done
}

@test "where mounts are shared, as systemd has it, the private one is not; it is nosuid, nodev, noexec" {
    make_drive drive ext4
    sealed blob 500 >blob
    export store device
    # Held up between the mount and its leaving the tree.
    unshare -m --propagation shared bash -c '
        strace -f -o trace -e inject=umount2:delay_enter=3000000 ep-store blob "$store" --domain pod <blob >receipt &
        for tries in {1..50}; do
            sleep 0.1
            pid=$(pgrep -P $!) && grep " $device " /proc/$pid/mountinfo >seen && break
        done
        grep " $device " /proc/self/mountinfo && exit 1
        wait $!'
    grep -q " /run/escapepod/drive rw,nosuid,nodev,noexec" seen
    grep -q "$(sha256 blob)" receipt
}

@test "kill -9 leaves no mount: ext4, btrfs, exFAT" {
    for type in ext4 btrfs exfat; do
        make_drive $type $type
        store_half
        kill -9 "$pid"
        wait "$pid" || true
        exec 5>&-
        released
        [ ! -s half.receipt ]
        losetup -d "$device"
        # It went out clean enough for another to take it in, and the next run cleans up.
        device=$(losetup -f --show $type.img)
        store_blob half
        mkdir here-$type
        mount "$device" here-$type || mount.exfat-fuse "$device" here-$type >/dev/null
        [ "$(find here-$type -type f ! -name .lock -printf '%f\n')" = "$(sha256 half)" ]
        umount here-$type
        losetup -d "$device"
        rm feed
    done
}

@test "SIGINT and SIGTERM leave no mount" {
    for signal in INT TERM; do
        for type in ext4 exfat; do
            make_drive $type$signal $type
            store_half
            kill -$signal "$pid"
            [ $signal = INT ] && kill -TERM "$pid"
            wait "$pid" || true
            exec 5>&-
            released
            losetup -d "$device"
            rm feed
        done
    done
}

@test "an error leaves no mount" {
    for type in ext4 exfat; do
        make_drive $type $type
        head -c 3000000 /dev/zero >bad
        refuses 65 "not a sealed stream" ep-store blob "$store" --domain pod <bad
        sealed blob 3000000 | head -c 2000000 >part
        refuses 65 "does not end with its trailer" ep-store blob "$store" --domain pod <part
        released
        losetup -d "$device"
    done
}

@test "a drive with exFAT that is full: 74, and nothing left" {
    make_drive drive exfat
    sealed blob 400000000 >large
    refuses 74 "no space left" timeout 120 ep-store blob "$store" --domain pod <large
    mkdir here && mount.exfat-fuse "$device" here >/dev/null
    [ -z "$(find here -type f ! -name .lock)" ]
}

@test "two at once share the drive" {
    make_drive drive ext4
    sealed blob 500 >blob && store_blob blob
    store_half
    ep-fetch blob "$store" --domain pod "$(sha256 blob)" | cmp - blob
    store_blob blob
    tail -c 20000000 half >&5
    exec 5>&-
    wait "$pid"
    ep-fetch blob "$store" --domain pod "$(sha256 half)" | cmp - half
}

@test "a drive that is pulled out in the middle: 74, nothing committed" {
    # A device whose every access fails once the file gone is there.
    mkdir disk
    nbdfuse disk/nbd --command nbdkit -s --exit-with-parent --filter=error memory 300M \
        error=EIO error-rate=100% error-file="$PWD/gone" 3>&- &
    disk=$!
    eventually test -e disk/nbd
    mkfs.ext4 -q -F -L "$label" disk/nbd
    device=$(losetup -f --show disk/nbd)
    sealed blob 500 >blob && store_blob blob
    store_backup "$(sha256 blob)" none
    store_half
    touch gone
    tail -c 20000000 half >&5 || true
    exec 5>&-
    status=0
    wait "$pid" || status=$?
    [ $status -eq 74 ] || { cat err && false; }
    [ ! -s half.receipt ]
    lacks "[Ff]atal|[Bb]acktrace" err
    rm gone
    released
    # Plugged in again, it has the head that it had.
    losetup -d "$device"
    device=$(losetup -f --show disk/nbd)
    [ "$(ep-fetch list "$store" --domain pod)" = "$(sha256 blob)" ]
    refuses 10 "no blob" ep-fetch blob "$store" --domain pod "$(sha256 half)"
    store_blob half
    losetup -d "$device"
    umount disk
    wait $disk || true
}

@test "a write-protected drive is called that, and is read all the same" {
    make_drive drive ext4
    sealed blob 3000 >blob
    store_blob blob
    losetup -d "$device"
    device=$(losetup -r -f --show drive.img)
    refuses 77 "the drive is write-protected: $device" timeout 20 ep-store blob "$store" --domain pod <blob
    timeout 20 ep-fetch blob "$store" --domain pod "$(sha256 blob)" | cmp - blob
}
