# escapepod list: what the store has.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

list_usage() {
    cat <<'END'
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
    printf '%10s  %-11s  %-20s  %10s  %s\n' GENERATION TYPE DATE SIZE BLOB
    local index
    for index in "${!addresses[@]}"; do
        document "$index" "$work/document"
        printf '%10s  %-11s  %-20s  %10s  %s\n' \
            "$META_GENERATION" "$META_TYPE" "$META_DATE" "$(size "$META_SIZE")" "${META_SHA256:0:16}"
    done
}
