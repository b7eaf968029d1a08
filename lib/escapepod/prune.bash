# escapepod prune: what no rule keeps goes to the trash of the store, and from there, later, for good.

prune() {
    local of=(--domain "$domain" --store "$store" --record "$work/record" --blobs "$work/blobs") verb=discard
    lock "$state" --own
    fetch_history
    if [[ -n ${setting[undo]-} ]]; then
        verb=recover of+=(--undo "$work/there")
        ask there ep-fetch blobs "${place[@]}"
    fi
    tell ep-meta retain "${of[@]}" "${retaining[@]}" <"$work/history"
    [[ -z ${setting["dry-run"]-} ]] || return 0
    # A blob that is gone without a record is lost: so the record comes first, and when they come back, last.
    [[ $verb = recover ]] || record_pruning
    ep-store "$verb" "${place[@]}" <"$work/blobs"
    [[ $verb = discard ]] || { record_pruning && return; }
    ask freed ep-store empty-trash "${place[@]}" --older-than "${setting["trash-age"]:-7d}"
    say "  done: $(<"$work/freed") bytes are free again"
}

record_pruning() {
    [[ -s $work/record ]] || return 0
    ask sealed ep-seal --kind pruning --key "$key" <"$work/record"
    ask committed ep-store pruning "${place[@]}" <"$work/sealed"
    fetch_history
    grep -qF -f "$work/record" "$work/history" || fail 74 "the store accepted the record but does not show it: $store"
}
