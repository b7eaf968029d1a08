# What only looks. escapepod list: what the store has.

list() {
    fetch_history
    tell ep-meta list --domain "$domain" --store "$store" <"$work/history"
}

# escapepod sheet: the page that a restore needs beside the store.
sheet() {
    ask key-id ep-key id "$key"
    fetch_head
    local generation='' date sum
    [[ ! -s $work/head ]] || read -r generation _ date _ <"$work/line"
    sum=$(sha256sum <"$contrib/escapepod-open")
    ep-key sheet "$key" --domain "$domain" --store "$store" --opener "${sum%% *}" \
        ${generation:+--generation "$generation" --date "$date"} \
        ${setting[system]:+--system} ${setting[pdf]:+--pdf "${setting[pdf]}"}
}

# escapepod status: could I restore now?
status() {
    local answered=0 apart=0
    # What ep-meta makes of it.
    report+=(--domain "$domain" --store "$store" --key "$key" --state "$state" --now "$(date +%s)")
    cleanups+=(tell_metrics)
    fetch_history --or-none || answered=$?
    if ((answered == 10)); then
        echo "end 0" >"$work/history"
    elif ((answered != 0)); then
        # What is known without it.
        [[ -n ${setting[json]-} ]] || tell ep-meta status "${report[@]}" --ending "$answered"
        return "$answered"
    fi
    if [[ -n $volume ]]; then
        plan "$work/history" --history
        [[ ! -d $volume ]] || ep-fetch apart "${place[@]}" "$volume" 2>"$work/said" || apart=$?
        ((apart == 0 || apart == 64)) || { cat "$work/said" >&2 && return "$apart"; }
        ((apart == 0)) || warn "the store is on the file system that is backed up: $store" "choose another drive, or another host"
    fi
    compare_files
    if ((answered == 0)); then
        # The members of a system have one key, which is kept with the system's own backups.
        place[2]=${setting["system-domain"]:-$domain}
        fetch wrapped key
    fi
    reported=1
    ask screen ep-meta status "${report[@]}" ${setting[prometheus]:+--prometheus "${setting[prometheus]}"} \
        --plan "$work/plan" --sealed-key "$work/wrapped" ${setting["key-space"]:+--key-space "${setting["key-space"]}"} \
        "${warnings[@]/#/--warning=}" <"$work/history"
    ep-meta printable <"$work/screen"
}
reported=''

# No answer is one for the metrics, too.
tell_metrics() {
    [[ -z ${setting[prometheus]-} || -n $reported ]] ||
        ep-meta status "${report[@]}" --ending "$1" --prometheus "${setting[prometheus]}" >/dev/null 2>&1
}
