# escapepod status: could I restore now?
# shellcheck shell=bash

status() {
    parse "volume max-age prometheus" json "$@"
    needs store domain key
    make_work
    local answered=0 status=0 told=() warning
    cleanups+=(tell_metrics)
    fetch_history --or-none || answered=$?
    if ((answered == 10)); then
        echo "end 0" >"$work/history"
    elif ((answered != 0)); then
        # What is known without it.
        [[ -n ${setting[json]-} ]] || { report --ending "$answered" >"$work/screen" && say_file "$work/screen"; }
        return "$answered"
    fi
    local sight=() prometheus=()
    if [[ -n $volume ]]; then
        plan "$work/history" --history
        sight+=(--plan "$work/plan")
        [[ ! -d $volume ]] || is_apart "$volume" || together warn
    fi
    compare_files
    ((answered == 10)) || look_for_key
    for warning in "${warnings[@]}"; do told+=(--warning "$warning"); done
    [[ -z ${setting[prometheus]-} ]] || prometheus=(--prometheus "${setting[prometheus]}")
    reported=1
    report "${sight[@]}" "${key_sight[@]}" "${told[@]}" "${prometheus[@]}" <"$work/history" >"$work/screen" || status=$?
    ((status != 0 && status != 3)) || owed ep-meta "$work/screen"
    if [[ -n ${setting[json]-} ]]; then emit "$(<"$work/screen")"; else say_file "$work/screen"; fi
    attended "$status"
}
reported=''

# report OPTION…: what ep-meta makes of it.
report() {
    local options=()
    [[ -z ${setting["max-age"]-} ]] || options+=(--max-age "${setting["max-age"]}")
    [[ -z ${setting[json]-} ]] || options+=(--json)
    ep-meta status --domain "$domain" --store "$store" --key "$key" --state "$state" --now "$(date +%s)" "${options[@]}" "$@"
}

# No answer is one for the metrics, too.
tell_metrics() {
    [[ -z ${setting[prometheus]-} || -n $reported ]] ||
        report --ending "$1" --prometheus "${setting[prometheus]}" >/dev/null 2>&1
}

# Whether the store has this key, under a passphrase, and the key space.
look_for_key() {
    local status=0 space=${setting["key-space"]-}
    know_key
    key_sight=()
    ep-fetch key "${place[@]}" --or-none >"$work/wrapped" || status=$?
    case $status in
    0)
        owed ep-fetch "$work/wrapped"
        if [[ $(ep-key id "$work/wrapped") = "$key_id" ]]; then
            key_sight+=(--key-in-store)
        else
            warn "the key in the store is another: $store" "ep-key wrap and ep-store key put this one there"
        fi
        ;;
    10) warn "no copy of the key is in the store: $store" "ep-key wrap and ep-store key put one there, under a passphrase" ;;
    *) return "$status" ;;
    esac
    [[ -n $space ]] || return 0
    key_sight+=(--key-space "$space")
    # A drive that is kept elsewhere is not there, and that is as it should be.
    [[ -d $space ]] || return 0
    if [[ $(ep-key id "$space/escapepod-$domain.key" 2>/dev/null) = "$key_id" ]]; then
        key_sight+=(--key-in-space)
    else
        warn "the key is not in the key space: $space" "copy it there as escapepod-$domain.key"
    fi
}
key_sight=()
