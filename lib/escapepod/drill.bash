# escapepod drill: restores a backup to a place of its own, and holds it against the snapshot that it was made from.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

part chain
part records

drill_usage() {
    say_all <<'END'
usage: escapepod drill NAME [--generation N] [--scratch DIR]
       escapepod drill --volume DIR --store URL --domain DOMAIN --key FILE [STORE-OPTION …]
                       [--generation N] [--scratch DIR]

Restore a backup for the sake of it, and compare all of it with the snapshot that is still here.

  --volume DIR, --store URL, --domain DOMAIN, --key FILE
                   in place of the configuration, or of lines of it
  --generation N   an earlier backup in place of the newest
  --scratch DIR    where there is room for it (/var/tmp)
END
    store_options
}

drill() {
    parse drill "--volume --generation --scratch" "$@"
    ((EUID == 0)) || fail 77 "a drill makes and mounts a file system" "run it as root"
    # Nobody else sees what is mounted here, and it goes with the last process of the run, whatever ends it.
    [[ -n ${ESCAPEPOD_DRILL-} ]] || ESCAPEPOD_DRILL=1 exec unshare --mount "$here/escapepod" drill "$@"
    needs volume store domain key
    [[ -z $generation || $generation =~ ^[1-9][0-9]{0,17}$ ]] || fail 64 "no generation: $generation"
    local folder
    folder=$(realpath -ms "${scratch:-/var/tmp}")
    scratch=''
    [[ -d $volume ]] || fail 69 "no such volume: $volume" "mount it first"
    [[ -d $folder ]] || fail 69 "no such folder: $folder" "give --scratch DIR, a folder with room"
    make_work
    know_key
    started=$(now)
    fetch_addresses
    drilled=${generation:-null} under_way=1
    choose_chain
    read_document "$work/document.$last"
    drilled=$META_GENERATION uuid=$META_UUID
    local original restored differences=0 holes=()
    original=$(retained "$META_UUID")
    [[ -n $original ]] || fail 69 \
        "no snapshot of generation $META_GENERATION is here to compare with: $volume/.escapepod/$(store_name)" \
        "the newest backup has one, and perhaps the one before it and the full one"
    say "$domain: drill of generation $META_GENERATION of $META_DATE from $store"
    say "  $((last - first + 1)) backups to read, $(size "$total")"
    make_ground "$folder"
    restored=$ground/restored

    say "  restoring"
    bring_back "$restored"
    say "  comparing with $original"
    # An incremental stream brings a hole that is new in an old file as zeros.
    ((last == first)) || holes=(--filled-holes)
    [[ ! -t 2 ]] || holes+=(--progress)
    ep-snap compare "$original" "$restored" "${holes[@]}" --report "$work/likeness" >"$work/differences" || differences=$?
    ((differences == 0 || differences == 65)) || exit "$differences"
    likeness=$(<"$work/likeness")
    if ((differences != 0)); then
        head -n 20 "$work/differences" | sed 's/^/  /'
        conclude differs
        fail 65 "what came back is not what was backed up: generation $drilled, $store" \
            "keep the snapshots; where they are deleted, the next backup is a full one again"
    fi
    conclude proven
    record=$likeness
    say "  done: $(member files) files, $(size "$(member bytes)"), all as they were; it took $(span $((SECONDS)))"
}
started='' drilled='' under_way='' uuid='' likeness='' mounted=''

# retained UUID: the snapshot in a slot that is, or was received as, that one; nothing where there is none.
retained() {
    local slot own received read_only
    ep-snap list "$volume" --store "$(store_name)" >"$work/slots"
    while read -r slot own received _ _ read_only; do
        [[ $own != "$1" && $received != "$1" || $read_only = no ]] || { echo "$volume/.escapepod/$(store_name)/$slot" && return; }
    done <"$work/slots"
}

# make_ground DIR: sets ground, a scratch folder on a btrfs: in DIR if that is on one, else on one in a file that is gone when
# it is unmounted. Not on the volume's own, though: it would take the room of the data.
make_ground() {
    local image outer
    drop_scratch "$1" "drill $domain"
    require_room "$1"
    open_scratch "$1" "drill $domain"
    [[ $(stat -f -c %T "$1") != btrfs || $(file_system "$1") = "$(file_system "$volume")" ]] || return 0
    programs mkfs.btrfs mount umount
    outer=$scratch image=$ground/image
    # It takes what is written and no more. Streams of small files grow on the way, but not by that.
    if truncate -s $((total * 4 + (1 << 30))) "$image" && mkfs.btrfs -q -m single "$image" >/dev/null &&
        mkdir "$work/ground" && mount -o loop "$image" "$work/ground"; then
        mounted=$work/ground
    fi
    [[ -n $mounted ]] || fail 69 "cannot make a btrfs to restore to: $1" "a loop device takes root; --scratch may name a folder on a btrfs"
    # mount(8) goes by the path, which somebody may have turned to another file meanwhile.
    [[ $(losetup -nO BACK-INO "$(findmnt -nro SOURCE "$mounted")" | tr -d ' ') = "$(stat -c %i "$image")" ]] ||
        fail 77 "somebody has exchanged the file system to restore to: $outer" "choose another --scratch"
    ep-snap sweep "$outer"
    open_scratch "$mounted" "drill $domain"
}

undo() {
    # The store could not give it whole: that is a result too.
    [[ -z $under_way || $1 != 65 ]] || conclude failed
    if [[ -n $mounted ]]; then
        umount -l "$mounted"
    elif [[ -n $ground ]]; then
        ep-snap sweep "$scratch"
    fi
}

# conclude RESULT: the receipt.
conclude() {
    local finished line
    finished=$(now)
    line=$(printf '{"version":1,"domain":%s,"store":%s,"generation":%s,"uuid":"%s","started":"%s","finished":"%s","seconds":%d,"result":"%s"' \
        "$(json "$domain")" "$(json "$store")" "$drilled" "$uuid" "$started" "$finished" "$SECONDS" "$1")
    # The members of what was compared.
    [[ -z $likeness ]] || line+=,${likeness:1:-1}
    sign "$line}" >"$work/receipt"
    keep "$work/receipt" "drill-${finished//[:-]/}.json" || warn "the receipt cannot be kept: $(state)"
    under_way=''
}
