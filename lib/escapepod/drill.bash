# escapepod drill: restores a backup to a place of its own, and holds it against the snapshot that it was made from.

drill() {
    local original restored differences=0 holes=()
    [[ -d $volume ]] || fail 69 "no such volume: $volume" "mount it first"
    begin_drill
    ask original ep-snap find "$volume" --name "$folder_name" "$uuid"
    original=$(<"$work/original")
    say "  $backups backups to read, $size"
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

# A copy of a whole machine, made as a rebuild makes it, and started.
boot_drill() {
    local of disk held
    begin_drill
    read_capsule
    of=("$generation" "$uuid")
    choose_set
    generation=${of[0]} uuid=${of[1]}
    ep-snap scratch "$folder" --for "drill $domain" --drop
    open_scratch "$folder" "drill $domain" --need "$set_need"
    ep-layout image "$capsule" "$ground/escapepod-drill.img"
    disk=$(losetup -P -f --show "$ground/escapepod-drill.img")
    exec {held}<"$disk"
    # From here on it is gone with the last process of the run, whatever ends it.
    losetup -d "$disk"
    layout=(--disk "$disk" --drill)
    make_machine
    say "  starting the copy"
    TMPDIR=$work ask booted ep-layout boot "$capsule" --disk "$disk"
    mv -- "$work/booted" "$work/likeness"
    conclude proven
    say "  done: $(<"$work/concluded")"
}

begin_drill() {
    folder=${setting[scratch]}
    [[ -d $folder ]] || fail 69 "no such folder: $folder" "give --scratch DIR, a folder with enough free space"
    ask key-id ep-key id "$key"
    cleanups+=(leave_ground conclude_failure)
    started=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    generation=${setting[generation]-}
    under_way=1
    fetch_history
    choose_chain
    say "$domain: drill of generation $generation of $date from $store"
}
folder='' started=''

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
    for one in "${scratches[@]}"; do
        [[ ! -d $one ]] || ep-snap sweep "$one"
    done
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
