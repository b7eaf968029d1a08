# escapepod restore: a chain verified, received, and made a live volume.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

part chain

restore_usage() {
    say_all <<'END'
usage: escapepod restore [NAME] --to DIR [--generation N] [--at-least-generation N] [--dry-run]
       escapepod restore --store URL --domain DOMAIN --key FILE [STORE-OPTION …] --to DIR [--generation N]
                         [--at-least-generation N] [--dry-run]

Bring a backup back as DIR, a new subvolume on a mounted btrfs. Everything is verified first.

  --store URL, --domain DOMAIN, --key FILE
                   in place of the configuration, or of lines of it
  --to DIR         the live subvolume to make; it must not be there yet
  --generation N   an earlier backup in place of the newest
  --at-least-generation N
                   refuse a store whose newest backup is older than that
  --dry-run        print the plan and stop
END
    store_options
}

restore() {
    parse restore "--to --generation --at-least-generation --dry-run" "$@"
    needs store domain key
    [[ -n $to ]] || fail 64 "nobody said where to" "give --to DIR, the subvolume to make on a mounted btrfs"
    [[ -z $generation || $generation =~ ^[1-9][0-9]{0,17}$ ]] || fail 64 "no generation: $generation"
    [[ -z $at_least_generation || $at_least_generation =~ ^[1-9][0-9]{0,17}$ ]] ||
        fail 64 "no generation: $at_least_generation"
    to=$(realpath -ms "$to")
    local folder=${to%/*}/
    if [[ -e $to || -L $to ]]; then
        # A run before this one may have died when all was done but this.
        [[ -n $dry_run || ! -d $folder ]] || drop_scratch "$folder" "restore $domain"
        fail 74 "it is there already: $to" "restore never overwrites; choose a new name"
    fi
    [[ -d $folder ]] || fail 69 "no such folder: $folder" "mount the new btrfs first"
    [[ $(stat -f -c %T "$folder") = btrfs ]] || fail 65 "no btrfs: $folder" "btrfs receive needs one"
    make_work
    know_key
    fetch_addresses
    check_newest

    choose_chain
    read_document "$work/document.$last"
    say "$domain: generation $META_GENERATION of $META_DATE from $store to $to"
    say "  $((last - first + 1)) backups to read, $(size "$total")"
    require_room "$folder"
    [[ -z $dry_run ]] || return 0

    say "  verifying"
    verify_chain
    say "  receiving"
    open_scratch "$folder" "restore $domain"
    bring_back "$to"
    ep-snap sweep "$scratch"
    read_document "$work/document.$last"
    local next="The next backup of it to $store goes on from there."
    ((last == ${#addresses[@]} - 1)) || next="The store has newer backups than this one, so the next one will be full."
    say "  done: $to is generation $META_GENERATION of $META_DATE" "" \
        "To put it in the old volume's place:  mount -o subvol=$(btrfs subvolume show "$to" | sed -n 1p) DEVICE DIR" "$next"
}

# The newest backup that the store shows may be no older than what is known: from its person, or else from the witness.
check_newest() {
    local floor=${at_least_generation:-0} witness
    witness=$(witness)
    if [[ -z $generation && -e $witness ]]; then
        ep-meta check --domain "$domain" <"$witness" ||
            fail 65 "the witness is damaged: $witness" "move it away, or say which --generation to restore"
        read_document "$witness"
        ((META_GENERATION <= floor)) || floor=$META_GENERATION
    fi
    [[ -z $generation ]] || ((floor > 0)) || return 0
    document $((${#addresses[@]} - 1)) "$work/newest"
    ((META_GENERATION >= floor)) || fail 65 \
        "the newest backup in the store is generation $META_GENERATION of $META_DATE, and there was a generation $floor: $store" \
        "look for a newer copy of the store; --generation $META_GENERATION without --at-least-generation takes what is there"
    ((floor > 0)) ||
        say "$domain: nothing here tells whether the store hides newer backups than generation $META_GENERATION of $META_DATE"
}
