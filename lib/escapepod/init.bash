# escapepod init: a key, in two places, and a configuration.
# shellcheck shell=bash

init() {
    local name=${setting[name]} config=${setting[config]} folder
    local key_space=${setting["key-space"]-} key_copy=${setting["key-space"]-}/escapepod-$domain.key there=", no backup of $domain yet"
    local lines='' capsule=${volume%/}/.escapepod-system
    cleanups+=(tell_of_words)
    if [[ -n ${setting[system]-} ]]; then
        ask members ep-layout members --root "$volume" "${left_out[@]}"
        lines=$(sed 's/^/member=/' "$work/members")
        say "$domain is these subvolumes:"
        sed 's/^/  /' "$work/members"
    else
        ask slots ep-snap list "$volume" --name "$folder_name"
    fi
    ep-fetch apart "${place[@]}" "$volume"
    # A key space is good for nothing where it is lost together with the volume, or found together with the store.
    if [[ -n $key_space ]]; then
        [[ -d $key_space ]] || fail 69 "no such folder: $key_space" "a key space is a folder; mount its drive first"
        ep-fetch apart "file:$key_space" --domain "$domain" "$volume"
        ep-fetch apart "${place[@]}" "$key_space"
    fi
    fetch sealed last
    [[ -e $key || ! -s $work/sealed ]] ||
        fail 69 "the store has backups of $domain, but their key is not here: $key" \
            "put it there (with its passphrase: ep-fetch key … | ep-key unwrap $key), or choose another domain"
    [[ -z $key_space ]] || has_copy || :
    folder=$(dirname "$config")
    [[ -d $folder ]] || mkdir -m 0700 "$folder"
    [[ -w $folder ]] || fail 77 "cannot write to the folder: $folder" "the configuration goes there"
    [[ -e $key ]] || ep-key generate "$key" >"$work/generated"
    know_key
    fetch_head
    [[ -z $key_space ]] || has_copy || ep-key copy "$key" "$key_copy" >"$work/copied"
    store_wrapped_key

    if [[ -n ${setting[system]-} ]]; then
        # Its capsule.
        [[ -e $capsule ]] || (umask 077 && btrfs -q subvolume create "$capsule")
        ask slots ep-snap list "$capsule" --name "$folder_name"
    fi
    printf '%s' "${setting[configuration]}" "${lines:+$lines$'\n'}" | ep-meta keep "$config" --new --mode 0644
    say "$domain is ready." "" "  configuration  $config" "  key            $key, id $key_id"
    [[ -z $key_space ]] || say "  and a copy     $key_copy"
    [[ ! -s $work/head ]] || there=", which has backups of $domain"
    say "  store          $store$there"
    [[ -z $was_wrapped ]] || say "" \
        "The store has the key already, sealed under the ten words that init showed last, or under a given passphrase." \
        "If nobody knows it, set another:  ep-key wrap $key | ep-store key $store --domain $domain"
    say "" "Whoever has the key, or the store and its passphrase, can read the backups; without them nobody can." \
        "Print the sheet:   escapepod sheet $name" "The first backup:  escapepod backup $name"
}

# What a run that ends early has to say of the words that it showed.
tell_of_words() {
    case $words in
    shown) complain "the ten words above are void" "nothing was stored under them; the next run shows new ones" ;;
    used)
        complain "the store may have the key sealed under the ten words above: keep them" \
            "run the same command again: it shows new words, or says that these are in effect"
        ;;
    esac
}
words='' was_wrapped=''

# Shows new words, and returns when they have been seen: nothing is sealed under words that nobody knows. A person shows
# that they are written down; elsewhere they have to be written out.
show_words() {
    local word answer index first=$((RANDOM % 10))
    local -a list
    (umask 077 && : >"$work/words")
    ask words ep-key passphrase
    read -ra list <"$work/words"
    words=shown
    say "The store gets the key too, sealed under these ten words. They are shown only once:" "" "  ${list[*]}" ""
    [[ -t 0 && -t 1 ]] || return 0
    say "Write them down; then type two of them."
    for index in "$first" $(((first + 1 + RANDOM % 9) % 10)); do
        word=${list[index]} answer=''
        until [[ ${answer,,} = "$word" ]]; do
            printf 'Word %d: ' $((index + 1))
            read -r answer || fail 64 "the ten words were not confirmed"
        done
    done
}

# The key, sealed under a passphrase, into the store; where the store has this very key, and nobody gave a passphrase, that
# stays.
store_wrapped_key() {
    if ((${#passphrase[@]} == 0)) && [[ -z ${setting["ask-passphrase"]-} ]]; then
        fetch wrapped key
        [[ ! -s $work/wrapped || $(ep-key id "$work/wrapped") != "$key_id" ]] || was_wrapped=1
        if [[ -z $was_wrapped ]]; then
            show_words
            passphrase=(--passphrase-file "$work/words")
        fi
    fi
    [[ -n $was_wrapped ]] || ask wrapped ep-key wrap "$key" "${passphrase[@]}"
    [[ -z $words ]] || words=used
    ask stored ep-store key "${place[@]}" --with "$contrib/RECOVERY.txt" "$contrib/escapepod-open" <"$work/wrapped"
    fetch back key
    cmp -s "$work/back" "$work/wrapped" ||
        fail 74 "the store accepted the key but does not show it: $store" "find out what is wrong with the store, then run it again"
    words=''
}

# Whether the key space has a copy, which has to be of this very key.
has_copy() {
    [[ -e $key_copy || -L $key_copy ]] || return
    [[ -e $key && $(ep-key id "$key_copy") = "$(ep-key id "$key")" ]] ||
        fail 74 "will not overwrite another key: $key_copy" \
            "choose another key space; if it is the key that $domain had:  ep-key copy $key_copy $key"
}
