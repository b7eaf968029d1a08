# What the store shows, and what this machine knows of it.

# fetch FILE WHAT [ARGUMENT…]: puts what the store has into $work/FILE, which is empty if it has no such thing. Anything that is
# not a clear answer ends the run: an unreachable store is not an empty one.
fetch() {
    local status=0
    ask "$1" ep-fetch "$2" "${place[@]}" "${@:3}" --or-none || status=$?
    ((status == 0 || status == 10)) || return "$status"
}

# read_back FILE WHAT [ARGUMENT…]: what was stored has to be what the store shows.
read_back() {
    fetch back "${@:2}"
    cmp -s "$work/back" "$1" ||
        fail 74 "the store accepted the $2 but does not show it: $store" "find out what is wrong with the store, then run it again"
}

# fetch_head [VOLUME]: puts the newest document into $work/head, and its line into $work/line; the first is empty if the store
# has no backup. For a backup of that volume, the store has to be apart from it; what is wrong in the document, ep-plan says then.
fetch_head() {
    : >"$work/head"
    fetch sealed last ${1:+--apart "$1"}
    [[ -s $work/sealed ]] || return 0
    ep-unseal --kind metadata --key "$key" <"$work/sealed" >"$work/head" ||
        fail "$?" "the newest metadata of $domain cannot be opened: $store" "check that this key belongs to this store"
    [[ -n ${1-} ]] || ask line ep-meta show --format line --domain "$domain" <"$work/head"
}

# fetch_history [OPTION]: puts what the store has of every backup into $work/history; what is damaged is a line there, and is
# complained of.
fetch_history() {
    # Whoever reads the history says what needs attention.
    local needs_attention=''
    ask series ep-fetch history "${place[@]}" "$@" || return
    ask history ep-unseal --kind metadata --key "$key" <"$work/series" || return
    rm -f -- "$work/series"
}

# compare_files: which files in the store, for whoever finds it, are not the installed ones.
compare_files() { ep-fetch differing "${place[@]}" "$contrib/escapepod-open" "$contrib/RECOVERY.txt" >"$work/differing"; }
