# escapepod drill: restores a backup to a place of its own, and holds it against the snapshot that it was made from.
# shellcheck shell=bash

drill() {
    ((EUID == 0)) || fail 77 "a drill creates and mounts a file system" "run it as root"
    # Nobody else sees what is mounted here, and it goes with the last process of the run, whatever ends it.
    [[ -n ${ESCAPEPOD_ALONE-} ]] || { rm -r -- "$work" && ESCAPEPOD_ALONE=$of_members exec unshare --mount --propagation slave "$here/escapepod" "$@"; }
    local folder=${setting[scratch]}
    [[ -d $volume ]] || fail 69 "no such volume: $volume" "mount it first"
    [[ -d $folder ]] || fail 69 "no such folder: $folder" "give --scratch DIR, a folder with enough free space"
    know_key
    cleanups+=(leave_ground conclude_failure)
    started=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    generation=${setting[generation]-}
    under_way=1
    fetch_history
    choose_chain
    local original restored differences=0 holes=()
    ask original ep-snap find "$volume" --name "$folder_name" "$uuid"
    original=$(<"$work/original")
    say "$domain: drill of generation $generation of $date from $store" "  $backups backups to read, $size"
    make_ground "$folder" "drill $domain"
    restored=$ground/restored

    say "  restoring"
    bring_back "$restored"
    say "  comparing with $original"
    # An incremental stream brings a hole that is new in an old file as zeros.
    ((backups == 1)) || holes=(--filled-holes)
    ep-snap compare "$original" "$restored" "${holes[@]}" --progress --report "$work/likeness" >"$work/differences" || differences=$?
    ((differences == 0 || differences == 65)) || exit "$differences"
    owed ep-snap "$work/likeness"
    if ((differences != 0)); then
        head -n 20 "$work/differences" | sed 's/^/  /'
        conclude differs
        fail 65 "what came back is not what was backed up: generation $generation, $store" \
            "keep the snapshots; if they are deleted, the next backup is full"
    fi
    conclude proven
    say "  done: $(<"$work/concluded")"
}
started='' mounted=''

# make_ground DIR PURPOSE: sets ground, a scratch folder on a btrfs: in DIR if that is on one, else on one in a file that is gone when
# it is unmounted. Not on the volume's own, though: it would take the room of the data.
make_ground() {
    local image outer
    drop_scratch "$1" "$2"
    ep-snap room "$1" --need "$need"
    open_scratch "$1" "$2"
    [[ $(stat -f -c %T "$1") != btrfs ]] || ! ep-fetch apart "file:$1" --domain "$domain" "$volume" 2>/dev/null || return 0
    outer=$scratch image=$ground/image
    # It takes what is written and no more. Streams of small files grow on the way, but not by that.
    truncate -s $((total * 4 + (1 << 30))) "$image"
    mkfs.btrfs -q -m single "$image" >/dev/null
    mkdir "$work/ground"
    mount -o loop "$image" "$work/ground" ||
        fail 69 "cannot mount a btrfs to restore into: $1" "loop devices may be missing here; let --scratch name a folder on a btrfs"
    mounted=$work/ground
    # mount(8) goes by the path, which somebody may have turned to another file meanwhile.
    [[ $(losetup -nO BACK-INO "$(findmnt -nro SOURCE "$mounted")" | tr -d ' ') = "$(stat -c %i "$image")" ]] ||
        fail 77 "somebody replaced the file system to restore into: $outer" "choose another --scratch"
    ep-snap sweep "$outer"
    open_scratch "$mounted" "$2"
}

leave_ground() {
    if [[ -n $mounted ]]; then
        umount -l "$mounted"
    elif [[ -n $ground ]]; then
        ep-snap sweep "$scratch"
    fi
}

# The store could not give it whole: that is a result too.
conclude_failure() {
    [[ -z $under_way || $1 != 65 ]] || conclude failed
}

# conclude RESULT: the receipt.
conclude() {
    ep-meta record drill --domain "$domain" --store "$store" --started "$started" --seconds "$SECONDS" --result "$1" \
        ${generation:+--generation "$generation"} ${uuid:+--uuid "$uuid"} --likeness "$work/likeness" \
        --key "$key" --state "$state" >"$work/concluded" || warn "cannot keep the receipt: $state"
    under_way=''
}
