# escapepod drill: restores a backup to a place of its own, and holds it against the snapshot that it was made from.

drill() {
    local original differences=0 holes=() own=(--mount "$all_work/ground")
    begin_drill
    ask original ep-snap find "$volume" --name "$folder_name" "$uuid"
    original=$(<"$work/original")
    # Not on the volume's own file system, where it would take the room of the data.
    [[ $(stat -f -c %T "$folder" 2>/dev/null) != btrfs ]] || ! ep-fetch apart "file:$folder" --domain "$domain" "$volume" 2>/dev/null || own=()
    open_scratch "$folder" "drill $domain" --anew --need "$need" "${own[@]}"
    say "  restoring, $(counted "$backups") to read, $size"
    bring_back "$ground/restored"
    say "  comparing with $original"
    # An incremental stream brings a hole that is new in an old file as zeros.
    ((backups == 1)) || holes=(--filled-holes)
    ep-snap compare "$original" "$ground/restored" "${holes[@]}" --progress --report "$work/likeness" >"$work/differences" || differences=$?
    ((differences == 0 || differences == 65)) || exit "$differences"
    owed ep-snap "$work/likeness"
    if ((differences != 0)); then
        head -n 20 "$work/differences" | sed 's/^/  /'
        conclude differs
        fail 65 "what came back is not what was backed up: generation $generation, $store" \
            "keep the snapshots; if they are deleted, the next backup is full"
    fi
    conclude proven
}

# A copy of a whole machine, made as a rebuild makes it, and started.
boot_drill() {
    local disk held
    begin_drill
    read_capsule
    choose_set
    open_scratch "$folder" "drill $domain" --anew --need "$set_need"
    ep-layout image "$capsule" "$ground/escapepod-drill.img"
    disk=$(losetup -P -f --show "$ground/escapepod-drill.img")
    exec {held}<"$disk"
    # From here on it is gone with the last process of the run, whatever ends it.
    losetup -d "$disk"
    layout=(--disk "$disk" --drill)
    # Digits do nothing where no passphrase is asked for.
    printf '%s' "$SRANDOM$SRANDOM" >"$work/secret"
    make_machine
    say "  starting the copy"
    TMPDIR=$work ask likeness ep-layout boot "$capsule" --disk "$disk" <"$work/secret"
    conclude proven
}

begin_drill() {
    folder=${setting[scratch]}
    cleanups+=(leave_ground conclude_failure)
    started=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    subject=("$domain" "$state" "${setting[generation]-}") under_way=1
    fetch_history
    choose_chain
    subject=("$domain" "$state" "$generation" "$uuid")
    say "$domain: drill of generation $generation of $date from $store"
}

# What is mounted in the work folder is no part of it, and not to be deleted with it. A disk keeps its scratch folder for the
# run that goes on with it.
leave_ground() {
    local one
    for one in "$all_work/ground" "$all_work/at"/*; do
        ! mountpoint -q -- "$one" || umount -l -- "$one"
    done
    for one in "${scratches[@]}"; do
        [[ ! -d $one ]] || ep-snap sweep "$one"
    done
}

# The store could not give it whole: that is a result too.
conclude_failure() { [[ -z $under_way || $1 != 65 ]] || conclude failed; }

# conclude RESULT: the receipt, of the backup that the drill began with.
conclude() {
    under_way=''
    ep-meta record drill --domain "${subject[0]}" --store "$store" --started "$started" --seconds "$SECONDS" --result "$1" \
        ${subject[2]:+--generation "${subject[2]}"} ${subject[3]:+--uuid "${subject[3]}"} --likeness "$work/likeness" \
        --key "$key" --state "${subject[1]}" >"$work/concluded" || warn "cannot keep the receipt: $state"
    [[ $1 != proven ]] || say "  done: $(<"$work/concluded")"
}
