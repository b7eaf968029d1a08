# A whole volume: backups and restores, beside restic, borg and a raw send.
# shellcheck shell=bash disable=SC2154

volume=$work/mnt/volume
restored=$work/mnt/restored
export RESTIC_REPOSITORY=$work/restic RESTIC_PASSWORD_FILE=$work/password RESTIC_CACHE_DIR=$work/restic-cache
export ESCAPEPOD_STATE=$work/state
export BORG_REPO=$work/borg BORG_BASE_DIR=$work/borg-base BORG_PASSPHRASE=bench

# make_btrfs AT
make_btrfs() {
    truncate -s 6G "$work/${1##*/}.img"
    mkfs.btrfs -q "$work/${1##*/}.img" >>"$work/said" 2>&1
    mkdir "$1"
    mount -o loop "$work/${1##*/}.img" "$1"
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
    btrfs subvolume sync "$(stat -c %m "${1%/*}")"
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
    delete_subvolumes "$restored"/live*
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

whole() {
    ((EUID == 0)) || { echo "a whole volume: needs root" && return; }
    make_volume
    race "full backup, 1.5 GiB" cold escapepod_full restic_full "<= 0.6" borg_full "<= 0.8" raw_send -
    race "incremental, 1 %" cold escapepod_incremental restic_incremental "<= 0.15" borg_incremental "<= 0.15" raw_send_-p -
    rm -f "$work/raw"
    make_btrfs "$restored"
    race "restore, 1.5 GiB" cold escapepod_restore restic_restore "<= 0.7" borg_extract -
}
