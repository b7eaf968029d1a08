# escapepod init: a key, in two places, and a configuration.
# shellcheck shell=bash

init() {
    parse "volume key-space passphrase-file passphrase-command" ask-passphrase "$@"
    [[ -n $name ]] || fail 64 "a configuration wants a name" "escapepod init --help"
    programs findmnt
    [[ -n ${setting[domain]-} ]] || setting[domain]=$(this_host)
    # A timer runs elsewhere than this shell does.
    local option
    key_space=${setting["key-space"]-}
    key_space=${key_space#file:}
    [[ $key_space != //* ]] || key_space=${key_space#//}
    setting["key-space"]=$key_space
    for option in volume key-space "${store_options[@]}"; do
        [[ $option = volume || $option = key-space || ${store_value[$option]} = file ]] || continue
        [[ -z ${setting[$option]-} ]] || setting[$option]=$(realpath -ms "${setting[$option]}")
    done
    key_space=${setting["key-space"]}
    needs volume store
    [[ ! -e $config && ! -L $config ]] || fail 74 "will not overwrite a configuration: $config" "choose another name"
    key=$(realpath -ms "${key:-${config%.conf}.key}")
    setting[key]=$key
    make_work
    cleanups+=(tell_of_words)
    ep-snap list "$volume" --name "$folder_name" >"$work/slots"
    owed ep-snap "$work/slots"
    is_apart "$volume" || together fail 64
    [[ -z $key_space ]] || check_key_space
    local folder status=0
    folder=$(dirname "$config")
    if [[ ! -e $key ]]; then
        ep-fetch last "${place[@]}" --or-none >"$work/sealed" || status=$?
        ((status == 0 || status == 10)) || return "$status"
        ((status == 10)) ||
            fail 69 "the store has backups of $domain, and their key is not here: $key" \
                "put it there (with its passphrase: ep-fetch key … | ep-key unwrap $key), or choose another domain"
    fi
    [[ -z $key_space ]] || check_key_copy
    [[ -d $folder ]] || mkdir -m 0700 "$folder"
    [[ -w $folder ]] || fail 77 "cannot write there: $folder" "it gets the configuration"
    [[ -e $key ]] || ep-key generate "$key" >"$work/generated"
    know_key
    fetch_head
    [[ -z $key_space ]] || copy_key
    store_wrapped_key

    {
        echo "# escapepod.conf, see escapepod(1)"
        for option in domain volume store key key-space "${store_options[@]}" "${store_switches[@]}"; do
            [[ -z ${setting[$option]-} ]] || echo "${option//-/_}=${setting[$option]}"
        done
    } >"$work/config"
    ep-meta keep "$config" --new --mode 0644 <"$work/config"
    say "$domain is ready." "" "  configuration  $config" "  key            $key, id $key_id"
    [[ -z $key_space ]] || say "  and a copy     $key_copy"
    if [[ -s $work/head ]]; then
        say "  store          $store, which has backups of $domain"
    else
        say "  store          $store, no backup of $domain yet"
    fi
    [[ -z $was_wrapped ]] || say "" \
        "The store had the key already, sealed under the ten words that init showed last, or a passphrase that was given." \
        "Where nobody knows it, give another:  ep-key wrap $key | ep-store key $store --domain $domain"
    say "" "Whoever has the key, or the store and its passphrase, can read the backups; without them nobody can." \
        "Print the sheet:   escapepod sheet $name" "The first backup:  escapepod backup $name"
}

this_host() {
    local full
    { full=$(hostname -f) && [[ -n $full ]]; } ||
        fail 69 "this host does not know its full name, which would be the domain" \
            "give --domain, or see to it that hostname -f prints one"
    echo "${full,,}"
}

# What a run that ends early has to say of the words that it showed.
tell_of_words() {
    case $words in
    shown) complain "the ten words above are void" "nothing was stored under them; the next run shows new ones" ;;
    used)
        complain "whether the store has the key under the ten words above is not certain: keep them" \
            "run the same again: it shows new ones, or says that these hold"
        ;;
    esac
}
words='' was_wrapped=''

# Shows new words, and returns when they have been seen: nothing is sealed under words that nobody knows. A person shows
# that they are written down; elsewhere they have to be written out.
show_words() {
    local word answer index first=$((RANDOM % 10))
    local -a list
    (umask 077 && ep-key passphrase >"$work/words")
    read -ra list <"$work/words"
    ((${#list[@]} == 10)) || owes ep-key
    words=shown
    say "The store gets the key too, sealed under these ten words. They are shown this once:" "" "  ${list[*]}" ""
    [[ -t 0 && -t 1 ]] || return 0
    say "Write them down; then type two of them."
    for index in "$first" $(((first + 1 + RANDOM % 9) % 10)); do
        word=${list[index]} answer=''
        until [[ ${answer,,} = "$word" ]]; do
            printf 'Word %d: ' $((index + 1))
            read -r answer || fail 64 "nobody said that the ten words are written down"
        done
    done
}

# The key, sealed under a passphrase, into the store; where the store has this very key, and nobody gave a passphrase, that
# stays.
store_wrapped_key() {
    local option from=() status=0
    for option in passphrase-file passphrase-command; do
        [[ -z ${setting[$option]-} ]] || from=("--$option" "${setting[$option]}")
    done
    if ((${#from[@]} == 0)) && [[ -z ${setting["ask-passphrase"]-} ]]; then
        ep-fetch key "${place[@]}" --or-none >"$work/wrapped" || status=$?
        case $status in
        0)
            owed ep-fetch "$work/wrapped"
            [[ $(ep-key id "$work/wrapped") != "$key_id" ]] || was_wrapped=1
            ;;
        10) ;;
        *) return "$status" ;;
        esac
        if [[ -z $was_wrapped ]]; then
            show_words
            from=(--passphrase-file "$work/words")
        fi
    fi
    if [[ -z $was_wrapped ]]; then
        ep-key wrap "$key" "${from[@]}" >"$work/wrapped"
        owed ep-key "$work/wrapped"
    fi
    [[ -z $words ]] || words=used
    ep-store key "${place[@]}" --with "$contrib/RECOVERY.txt" "$contrib/escapepod-open" <"$work/wrapped" >"$work/stored"
    owed ep-store "$work/stored"
    ep-fetch key "${place[@]}" >"$work/back"
    cmp -s "$work/back" "$work/wrapped" ||
        fail 74 "the store took the key, and does not show it: $store" "see what is wrong with the store, then run it again"
    words=''
}

# A key space is good for nothing where it is lost together with the volume, or found together with the store.
check_key_space() {
    [[ -d $key_space ]] || fail 69 "no such folder: $key_space" "a key space is a folder; mount its drive first"
    [[ $(file_system "$key_space") != "$(file_system "$volume")" ]] ||
        fail 64 "the key space lies on the file system that is backed up: $key_space" \
            "whatever takes the volume takes the key too; choose another drive, or another host"
    is_apart "$key_space" ||
        fail 64 "the key space lies in the store, or on its drive: $key_space" \
            "whoever finds the store has the key too; choose another drive, or another host"
}

# Sets key_copy, where the key space has its copy; what is there already has to be this very key.
check_key_copy() {
    key_copy=$key_space/escapepod-$domain.key
    [[ ! -e $key_copy && ! -L $key_copy ]] ||
        [[ -e $key && $(ep-key id "$key_copy") = "$(ep-key id "$key")" ]] ||
        fail 74 "will not overwrite another key: $key_copy" \
            "choose another key space; if it is the key that $domain had:  ep-key copy $key_copy $key"
}

copy_key() {
    [[ -e $key_copy ]] || ep-key copy "$key" "$key_copy" >"$work/copied"
    [[ $(ep-key id "$key_copy") = "$key_id" ]] ||
        fail 74 "will not overwrite another key: $key_copy" "choose another key space"
}
key_space='' key_copy=''
