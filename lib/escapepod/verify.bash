# escapepod verify: is every document and every blob in the store, and is it what was stored?
# shellcheck shell=bash

verify() {
    local sample=${setting[sample]-} go_on=(--pass "$state/verify.pass") of chosen=() found=0
    [[ -z $sample ]] || { chosen=(--sample "$sample") && go_on=(); }
    of=(--domain "$domain" --store "$store")
    know_key
    own "$state"
    lock "$state"
    compare_files
    fetch_history
    ep-meta audit "${of[@]}" --witness "$witness" "${chosen[@]}" "${go_on[@]}" --tasks "$work/tasks" \
        <"$work/history" >"$work/found"
    owed ep-meta "$work/tasks"
    [[ -n ${setting[json]-} ]] || say_file "$work/found"
    verify_blobs
    ep-meta record verify "${of[@]}" --witness "$witness" "${chosen[@]}" --tasks "$work/tasks" --faults "$work/faults" \
        --key "$key" --state "$state" <"$work/history" >"$work/record" || found=$?
    ((found == 0 || found == 65)) || return "$found"
    owed ep-meta "$work/record"
    [[ -z ${setting[json]-} ]] || say_file "$work/record"
    [[ -n $sample ]] || rm -f -- "$state/verify.pass"
    ((found == 0)) || return "$found"
    [[ -n ${setting[json]-} ]] || say "  done: all of it is whole"
}

# Reads every blob that the tasks name. What is wrong goes to $work/faults; what is whole is noted in the pass.
verify_blobs() {
    local wanted blob size sum past statuses known pass=$state/verify.pass
    [[ -z ${setting[sample]-} ]] || pass=/dev/null
    : >"$work/faults"
    {
        read -r _ _ wanted
        while read -r blob size sum past; do
            known=()
            [[ $size = none ]] || known=(--size "$size" --sha512 "$sum")
            statuses=(0 0)
            ep-fetch blob "${place[@]}" "$blob" "${known[@]}" </dev/null |
                ep-unseal --key "$key" --check --progress --expect "$wanted" --past "$past" || statuses=("${PIPESTATUS[@]}")
            [[ ${statuses[*]} != '0 0' ]] || { echo "$blob" >>"$pass" && continue; }
            ask found ep-meta fault --domain "$domain" --store "$store" --fetched "${statuses[0]}" --opened "${statuses[1]}" \
                --faults "$work/faults" "$blob" <"$work/history"
            [[ -n ${setting[json]-} ]] || say_file "$work/found"
        done
    } <"$work/tasks"
}
