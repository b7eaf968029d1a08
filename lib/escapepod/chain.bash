# One chain of backups, from the store to a live volume.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

# Which of `addresses` make the chain; the bytes to read; the bytes of room that it takes.
first='' last='' total=0 need=0

# From the wanted backup, $generation or the newest, back to the full one. Their documents go to $work/document.INDEX.
choose_chain() {
    local index=$((${#addresses[@]} - 1)) after=0 pair=0 status damaged=''
    # No generation is further up than its number; so what somebody put behind it later does not stand in the way.
    [[ -z $generation ]] || ((generation > index)) || index=$((generation - 1))
    for (( ; index >= 0; index--)); do
        status=0
        document "$index" "$work/document.$index" || status=$?
        if ((status == 65)) && [[ -z $last && -n $generation ]]; then
            # It may be another than the one that is wanted.
            damaged=1
            continue
        fi
        ((status == 0)) || exit "$status"
        if [[ -z $last ]]; then
            [[ -z $generation || $generation = "$META_GENERATION" ]] || continue
            last=$index
        fi
        total=$((total + META_SIZE))
        [[ $META_TYPE != full ]] || { first=$index && break; }
        ((META_SIZE + after <= pair)) || pair=$((META_SIZE + after))
        after=$META_SIZE
    done
    if [[ -n $damaged ]]; then
        [[ -n $last ]] || fail 65 "no generation $generation of $domain that can be read: $store"
        warn "metadata of newer backups is damaged: $store" "escapepod verify says which, and what else is"
    fi
    [[ -n $last ]] || fail 10 "no generation $generation of $domain: $store" "escapepod list shows what there is"
    [[ -n $first ]] || fail 65 "the full backup of the chain is missing: $store" "an older generation may be whole"
    # At one time the full one and two that follow each other are there.
    need=$((META_SIZE + pair))
    for ((index = first; index <= last; index++)); do cat "$work/document.$index"; done >"$work/chain"
    ep-meta check --domain "$domain" <"$work/chain" >/dev/null
}

require_room() {
    local available
    available=$(df --output=avail -B1 "$1" | tail -n 1)
    ((available >= need)) || fail 74 "not enough room: $1 has $(size "$available"), it takes $(size "$need")"
}

# Reads every blob of the chain, before anything is written.
verify_chain() {
    local index
    for ((index = first; index <= last; index++)); do
        read_document "$work/document.$index"
        fetch_blob --sha512 "$META_SHA512" | ep-unseal --key "$key" --check || piped "${PIPESTATUS[@]}"
    done
}

# Where a restore to that path receives; an interrupted one goes on there.
aside() {
    echo "${1%/*}/.escapepod-restore-$domain"
}

# bring_back DIR: receives the chain, and makes the subvolume DIR of it, with the slots that its next backup needs.
bring_back() {
    local to=$1 index received made='' parent_made='' slot=current-parent live scratch
    scratch=$(aside "$to")
    live=$scratch/live
    [[ -d $scratch ]] || mkdir -m 0700 "$scratch"
    lock "$scratch"
    discard_subvolume "$live"
    for ((index = first; index <= last; index++)); do
        read_document "$work/document.$index"
        received=$scratch/$META_SHA256
        parent_made=$made
        made=$(the_one "$received")
        if [[ -z $made ]] || ! ep-snap check "$made" --received "$META_UUID" 2>/dev/null; then
            discard_received "$received"
            mkdir "$received"
            fetch_blob | ep-unseal --key "$key" | btrfs -q receive "$received" || cut_short "${PIPESTATUS[@]}"
            made=$(the_one "$received")
            ep-snap check "$made" --received "$META_UUID"
        fi
        # The full one and the newest two stay, as the slots of the machine that is gone had them.
        ((index - 1 <= first || index == last)) || discard_received "${parent_made%/*}"
    done

    btrfs -q subvolume snapshot "$made" "$live"
    ((last > first)) || slot=root
    ep-snap adopt "$live" --store "$(store_name)" --slot "$slot" "$made" >/dev/null
    if ((last > first)); then
        read_document "$work/document.$first"
        made=$(the_one "$scratch/$META_SHA256")
        ep-snap adopt "$live" --store "$(store_name)" --slot root "$made" >/dev/null
        ((last - first == 1)) ||
            ep-snap adopt "$live" --store "$(store_name)" --slot last-parent "$parent_made" >/dev/null
    fi
    btrfs filesystem sync "$scratch"
    mv -nT "$live" "$to"
    [[ ! -e $live ]] || fail 74 "it is there already: $to" "somebody made it meanwhile"
    sweep "$scratch"
    btrfs filesystem sync "${to%/*}/"
}

# cut_short STATUS-OF-FETCH -OF-UNSEAL -OF-RECEIVE: btrfs receive says 1 whatever the reason; a damaged stream is one.
cut_short() {
    if (($2 == 65 && $3 == 1)); then piped "$1" "$2"; else piped "$@"; fi
}

# The blob of the document that was read last. Its address and every tag are checked each time that it is read; the
# second digest, which costs as much as all the rest, when it is verified.
fetch_blob() {
    ep-fetch blob "${place[@]}" "$META_SHA256" --size "$META_SIZE" "$@"
}

# the_one DIR: what btrfs receive made in there; nothing where there is nothing.
the_one() {
    local found=("$1"/*)
    [[ -z ${found[0]-} ]] || echo "${found[0]}"
}

# sweep DIR: the scratch directory and all that restores made in there.
sweep() {
    local received
    discard_subvolume "$1/live"
    for received in "$1"/*; do discard_received "$received"; done
    rmdir "$1"
}

# discard_received DIR: a folder of the scratch directory, and the snapshot in it.
discard_received() {
    local made
    made=$(the_one "$1")
    [[ -z $made ]] || discard_subvolume "$made"
    [[ ! -d $1 ]] || rmdir "$1"
}

# discard_subvolume DIR: one that this run or one before it made, with the slots in it.
discard_subvolume() {
    local slot
    [[ -e $1 ]] || return 0
    for slot in "$1"/.escapepod/*/*; do btrfs -q subvolume delete "$slot"; done
    btrfs -q subvolume delete "$1"
}
