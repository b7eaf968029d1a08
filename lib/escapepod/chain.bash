# One chain of backups, from the store to a live volume.
# shellcheck shell=bash

# The wanted backup, and what there is to read for it; the backups themselves are lines in $work/chain.
generation='' date='' uuid='' backups='' total='' need='' newest=''

# choose_chain [OPTION…]: of ep-meta chain.
choose_chain() {
    [[ -z ${setting[generation]-} ]] || set -- "$@" --generation "${setting[generation]}"
    ep-meta chain --domain "$domain" --store "$store" "$@" <"$work/history" >"$work/chosen" || attended $?
    owed ep-meta "$work/chosen"
    read -r generation date uuid backups total need newest <"$work/chosen"
    sed 1d "$work/chosen" >"$work/chain"
}

# Reads every blob of the chain, before anything is written.
verify_chain() {
    local blob size sum
    while read -r blob size sum _; do
        fetch_blob "$blob" "$size" --sha512 "$sum" | ep-unseal --key "$key" --check || piped "${PIPESTATUS[@]}"
    done <"$work/chain"
}

# open_scratch DIR PURPOSE: the folder in DIR that is for that, found or made. Others may write to DIR, so from here on it is
# reached by its open descriptor, whose path is `ground`; with that goes the lock.
open_scratch() {
    scratch=$(ep-snap scratch "$1" --for "$2")
    [[ -n $scratch ]] || owes ep-snap
    take_scratch
}
scratch='' ground=''

# With the dot, what is no folder cannot be opened: a pipe that somebody put there would be waited for.
take_scratch() {
    local held
    exec {held}<"$scratch/."
    flock -n "$held" || fail 75 "another run is at work: $scratch" "run it again when that one is done"
    ground=/dev/fd/$held
}

# drop_scratch DIR PURPOSE: takes away what a run left that was killed.
drop_scratch() {
    scratch=$(ep-snap scratch "$1" --for "$2" --find)
    [[ -n $scratch ]] || return 0
    take_scratch
    ep-snap sweep "$scratch"
}

# bring_back DIR: receives the chain into the scratch folder, and makes the subvolume DIR of it, with the slots that its next
# backup needs. What a run before this one received whole is not received again.
bring_back() {
    local to=$1 index=0 first='' made='' parent='' blob size received slots status=0
    while read -r blob size _ received _; do
        parent=$made made=$blob
        [[ -n $first ]] || first=$blob
        if ! ep-snap check "$ground/$made" --received "$received" </dev/null 2>/dev/null; then
            : >"$work/received"
            fetch_blob "$blob" "$size" | ep-unseal --key "$key" |
                ep-snap receive "$ground" "$made" --received "$received" ${parent:+--parent "$parent"} \
                    >"$work/received" || piped "${PIPESTATUS[@]}"
            owed ep-snap "$work/received"
        fi
        # The full one and the newest two stay, as the slots of the machine that is gone had them.
        index=$((index + 1))
        ((index <= 2 || index == backups)) || ep-snap sweep "$ground" "$parent" </dev/null
    done <"$work/chain"
    if ((backups == 1)); then
        slots=(--slot "root=$made")
    else
        slots=(--slot "current-parent=$made" --slot "root=$first")
        ((backups == 2)) || slots+=(--slot "last-parent=$parent")
    fi
    ep-snap promote "$ground" "$made" --to "$to" --name "$folder_name" "${slots[@]}" || status=$?
    # 3: without its slots, and it has said why.
    attended "$status"
    [[ -d $to ]] || owes ep-snap
}

# fetch_blob BLOB SIZE [OPTION…]: its address and every tag are checked each time that it is read; the second digest, which
# costs as much as all the rest, when it is verified.
fetch_blob() {
    ep-fetch blob "${place[@]}" "$1" --size "$2" "${@:3}" </dev/null
}

# a_generation SETTING: is one, where it is there.
a_generation() {
    [[ -z ${setting[$1]-} || ${setting[$1]} =~ ^[1-9][0-9]{0,9}$ ]] || fail 64 "no generation: ${setting[$1]}"
}
