# What only reads. escapepod list: what the store has.

list() {
    fetch_history
    tell ep-meta list --domain "$domain" --store "$store" <"$work/history"
}

# escapepod sheet: the page that a restore needs beside the store.
sheet() {
    local generation='' date
    fetch_head
    [[ ! -s $work/head ]] || read -r generation _ date _ <"$work/line"
    ep-key sheet "$key" --domain "$domain" --store "$store" --opener "$contrib/escapepod-open" \
        ${generation:+--generation "$generation" --date "$date"} \
        ${setting[system]:+--system} ${setting[pdf]:+--pdf "${setting[pdf]}"}
}

# escapepod status: could I restore now?
status() {
    local apart=0
    # What ep-meta makes of it.
    report+=(--domain "$domain" --store "$store" --key "$key" --state "$state" --now "$(date +%s)")
    cleanups+=(report_without)
    fetch_history --or-none
    if [[ -n $volume ]]; then
        plan "$work/history" --history
        [[ ! -d $volume ]] || ep-fetch apart "${place[@]}" "$volume" || apart=$?
        ((apart == 0 || apart == 64)) || return "$apart"
        ((apart == 0)) || warnings+=("the store is on the file system that is backed up: $store")
    fi
    compare_files
    ask room ep-fetch room "${place[@]}"
    # What goes of a member, its system's sets decide.
    if ((${#retaining[@]})) && [[ -z ${setting["system-domain"]-} ]]; then
        ask there ep-fetch blobs "${place[@]}"
        report+=(--there "$work/there" "${retaining[@]}")
    fi
    # The members of a system have one key, which is kept with the system's own backups.
    place[2]=${setting["system-domain"]:-$domain}
    fetch wrapped key
    reported=1
    ask screen ep-meta status "${report[@]}" --plan "$work/plan" --room "$work/room" --sealed-key "$work/wrapped" --differing "$work/differing" \
        ${setting["key-space"]:+--key-space "${setting["key-space"]}"} "${warnings[@]/#/--warning=}" <"$work/history"
    ep-meta printable <"$work/screen"
}

# What is known without the store.
report_without() { [[ -n ${reported-} || $1 = 64 ]] || ep-meta status "${report[@]}" --ending "$1"; }

# escapepod verify: is every document and every blob in the store, and is it what was stored?
verify() {
    local of=(--domain "$domain" --store "$store" --witness "$witness") pass=$state/verify.pass found=0
    local task statuses wanted=''
    if [[ -n ${setting[sample]-} ]]; then of+=(--sample "${setting[sample]}") pass=/dev/null; else of+=(--pass "$pass"); fi
    lock "$state" --own
    compare_files
    fetch_history
    tell ep-meta audit "${of[@]}" --differing "$work/differing" --tasks "$work/tasks" <"$work/history"
    : >"$work/faults"
    while read -ra task <&3; do
        # The first line has the number of bytes; the others a blob, how many bytes went before it, and what is known of it.
        [[ -n $wanted ]] || { wanted=${task[2]} && continue; }
        statuses=(0 0)
        ep-fetch blob "${place[@]}" "${task[0]}" "${task[@]:2}" |
            ep-unseal --key "$key" --check --progress --expect "$wanted" --past "${task[1]}" || statuses=("${PIPESTATUS[@]}")
        if [[ ${statuses[*]} = "0 0" ]]; then
            echo "${task[0]}" >>"$pass"
        else
            tell ep-meta fault --domain "$domain" --store "$store" --fetched "${statuses[0]}" --opened "${statuses[1]}" \
                --faults "$work/faults" "${task[0]}" <"$work/history"
        fi
    done 3<"$work/tasks"
    ask record ep-meta record verify "${of[@]}" --tasks "$work/tasks" --faults "$work/faults" --key "$key" --state "$state" \
        <"$work/history" || found=$?
    [[ -z ${setting[json]-} ]] || ep-meta printable <"$work/record"
    ((found == 0)) || return "$found"
    [[ -n ${setting[json]-} ]] || say "  done: all of it is whole"
}
