# escapepod init: a key, in two places, and a configuration.

init() {
    local name=${setting[name]} config=${setting[config]} lines='' capsule=${volume%/}/.escapepod-system
    local key_space=${setting["key-space"]-} there=", no backup of $domain yet"
    local key_copy=${key_space:+$key_space/escapepod-$domain.key}
    cleanups+=(tell_of_words)
    if [[ -n ${setting[system]-} ]]; then
        ask members ep-layout members --root "$volume" "${left_out[@]}"
        lines=$(sed 's/^/member=/' "$work/members")
        say "$domain is these subvolumes:"
        sed 's/^/  /' "$work/members"
    else
        ask slots ep-snap list "$volume" --name "$folder_name"
    fi
    # A key space is good for nothing where it is lost together with the volume, or found together with the store.
    ep-fetch apart "${place[@]}" "$volume" ${key_space:+"$key_space"}
    fetch sealed last
    [[ -e $key || ! -s $work/sealed ]] ||
        fail 69 "the store has backups of $domain, but their key is not here: $key" \
            "put it there (with its passphrase: ep-fetch key … | ep-key unwrap $key), or choose another domain"
    [[ -z $key_copy ]] || ep-key copy "$key" "$key_copy" --check
    [[ -e $key ]] || ep-key generate --parents "$key" >"$work/generated"
    ask key-id ep-key id "$key"
    fetch_head
    [[ -z $key_copy ]] || ask copied ep-key copy "$key" "$key_copy" --keep
    store_wrapped_key

    [[ -z ${setting[system]-} || -e $capsule ]] || (umask 077 && btrfs -q subvolume create "$capsule")
    printf '%s' "${setting[configuration]}" "${lines:+$lines$'\n'}" | ep-meta keep "$config" --new --parents --mode 0644
    [[ ! -s $work/head ]] || there=", which has backups of $domain"
    say "$domain is ready." "" "  configuration  $config" "  key            $key, id $(<"$work/key-id")" \
        ${key_copy:+"  and a copy     $key_copy"} "  store          $store$there"
    [[ -z ${was_wrapped-} ]] || say "" \
        "The store has the key already, sealed under the ten words that init showed last, or under a given passphrase." \
        "If nobody knows it, set another:  ep-key wrap $key | ep-store key $store --domain $domain"
    say "" "Whoever has the key, or the store and its passphrase, can read the backups; without them nobody can." \
        "Print the sheet:   escapepod sheet $name" "The first backup:  escapepod backup $name"
}

# What a run that ends early has to say of the words that ep-key showed; of those that it sealed nothing under, it has said so.
tell_of_words() {
    [[ ! -s $work/worded || -n ${is_stored-} ]] ||
        complain "the store may have the key sealed under the ten words above: keep them" \
            "run the same command again: it shows new words, or says that these are in effect"
}

# The key, sealed under a passphrase, into the store; where the store has this very key, and nobody gave a passphrase, that
# stays.
store_wrapped_key() {
    local wrapped=$work/wrapped
    if ((${#passphrase[@]} > 0)) || [[ -n ${setting["ask-passphrase"]-} ]]; then
        ask wrapped ep-key wrap "$key" "${passphrase[@]}"
    else
        fetch wrapped key
        [[ ! -s $wrapped || $(ep-key id "$wrapped") != "$(<"$work/key-id")" ]] || was_wrapped=1
        if [[ -z ${was_wrapped-} ]]; then
            wrapped=$work/worded
            ep-key wrap "$key" --new-words "$wrapped"
            owed ep-key "$wrapped"
        fi
    fi
    ask stored ep-store key "${place[@]}" --with "$contrib/RECOVERY.txt" "$contrib/escapepod-open" <"$wrapped"
    read_back "$wrapped" key
    is_stored=1
}
