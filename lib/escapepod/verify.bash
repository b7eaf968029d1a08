# escapepod verify: is every document and every blob in the store, and is it what was stored?

verify() {
    local of=(--domain "$domain" --store "$store" --witness "$witness") pass=$state/verify.pass found=0
    if [[ -n ${setting[sample]-} ]]; then
        of+=(--sample "${setting[sample]}") pass=/dev/null
    else
        of+=(--pass "$pass")
    fi
    ask key-id ep-key id "$key"
    lock "$state" --own
    compare_files
    fetch_history
    tell ep-meta audit "${of[@]}" --tasks "$work/tasks" <"$work/history"
    : >"$work/faults"
    verify_blobs <"$work/tasks"
    ask record ep-meta record verify "${of[@]}" --tasks "$work/tasks" --faults "$work/faults" --key "$key" --state "$state" \
        <"$work/history" || found=$?
    [[ -z ${setting[json]-} ]] || ep-meta printable <"$work/record"
    ((found == 0)) || return "$found"
    [[ -n ${setting[json]-} ]] || say "  done: all of it is whole"
}

# Reads every blob of the tasks on standard input. What is wrong goes to $work/faults; what is whole is noted in the pass.
verify_blobs() {
    local wanted task statuses
    read -r _ _ wanted
    # Blob, how many bytes went before it, and what is known of it.
    while read -ra task; do
        statuses=(0 0)
        ep-fetch blob "${place[@]}" "${task[0]}" "${task[@]:2}" </dev/null |
            ep-unseal --key "$key" --check --progress --expect "$wanted" --past "${task[1]}" || statuses=("${PIPESTATUS[@]}")
        if [[ ${statuses[*]} = "0 0" ]]; then
            echo "${task[0]}" >>"$pass"
        else
            tell ep-meta fault --domain "$domain" --store "$store" --fetched "${statuses[0]}" --opened "${statuses[1]}" \
                --faults "$work/faults" "${task[0]}" <"$work/history"
        fi
    done
}
