# escapepod status: could I restore now?
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

part plan
part records

status_usage() {
    say_all <<'END'
usage: escapepod status NAME [--max-age AGE] [--json] [--prometheus FILE]
       escapepod status --store URL --domain DOMAIN --key FILE [STORE-OPTION …]
                        [--max-age AGE] [--json] [--prometheus FILE]

Could I restore now? 0: yes, as far as one can tell. 3: something needs a person's eye.

  --volume DIR, --store URL, --domain DOMAIN, --key FILE
                   in place of the configuration, or of lines of it
  --max-age AGE    how old the newest backup may be: 90m, 26h, 8d
  --json           print a record
  --prometheus FILE
                   write metrics for node_exporter's textfile collector, too
END
    store_options
}

status() {
    parse status "--volume --max-age --json --prometheus" "$@"
    needs store domain key
    local limit='' status=0 shown
    if [[ -n $max_age ]]; then
        [[ $max_age =~ ^([1-9][0-9]{0,6})([mhd])$ ]] || fail 64 "no age: $max_age" "minutes, hours or days: 90m, 26h, 8d"
        local -A unit=([m]=60 [h]=3600 [d]=86400)
        limit=$((BASH_REMATCH[1] * unit[${BASH_REMATCH[2]}]))
    fi
    make_work
    look_at_records
    fetch_sealed || status=$?
    if ((status != 0)); then
        store_is_there=0
        # What is known without it.
        [[ -n $json ]] || { say "$domain in $store" && shown=$(show_records) && say_all <<<"$shown"; }
        return "$status"
    fi
    open_head
    if [[ -n $volume ]]; then
        plan
        [[ -z $PLAN_WARNING ]] || eye "$PLAN_WARNING" "an old copy of the store, or somebody changed it; escapepod-security(7) says what to do"
    fi
    [[ -z $volume || ! -d $volume ]] || is_apart "$volume" ||
        eye "the store lies on the file system that is backed up: $store" "whatever takes the volume takes the backups too; choose another drive, or another host"
    compare_files eye
    [[ -s $work/head ]] || fail 10 "no backup of $domain yet: $store" "escapepod backup makes one"
    measure_chain
    look_for_key
    read_document "$work/head"
    age=$(since "$META_DATE")
    expect_past "the newest backup" "$META_DATE"
    [[ -z $limit ]] || ((age <= limit)) ||
        eye "the newest backup is $(span "$age") old, and may be $(span "$limit")" "see why escapepod backup does not run, or fails"
    if [[ -n $json ]]; then
        shown=$(show_json)
        emit "$shown"
    else
        shown=$(show)
        say_all <<<"$shown"
    fi
    [[ -z $prometheus ]] || metrics 0 || fail $? "cannot write the metrics: $prometheus"
}
store_is_there=1 age='' warnings=()

# eye WHAT [HINT]: what needs a person's eye.
eye() {
    warn "$@"
    warnings+=("$1")
}

# expect_past WHAT DATE: a date in the future says nothing of an age; two clocks may differ by minutes.
expect_past() {
    (($(date -d "$2" +%s) - $(date +%s) <= 300)) || eye "the date of $1 is in the future: $2" \
        "the clock of this machine is wrong, or was wrong then: until that date nobody can tell how old it is"
}

# since DATE: seconds, 0 where it is in the future.
since() {
    local age=$(($(date +%s) - $(date -d "$1" +%s)))
    echo $((age > 0 ? age : 0))
}

# --- What there is to say --------------------------------------------------------------------------------------------

verified='' sampled='' drilled='' proven='' failed=''

