# escapepod backup: a snapshot, its sealed stream, and then the metadata, which commits it.
# shellcheck shell=bash

backup() {
    local dry_run=${setting["dry-run"]-}
    [[ -d $volume ]] || fail 69 "no such volume: $volume" "mount it first"
    lock "$volume"
    cleanups+=(remember_failure discard_snapshot)
    [[ -n $dry_run ]] || under_way="a backup"
    ep-fetch apart "${place[@]}" "$volume"
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
        warn "$warning" "the store is an old copy, or somebody changed it; see escapepod-security(7)"
    say "$domain: $type backup of $volume to $store, generation $next" "  $reason"
    ep-snap nested "$volume" | sed 's/^/  left out, a subvolume of its own: /'
    ep-snap room "$volume" --need 0
    [[ -z $dry_run ]] || return 0
    under_way="a backup, $type, generation $next"

    # What lies there is of a run that was never committed.
    ep-snap discard "$volume" --name "$folder_name"
    snapshot_is_ours=1
    ask snapshot ep-snap create "$volume" --name "$folder_name" --json
    local base=() shown=() expected=() status=0 estimate blob size
    [[ $parent_slot = none ]] || base=("$slots/$parent_slot")
    estimate=(ep-snap estimate "$slots/current-state" "${base[@]/#/--parent=}")
    # An incremental one is quickly reckoned, and may have more to store than was changed.
    if [[ -t 2 || $parent_slot != none ]]; then
        ask estimate "${estimate[@]}"
        mapfile -t expected <"$work/estimate"
        [[ ! -t 2 ]] || shown=(--progress --expect "${expected[0]}")
        [[ -z ${expected[1]-} ]] || say "  ${expected[1]}"
    fi
    btrfs send -q "${base[@]/#/-p}" "$slots/current-state" |
        ep-seal --key "$key" --report "$work/report" "${shown[@]}" |
        ep-store blob "${place[@]}" >"$work/receipt" || piped "${PIPESTATUS[@]}" || status=$?
    # Which is what btrfs says, whatever the reason; without the data the reason is quickly found.
    ((status != 1)) || "${estimate[@]}" >"$work/estimate"
    ((status == 0)) || return "$status"
    owed ep-seal "$work/report"
    owed ep-store "$work/receipt"

    ask document ep-meta create --domain "$domain" --plan "$work/plan" --snapshot "$work/snapshot" \
        --report "$work/report" --receipt "$work/receipt" --btrfs-progs "$(btrfs --version | sed -n '1s/.*v//p')"
    ask line ep-meta show --format line <"$work/document"
    read -r _ _ _ _ blob _ _ size <"$work/line"
    ask sealed ep-seal --kind metadata --key "$key" <"$work/document"

    # From here on the store may have said yes without our hearing it: only the next run can tell, from the head.
    snapshot_is_ours=''
    ask committed ep-store metadata "${place[@]}" --blob "$blob" --follows "$follows" <"$work/sealed"
    read_back "$blob"
    ep-meta keep "$witness" --parents <"$work/document" ||
        warn "this machine will not notice if the store forgets this backup: $witness" "find out why it cannot be written"
    rm -f -- "$state/failed.json"
    ep-snap rotate "$volume" --name "$folder_name" --type "$type"
    say "  done: $size stored, generation $next"
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
    ask snapshots ep-snap list "$volume" --name "$folder_name" --json
    ask planned ep-plan --domain "$domain" --snapshots "$work/snapshots" --witness "$witness" --format lines \
        --record "$work/plan" "${@:2}" <"$1"
    {
        read -r type next follows head_type parent_slot
        IFS= read -r reason
        IFS= read -r warning
    } <"$work/planned"
}
type='' next='' follows='' head_type='' parent_slot='' reason='' warning=''

# What was committed is what the store shows, even where another machine has been quick and the head has moved on.
read_back() {
    fetch back document "$1"
    cmp -s "$work/back" "$work/sealed" ||
        fail 74 "the store accepted generation $next but does not show it: $store" \
            "slots and witness are unchanged; find out what is wrong with the store, then run it again"
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
