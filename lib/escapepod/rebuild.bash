# escapepod rebuild: a whole machine from its set, on an empty disk.
# shellcheck shell=bash

rebuild() {
    ((EUID == 0)) || fail 77 "a rebuild writes to a disk" "run it as root"
    # Nobody else sees what is mounted here, and it goes with the last process of the run, whatever ends it.
    [[ -n ${ESCAPEPOD_ALONE-} ]] || { rm -r -- "$work" && ESCAPEPOD_ALONE=0 exec unshare --mount --propagation slave "$here/escapepod" "$@"; }
    local floor=() capsule at=$all_work/at field number status=0
    local layout=(--disk "${setting[disk]}" ${setting[firmware]:+--firmware "${setting[firmware]}"})
    [[ $store != label:* ]] || layout+=(--spare "${store#label:}")
    local named=(${setting[serial]:+--serial "${setting[serial]}"} ${setting[size]:+--size "${setting[size]}"})
    know_key
    cleanups+=(leave_ground leave_disk)
    fetch_history
    [[ -z ${setting["at-least-generation"]-} ]] || floor=(--at-least-generation "${setting["at-least-generation"]}")
    choose_chain "${floor[@]}"
    number=$generation set_backups=$backups set_need=$need
    say "$domain: generation $number of $date from $store to ${setting[disk]}"

    # The capsule says what the machine is; it comes back into memory first.
    make_ground "$work" "rebuild $domain"
    capsule=$ground/capsule
    verify_chain
    bring_back "$capsule"
    ask plan ep-layout plan "$capsule" "${layout[@]}" "${named[@]}"
    ask backups ep-layout backups "$capsule"
    while IFS= read -r -d '' field; do backup+=("$field"); done <"$work/backups"
    say_file "$work/plan"
    each_backup choose_backup
    say "  $set_backups backups to read, $(numfmt --to=iec-i --suffix=B "$set_need") to write"
    [[ -z ${setting["dry-run"]-} ]] || return 0

    say "  verifying"
    each_backup verify_chain
    mkdir -p -- "$at"
    TMPDIR=$work ep-layout apply "$capsule" "${layout[@]}" "${named[@]}" --at "$at"
    unprotected=1
    each_backup restore_backup
    each_backup protect_backup
    ask finished ep-layout finish "$capsule" "${layout[@]}" --at "$at" || status=$?
    attended "$status"
    say_file "$work/finished"
    leave_disk
    say "  done: generation $number of $domain is on ${setting[disk]}" "" \
        "Start it from that disk. Its next backup goes on from there: escapepod backup."
}
# What is mounted there is no part of the work folder, and not to be deleted with it.
leave_disk() {
    local one
    for one in "$all_work"/at/*; do
        ! mountpoint -q -- "$one" || umount -l -- "$one"
    done
}

# What the capsule names: of each backup domain, generation, blob, folder of the slots, and place below the file systems.
backup=()
# How many blobs there are to read for the set, and how many bytes to write at most.
set_backups=0 set_need=0

# each_backup COMMAND: for each of them and the capsule itself, with domain, place, folder_name and work as they are for it.
each_backup() {
    local index wanted blob filesystem to own=$domain own_work=$work
    for ((index = 0; index < ${#backup[@]}; index += 5)); do
        domain=${backup[index]:-$own} place[2]=$domain wanted=${backup[index + 1]} blob=${backup[index + 2]}
        folder_name=${backup[index + 3]} to=$all_work/at/${backup[index + 4]} work=$own_work
        filesystem=$all_work/at/${backup[index + 4]%%/*}
        [[ $domain = "$own" ]] || work=$own_work/$index
        mkdir -p -- "$work"
        "$1"
    done
    domain=$own place[2]=$own work=$own_work
}

# The very backup that the capsule names.
choose_backup() {
    local found
    [[ -n $wanted ]] || return 0
    [[ $domain = *".$own" ]] || fail 65 "the machine's backup names a backup of another one: $domain" "take an earlier generation"
    setting[generation]=$wanted
    fetch_history
    choose_chain
    sed -n '$p' "$work/chain" >"$work/newest"
    read -r found _ <"$work/newest"
    [[ $found = "$blob" ]] ||
        fail 65 "generation $wanted of $domain is not the one that the machine's backup names: $store" \
            "somebody mixed them up; an earlier generation may be whole"
    set_backups=$((set_backups + backups)) set_need=$((set_need + need))
}

# One that a run before this one has put into its place is not received again.
restore_backup() {
    local status=0
    backups=$(wc -l <"$work/chain")
    # No link on the way leads elsewhere: what is restored may be hostile.
    ep-layout placed "$filesystem" "${to#"$filesystem/"}" || status=$?
    if ((status == 0)); then
        drop_scratch "$filesystem" "rebuild $domain"
        return
    fi
    ((status == 10)) || return "$status"
    say "  restoring $domain"
    open_scratch "$filesystem" "rebuild $domain"
    bring_back "$to"
    ep-snap sweep "$scratch"
}

# What is immutable becomes so when all subvolumes are in their places. Done twice, it is the same.
protect_backup() {
    local status=0
    ep-layout placed "$filesystem" "${to#"$filesystem/"}"
    ep-snap protect "$to" || status=$?
    attended "$status"
}
