# escapepod restore: a chain received, and made a live volume; a drill does the same.

restore() {
    local to=${setting[to]} dry_run=${setting["dry-run"]-} next="The next backup of it to $store goes on from there."
    local folder=${to%/*}/ purpose="restore $domain"
    ep-snap vacant "$to" --for "$purpose" ${dry_run:+--dry-run}
    fetch_history
    # The newest backup that the store shows may be no older than what is known: from its person, or from the witness.
    chosen+=(--witness "$witness")
    choose_chain
    say "$domain: generation $generation of $date from $store to $to" "  $(counted "$backups") to read, $size"
    ep-snap room "$folder" --need "$need"
    [[ -z $dry_run ]] || return 0

    if [[ -n ${setting["verify-first"]-} ]]; then verify_chain; fi
    say "  receiving"
    open_scratch "$folder" "$purpose"
    bring_back "$to"
    sweep_scratch
    [[ $newest = yes ]] || next="The store has newer backups than this one, so the next one will be full."
    say "  done: $to is generation $generation of $date" "" \
        "To put it in the old volume's place:  mount -o subvol=$(btrfs subvolume show "$to" | sed -n 1p) DEVICE DIR" "$next"
}

# counted NUMBER: of backups.
counted() { [[ $1 = 1 ]] && echo "1 backup" || echo "$1 backups"; }

# Finds the wanted backup, and what there is to read for it; the backups themselves are lines in $work/chain.
choose_chain() {
    ask chosen ep-meta chain --domain "$domain" --store "$store" "${chosen[@]}" <"$work/history"
    read -r generation date uuid backups _ need newest size <"$work/chosen"
    sed 1d "$work/chosen" >"$work/chain"
}

# Reads every blob of the chain. The second digest, which costs as much as all the rest, is checked here alone; the address and
# every tag are checked each time that one is read, and the last bytes of a stream go on only behind that.
verify_chain() {
    local blob size sum
    say "  verifying $domain"
    while read -r blob size sum _; do
        ep-fetch blob "${place[@]}" "$blob" --size "$size" --sha512 "$sum" </dev/null |
            ep-unseal --key "$key" --check || ep-meta piped "${PIPESTATUS[@]}"
    done <"$work/chain"
}

# open_scratch DIR PURPOSE [OPTION…]: the folder in DIR that is for that, found or made. Others may write to DIR, so from here on
# it is reached by its open descriptor, whose path is `ground`; with that goes the lock.
open_scratch() {
    local held found
    ask scratch ep-snap scratch "$1" --for "${@:2}"
    found=$(<"$work/scratch")
    # With the dot, what is no folder cannot be opened: a pipe that somebody put there would be waited for.
    exec {held}<"$found/."
    flock -n "$held" || fail 75 "another run is in progress: $found" "run it again when that one is done"
    scratches+=("$found") ground=/dev/fd/$held
}
scratches=() ground=''

# sweep_scratch: deletes the last of them, and lets go of it.
sweep_scratch() {
    local held=${ground##*/}
    ep-snap sweep "${scratches[-1]}"
    exec {held}<&-
}

# bring_back DIR [OPTION]: receives the chain into the scratch folder, and makes the subvolume DIR of it, with the slots that its
# next backup needs. What a run before this one received whole is not received again.
bring_back() {
    local blob size received parent spare
    ep-snap resume "$ground" --chain "$work/chain" >"$work/lacking"
    while read -r blob size received parent spare; do
        ep-fetch blob "${place[@]}" "$blob" --size "$size" </dev/null | ep-unseal --key "$key" |
            ep-snap receive "$ground" "$blob" --received "$received" ${parent:+--parent "$parent"} \
                >"$work/received" || ep-meta piped "${PIPESTATUS[@]}"
        owed ep-snap "$work/received"
        [[ -z $spare ]] || ep-snap sweep "$ground" "$spare" </dev/null
    done <"$work/lacking"
    # 3: without its slots, or an inode flag, and it has said why.
    ep-snap promote "$ground" --chain "$work/chain" --to "$1" --name "$folder_name" "${@:2}" || attended "$?"
    [[ -d $1 ]] || owed ep-snap "$1"
}
