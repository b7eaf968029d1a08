# escapepod init: a key, in two places, and a configuration.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

init_usage() {
    cat <<'END'
usage: escapepod init NAME --volume DIR --store URL [--domain DOMAIN] [--key FILE] [--key-space DIR]
                      [--passphrase-file FILE | --passphrase-command COMMAND | --ask-passphrase] [STORE-OPTION …]

Make a key, if there is none, and the configuration /etc/escapepod/NAME.conf. The store gets the key sealed under a
passphrase, of ten new words unless it is given.

  --volume DIR     what to back up: the root of a mounted btrfs subvolume
  --store URL      where to: label:escapepod (a drive), file:///path, dunesea+https://HOST:PORT
  --domain DOMAIN  the name of this system in the store (this host's name)
  --key FILE       the key file (/etc/escapepod/NAME.key)
  --key-space DIR  put a copy of the key there: another drive, another host's mount
  --passphrase-file FILE
                   a file with the passphrase
  --passphrase-command COMMAND
                   a shell command that prints it
  --ask-passphrase
                   type it
END
    store_options
}

init() {
    parse init "--volume --key-space --passphrase-file --passphrase-command --ask-passphrase" "$@"
    [[ -n $name ]] || fail 64 "a configuration wants a name" "escapepod init --help"
    domain=${domain:-$(hostname -f | tr '[:upper:]' '[:lower:]')}
    # A timer runs elsewhere than this shell does.
    local setting
    key_space=${key_space#file:}
    [[ $key_space != //* ]] || key_space=${key_space#//}
    for setting in volume token_file ca key_space; do
        [[ -z ${!setting} ]] || printf -v "$setting" %s "$(realpath -ms "${!setting}")"
    done
    needs volume store
    [[ ! -e $config ]] || fail 74 "will not overwrite a configuration: $config" "choose another name"
    key=$(realpath -ms "${key:-${config%.conf}.key}")
    make_work
    ep-snap list "$volume" --store "$(store_name)" >/dev/null
    require_apart
    [[ -z $key_space ]] || check_key_space
    local folder
    folder=$(dirname "$config")
    fetch_sealed
    [[ -e $key || ! -s $work/sealed ]] ||
        fail 69 "the store has backups of $domain, and their key is not here: $key" \
            "put it there (with its passphrase: ep-fetch key … | ep-key unwrap $key), or choose another domain"
    [[ -d $folder ]] || mkdir -m 0700 "$folder"
    [[ -e $key ]] || ep-key generate "$key" >/dev/null
    ep-key id "$key" >"$work/id"
    fetch_head
    store_wrapped_key
    [[ -z $key_space ]] || copy_key

    {
        echo "# escapepod.conf, see escapepod(1)"
        for setting in domain volume store key key_space token_file ca pin patience insecure; do
            [[ -z ${!setting} ]] || echo "$setting=${!setting}"
        done
    } >"$config.new"
    sync "$config.new"
    mv -nT "$config.new" "$config"
    cat <<END
$domain is ready.

  configuration  $config
  key            $key, id $(<"$work/id")
END
    [[ -z $key_space ]] || echo "  and a copy     $key_copy"
    echo "  store          $store, $([[ -s $work/head ]] && echo "which has backups of $domain" ||
        echo "no backup of $domain yet")"
    [[ ! -s $work/words ]] || cat <<END

The store has the key too, sealed under these ten words. They are shown this once:

  $(<"$work/words")
END
    cat <<END

Whoever has the key, or the store and its passphrase, can read the backups; without them nobody can.
Write the words down, and print the sheet:  escapepod sheet $name

The first backup:  escapepod backup $name
END
}

# The key, sealed under a passphrase, into the store; unless the store has this very key, and nobody gave a passphrase.
store_wrapped_key() {
    local from=() status=0
    [[ -z $passphrase_file ]] || from=(--passphrase-file "$passphrase_file")
    [[ -z $passphrase_command ]] || from=(--passphrase-command "$passphrase_command")
    if ((${#from[@]} == 0)) && [[ -z $ask_passphrase ]]; then
        ep-fetch key "${place[@]}" >"$work/wrapped" 2>"$work/said" || status=$?
        case $status in
        0) [[ $(wrapped_key_id) != "$(<"$work/id")" ]] || return 0 ;;
        10) ;;
        *) cat "$work/said" >&2 && return "$status" ;;
        esac
        (umask 077 && ep-key passphrase >"$work/words")
        from=(--passphrase-file "$work/words")
    fi
    ep-key wrap "$key" "${from[@]}" >"$work/wrapped"
    ep-store key "${place[@]}" --with "$contrib/RECOVERY.txt" "$contrib/escapepod-open" <"$work/wrapped"
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

# Puts a copy of the key into the key space, as key_copy; never over another key.
copy_key() {
    key_copy=$key_space/escapepod-$domain.key
    if [[ ! -e $key_copy ]]; then
        (umask 077 && cat "$key" >"$key_copy.new")
        sync "$key_copy.new"
        mv -nT "$key_copy.new" "$key_copy"
        sync "$key_space"
    fi
    [[ $(ep-key id "$key_copy") = "$(<"$work/id")" ]] ||
        fail 74 "will not overwrite another key: $key_copy" "choose another key space"
}
key_copy=''
