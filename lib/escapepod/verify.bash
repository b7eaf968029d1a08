# escapepod verify: is every document and every blob in the store, and is it what was stored?
# shellcheck shell=bash

verify() {
    parse "volume sample" json "$@"
    needs store domain key
    local sample=${setting[sample]-} pass=(--pass "$state/verify.pass") of chosen=() found=0
    [[ -z $sample || $sample =~ ^([1-9][0-9]?|100)%?$ ]] || fail 64 "no share: --sample $sample" "1% to 100%"
    [[ -z $sample ]] || { chosen=(--sample "${sample%\%}") && pass=(); }
    of=(--domain "$domain" --store "$store")
    make_work
    know_key
    own "$state"
    lock "$state"
    compare_files
    fetch_history
    ep-meta audit "${of[@]}" --witness "$witness" "${chosen[@]}" "${pass[@]}" --tasks "$work/tasks" \
        <"$work/history" >"$work/found"
    owed ep-meta "$work/tasks"
    tell "$work/found"
    verify_blobs
    ep-meta record verify "${of[@]}" --witness "$witness" "${chosen[@]}" --tasks "$work/tasks" --faults "$work/faults" \
        --key "$key" --state "$state" <"$work/history" >"$work/record" || found=$?
    ((found == 0 || found == 65)) || return "$found"
    owed ep-meta "$work/record"
    [[ -z ${setting[json]-} ]] || emit "$(<"$work/record")"
    [[ -n $sample ]] || rm -f -- "$state/verify.pass"
    ((found == 0)) || return "$found"
    [[ -n ${setting[json]-} ]] || say "  done: all of it is whole"
}

# tell FILE: for people only.
tell() {
    [[ -n ${setting[json]-} ]] || say_file "$1"
}

# Reads every blob that the tasks name. What is wrong goes to $work/faults; what is whole is noted in the pass.
verify_blobs() {
    local wanted blob size sum past statuses shown=() known problem pass=$state/verify.pass
    [[ -z ${setting[sample]-} ]] || pass=/dev/null
    : >"$work/faults"
    {
        read -r _ _ wanted
        while read -r blob size sum past; do
            known=()
            [[ $size = none ]] || known=(--size "$size" --sha512 "$sum")
            [[ ! -t 2 ]] || shown=(--progress --expect "$wanted" --past "$past")
            # One that cannot be opened is read to its end, or nobody would learn whether it is as it was stored.
            statuses=(0 0)
            ep-fetch blob "${place[@]}" "$blob" "${known[@]}" </dev/null |
                { ep-unseal --key "$key" --check "${shown[@]}" || { status=$? && cat >/dev/null && exit "$status"; }; } ||
                statuses=("${PIPESTATUS[@]}")
            case ${statuses[*]} in
            '0 0') echo "$blob" >>"$pass" && continue ;;
            '10 '*) problem=missing ;;
            '65 '*) problem=damaged ;;
            '74 '*) problem=unreadable ;;
            '0 65') problem=forged ;;
            '0 '*) return "${statuses[1]}" ;;
            *) return "${statuses[0]}" ;;
            esac
            echo "$blob $problem" >>"$work/faults"
            ep-meta fault --domain "$domain" --store "$store" "$blob" "$problem" <"$work/history" >"$work/found"
            tell "$work/found"
        done
    } <"$work/tasks"
}
