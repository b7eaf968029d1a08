# escapepod prune: what no rule keeps goes to the trash of the store, and from there, later, for good.

# Of a machine, its sets go first, and then what those that stay do not name; back they come the other way round. So no set is
# there without what it names, wherever a run is cut. A member that is named need not be in the configuration any longer.
prune() {
    local undo=${setting[undo]-} machine=$domain states=${state%/*/*} own_work=$work named=$work/named one
    [[ -z ${setting["system-domain"]-} ]] ||
        fail 64 "a member is not pruned alone: $domain" "prune the machine; of each member, what the sets that stay name is kept"
    choose_going --named "$named"
    [[ -z ${setting[system]-} || $(<"$named") != "end 0" ]] ||
        fail 65 "no set of $domain names the backups of its members: $store" "check the domain, or back up the whole machine first"
    [[ -n $undo ]] || carry_out
    while read -r -u 3 one _; do
        [[ $one != end && $one != "$domain" ]] || continue
        domain=$one place[2]=$one state=$states/$one/$folder_name work=$all_work/$one
        mkdir -p -- "$work"
        say "$domain:"
        choose_going --by-sets "$own_work/named"
        carry_out
    done 3<"$named"
    place[2]=$machine work=$own_work
    [[ -z $undo ]] || carry_out
}

# choose_going OPTION…: which of the domain's backups go, or come back, and why the others stay.
choose_going() {
    lock "$state" --own
    fetch_history
    ask there ep-fetch blobs "${place[@]}"
    tell ep-meta retain --domain "$domain" --store "$store" --witness "$state/witness.json" --there "$work/there" \
        ${setting[undo]:+--undo} "${retaining[@]}" --record "$work/record" --blobs "$work/blobs" "$@" <"$work/history"
}

# A blob that is gone without a record is lost: so the record comes first, and when blobs come back, last.
carry_out() {
    [[ -z ${setting["dry-run"]-} ]] || return 0
    [[ -z ${setting[undo]-} ]] || ep-store recover "${place[@]}" <"$work/blobs"
    if [[ -s $work/record ]]; then
        ask sealed ep-seal --kind pruning --key "$key" <"$work/record"
        ask committed ep-store pruning "${place[@]}" <"$work/sealed"
        fetch_history
        grep -qF -f "$work/record" "$work/history" || fail 74 "the store accepted the record but does not show it: $store"
    fi
    [[ -z ${setting[undo]-} ]] || return 0
    ep-store discard "${place[@]}" <"$work/blobs"
    ask freed ep-store empty-trash "${place[@]}" --older-than "${setting["trash-age"]:-7d}"
    say "  done: $(<"$work/freed") bytes are free again"
}
