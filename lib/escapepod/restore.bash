# escapepod restore: a chain verified, received, and made a live volume; a drill does the same.
# shellcheck shell=bash

restore() {
    local to=${setting[to]} floor=()
    local folder=${to%/*}/
    if [[ -e $to || -L $to ]]; then
        # A run before this one may have died when all was done but this.
        [[ -n ${setting["dry-run"]-} || ! -d $folder ]] || drop_scratch "$folder" "restore $domain"
        fail 74 "already exists: $to" "restore never overwrites; choose a new name"
    fi
    [[ -d $folder ]] || fail 69 "no such folder: $folder" "mount the new btrfs first"
    [[ $(stat -f -c %T "$folder") = btrfs ]] || fail 65 "not on btrfs: $folder" "a restore needs a mounted btrfs"
    know_key
    fetch_history
    # The newest backup that the store shows may be no older than what is known: from its person, or from the witness.
    [[ -z ${setting["at-least-generation"]-} ]] || floor=(--at-least-generation "${setting["at-least-generation"]}")
    [[ -n ${setting[generation]-} ]] || floor+=(--witness "$witness")
    choose_chain "${floor[@]}"
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
    ep-snap sweep "$scratch"
    local next="The next backup of it to $store goes on from there."
    [[ $newest = yes ]] || next="The store has newer backups than this one, so the next one will be full."
    say "  done: $to is generation $generation of $date" "" \
        "To put it in the old volume's place:  mount -o subvol=$(btrfs subvolume show "$to" | sed -n 1p) DEVICE DIR" "$next"
}

# The wanted backup, and what there is to read for it; the backups themselves are lines in $work/chain.
generation='' date='' uuid='' backups='' total='' need='' newest='' size=''

# choose_chain [OPTION…]: of ep-meta chain.
choose_chain() {
    [[ -z ${setting[generation]-} ]] || set -- "$@" --generation "${setting[generation]}"
    ask chosen ep-meta chain --domain "$domain" --store "$store" "$@" <"$work/history" || attended "$?"
    read -r generation date uuid backups total need newest size <"$work/chosen"
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
    ask scratch ep-snap scratch "$1" --for "$2"
    take_scratch
}
scratch='' ground=''

# With the dot, what is no folder cannot be opened: a pipe that somebody put there would be waited for.
take_scratch() {
    local held
    scratch=$(<"$work/scratch")
    exec {held}<"$scratch/."
    flock -n "$held" || fail 75 "another run is in progress: $scratch" "run it again when that one is done"
    ground=/dev/fd/$held
}

# drop_scratch DIR PURPOSE: takes away what a run left that was killed.
drop_scratch() {
    ep-snap scratch "$1" --for "$2" --find >"$work/scratch"
    [[ -s $work/scratch ]] || return 0
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
    slots=(--slot "root=$first")
    ((backups == 1)) || slots+=(--slot "current-parent=$made")
    ((backups <= 2)) || slots+=(--slot "last-parent=$parent")
    ep-snap promote "$ground" "$made" --to "$to" --name "$folder_name" "${slots[@]}" ${unprotected:+--unprotected} || status=$?
    # 3: without its slots, or an inode flag, and it has said why.
    attended "$status"
    [[ -d $to ]] || owed ep-snap "$to"
}

# Where it has to stay open for subvolumes that come into it later.
unprotected=''

# fetch_blob BLOB SIZE [OPTION…]: its address and every tag are checked each time that it is read; the second digest, which
# costs as much as all the rest, when it is verified.
fetch_blob() {
    ep-fetch blob "${place[@]}" "$1" --size "$2" "${@:3}" </dev/null
}
