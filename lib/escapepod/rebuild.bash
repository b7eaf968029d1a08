# escapepod rebuild: a whole machine from its set, on an empty disk.

rebuild() {
    cleanups+=(leave_ground)
    fetch_history
    choose_chain
    say "$domain: generation $generation of $date from $store to ${setting[disk]}"
    read_capsule
    tell ep-layout plan "$capsule" "${layout[@]}" "${overwrite[@]}"
    choose_set
    [[ -z ${setting["dry-run"]-} ]] || return 0

    make_machine
    say "  done: generation $generation of $domain is on ${setting[disk]}" "" \
        "Start it from that disk. Its next backup goes on from there: escapepod backup."
}

# The capsule says what the machine is; it comes back into memory first.
read_capsule() {
    open_scratch "$work" capsule --need "$need" --mount "$all_work/ground"
    capsule=$ground/capsule
    bring_back "$capsule"
    ask backups ep-layout backups "$capsule" --domain "$domain"
}

# The backups that the capsule names, and what there is to read and to write for them.
choose_set() {
    local set_backups=$backups passes=1
    set_need=$need
    each_backup choose_backup
    [[ -z ${setting["verify-first"]-} ]] || passes=2
    say "  $(counted "$set_backups") to read, $(numfmt --to=iec-i --suffix=B "$set_need") to write," \
        "  which takes $((passes * set_need / 6000000000 + 1)) min at 100 MB/s"
}

# Makes the disk, and puts everything into its place. What a person is asked for comes first.
make_machine() {
    local at=$all_work/at secret=$work/secret
    : >>"$secret"
    ask encrypted ep-layout encrypted "$capsule"
    [[ -s $secret || $(<"$work/encrypted") = no ]] || ep-key passphrase --ask "${passphrase[@]}" >"$secret"
    if [[ -n ${setting["verify-first"]-} ]]; then each_backup verify_chain; fi
    mkdir -- "$at"
    TMPDIR=$work ep-layout apply "$capsule" "${layout[@]}" "${overwrite[@]}" --at "$at" <"$secret"
    each_backup restore_backup
    each_backup protect_backup
    tell ep-layout finish "$capsule" "${layout[@]}" --at "$at"
    umount -- "$at"/*
}

# each_backup COMMAND: for each of them that the capsule names and the capsule itself, with domain, folder_name and work as they
# are for it, and its place: the path in a file system.
each_backup() {
    local own=$domain own_work=$work at=$all_work/at wanted blob filesystem path
    local domain folder_name work generation date uuid backups need newest size
    while IFS=/ read -r -d '' -u 3 domain wanted blob folder_name filesystem path; do
        place[2]=$domain filesystem=$at/$filesystem work=$own_work
        [[ $domain = "$own" ]] || work=$own_work/$domain
        mkdir -p -- "$work"
        "$1"
    done 3<"$own_work/backups"
    place[2]=$own
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
    ((status == 0 || status == 10)) || return "$status"
    if ((status == 10)); then
        say "  restoring $domain"
        open_scratch "$filesystem" "rebuild $domain"
        # It stays open for the subvolumes that come into it later.
        bring_back "$filesystem/$path" --unprotected
        sweep_scratch
    else
        ep-snap scratch "$filesystem" --for "rebuild $domain" --drop
    fi
}

# What is immutable becomes so when all subvolumes are in their places. Done twice, it is the same.
protect_backup() {
    ep-layout placed "$filesystem" "$path"
    ep-snap protect "$filesystem/$path" || attended "$?"
}
