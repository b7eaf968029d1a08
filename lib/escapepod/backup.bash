# escapepod backup: a snapshot, its sealed stream, and then the metadata, which commits it.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

part plan

backup_usage() {
    say_all <<'END'
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
    [[ -z $snapshot_is_ours ]] || ep-snap discard "$volume" --store "$(store_name)"
}
snapshot_is_ours=''

backup() {
    parse backup "--volume --dry-run" "$@"
    needs volume store domain key
    [[ -d $volume ]] || fail 69 "no such volume: $volume" "mount it first"
    lock "$volume"
    make_work
    require_apart
    know_key
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
    say "$domain: $PLAN_TYPE backup of $volume to $store, generation $PLAN_GENERATION" "  $PLAN_REASON"
    ep-snap nested "$volume" >"$work/nested"
    local nested
    mapfile -t nested <"$work/nested"
    say "${nested[@]/#/  left out, a subvolume of its own: }"
    [[ -z $dry_run ]] || return 0

    # What lies there is of a run that was never committed.
    ep-snap discard "$volume" --store "$(store_name)"
    snapshot_is_ours=1
    ep-snap create "$volume" --store "$(store_name)" --json >"$work/snapshot"
    owed ep-snap "$work/snapshot"
    local parent=() shown=() expected
    [[ -z $PLAN_PARENT_PATH ]] || parent=("$PLAN_PARENT_PATH")
    if [[ -t 2 ]]; then
        expected=$(ep-snap estimate "$slots/current-state" "${parent[@]/#/--parent=}")
        read -ra shown <<<"$(progress "${expected%% *}")"
    fi
    btrfs send -q "${parent[@]/#/-p}" "$slots/current-state" |
        ep-seal --key "$key" --report "$work/report" "${shown[@]}" |
        ep-store blob "${place[@]}" >"$work/receipt" || piped "${PIPESTATUS[@]}"
    owed ep-seal "$work/report"
    owed ep-store "$work/receipt"

    local progs
    progs=$(btrfs --version)
    progs=${progs%%$'\n'*}
    ep-meta create --domain "$domain" --plan "$work/plan" --snapshot "$work/snapshot" --report "$work/report" \
        --receipt "$work/receipt" --btrfs-progs "${progs##*v}" >"$work/document"
    read_document "$work/document"
    ep-seal --kind metadata --key "$key" <"$work/document" >"$work/sealed"
    owed ep-seal "$work/sealed"

    # From here on the store may have said yes without our hearing it: only the next run can tell, from the head.
    snapshot_is_ours=''
    ep-store metadata "${place[@]}" --blob "$META_SHA256" --follows "$PLAN_FOLLOWS" <"$work/sealed" >"$work/committed"
    [[ $(<"$work/committed") = *"$META_SHA256"* ]] || owes ep-store
    read_back
    keep "$work/document" witness.json ||
        warn "this machine will not notice if the store forgets this backup: $(witness)" "see why it cannot be written"
    ep-snap turn "$volume" --store "$(store_name)" --type "$PLAN_TYPE"
    say "  done: $(size "$META_SIZE") stored, generation $META_GENERATION"
}

# What was committed is what the store shows: as its head, or further back where another machine was quick.
read_back() {
    local index before=() status=0
    ep-fetch last "${place[@]}" --or-none >"$work/back" || status=$?
    ((status == 0 || status == 10)) || return "$status"
    ! cmp -s "$work/back" "$work/sealed" || return 0
    ((status == 10)) || fetch_addresses
    for index in "${!addresses[@]}"; do
        [[ ${addresses[index]} = "$META_SHA256" ]] || continue
        ((index == 0)) || before=("${addresses[index - 1]}")
        ep-fetch next "${place[@]}" "${before[@]}" >"$work/back"
        ! cmp -s "$work/back" "$work/sealed" || return 0
    done
    fail 74 "the store took generation $META_GENERATION, and does not show it: $store" \
        "the slots and the witness stay as they were; see what is wrong with the store, then run it again"
}
