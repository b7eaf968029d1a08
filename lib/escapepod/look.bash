# What only looks. escapepod list: what the store has.
# shellcheck shell=bash

list() {
    fetch_history
    local status=0
    ask table ep-meta list --domain "$domain" --store "$store" <"$work/history" || status=$?
    say_file "$work/table"
    return "$status"
}

# escapepod sheet: the page that a restore needs beside the store.
sheet() {
    know_key
    fetch_head
    local newest=() generation date sum
    if [[ -s $work/head ]]; then
        read -r generation _ date _ <"$work/line"
        newest=(--generation "$generation" --date "$date")
    fi
    sum=$(sha256sum <"$contrib/escapepod-open")
    ep-key sheet "$key" --domain "$domain" --store "$store" --opener "${sum%% *}" "${newest[@]}" \
        ${setting[system]:+--system} ${setting[pdf]:+--pdf "${setting[pdf]}"}
}

# escapepod status: could I restore now?
status() {
    local answered=0 apart=0 status=0 sight=() warning
    # What ep-meta makes of it.
    report=(ep-meta status --domain "$domain" --store "$store" --key "$key" --state "$state" --now "$(date +%s)"
    ${setting["max-age"]:+--max-age "${setting["max-age"]}"} ${setting[json]:+--json})
    cleanups+=(tell_metrics)
    fetch_history --or-none || answered=$?
    if ((answered == 10)); then
        echo "end 0" >"$work/history"
    elif ((answered != 0)); then
        # What is known without it.
        [[ -n ${setting[json]-} ]] || { "${report[@]}" --ending "$answered" >"$work/screen" && say_file "$work/screen"; }
        return "$answered"
    fi
    if [[ -n $volume ]]; then
        plan "$work/history" --history
        sight+=(--plan "$work/plan")
        [[ ! -d $volume ]] || ep-fetch apart "${place[@]}" "$volume" 2>"$work/said" || apart=$?
        ((apart == 0 || apart == 64)) || { cat "$work/said" >&2 && return "$apart"; }
        ((apart == 0)) || warn "the store is on the file system that is backed up: $store" "choose another drive, or another host"
    fi
    compare_files
    if ((answered == 0)); then
        # The members of a system have one key, which is kept with the system's own backups.
        place[2]=${setting["system-domain"]:-$domain}
        fetch wrapped key
        sight+=(--sealed-key "$work/wrapped")
        [[ -z ${setting["key-space"]-} || -n ${setting["system-domain"]-} ]] || sight+=(--key-space "${setting["key-space"]}")
    fi
    for warning in "${warnings[@]}"; do sight+=(--warning "$warning"); done
    reported=1
    ask screen "${report[@]}" ${setting[prometheus]:+--prometheus "${setting[prometheus]}"} "${sight[@]}" <"$work/history" || status=$?
    say_file "$work/screen"
    attended "$status"
}
reported='' report=()

# No answer is one for the metrics, too.
tell_metrics() {
    [[ -z ${setting[prometheus]-} || -n $reported ]] ||
        "${report[@]}" --ending "$1" --prometheus "${setting[prometheus]}" >/dev/null 2>&1
}
