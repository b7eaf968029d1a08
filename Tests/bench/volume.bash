# Whole volumes: backups and restores, beside restic, borg and a raw send, and beside what the machine itself takes.
# shellcheck shell=bash disable=SC2002,SC2154 # from pipe to pipe, as in a real pipeline

volume=$work/mnt/volume
restored=$work/mnt/restored
export RESTIC_REPOSITORY=$work/restic RESTIC_PASSWORD_FILE=$work/password RESTIC_CACHE_DIR=$work/restic-cache
export ESCAPEPOD_STATE=$work/state
export BORG_REPO=$work/borg BORG_BASE_DIR=$work/borg-base BORG_PASSPHRASE=bench

# make_btrfs AT [OPTION]: mounted with that option.
make_btrfs() {
    truncate -s 6G "$work/${1##*/}.img"
    mkfs.btrfs -q "$work/${1##*/}.img" >>"$work/said" 2>&1
    mkdir "$1"
    mount -o "loop${2:+,$2}" "$work/${1##*/}.img" "$1"
}

# drop_btrfs AT
drop_btrfs() {
    umount "$1"
    rm "$work/${1##*/}.img"
    rmdir "$1"
}

text() { od -An -v -tx2 -w24 /dev/urandom | sed 's/^/a line of a log that says: /' | head -c "$1" || :; }

# 1.5 GiB: a third is text, a sixth lies in 16384 small files of text, and the rest cannot be compressed.
make_volume() {
    local n
    [[ ! -d $volume ]] || return 0
    rm -f "$work/plain" "$work/sealed"
    make_btrfs "$volume"
    mkdir "$volume/text" "$volume/data" "$volume/small"
    for n in {1..8}; do text 64M >"$volume/text/$n"; done
    for n in {1..12}; do head -c 64M /dev/urandom >"$volume/data/$n"; done
    for n in {1..64}; do
        mkdir "$volume/small/$n"
        text 4M | split -b 16K - "$volume/small/$n/"
    done
    sync
}

# 1 % of it: 9 MiB in the midst of large files, 2 MiB in small ones, 4 MiB of new text.
round_escapepod_incremental() {
    local n small
    for n in {1..9}; do
        dd if=/dev/urandom of="$volume/data/$n" bs=1M count=1 seek=$((RANDOM % 63)) conv=notrunc status=none
    done
    for small in "$volume/small/$((RANDOM % 64 + 1))"/*; do text 8K >"$small"; done
    text 4M >"$volume/text/new-$RANDOM"
    sync
}

# delete_subvolumes AT…: and waits until their space is free, so that the cleaner does not run into the next turn.
delete_subvolumes() {
    (($# > 0)) || return 0
    btrfs -q subvolume delete "$@"
    btrfs subvolume sync "$(stat -c %m "${1%/*}")" >/dev/null
}

before_escapepod_full() { delete_subvolumes "$volume"/.escapepod/*/* && rm -rf "$work/state" && fresh_store; }
escapepod_backup() {
    /usr/bin/time -f %M -o "$work/memory.escapepod" \
        escapepod backup --volume "$volume" --store "file:$work/store" --domain "$domain" --key "$key"
}
escapepod_full() { escapepod_backup; }
escapepod_incremental() { escapepod_backup; }

restic_backup() {
    /usr/bin/time -f %M -o "$work/memory.restic" \
        restic -q backup --exclude "$volume/.escapepod" --exclude "$volume/.raw" "$volume"
}
before_restic_full() { rm -rf "$work/restic" "$work/restic-cache" && restic -q init; }
restic_full() { restic_backup; }
restic_incremental() { restic_backup; }

borg_backup() {
    /usr/bin/time -f %M -o "$work/memory.borg" \
        borg create -e "$volume/.escapepod" -e "$volume/.raw" "::{utcnow:%Y%m%dT%H%M%S.%f}" "$volume"
}
before_borg_full() { rm -rf "$work/borg" "$work/borg-base" && borg init -e repokey; }
borg_full() { borg_backup; }
borg_incremental() { borg_backup; }

# send NEW [OLD]
send() {
    btrfs -q subvolume snapshot -r "$volume" "$1"
    btrfs send -q ${2:+-p "$2"} "$1" | zstd -q -1 | "${enc[@]}" | dd conv=fsync bs=1M of="$work/raw"
}
before_raw_send() { delete_subvolumes "$volume"/.raw/* && mkdir -p "$volume/.raw" && rm -f "$work/raw"; }
raw_send() { send "$volume/.raw/old"; }
before_raw_send_-p() {
    [[ -e $volume/.raw/new ]] || return 0
    delete_subvolumes "$volume/.raw/old"
    mv "$volume"/.raw/{new,old}
}
raw_send_-p() { send "$volume/.raw/new" "$volume/.raw/old"; }

empty_restored() {
    delete_subvolumes "$restored"/live/.escapepod/*/*
    delete_subvolumes "$restored"/live* "$restored"/old*
    rm -rf "$restored/restic" "$restored/borg"
    mkdir "$restored/borg"
}
before_escapepod_restore() { empty_restored; }
before_restic_restore() { empty_restored; }
before_borg_extract() { empty_restored; }
escapepod_restore() {
    escapepod restore --store "file:$work/store" --domain "$domain" --key "$key" --to "$restored/live"
    sync -f "$restored"
}
restic_restore() { restic -q restore latest --target "$restored/restic" && sync -f "$restored"; }
borg_extract() { (cd "$restored/borg" && borg extract "::$(borg list --last 1 --short)") && sync -f "$restored"; }

