# escapepod restore: a chain verified, received, and made a live volume; a drill does the same.

restore() {
    local to=${setting[to]}
    local folder=${to%/*}/
    if [[ -e $to || -L $to ]]; then
        # A run before this one may have died when all was done but this.
        [[ -n ${setting["dry-run"]-} || ! -d $folder ]] || ep-snap scratch "$folder" --for "restore $domain" --drop
        fail 74 "already exists: $to" "restore never overwrites; choose a new name"
    fi
    [[ -d $folder ]] || fail 69 "no such folder: $folder" "mount the new btrfs first"
    [[ $(stat -f -c %T "$folder") = btrfs ]] || fail 65 "not on btrfs: $folder" "a restore needs a mounted btrfs"
    ask key-id ep-key id "$key"
    fetch_history
    # The newest backup that the store shows may be no older than what is known: from its person, or from the witness.
    [[ -n ${setting[generation]-} ]] || chosen+=(--witness "$witness")
    choose_chain
    [[ -n ${setting[generation]-}${setting["at-least-generation"]-} || -e $witness ]] ||
        say "$domain: nothing here can tell whether the store has newer backups than generation $generation of $date"
    say "$domain: generation $generation of $date from $store to $to" "  $backups backups to read, $size"
    ep-snap room "$folder" --need "$need"
    [[ -z ${setting["dry-run"]-} ]] || return 0

    say "  verifying"
    verify_chain
    say "  receiving"
    open_scratch "$folder" "restore $domain"
    bring_back "$to"
    sweep_scratch
    local next="The next backup of it to $store goes on from there."
    [[ $newest = yes ]] || next="The store has newer backups than this one, so the next one will be full."
    say "  done: $to is generation $generation of $date" "" \
        "To put it in the old volume's place:  mount -o subvol=$(btrfs subvolume show "$to" | sed -n 1p) DEVICE DIR" "$next"
}

# The wanted backup, and what there is to read for it; the backups themselves are lines in $work/chain.
generation='' date='' uuid='' backups='' need='' newest='' size=''

choose_chain() {
    ask chosen ep-meta chain --domain "$domain" --store "$store" "${chosen[@]}" <"$work/history"
    read -r generation date uuid backups _ need newest size <"$work/chosen"
    sed 1d "$work/chosen" >"$work/chain"
}

# Reads every blob of the chain, before anything is written. The second digest, which costs as much as all the rest, is checked
# here alone; the address and every tag are checked each time that one is read.
verify_chain() {
    local blob size sum
    while read -r blob size sum _; do
        ep-fetch blob "${place[@]}" "$blob" --size "$size" --sha512 "$sum" </dev/null |
            ep-unseal --key "$key" --check || piped "${PIPESTATUS[@]}"
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

# bring_back DIR: receives the chain into the scratch folder, and makes the subvolume DIR of it, with the slots that its next
# backup needs. What a run before this one received whole is not received again.
bring_back() {
    local blob size received parent spare
    ep-snap resume "$ground" --chain "$work/chain" >"$work/lacking"
    while read -r blob size received parent spare; do
        : >"$work/received"
        ep-fetch blob "${place[@]}" "$blob" --size "$size" </dev/null | ep-unseal --key "$key" |
            ep-snap receive "$ground" "$blob" --received "$received" ${parent:+--parent "$parent"} \
                >"$work/received" || piped "${PIPESTATUS[@]}"
        owed ep-snap "$work/received"
        [[ -z $spare ]] || ep-snap sweep "$ground" "$spare" </dev/null
    done <"$work/lacking"
    # 3: without its slots, or an inode flag, and it has said why.
    ep-snap promote "$ground" --chain "$work/chain" --to "$1" --name "$folder_name" ${unprotected:+--unprotected} || attended "$?"
    [[ -d $1 ]] || owed ep-snap "$1"
}

# Where it has to stay open for subvolumes that come into it later.
unprotected=''
