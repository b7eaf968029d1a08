# escapepod backup: a snapshot, its sealed stream, and then the metadata, which commits it.
# shellcheck shell=bash

backup() {
    parse volume dry-run "$@"
    needs volume store domain key
    local dry_run=${setting["dry-run"]-}
    [[ -d $volume ]] || fail 69 "no such volume: $volume" "mount it first"
    lock "$volume"
    make_work
    cleanups+=(remember_failure discard_snapshot)
    [[ -n $dry_run ]] || under_way="a backup"
    is_apart "$volume" || together fail 64
    know_key
    local slots=$volume/.escapepod/$folder_name

    fetch_head
    plan_on_head
    if [[ $parent_slot = current-state && -z $dry_run ]]; then
        # A run before this one was committed and died before its slots moved on.
        ep-snap rotate "$volume" --name "$folder_name" --type "$head_type"
        plan_on_head
    fi
    [[ -z $warning ]] ||
        warn "$warning" "an old copy of the store, or somebody changed it; escapepod-security(7) says what to do"
    say "$domain: $type backup of $volume to $store, generation $next" "  $reason"
    ep-snap nested "$volume" >"$work/nested"
    local nested
    mapfile -t nested <"$work/nested"
    say "${nested[@]/#/  left out, a subvolume of its own: }"
    say_quotas
    [[ -z $dry_run ]] || return 0
    under_way="a backup, $type, generation $next"

    # What lies there is of a run that was never committed.
    ep-snap discard "$volume" --name "$folder_name"
    snapshot_is_ours=1
    ep-snap create "$volume" --name "$folder_name" --json >"$work/snapshot"
    owed ep-snap "$work/snapshot"
    local parent=() shown=() expected=() status=0
    [[ $parent_slot = none ]] || parent=("$slots/$parent_slot")
    # An incremental one is quickly reckoned, and may have more to store than was changed.
    if [[ -t 2 || $parent_slot != none ]]; then
        estimate "${parent[@]}" >"$work/estimate"
        mapfile -t expected <"$work/estimate"
        [[ ! -t 2 ]] || shown=(--progress --expect "${expected[0]}")
        [[ -z ${expected[1]-} ]] || say "  ${expected[1]}"
    fi
    btrfs send -q "${parent[@]/#/-p}" "$slots/current-state" |
        ep-seal --key "$key" --report "$work/report" "${shown[@]}" |
        ep-store blob "${place[@]}" >"$work/receipt" || piped "${PIPESTATUS[@]}" || status=$?
    # Which is what btrfs says, whatever the reason; without the data the reason is quickly found.
    ((status != 1)) || estimate "${parent[@]}" >"$work/estimate"
    ((status == 0)) || return "$status"
    owed ep-seal "$work/report"
    owed ep-store "$work/receipt"

    local progs line blob size
    progs=$(btrfs --version)
    progs=${progs%%$'\n'*}
    ep-meta create --domain "$domain" --plan "$work/plan" --snapshot "$work/snapshot" --report "$work/report" \
        --receipt "$work/receipt" --btrfs-progs "${progs##*v}" >"$work/document"
    line=$(ep-meta show --format line <"$work/document")
    read -r _ _ _ size blob _ <<<"$line"
    [[ -n ${blob-} ]] || owes ep-meta
    ep-seal --kind metadata --key "$key" <"$work/document" >"$work/sealed"
    owed ep-seal "$work/sealed"

    # From here on the store may have said yes without our hearing it: only the next run can tell, from the head.
    snapshot_is_ours=''
    ep-store metadata "${place[@]}" --blob "$blob" --follows "$follows" <"$work/sealed" >"$work/committed"
    owed ep-store "$work/committed"
    read_back "$blob"
    ep-meta keep "$witness" --parents <"$work/document" ||
        warn "this machine will not notice if the store forgets this backup: $witness" "see why it cannot be written"
    rm -f -- "$state/failed.json"
    ep-snap rotate "$volume" --name "$folder_name" --type "$type"
    say "  done: $(size "$size") stored, generation $next"
}

plan_on_head() {
    plan "$work/head"
    [[ $warning = fork:* ]] || return 0
    # Or it is no fork, and the witness is just further back than by one: the documents in between tell.
    fetch_history
    plan "$work/history" --history
}

# plan FILE [--history]: what the next backup will be, on the store's head or history: in $work/plan, and here.
plan() {
    ep-snap list "$volume" --name "$folder_name" --json >"$work/snapshots"
    owed ep-snap "$work/snapshots"
    ep-plan --domain "$domain" --snapshots "$work/snapshots" --witness "$witness" --format lines --record "$work/plan" \
        "${@:2}" <"$1" >"$work/planned"
    owed ep-plan "$work/planned"
    {
        read -r type next follows head_type parent_slot
        IFS= read -r reason
        IFS= read -r warning
    } <"$work/planned"
}
type='' next='' follows='' head_type='' parent_slot='' reason='' warning=''

# What was committed is what the store shows: as its head, or further back where another machine was quick.
read_back() {
    local status=0
    ep-fetch last "${place[@]}" --or-none >"$work/back" || status=$?
    ((status == 0 || status == 10)) || return "$status"
    ! cmp -s "$work/back" "$work/sealed" || return 0
    ((status == 10)) || ep-fetch document "${place[@]}" "$1" >"$work/back" || status=$?
    ((status == 0 || status == 10)) || return "$status"
    cmp -s "$work/back" "$work/sealed" ||
        fail 74 "the store took generation $next, and does not show it: $store" \
            "the slots and the witness stay as they were; see what is wrong with the store, then run it again"
}

discard_snapshot() {
    [[ -z $snapshot_is_ours ]] || ep-snap discard "$volume" --name "$folder_name"
}
snapshot_is_ours=''

# remember_failure STATUS: for escapepod status, until a backup succeeds.
remember_failure() {
    local status=$1
    [[ -n $under_way && $status != 0 && $status != 64 ]] || return 0
    # Of a tool that is none of ours: what the run will end in.
    ((status != 1)) || status=74
    ep-meta record failure --domain "$domain" --store "$store" --status "$status" --what "$under_way" --state "$state"
}
under_way=''

# estimate [PARENT]: the bytes that the stream will have, and perhaps a line about them.
estimate() {
    ep-snap estimate "$slots/current-state" "${@/#/--parent=}"
}

# With full accounting of quotas, btrfs counts anew what each deleted snapshot has shared.
say_quotas() {
    local quotas
    quotas=/sys/fs/btrfs/$(findmnt -nro UUID --target "$volume")/qgroups || return 0
    [[ ! -d $quotas || $(cat "$quotas/mode" 2>/dev/null) = squota ]] ||
        say "  quotas are on: btrfs may take minutes to delete the snapshots that this backup replaces"
}
