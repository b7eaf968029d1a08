# What the store shows of its history, and what this machine knows of it: documents, addresses, the witness.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

# Puts the newest document, sealed, into $work/sealed; empty if the store has no backup. Anything that is not a clear
# answer ends the run: an unreachable store is not an empty one.
fetch_sealed() {
    local status=0
    ep-fetch last "${place[@]}" >"$work/sealed" 2>"$work/said" || status=$?
    case $status in
    0) ;;
    10) : >"$work/sealed" ;;
    *) cat "$work/said" >&2 && return "$status" ;;
    esac
}

# Puts the newest document into $work/head, empty if the store has no backup.
fetch_head() {
    fetch_sealed
    open_head
}

open_head() {
    : >"$work/head"
    [[ -s $work/sealed ]] || return 0
    ep-unseal --kind metadata --key "$key" <"$work/sealed" >"$work/head" ||
        fail "$?" "the newest metadata of $domain cannot be opened: $store" "see whether this is the store and the key that belong together"
    read_document "$work/head"
    [[ $META_DOMAIN = "$domain" ]] ||
        fail 65 "the store gave the metadata of $META_DOMAIN for that of $domain: $store" "it was mixed up or tampered with"
}

# document N FILE: the document of the store's Nth backup, of `addresses`, from 0.
document() {
    local before=()
    (($1 == 0)) || before=("${addresses[$1 - 1]}")
    ep-fetch next "${place[@]}" "${before[@]}" | ep-unseal --kind metadata --key "$key" >"$2" ||
        piped "${PIPESTATUS[@]}" || return
    read_document "$2" || return
    [[ $META_DOMAIN = "$domain" && $META_SHA256 = "${addresses[$1]}" ]] && return
    complain "the store gave the metadata of another backup than ${addresses[$1]}: $store" "it was mixed up or tampered with"
    return 65
}

# Sets META_…
read_document() {
    local assignments
    assignments=$(ep-meta show --format sh <"$1") || return
    eval "$assignments"
}
META_GENERATION='' META_TYPE='' META_UUID='' META_DATE='' META_SIZE='' META_SHA256='' META_SHA512='' META_DOMAIN='' META_PREVIOUS_GENERATION=''

# The id of the key that is inside $work/wrapped, from its header: escapepod-stream(5).
wrapped_key_id() { od -An -v -tx1 -j16 -N16 "$work/wrapped" | tr -d ' \n'; }

# Sets addresses: the blob of every backup, oldest first.
fetch_addresses() {
    ep-fetch list "${place[@]}" >"$work/addresses"
    mapfile -t addresses <"$work/addresses"
}
addresses=()

# What this machine knows of the store.
state() {
    echo "${ESCAPEPOD_STATE:-/var/lib/escapepod}/$domain/$(store_name)"
}

# old_name URL: what its folders were called before they were called as `ep-store name` says: two URLs could have one name.
old_name() {
    local text=${1//[^A-Za-z0-9._]/-}
    while [[ $text = *--* ]]; do text=${text//--/-}; done
    text=${text#-}
    text=${text:0:64}
    echo "${text%-}"
}

# Gives folders of the old name the new one, once, unless another configuration here has a store of that old name too.
move_old_folders() {
    local old folder other
    old=$(old_name "$store")
    folder=${ESCAPEPOD_STATE:-/var/lib/escapepod}/$domain
    [[ -n $domain && $domain != */* && -n $old && $old != "$store_folder" ]] || return 0
    local state_is_old='' slots_are_old=''
    [[ ! -d $folder/$old || -e $folder/$store_folder ]] || state_is_old=1
    [[ -z $volume || ! -d $volume/.escapepod/$old || -e $volume/.escapepod/$store_folder ]] || slots_are_old=1
    [[ -n $state_is_old$slots_are_old ]] || return 0
    [[ -z $dry_run ]] || { store_folder=$old && return; }
    for other in "${config%/*}"/*.conf /etc/escapepod/*.conf; do
        other=$(sed -n 's/^store=//p' "$other" 2>/dev/null | tail -n 1)
        [[ -n $other && $(old_name "$other") = "$old" ]] || continue
        if [[ $(ep-store name "$other" 2>/dev/null) != "$store_folder" ]]; then
            warn "two stores have had one folder, $old: $store and $other" \
                "neither takes it over: once both have a new backup, delete it in ${volume:-the volume}/.escapepod and in $folder"
            return 0
        fi
    done
    [[ -z $slots_are_old ]] || ep-snap move "$volume" --store "$old" --to "$store_folder"
    [[ -z $state_is_old ]] || mv -nT "$folder/$old" "$folder/$store_folder"
}

# keep FILE NAME: the file is there under that name durably, or the one before stays.
keep() {
    local folder
    folder=$(state)
    (umask 077 && mkdir -p "$folder" && cp "$1" "$folder/$2.new") && sync "$folder/$2.new" &&
        mv -fT "$folder/$2.new" "$folder/$2" && sync "$folder" "$folder"/.. "$folder"/../.. "$folder"/../../..
}

# The witness: the document that this machine committed last. The store has to show that one, or one made on it.
witness() {
    echo "$(state)/witness.json"
}

# Puts the documents behind the witness into $work/line, oldest first; none where the store does not have it.
fetch_line() {
    local index address behind=''
    read_document "$(witness)"
    address=$META_SHA256
    fetch_addresses
    : >"$work/line"
    for index in "${!addresses[@]}"; do
        if [[ -n $behind ]]; then
            document "$index" "$work/behind"
            cat "$work/behind" >>"$work/line"
        fi
        [[ ${addresses[index]} != "$address" ]] || behind=1
    done
}
