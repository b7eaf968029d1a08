# escapepod verify: is every document and every blob in the store, and is it what was stored?
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

part records

verify_usage() {
    cat <<'END'
usage: escapepod verify NAME [--sample N%] [--json]
       escapepod verify --store URL --domain DOMAIN --key FILE [STORE-OPTION …] [--sample N%] [--json]

Check every document and every blob in the store. Interrupted, it goes on the next time.

  --volume DIR, --store URL, --domain DOMAIN, --key FILE
                   in place of the configuration, or of lines of it
  --sample N%      blobs taken at random until they make N % of the bytes
  --json           print a record
END
    store_options
}

verify() {
    parse verify "--volume --sample --json" "$@"
    needs store domain key
    [[ -z $sample || $sample =~ ^([1-9][0-9]?|100)%?$ ]] || fail 64 "no share: --sample $sample" "1% to 100%"
    sample=${sample%\%}
    make_work
    ep-key id "$key" >/dev/null
    fetch_addresses
    local folder started pass count line words
    folder=$(state)
    started=$(now)
    pass=$folder/verify.pass
    (umask 077 && mkdir -p "$folder") || fail 74 "cannot keep what was verified: $folder"
    lock "$folder"
    : >"$work/damaged"

    verify_documents
    # Or every single one would be called damaged.
    ((total > 0)) || fail 65 "no metadata of $domain can be opened: $store" "see whether this is the store and the key that belong together"
    choose_blobs
    tell "$domain in $store: ${#addresses[@]} backups, $(size "$total")"
    [[ -z $sample ]] || tell "  a sample of ${#chosen[@]} of them, $(size "$wanted")"
    go_on
    # Only now is it known what each of these takes down.
    while read -ra words; do found "${words[@]}"; done <"$work/found"
    verify_blobs

    count=$(wc -l <"$work/damaged")
    line=$(printf '{"version":1,"domain":%s,"store":%s,"started":"%s","finished":"%s","sample":%s,' \
        "$(json "$domain")" "$(json "$store")" "$started" "$(now)" "${sample:-null}")
    line+=$(printf '"backups":%d,"blobs":%d,"bytes":%d,"problems":%d,"damaged":[%s]}' \
        "${#addresses[@]}" "${#chosen[@]}" "$wanted" "$count" "$(paste -sd, "$work/damaged")")
    sign "$line" >"$work/record"
    keep "$work/record" "verified${sample:+-sample}.json"
    [[ -n $sample ]] || rm -f -- "$pass"
    [[ -z $json ]] || cat "$work/record"
    if ((count > 0)); then
        fail 65 "$count damaged or missing: $store" "$(advice)"
    fi
    tell "  done: all of it is whole"
}

# For people only.
tell() {
    [[ -n $json ]] || echo "$1"
}

# What each document says, by its place in `addresses`; empty where it cannot be read.
generations=() types=() sizes=() sums=()
# Which places take part, how many bytes that is, and of how many.
declare -gA chosen=()
total=0 wanted=0

# Every document: there, opened, of this blob, and made on the one before. What is wrong goes to $work/found.
verify_documents() {
    local index status before='' known=0
    for index in "${!addresses[@]}"; do
        status=0
        document "$index" "$work/document" || status=$?
        case $status in
        0) ;;
        10 | 65 | 74)
            known=$((known + 1)) before=''
            generations[index]=$known types[index]='' sizes[index]='' sums[index]=''
            if ((status == 74)); then echo "$index metadata unreadable"; else echo "$index metadata damaged"; fi
            continue
            ;;
        *) exit "$status" ;;
        esac
        generations[index]=$META_GENERATION types[index]=$META_TYPE sizes[index]=$META_SIZE sums[index]=$META_SHA512
        total=$((total + META_SIZE))
        if ((${META_PREVIOUS_GENERATION:-0} > known)); then
            echo "$((known + 1)) missing $META_PREVIOUS_GENERATION"
            [[ $META_TYPE = full ]] || echo "$index metadata unlinked"
        elif [[ -n $before ]]; then
            cat "$before" "$work/document" | ep-meta check --domain "$domain" || echo "$index metadata unlinked"
        fi
        known=$META_GENERATION
        before=$work/before
        mv "$work/document" "$before"
    done >"$work/found"
    [[ -e $(witness) ]] || return 0
    read_document "$(witness)" || fail 65 "the witness is damaged: $(witness)" "move it away, if you know why it is"
    ((META_GENERATION <= known)) || echo "$((known + 1)) missing $META_GENERATION" >>"$work/found"
}

