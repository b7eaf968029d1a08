# escapepod drill: restores a backup to a place of its own, and holds it against the snapshot that it was made from.

drill() {
    local folder=${setting[scratch]}
    [[ -d $volume ]] || fail 69 "no such volume: $volume" "mount it first"
    [[ -d $folder ]] || fail 69 "no such folder: $folder" "give --scratch DIR, a folder with enough free space"
    ask key-id ep-key id "$key"
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
started=''

# make_ground DIR PURPOSE: sets ground, a scratch folder on a btrfs: in DIR if that is on one, else on one in a file that is gone when
# it is unmounted. Not on the volume's own, though: it would take the room of the data.
make_ground() {
    local own=(--mount "$all_work/ground")
    ep-snap scratch "$1" --for "$2" --drop
    [[ $(stat -f -c %T "$1") != btrfs ]] || ! ep-fetch apart "file:$1" --domain "$domain" "$volume" 2>/dev/null || own=()
    mkdir "$all_work/ground"
    open_scratch "$1" "$2" --need "$need" "${own[@]}"
}

# What is mounted in the work folder is no part of it, and not to be deleted with it. A disk keeps its scratch folder for the
# run that goes on with it.
leave_ground() {
    local one
    for one in "$all_work/ground" "$all_work/at"/*; do
        ! mountpoint -q -- "$one" || umount -l -- "$one"
    done
    [[ ! -d $scratch ]] || ep-snap sweep "$scratch"
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
