# escapepod list: what the store has.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

list_usage() {
    say_all <<'END'
usage: escapepod list NAME
       escapepod list --store URL --domain DOMAIN --key FILE [STORE-OPTION …]

List the backups in the store.

  --volume DIR, --store URL, --domain DOMAIN, --key FILE
                   in place of the configuration, or of lines of it
END
    store_options
}

list() {
    parse list "--volume" "$@"
    needs store domain key
    make_work
    fetch_addresses
    local index row='%10s  %-11s  %-20s  %10s  %s' line
    # shellcheck disable=SC2059 # the same for the heading and every line
    printf -v line "$row" GENERATION TYPE DATE SIZE BLOB
    say "$line"
    for index in "${!addresses[@]}"; do
        document "$index" "$work/document"
        # shellcheck disable=SC2059
        printf -v line "$row" \
            "$META_GENERATION" "$META_TYPE" "$META_DATE" "$(size "$META_SIZE")" "${META_SHA256:0:16}"
        say "$line"
    done
}
