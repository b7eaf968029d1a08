# escapepod backup: a snapshot, its sealed stream, and then the metadata, which commits it.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

part plan
part records

backup_usage() {
    cat <<'END'
usage: escapepod backup NAME [--dry-run]
       escapepod backup --volume DIR --store URL --domain DOMAIN --key FILE [STORE-OPTION …] [--dry-run]

Take a snapshot and store it, sealed: full at first, then incremental.

  --volume DIR, --store URL, --domain DOMAIN, --key FILE
                   in place of the configuration, or of lines of it
  --dry-run        print the plan and stop
END
    store_options
}

undo() {
    [[ -z $snapshot_is_ours ]] || ep-snap discard "$volume" --store "$(store_name)" || :
    [[ -z $under_way || $1 = 0 || $1 = 64 ]] || remember_failure "$1"
}
snapshot_is_ours='' under_way=''

# remember_failure STATUS: for escapepod status, until a backup succeeds.
remember_failure() {
    local status=$1
    # Of a tool that is none of ours: what the run will end in.
    ((status != 1)) || status=74
    printf '{"version":1,"domain":%s,"store":%s,"finished":"%s","exit":%d,"what":%s}\n' \
        "$(json "$domain")" "$(json "$store")" "$(now)" "$status" "$(json "$under_way")" >"$work/failed"
    keep "$work/failed" failed.json
}

backup() {
    parse backup "--volume --dry-run" "$@"
    needs volume store domain key
    [[ -d $volume ]] || fail 69 "no such volume: $volume" "mount it first"
    lock "$volume"
    make_work
    [[ -n $dry_run ]] || under_way="a backup"
    ep-key id "$key" >/dev/null
    local slots
    slots=$volume/.escapepod/$(store_name)

    fetch_head
    plan
    if [[ $PLAN_PARENT_SLOT = current-state && -z $dry_run ]]; then
        # A run before this one was committed and died before its slots moved on.
        ep-snap turn "$volume" --store "$(store_name)" --type "$PLAN_HEAD_TYPE"
        plan
    fi
    heed_plan
    echo "$domain: $PLAN_TYPE backup of $volume to $store, generation $PLAN_GENERATION"
    echo "  $PLAN_REASON"
    ep-snap nested "$volume" >"$work/nested"
    [[ ! -s $work/nested ]] || sed "s/^/  left out, a subvolume of its own: /" "$work/nested"
    say_quotas
    [[ -z $dry_run ]] || return 0
    under_way="a backup, $PLAN_TYPE, generation $PLAN_GENERATION"

    # What lies there is of a run that was never committed.
    ep-snap discard "$volume" --store "$(store_name)"
    snapshot_is_ours=1
    ep-snap create "$volume" --store "$(store_name)" --json >"$work/snapshot"
    local parent=() shown=() expected=() status=0
    [[ -z $PLAN_PARENT_PATH ]] || parent=("$PLAN_PARENT_PATH")
    # An incremental one is quickly reckoned, and may have more to store than was changed.
    if [[ -t 2 || -n $PLAN_PARENT_PATH ]]; then
        estimate "${parent[@]}" >"$work/estimate"
        mapfile -t expected <"$work/estimate"
        read -ra shown <<<"$(progress "${expected[0]}")"
        [[ -z ${expected[1]-} ]] || echo "  ${expected[1]}"
    fi
    btrfs send -q "${parent[@]/#/-p}" "$slots/current-state" |
        ep-seal --key "$key" --report "$work/report" "${shown[@]}" |
        ep-store blob "${place[@]}" >"$work/receipt" || piped "${PIPESTATUS[@]}" || status=$?
    # Which is what btrfs says, whatever the reason; without the data the reason is quickly found.
    ((status != 1)) || estimate "${parent[@]}" >"$work/estimate"
    ((status == 0)) || return "$status"

    local progs
    progs=$(btrfs --version)
    progs=${progs%%$'\n'*}
    ep-meta create --domain "$domain" --plan "$work/plan" --snapshot "$work/snapshot" --report "$work/report" \
        --receipt "$work/receipt" --btrfs-progs "${progs##*v}" >"$work/document"
    read_document "$work/document"
    ep-seal --kind metadata --key "$key" <"$work/document" >"$work/sealed"

    # From here on the store may have said yes without our hearing it: only the next run can tell, from the head.
    snapshot_is_ours=''
    ep-store metadata "${place[@]}" --blob "$META_SHA256" --follows "$PLAN_FOLLOWS" <"$work/sealed"
    keep "$work/document" witness.json ||
        warn "this machine will not notice if the store forgets this backup: $(witness)" "see why it cannot be written"
    rm -f -- "$(state)/failed.json"
    ep-snap turn "$volume" --store "$(store_name)" --type "$PLAN_TYPE"
    echo "  done: $(size "$META_SIZE") stored, generation $META_GENERATION"
}

# estimate [PARENT]: the bytes that the stream will have, and perhaps a line about them.
estimate() {
    ep-snap estimate "$slots/current-state" "${@/#/--parent=}"
}

# With full accounting of quotas, btrfs counts anew what each deleted snapshot has shared.
say_quotas() {
    local quotas
    quotas=/sys/fs/btrfs/$(findmnt -nro UUID --target "$volume")/qgroups || return 0
    [[ ! -d $quotas || $(cat "$quotas/mode" 2>/dev/null) = squota ]] ||
        echo "  quotas are on: btrfs may take minutes to delete the snapshots that this backup replaces"
}
