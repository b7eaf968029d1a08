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
    ep-snap room "$1" --need "$need"
}

# Reads every blob of the chain, before anything is written.
verify_chain() {
    local index
    for ((index = first; index <= last; index++)); do
        read_document "$work/document.$index"
        fetch_blob --sha512 "$META_SHA512" | ep-unseal --key "$key" --check || piped "${PIPESTATUS[@]}"
    done
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
    local to=$1 index made='' parent='' slots status=0
    for ((index = first; index <= last; index++)); do
        read_document "$work/document.$index"
        parent=$made made=$META_SHA256
        if ! ep-snap check "$ground/$made" --received "$META_UUID" 2>/dev/null; then
            : >"$work/received"
            fetch_blob | ep-unseal --key "$key" |
                ep-snap receive "$ground" "$made" --received "$META_UUID" ${parent:+--parent "$parent"} \
                    >"$work/received" || piped "${PIPESTATUS[@]}"
            owed ep-snap "$work/received"
        fi
        # The full one and the newest two stay, as the slots of the machine that is gone had them.
        ((index - 1 <= first || index == last)) || ep-snap sweep "$ground" "$parent"
    done
    if ((last == first)); then
        slots=(--slot "root=$made")
    else
        slots=(--slot "current-parent=$made" --slot "root=${addresses[first]}")
        ((last - first == 1)) || slots+=(--slot "last-parent=$parent")
    fi
    ep-snap promote "$ground" "$made" --to "$to" --store "$(store_name)" "${slots[@]}" || status=$?
    # 3: without its slots, and it has said why.
    ((status == 0 || status == 3)) || return "$status"
    ((status == 0)) || attention=1
    [[ -d $to ]] || owes ep-snap
}

# The blob of the document that was read last. Its address and every tag are checked each time that it is read; the
# second digest, which costs as much as all the rest, when it is verified.
fetch_blob() {
    ep-fetch blob "${place[@]}" "$META_SHA256" --size "$META_SIZE" "$@"
}