# What the machine takes for the same data: reading them as a stream, receiving them from memory, and writing as many bytes.
before_btrfs_send() { before_raw_send; }
btrfs_send() {
    btrfs -q subvolume snapshot -r "$volume" "$volume/.raw/old"
    btrfs send -q "$volume/.raw/old" | cat >/dev/null
}
before_btrfs_receive() {
    empty_restored
    [[ -e $work/stream ]] || btrfs send -q "$volume/.raw/old" >"$work/stream"
    cat "$work/stream" >/dev/null
}
btrfs_receive() { cat "$work/stream" | btrfs -q receive "$restored" && sync -f "$restored"; }
before_dd_fsync() { rm -f "$work/raw"; }
dd_fsync() { dd if=/dev/zero iflag=count_bytes count="$(du -sb "$work/store" | cut -f 1)" conv=fsync bs=1M of="$work/raw"; }

# Of an incremental backup, the three stages alone, for the same data; and as many starts of a tool as it has.
before_the_stages_alone() { rm -rf "$work/place" && mkdir "$work/place"; }
the_stages_alone() {
    local old slots
    slots=$(echo "$volume"/.escapepod/*)
    old=$slots/last-parent
    [[ -e $old ]] || old=$slots/root
    btrfs send -q -p "$old" "$slots/current-parent" | ep-seal --key "$key" | ep-store blob "file:$work/place" --domain "$domain"
}
the_17_starts_alone() { for _ in {1..17}; do ep-meta --version; done; }

# both_ways WHAT [OPTION]: races of a full backup and of its restore to a file system that is mounted with that option, with the
# targets in backup_goals, room_goal and restore_goals: for restic and borg each.
both_ways() {
    race "full backup, $1" cold escapepod_full restic_full "${backup_goals[0]}" borg_full "${backup_goals[1]}" btrfs_send -
    room "  stored, against restic" "$work/store" "$work/restic" "$room_goal"
    make_btrfs "$restored" "${2-}"
    race "restore, $1" cold escapepod_restore restic_restore "${restore_goals[0]}" borg_extract "${restore_goals[1]}" \
        btrfs_receive -
    empty_restored
    drop_btrfs "$restored"
    rm -f "$work/stream"
}

needs_root() { ((EUID == 0)) || ! echo "a whole volume: needs root"; }

whole() {
    needs_root || return 0
    make_volume
    race "full backup, 1.5 GiB" cold escapepod_full restic_full "<= 0.55" borg_full "<= 0.6" raw_send "<= 0.9" btrfs_send - \
        dd_fsync -
    room "  stored, against restic" "$work/store" "$work/restic" "<= 1"
    race "incremental, 1 %" cold escapepod_incremental restic_incremental "<= 0.1" borg_incremental "<= 0.09" raw_send_-p "<= 1.4" \
        the_stages_alone - the_17_starts_alone -
    rm -f "$work/raw"
    make_btrfs "$restored"
    race "restore, 1.5 GiB" cold escapepod_restore restic_restore "<= 0.6" borg_extract "<= 0.65" btrfs_receive -
    rm -f "$work/stream"
    # With what it has by now, eight generations.
    for ((generation = rounds + 1; generation < 8; generation++)); do
        round_escapepod_incremental
        escapepod_incremental && restic_incremental
    done >>"$work/said" 2>&1
    race "restore, 8 generations" cold escapepod_restore restic_restore "<= 0.6"
    empty_restored
    drop_btrfs "$restored"
    drop_volume
}

drop_volume() {
    before_escapepod_full
    drop_btrfs "$volume"
    rm -rf "$work"/{restic,borg,restic-cache,borg-base,raw}
}

# Headers, Python and libraries, on a volume that compresses.
packed() {
    local backup_goals=("cpu <= 0.35" -) room_goal="<= 1.1" restore_goals=("<= 0.5" -)
    needs_root || return 0
    make_btrfs "$volume" compress=zstd
    cp -a /usr/include /usr/lib/python3 /usr/lib/python3.11 /usr/lib/gcc "$volume"
    sync
    both_ways "compressed" compress=zstd
    drop_volume
}

large() {
    local n backup_goals=("<= 0.55" "<= 0.6") room_goal="<= 1" restore_goals=("<= 0.6" "<= 0.65")
    needs_root || return 0
    make_btrfs "$volume"
    for n in 1 2; do
        text 384M >"$volume/text-$n"
        head -c 384M /dev/urandom >"$volume/data-$n"
    done
    sync
    both_ways "large files"
    drop_volume
}

# A store that takes so many MB a second, and what compression is worth there.
speed=10M
slow_backup() { btrfs send -q "$volume/.raw/old" | ep-seal --key "$key" "$@" | pv -qL "$speed" |
    ep-store blob "file:$work/store" --domain "$domain"; }
before_compressed() { fresh_store; }
compressed() { slow_backup; }
before_not_compressed() { fresh_store; }
not_compressed() { slow_backup --compress none; }
before_restic_limited() { before_restic_full; }
restic_limited() {
    restic -q backup --limit-upload "$((${speed%M} * 1000000 / 1024))" --exclude "$volume/.raw" "$volume"
}
slow() {
    needs_root || return 0
    make_btrfs "$volume"
    text 128M >"$volume/text"
    head -c 128M /dev/urandom >"$volume/data"
    before_raw_send >>"$work/said" 2>&1
    btrfs -q subvolume snapshot -r "$volume" "$volume/.raw/old"
    for speed in 10M 100M; do
        race "a store of ${speed%M} MB/s, 256 MiB" cold compressed not_compressed "<= 0.9" restic_limited "<= 1"
    done
    delete_subvolumes "$volume/.raw/old"
    drop_volume
}
