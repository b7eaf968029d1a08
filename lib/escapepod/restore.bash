# escapepod restore: a chain verified, received, and made a live volume.
# shellcheck shell=bash

restore() {
    parse "to generation at-least-generation" dry-run "$@"
    needs store domain key
    local to=${setting[to]-} folder floor=()
    [[ -n $to ]] || fail 64 "missing --to" "give --to DIR, the subvolume to make on a mounted btrfs"
    a_generation generation
    a_generation at-least-generation
    to=$(realpath -ms "$to")
    folder=${to%/*}/
    if [[ -e $to || -L $to ]]; then
        # A run before this one may have died when all was done but this.
        [[ -n ${setting["dry-run"]-} || ! -d $folder ]] || drop_scratch "$folder" "restore $domain"
        fail 74 "it is there already: $to" "restore never overwrites; choose a new name"
    fi
    [[ -d $folder ]] || fail 69 "no such folder: $folder" "mount the new btrfs first"
    [[ $(stat -f -c %T "$folder") = btrfs ]] || fail 65 "no btrfs: $folder" "btrfs receive needs one"
    make_work
    know_key
    fetch_history
    # The newest backup that the store shows may be no older than what is known: from its person, or from the witness.
    [[ -z ${setting["at-least-generation"]-} ]] || floor=(--at-least-generation "${setting["at-least-generation"]}")
    [[ -n ${setting[generation]-} ]] || floor+=(--witness "$witness")
    choose_chain "${floor[@]}"
    [[ -n ${setting[generation]-}${setting["at-least-generation"]-} || -e $witness ]] ||
        say "$domain: nothing here tells whether the store hides newer backups than generation $generation of $date"
    say "$domain: generation $generation of $date from $store to $to" "  $backups backups to read, $(size "$total")"
    ep-snap room "$folder" --need "$need"
    [[ -z ${setting["dry-run"]-} ]] || return 0

    say "  verifying"
    verify_chain
    say "  receiving"
    open_scratch "$folder" "restore $domain"
    bring_back "$to"
    ep-snap sweep "$scratch"
    local next="The next backup of it to $store goes on from there."
    [[ $newest = yes ]] || next="The store has newer backups than this one, so the next one will be full."
    say "  done: $to is generation $generation of $date" "" \
        "To put it in the old volume's place:  mount -o subvol=$(btrfs subvolume show "$to" | sed -n 1p) DEVICE DIR" "$next"
}
