# escapepod status: the last backup and the next.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

part plan

status_usage() {
    cat <<'END'
usage: escapepod status NAME
       escapepod status --store URL --domain DOMAIN --key FILE [STORE-OPTION …]

Say when the last backup was, and what the next one will be.

  --volume DIR, --store URL, --domain DOMAIN, --key FILE
                   in place of the configuration, or of lines of it
END
    store_options
}

status() {
    parse status "--volume" "$@"
    needs store domain key
    make_work
    fetch_head
    if [[ -n $volume ]]; then
        plan
        heed_plan
    fi
    [[ -s $work/head ]] || fail 10 "no backup of $domain yet: $store" "escapepod backup makes one"
    read_document "$work/head"
    local age=$(($(date +%s) - $(date -d "$META_DATE" +%s)))
    echo "$domain in $store"
    printf '  last backup    generation %s, %s, %s (%dd %dh %dm ago)\n' \
        "$META_GENERATION" "$META_TYPE" "$META_DATE" $((age / 86400)) $((age / 3600 % 24)) $((age / 60 % 60))
    [[ -z $volume ]] || printf '  next backup    %s: %s\n' "$PLAN_TYPE" "$PLAN_REASON"
}
