# escapepod list: what the store has.
# shellcheck shell=bash

list() {
    parse volume "" "$@"
    needs store domain key
    make_work
    fetch_history
    local status=0
    ep-meta list --domain "$domain" --store "$store" <"$work/history" >"$work/table" || status=$?
    owed ep-meta "$work/table"
    say_file "$work/table"
    return "$status"
}
