# escapepod sheet: the page that a restore needs beside the store.
# shellcheck shell=bash

sheet() {
    parse pdf "" "$@"
    needs store domain key
    make_work
    know_key
    fetch_head
    local newest=() line generation date sum
    if [[ -s $work/head ]]; then
        line=$(ep-meta show --format line <"$work/head")
        read -r generation _ date _ <<<"$line"
        [[ -n ${date-} ]] || owes ep-meta
        newest=(--generation "$generation" --date "$date")
    fi
    sum=$(sha256sum <"$contrib/escapepod-open")
    ep-key sheet "$key" --domain "$domain" --store "$store" --opener "${sum%% *}" "${newest[@]}" \
        ${setting[pdf]:+--pdf "${setting[pdf]}"}
}
