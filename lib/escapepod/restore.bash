# escapepod restore: a chain verified, received, and made a live volume.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

restore_usage() {
    cat <<'END'
usage: escapepod restore [NAME] --to DIR [--generation N] [--at-least-generation N] [--dry-run]
       escapepod restore --store URL --domain DOMAIN --key FILE [STORE-OPTION …] --to DIR [--generation N]
                         [--at-least-generation N] [--dry-run]

Bring a backup back as DIR, a new subvolume on a mounted btrfs. Everything is verified first.

  --store URL, --domain DOMAIN, --key FILE
                   in place of the configuration, or of lines of it
  --to DIR         the live subvolume to make; it must not be there yet
  --generation N   an earlier backup in place of the newest
  --at-least-generation N
                   refuse a store whose newest backup is older than that
  --dry-run        print the plan and stop
END
    store_options
}

restore() {
    parse restore "--to --generation --at-least-generation --dry-run" "$@"
    needs store domain key
    [[ -n $to ]] || fail 64 "nobody said where to" "give --to DIR, the subvolume to make on a mounted btrfs"
    [[ -z $generation || $generation =~ ^[1-9][0-9]{0,17}$ ]] || fail 64 "no generation: $generation"
    [[ -z $at_least_generation || $at_least_generation =~ ^[1-9][0-9]{0,17}$ ]] ||
        fail 64 "no generation: $at_least_generation"
    to=$(realpath -ms "$to")
    local folder=${to%/*}/
    local scratch=$folder.escapepod-restore-$domain made='' received parent_made=''
    if [[ -e $to || -L $to ]]; then
        # A run before this one may have died when all was done but this.
        [[ -n $dry_run || ! -d $scratch ]] || { lock "$scratch" && sweep "$scratch"; }
        fail 74 "it is there already: $to" "restore never overwrites; choose a new name"
    fi
    [[ -d $folder ]] || fail 69 "no such folder: $folder" "mount the new btrfs first"
    [[ $(stat -f -c %T "$folder") = btrfs ]] || fail 65 "no btrfs: $folder" "btrfs receive needs one"
    make_work
    ep-key id "$key" >/dev/null
    fetch_addresses
    check_newest

    # From the wanted backup back to the full one; the documents come out oldest first.
    local index=$((${#addresses[@]} - 1)) first='' last='' total=0 after=0 pair=0 need
    # No generation is further up than its number; so what somebody put behind it later does not stand in the way.
    [[ -z $generation ]] || ((generation > index)) || index=$((generation - 1))
    for (( ; index >= 0; index--)); do
        document "$index" "$work/document.$index"
        if [[ -z $last ]]; then
            [[ -z $generation || $generation = "$META_GENERATION" ]] || continue
            last=$index
        fi
        total=$((total + META_SIZE))
        [[ $META_TYPE != full ]] || { first=$index && break; }
        ((META_SIZE + after <= pair)) || pair=$((META_SIZE + after))
        after=$META_SIZE
    done
    [[ -n $last ]] || fail 10 "no generation $generation of $domain: $store" "escapepod list shows what there is"
    [[ -n $first ]] || fail 65 "the full backup of the chain is missing: $store" "an older generation may be whole"
    # At one time the full one and two that follow each other are there.
    need=$((META_SIZE + pair))
    for ((index = first; index <= last; index++)); do cat "$work/document.$index"; done >"$work/chain"
    ep-meta check --domain "$domain" <"$work/chain" >/dev/null
    read_document "$work/document.$last"
    echo "$domain: generation $META_GENERATION of $META_DATE from $store to $to"
    echo "  $((last - first + 1)) backups to read, $(size "$total")"

    local available
    available=$(df --output=avail -B1 "$folder" | tail -n 1)
    ((available >= need)) || fail 74 "not enough room: $folder has $(size "$available"), it takes $(size "$need")"
    [[ -z $dry_run ]] || return 0

    echo "  verifying"
    for ((index = first; index <= last; index++)); do
        read_document "$work/document.$index"
        fetch_blob --sha512 "$META_SHA512" | ep-unseal --key "$key" --check || piped "${PIPESTATUS[@]}"
    done

    echo "  receiving"
    [[ -d $scratch ]] || mkdir -m 0700 "$scratch"
    lock "$scratch"
    discard_subvolume "$scratch/live"
    for ((index = first; index <= last; index++)); do
        read_document "$work/document.$index"
        received=$scratch/$META_SHA256
        parent_made=$made
        made=$(the_one "$received")
        if [[ -z $made ]] || ! ep-snap check "$made" --received "$META_UUID" 2>/dev/null; then
            discard_received "$received"
            mkdir "$received"
            fetch_blob | ep-unseal --key "$key" | btrfs -q receive "$received" || piped "${PIPESTATUS[@]}"
            made=$(the_one "$received")
            ep-snap check "$made" --received "$META_UUID"
        fi
        # The full one and the newest two stay, as the slots of the machine that is gone had them.
        ((index - 1 <= first || index == last)) || discard_received "${parent_made%/*}"
    done

    local slot=current-parent live=$scratch/live
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
    btrfs filesystem sync "$folder"
    read_document "$work/document.$last"
    cat <<END
  done: $to is generation $META_GENERATION of $META_DATE

To put it in the old volume's place:  mount -o subvol=$(btrfs subvolume show "$to" | sed -n 1p) DEVICE DIR
$( ((last == ${#addresses[@]} - 1)) && echo "The next backup of it to $store goes on from there." ||
        echo "The store has newer backups than this one, so the next one will be full.")
END
}

# The newest backup that the store shows may be no older than what is known: from its person, or else from the witness.
check_newest() {
    local floor=${at_least_generation:-0} witness
    witness=$(witness)
    if [[ -z $generation && -e $witness ]]; then
        ep-meta check --domain "$domain" <"$witness" ||
            fail 65 "the witness is damaged: $witness" "move it away, or say which --generation to restore"
        read_document "$witness"
        ((META_GENERATION <= floor)) || floor=$META_GENERATION
    fi
    [[ -z $generation ]] || ((floor > 0)) || return 0
    document $((${#addresses[@]} - 1)) "$work/newest"
    ((META_GENERATION >= floor)) || fail 65 \
        "the newest backup in the store is generation $META_GENERATION of $META_DATE, and there was a generation $floor: $store" \
        "look for a newer copy of the store; --generation $META_GENERATION without --at-least-generation takes what is there"
    ((floor > 0)) ||
        echo "$domain: nothing here tells whether the store hides newer backups than generation $META_GENERATION of $META_DATE"
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
