# escapepod backup: a snapshot, its sealed stream, and then the metadata, which commits it.

backup() {
    cleanups+=(remember_failure discard_snapshots)
    # Whose failure it is.
    subject=("$domain" "$state")
    lock "$volume"
    if [[ -n ${setting[system]-} ]]; then back_up_members "$@"; fi
    prepare
    [[ -z ${setting["dry-run"]-} ]] || return 0
    send
    # From here on it is not the backup that may fail.
    under_way=''
    if [[ -n ${setting[prune]-} ]]; then prune; fi
}

# The subvolumes of a system: their snapshots are taken in a row, before any of them is sent. What is committed of them is
# written into the system's own volume, its capsule, whose backup then makes the set true.
back_up_members() {
    local dry_run=${setting["dry-run"]-} labels=("${members[@]%% *}") label
    if [[ -z $dry_run ]]; then
        ep-layout capture "$volume" --root "${setting[root]}" "${members[@]/#/--member=}" "${left_out[@]}" || attended "$?"
        owed ep-layout "$volume/machine.json"
    fi
    for label in "${labels[@]}"; do
        turn_to "$label" "$@" --member "$label"
        lock "$volume"
        prepare
    done
    if [[ -z $dry_run ]]; then
        for label in "${labels[@]}"; do
            turn_to "$label" "$@" --member "$label"
            send
            ask member ep-meta member --label "$label" --folder "$folder_name" <"$work/document"
            cat -- "$work/member" >>"$all_work/members"
        done
    fi
    turn_to capsule "$@"
    [[ -n $dry_run ]] || ep-meta keep "$volume/members.json" <"$all_work/members"
}

# Sees what the next backup will be, and takes its snapshot.
prepare() {
    local dry_run=${setting["dry-run"]-} nested
    [[ -n $dry_run ]] || under_way="a backup"
    fetch_head "$volume"
    plan_on_head
    if [[ $parent_slot = current-state && -z $dry_run ]]; then
        # A run before this one was committed and died before its slots moved on.
        ep-snap rotate "$volume" --name "$folder_name" --type "$head_type"
        plan_on_head
    fi
    [[ -z $warning ]] ||
        warn "$warning" "the store is an old copy, or somebody changed it; see escapepod-security(7)"
    say "$domain: $type backup of $volume to $store, generation $next" "  $reason"
    if [[ -n $dry_run ]]; then
        ask looked ep-snap look "$volume"
    else
        # What lies there is of a run that was never committed.
        uncommitted+=("$volume")
        ask snapshot ep-snap create "$volume" --name "$folder_name" --anew --look "$work/looked" --json
        owed ep-snap "$work/looked"
    fi
    # ep-layout has said what is left out of a set.
    [[ $domain = "${subject[0]}" ]] || return 0
    mapfile -t -s 1 nested <"$work/looked"
    say "${nested[@]/#/  left out, a subvolume of its own: }"
}

# Stores what `prepare` made.
send() {
    local base=() expected=() options=() status=0 estimate blob on size slots=$volume/.escapepod/$folder_name
    take_plan
    read -ra options <"$work/looked"
    under_way="a backup, $type, generation $next"
    [[ $parent_slot = none ]] || base=("$slots/$parent_slot")
    estimate=(ep-snap estimate "$slots/current-state" "${base[@]/#/--parent=}")
    # An incremental one is quickly reckoned, and may have more to store than was changed.
    if [[ -t 2 || $parent_slot != none ]]; then
        ask estimate "${estimate[@]}"
        mapfile -t expected <"$work/estimate"
        [[ -z ${expected[1]-} ]] || say "  ${expected[1]}"
    fi
    btrfs send -q "${options[@]}" "${base[@]/#/-p}" "$slots/current-state" |
        ep-seal --key "$key" "${sealing[@]}" --report "$work/report" --progress ${expected[0]:+--expect "${expected[0]}"} |
        ep-store blob "${place[@]}" >"$work/receipt" || ep-meta piped "${PIPESTATUS[@]}" || status=$?
    # Which is what btrfs says, whatever the reason; without the data the reason is quickly found.
    ((status != 1)) || "${estimate[@]}" >"$work/estimate"
    ((status == 0)) || return "$status"
    owed ep-seal "$work/report"
    owed ep-store "$work/receipt"

    ask document ep-meta create --domain "$domain" --plan "$work/plan" --snapshot "$work/snapshot" \
        --report "$work/report" --receipt "$work/receipt" --line "$work/line" ${setting[system]:+--members "$all_work/members"}
    owed ep-meta "$work/line"
    read -r _ _ _ _ blob _ _ on size <"$work/line"
    ask sealed ep-seal --kind metadata --key "$key" <"$work/document"

    # From here on the store may have said yes without our hearing it: only the next run can tell, from the head.
    uncommitted=("${uncommitted[@]:1}")
    ask committed ep-store metadata "${place[@]}" --blob "$blob" --follows "$follows" --parent "$on" <"$work/sealed"
    # What was committed is what the store shows, even where another machine has been quick and the head has moved on.
    read_back "$work/sealed" document "$blob"
    ep-meta keep "$witness" --parents <"$work/document" ||
        warn "this machine will not notice if the store forgets this backup: $witness" "find out why it cannot be written"
    [[ ! -e $state/failed.json ]] || rm -f -- "$state/failed.json"
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
    ask planned ep-plan --domain "$domain" --snapshots "$work/snapshots" --witness "$witness" --format lines "${planning[@]}" \
        --record "$work/plan" "${@:2}" <"$1"
    take_plan
}

# What `plan` has found out, for whoever turned to something else meanwhile.
take_plan() {
    read -r type next follows head_type parent_slot
    IFS= read -r reason
    IFS= read -r warning
} <"$work/planned"

discard_snapshots() {
    local one
    for one in "${uncommitted[@]}"; do ep-snap discard "$one" --name "$folder_name"; done
}
# The volumes whose snapshots are ours to delete, in the order in which they are sent.
uncommitted=()

# remember_failure STATUS: for escapepod status, until a backup succeeds.
remember_failure() {
    [[ -z $under_way || $1 = 0 || $1 = 64 ]] ||
        ep-meta record failure --domain "${subject[0]}" --store "$store" --status "$1" --what "$under_way" --state "${subject[1]}"
}
under_way=''
