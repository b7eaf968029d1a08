# escapepod prune: what no rule keeps goes to the trash of the store, and from there, later, for good.

# A blob that is gone without a record is lost: so the record comes first, and when blobs come back, last.
prune() {
    lock "$state" --own
    fetch_history
    ask there ep-fetch blobs "${place[@]}"
    tell ep-meta retain --domain "$domain" --store "$store" --witness "$witness" --there "$work/there" \
        ${setting[undo]:+--undo} "${retaining[@]}" --record "$work/record" --blobs "$work/blobs" <"$work/history"
    [[ -z ${setting["dry-run"]-} ]] || return 0
    if [[ -n ${setting[undo]-} ]]; then
        ep-store recover "${place[@]}" <"$work/blobs"
        record_pruning
        return
    fi
    record_pruning
    ep-store discard "${place[@]}" <"$work/blobs"
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