# The records of what was verified and drilled, on this machine.
look_at_records() {
    local folder
    folder=$(state)
    if [[ -s $folder/failed.json ]]; then
        failed=$(<"$folder/failed.json") record=$failed
        eye "the last backup failed, with status $(member exit) on $(member finished): $(member what)" "see what escapepod backup says"
    fi
    believe verified.json && verified=$record
    believe verified-sample.json && sampled=$record
    # A whole one that came later has seen all of it.
    [[ -z $verified || -z $sampled || $(finished "$sampled") > $(finished "$verified") ]] || sampled=''
    for record in "$verified" "$sampled"; do
        [[ -z $record ]] || expect_past "a verify" "$(member finished)"
        [[ $(member problems) -eq 0 ]] || eye "verify found $(member problems) damaged or missing on $(member finished)" "escapepod verify names them"
    done
    # By their names they are in order of time; the newest come first here.
    local receipts=("$folder"/drill-*.json) index
    for ((index = ${#receipts[@]} - 1; index >= 0; index--)); do
        if [[ -n $drilled ]]; then recall "${receipts[index]##*/}" || continue; else believe "${receipts[index]##*/}" || continue; fi
        drilled=${drilled:-$record}
        [[ $(member result) = proven ]] || continue
        proven=$record
        expect_past "a drill" "$(member finished)"
        break
    done
    record=$drilled
    case $(member result) in
    differs) eye "the last drill, of generation $(member generation) on $(member finished), brought back something else" "escapepod drill names what" ;;
    failed) eye "the last drill, on $(member finished), could not restore" "escapepod verify names what is damaged" ;;
    esac
}

# believe FILE: sets record, and says whether there is one.
believe() {
    recall "$1" || eye "not a record of this key: $(state)/$1" "somebody changed it, or the key is another; move it away"
    [[ -n $record ]]
}

finished() {
    local record=$1
    member finished
}

# How many backups a restore of the newest has to read, and their bytes.
measure_chain() {
    local index
    fetch_addresses
    for ((index = ${#addresses[@]} - 1; index >= 0; index--)); do
        document "$index" "$work/document"
        chain_length=$((chain_length + 1)) chain_bytes=$((chain_bytes + META_SIZE))
        [[ $META_TYPE != full ]] || return 0
    done
    eye "the full backup of the chain is missing: $store" "escapepod verify says what is lost"
}
chain_length=0 chain_bytes=0

# Whether the store has this key, under a passphrase, and the key space: 0 or 1.
look_for_key() {
    local status=0
    know_key
    ep-fetch key "${place[@]}" --or-none >"$work/wrapped" || status=$?
    case $status in
    0)
        owed ep-fetch "$work/wrapped"
        if [[ $(wrapped_key_id) = "$key_id" ]]; then
            key_in_store=1
        else
            eye "the key in the store is another: $store" "ep-key wrap and ep-store key put this one there"
        fi
        ;;
    10) eye "no copy of the key is in the store: $store" "ep-key wrap and ep-store key put one there, under a passphrase" ;;
    *) return "$status" ;;
    esac
    # A drive that is kept elsewhere is not there, and that is as it should be.
    [[ -n $key_space && -d $key_space ]] || return 0
    if [[ $(ep-key id "$key_space/escapepod-$domain.key" 2>/dev/null) = "$key_id" ]]; then
        key_in_space=1
    else
        eye "the key is not in the key space: $key_space" "copy it there as escapepod-$domain.key"
    fi
}
key_in_store=0 key_in_space=0

# --- How it is said --------------------------------------------------------------------------------------------------

show() {
    echo "$domain in $store"
    printf '  last backup    generation %s, %s, %s (%dd %dh %dm ago)\n' \
        "$META_GENERATION" "$META_TYPE" "$META_DATE" $((age / 86400)) $((age / 3600 % 24)) $((age / 60 % 60))
    [[ -z $volume ]] || printf '  next backup    %s: %s\n' "$PLAN_TYPE" "$PLAN_REASON"
    echo "  chain          $(count "$chain_length" backup) to read, $(size "$chain_bytes")"
    show_records
    local where="not in the store"
    ((!key_in_store)) || where="in the store, under a passphrase"
    if ((key_in_space)); then where+="; in $key_space"; elif [[ -n $key_space ]]; then where+="; nothing known of $key_space"; fi
    echo "  key            here, id $key_id; $where"
}

show_records() {
    if [[ -n $verified ]]; then show_verified verify "$verified"; else echo "  last verify    never"; fi
    [[ -z $sampled ]] || show_verified sample "$sampled"
    record=$proven
    if [[ -n $record ]]; then
        echo "  last proven    restorable: $(span "$(since "$(member finished)")") ago, generation $(member generation), in $(span "$(member seconds)")"
    else
        echo "  last proven    restorable: never; escapepod drill does it"
    fi
}

show_verified() {
    local record=$2 share found="all whole"
    share=$(member sample)
    [[ $(member problems) -eq 0 ]] || found="$(member problems) damaged or missing"
    echo "  last $1    $(span "$(since "$(member finished)")") ago: $(count "$(member blobs)" blob), $(size "$(member bytes)")${share:+, $share %}, $found"
}

truth() {
    if (($1)); then echo true; else echo false; fi
}

# count N THING
count() {
    echo "$1 $2$( (($1 == 1)) || echo s)"
}

show_json() {
    local said=() warning
    for warning in "${warnings[@]}"; do said+=("$(json "$warning")"); done
    printf '{"domain":%s,"store":%s,"status":%d,' "$(json "$domain")" "$(json "$store")" $((${#warnings[@]} ? 3 : 0))
    printf '"lastBackup":{"generation":%d,"type":"%s","date":"%s","ageSeconds":%d,"size":%d},' \
        "$META_GENERATION" "$META_TYPE" "$META_DATE" "$age" "$META_SIZE"
    if [[ -n $volume ]]; then
        printf '"nextBackup":{"type":"%s","reason":%s},' "$PLAN_TYPE" "$(json "$PLAN_REASON")"
    else
        printf '"nextBackup":null,'
    fi
    printf '"lastFailure":%s,' "${failed:-null}"
    printf '"chain":{"backups":%d,"bytes":%d},' "$chain_length" "$chain_bytes"
    printf '"lastVerify":%s,"lastSample":%s,"lastDrill":%s,"lastProven":%s,' \
        "${verified:-null}" "${sampled:-null}" "${drilled:-null}" "${proven:-null}"
    printf '"key":{"id":"%s","inStore":%s,"inKeySpace":%s},' "$key_id" "$(truth $key_in_store)" "$(truth $key_in_space)"
    printf '"warnings":[%s]}\n' "$(IFS=, && echo "${said[*]}")"
}

# No answer is one for the metrics, too.
undo() {
    [[ $1 = 0 || -z $prometheus || -z $work ]] || metrics "$1"
}

# metrics STATUS: writes them to a file that appears whole; a name that does not end in .prom is not read.
metrics() {
    local status=$1
    ((status != 0)) || ((${#warnings[@]} == 0)) || status=3
    {
        metric status "The exit status of escapepod status: 0 all good, 3 something needs an eye." "$status"
        metric warnings "How many things need a person's eye." "${#warnings[@]}"
        metric store_up "Whether the store answered." "$store_is_there"
        if [[ -n $age ]]; then
            metric last_backup_timestamp_seconds "When the newest backup was taken." "$(date -d "$META_DATE" +%s)"
            metric last_backup_generation "The newest backup." "$META_GENERATION"
            metric last_backup_size_bytes "Its sealed length." "$META_SIZE"
            metric chain_backups "How many backups a restore has to read." "$chain_length"
            metric chain_size_bytes "How much that is." "$chain_bytes"
            metric key_in_store "Whether the store has the key, under a passphrase." "$key_in_store"
        fi
        record=$verified
        if [[ -n $record ]]; then
            metric last_verify_timestamp_seconds "When the whole store was last verified." "$(date -d "$(member finished)" +%s)"
            metric last_verify_problems "How many objects were damaged or missing." "$(member problems)"
        fi
        record=$proven
        if [[ -n $record ]]; then
            metric last_proven_timestamp_seconds "When a backup was last proven restorable." "$(date -d "$(member finished)" +%s)"
            metric last_proven_generation "Which one that was." "$(member generation)"
            metric last_proven_duration_seconds "How long that took." "$(member seconds)"
        fi
    } >"$work/metrics"
    ep-meta keep "$prometheus" --mode 0644 <"$work/metrics"
}

# metric NAME HELP VALUE
metric() {
    printf '# HELP escapepod_%s %s\n# TYPE escapepod_%s gauge\nescapepod_%s{domain=%s,store=%s} %s\n' \
        "$1" "$2" "$1" "$1" "$(json "$domain")" "$(json "$store")" "$3"
}
