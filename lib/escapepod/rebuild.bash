# escapepod rebuild: a whole machine from its set, on an empty disk.

rebuild() {
    local number
    [[ $store != label:* ]] || layout+=(--spare "${store#label:}")
    ask key-id ep-key id "$key"
    cleanups+=(leave_ground)
    fetch_history
    choose_chain
    number=$generation
    say "$domain: generation $number of $date from $store to ${setting[disk]}"
    read_capsule
    tell ep-layout plan "$capsule" "${layout[@]}" "${overwrite[@]}"
    choose_set
    [[ -z ${setting["dry-run"]-} ]] || return 0

    make_machine
    say "  done: generation $number of $domain is on ${setting[disk]}" "" \
        "Start it from that disk. Its next backup goes on from there: escapepod backup."
}

# The capsule says what the machine is; it comes back into memory first.
read_capsule() {
    mkdir "$all_work/ground"
    open_scratch "$work" capsule --need "$need" --mount "$all_work/ground"
    capsule=$ground/capsule
    verify_chain
    bring_back "$capsule"
    ask backups ep-layout backups "$capsule" --domain "$domain"
}
capsule=''

# The backups that the capsule names, and what there is to read and to write for them.
choose_set() {
    local set_backups=$backups
    set_need=$need
    each_backup choose_backup
    say "  $set_backups backups to read, $(numfmt --to=iec-i --suffix=B "$set_need") to write;" \
        "  verified first, and so read twice, that takes $((set_need / 3000000000 + 1)) min at 100 MB/s"
}
set_need=0

# Makes the disk, and puts everything into its place.
make_machine() {
    local at=$all_work/at
    say "  verifying"
    each_backup verify_chain
    mkdir -- "$at"
    TMPDIR=$work ep-layout apply "$capsule" "${layout[@]}" "${overwrite[@]}" --at "$at"
    unprotected=1
    each_backup restore_backup
    each_backup protect_backup
    tell ep-layout finish "$capsule" "${layout[@]}" --at "$at"
    umount -- "$at"/*
}

# each_backup COMMAND: for each of them that the capsule names and the capsule itself, with domain, folder_name and work as they
# are for it, and its place: the path in a file system.
each_backup() {
    local own=$domain own_work=$work at=$all_work/at wanted blob filesystem path
    while IFS=/ read -r -d '' -u 3 domain wanted blob folder_name filesystem path; do
        place[2]=$domain filesystem=$at/$filesystem work=$own_work
        [[ -z $wanted ]] || work=$own_work/$domain
        mkdir -p -- "$work"
        "$1"
    done 3<"$work/backups"
    domain=$own place[2]=$own work=$own_work
}

# The very backup that the capsule names; its own is chosen.
choose_backup() {
    [[ -n $wanted ]] || return 0
    chosen=(--generation "$wanted" --blob "$blob")
    fetch_history
    choose_chain
    set_backups=$((set_backups + backups)) set_need=$((set_need + need))
}

# One that a run before this one has put into its place is not received again.
restore_backup() {
    local status=0
    # No link on the way leads elsewhere: what is restored may be hostile.
    ep-layout placed "$filesystem" "$path" || status=$?
    case $status in
    0) ep-snap scratch "$filesystem" --for "rebuild $domain" --drop ;;
    10)
        say "  restoring $domain"
        open_scratch "$filesystem" "rebuild $domain"
        bring_back "$filesystem/$path"
        sweep_scratch
        ;;
    *) return "$status" ;;
    esac
}

# What is immutable becomes so when all subvolumes are in their places. Done twice, it is the same.
protect_backup() {
    ep-layout placed "$filesystem" "$path"
    ep-snap protect "$filesystem/$path" || attended "$?"
}
