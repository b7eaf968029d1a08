# What the store shows, and what this machine knows of it.
# shellcheck shell=bash

# Sets key_id. That the key cannot be read shows before anything is done.
know_key() {
    key_id=$(ep-key id "$key")
    [[ $key_id =~ ^[0-9a-f]{32}$ ]] || owes ep-key
}
key_id=''

# fetch_head: puts the newest document into $work/head, sealed into $work/sealed; both are empty if the store has no backup.
# Anything that is not a clear answer ends the run: an unreachable store is not an empty one.
fetch_head() {
    local status=0 head
    : >"$work/head"
    ep-fetch last "${place[@]}" --or-none >"$work/sealed" || status=$?
    if ((status == 10)); then
        : >"$work/sealed"
        return 0
    fi
    ((status == 0)) || return "$status"
    owed ep-fetch "$work/sealed"
    ep-unseal --kind metadata --key "$key" <"$work/sealed" >"$work/head" ||
        fail "$?" "the newest metadata of $domain cannot be opened: $store" "see whether this is the store and the key that belong together"
    head=$(ep-meta show --format line <"$work/head")
    [[ -n $head ]] || owes ep-meta
    [[ $head = *" $domain" ]] ||
        fail 65 "the store gave the metadata of ${head##* } for that of $domain: $store" "it was mixed up or tampered with"
}

# fetch_history [OPTION]: puts what the store has of every backup into $work/history; what is damaged is a line there, and is
# complained of.
fetch_history() {
    local status=0
    ep-fetch history "${place[@]}" "$@" >"$work/series" || status=$?
    ((status == 0 || status == 3)) || return "$status"
    owed ep-fetch "$work/series"
    ep-unseal --kind metadata --key "$key" <"$work/series" >"$work/history" || status=$?
    ((status == 0 || status == 3)) || return "$status"
    owed ep-unseal "$work/history"
    rm -f -- "$work/series"
}

# The file system that a folder is on, whichever of its subvolumes.
file_system() {
    findmnt -nro MAJ:MIN --target "$1"
}

# is_apart DIR: whether the store lies on another file system than that folder. What cannot be told ends the run.
is_apart() {
    local status=0
    ep-fetch apart "${place[@]}" "$1" 2>"$work/said" || status=$?
    ((status == 0 || status == 3)) || { cat "$work/said" >&2 && exit "$status"; }
    ((status == 0))
}

# together COMMAND…: a store on the volume is lost with it, and every backup would carry the ones before.
together() {
    "$@" "the store lies on the file system that is backed up: $store" \
        "whatever takes the volume takes the backups too; choose another drive, or another host"
}

# compare_files: what the store has for whoever finds it is what was installed here.
compare_files() {
    local file
    ep-fetch differing "${place[@]}" "$contrib/escapepod-open" "$contrib/RECOVERY.txt" >"$work/differing"
    while IFS= read -r file; do
        warn "not as it was installed here: $file in $store" \
            "somebody changed it, or it is of another version; ep-store key --with puts this one there: ep-store(1)"
    done <"$work/differing"
}

# Folders that an earlier version has named get their name of today, unless another configuration here has a store of that
# earlier name too: two URLs could have one.
move_old_folders() {
    local states=${ESCAPEPOD_STATE:-/var/lib/escapepod}/$domain old other file
    # Most have it: then nobody needs to be asked for the other.
    [[ ! -e $states/$folder_name || -n $volume && ! -e $volume/.escapepod/$folder_name ]] || return 0
    old=$(ep-store name --earlier "$store")
    [[ -n $old ]] || owes ep-store
    [[ -n $domain && $domain != */* ]] || return 0
    [[ -d $states/$old && ! -e $states/$folder_name ||
        -n $volume && -d $volume/.escapepod/$old && ! -e $volume/.escapepod/$folder_name ]] || return 0
    [[ -z ${setting["dry-run"]-} ]] || { folder_name=$old && return; }
    for file in "${config%/*}"/*.conf /etc/escapepod/*.conf; do
        other=$(sed -n 's/^store=//p' "$file" 2>/dev/null | tail -n 1)
        [[ -n $other && $(ep-store name --earlier "$other" 2>/dev/null) = "$old" ]] || continue
        [[ $(ep-store name "$other") != "$folder_name" ]] || continue
        warn "two stores have had one folder, $old: $store and $other" \
            "neither takes it over: once both have a new backup, delete it in ${volume:-the volume}/.escapepod and in $states"
        return 0
    done
    [[ -z $volume || ! -d $volume/.escapepod/$old || -e $volume/.escapepod/$folder_name ]] ||
        ep-snap move "$volume" --name "$old" --to "$folder_name"
    [[ ! -d $states/$old || -e $states/$folder_name ]] || mv -nT "$states/$old" "$states/$folder_name"
}
