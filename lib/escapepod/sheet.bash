# escapepod sheet: the page that a restore needs beside the store.
# shellcheck shell=bash disable=SC2154 # what the parts share stands in bin/escapepod

sheet_usage() {
    say_all <<'END'
usage: escapepod sheet NAME [--pdf FILE]
       escapepod sheet --store URL --domain DOMAIN --key FILE [STORE-OPTION …] [--pdf FILE]

Print the recovery sheet: the key as one can type it, where the backups are, and what to do. Keep it off this machine, and
print it anew now and then: it says which backup was the newest.

  --pdf FILE       make this file, a page of A4, instead

  --store URL, --domain DOMAIN, --key FILE
                   in place of the configuration, or of lines of it
END
    store_options
}

sheet() {
    parse sheet "--pdf" "$@"
    needs store domain key
    make_work
    know_key
    fetch_head
    local newest=()
    if [[ -s $work/head ]]; then
        read_document "$work/head"
        newest=(--generation "$META_GENERATION" --date "$META_DATE")
    fi
    local sum
    sum=$(sha256sum <"$contrib/escapepod-open")
    ep-key sheet "$key" --domain "$domain" --store "$store" --opener "${sum%% *}" "${newest[@]}" ${pdf:+--pdf "$pdf"}
}