# found INDEX OBJECT PROBLEM: names it, and the generations that it takes down: all that were made on it, which ends with
# the next full one, or one that is lost by itself.
# found GENERATION missing LAST: documents that are not there, so nobody knows of what blobs.
found() {
    local index=$1 object=$2 problem=$3 down=() text='takes down'
    if [[ $object = missing ]]; then
        found_gap "$1" "$3"
        return
    fi
    local generation=${generations[index]} address=${addresses[index]}
    # What is full can be restored, whatever it was made on.
    [[ ${types[index]} = full && $problem = unlinked ]] || down=("$generation")
    while ((${#down[@]} > 0 && ++index < ${#addresses[@]})) && [[ ${types[index]} = incremental ]]; do
        down+=("${generations[index]}")
    done
    ((index < ${#addresses[@]})) || head_is_lost=1
    case ${#down[@]} in
    0) text+=" nothing" ;;
    1) text+=" generation ${down[0]}" ;;
    *) text+=" generations ${down[0]} to ${down[-1]}" ;;
    esac
    tell "  generation $generation: the $object $(meaning "$problem"): $text"
    printf '{"object":"%s","generation":%d,"sha256":"%s","problem":"%s","takesDown":[%s]}\n' \
        "$object" "$generation" "$address" "$problem" "$(IFS=, && echo "${down[*]}")" >>"$work/damaged"
}

# found_gap FIRST LAST: as one finding, however wide it is.
found_gap() {
    local through='' alone=$1
    if (($1 == $2)); then
        tell "  generation $1: the metadata is missing: takes down generation $1"
    else
        tell "  generations $1 to $2: the metadata is missing: takes down all of them"
        through=",\"through\":$2" alone=''
    fi
    printf '{"object":"metadata","generation":%d%s,"sha256":null,"problem":"missing","takesDown":[%s]}\n' \
        "$1" "$through" "$alone" >>"$work/damaged"
}

meaning() {
    case $1 in
    missing) echo "is missing" ;;
    damaged) echo "is damaged" ;;
    unreadable) echo "cannot be read" ;;
    unlinked) echo "was not made on the one before" ;;
    forged) echo "has the right digests, and cannot be opened with this key" ;;
    esac
}
head_is_lost=''

# All of them, or at random until they make that share of the bytes.
choose_blobs() {
    local index
    for index in $(shuf -i "0-$((${#addresses[@]} - 1))"); do
        chosen[$index]=1
        wanted=$((wanted + ${sizes[index]:-0}))
        [[ -z $sample ]] || ((wanted * 100 < total * sample)) || break
    done
}

# A pass that was interrupted goes on: the blobs that it has verified are in $pass. A sample is a pass of its own.
declare -gA verified=()
go_on() {
    local lines address
    [[ -z $sample ]] || { pass=/dev/null && return; }
    if [[ -s $pass ]]; then
        mapfile -t lines <"$pass"
        started=${lines[0]}
        for address in "${lines[@]:1}"; do verified[$address]=1; done
        tell "  goes on with the pass of $started, which has verified ${#verified[@]} of ${#addresses[@]}"
    else
        (umask 077 && echo "$started" >"$pass")
    fi
}

verify_blobs() {
    local index past=0 statuses shown=() options
    for index in "${!addresses[@]}"; do
        [[ -n ${chosen[$index]-} ]] || continue
        if [[ -z ${verified[${addresses[index]}]-} ]]; then
            options=()
            [[ -z ${sizes[index]} ]] || options=(--size "${sizes[index]}" --sha512 "${sums[index]}")
            [[ ! -t 2 ]] || shown=(--progress --expect "$wanted" --past "$past")
            # One that cannot be opened is read to its end, or nobody would learn whether it is as it was stored.
            statuses=()
            ep-fetch blob "${place[@]}" "${addresses[index]}" "${options[@]}" |
                { ep-unseal --key "$key" --check "${shown[@]}" || { status=$? && cat >/dev/null && exit "$status"; }; } ||
                statuses=("${PIPESTATUS[@]}")
            judge "$index" "${statuses[@]}"
        fi
        past=$((past + ${sizes[index]:-0}))
    done
}

# judge INDEX [STATUS-OF-FETCH STATUS-OF-UNSEAL]
judge() {
    case ${2:-0} in
    0) ;;
    10) found "$1" blob missing && return ;;
    65) found "$1" blob damaged && return ;;
    74) found "$1" blob unreadable && return ;;
    *) exit "$2" ;;
    esac
    case ${3:-0} in
    0) echo "${addresses[$1]}" >>"$pass" ;;
    65) found "$1" blob forged ;;
    *) exit "$3" ;;
    esac
}

advice() {
    if [[ -n $head_is_lost ]]; then
        echo "the next backup is a full one again where the snapshots in ${volume:-VOLUME}/.escapepod/$(store_name) are deleted"
    else
        echo "the other generations can be restored, by --generation"
    fi
}
