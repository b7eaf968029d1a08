# escapepod init: a key and a configuration.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

init_usage() {
    cat <<'END'
usage: escapepod init NAME --volume DIR --store URL [--domain DOMAIN] [--key FILE] [STORE-OPTION …]

Make a key, if there is none, and the configuration /etc/escapepod/NAME.conf.

  --volume DIR     what to back up: the root of a mounted btrfs subvolume
  --store URL      where to: label:escapepod (a drive), file:///path, dunesea+https://HOST:PORT
  --domain DOMAIN  the name of this system in the store (this host's name)
  --key FILE       the key file (/etc/escapepod/NAME.key)
END
    store_options
}

init() {
    parse init "--volume" "$@"
    [[ -n $name ]] || fail 64 "a configuration wants a name" "escapepod init --help"
    domain=${domain:-$(hostname -f | tr '[:upper:]' '[:lower:]')}
    # A timer runs elsewhere than this shell does.
    local setting
    for setting in volume token_file ca; do
        [[ -z ${!setting} ]] || printf -v "$setting" %s "$(realpath -ms "${!setting}")"
    done
    needs volume store
    [[ ! -e $config ]] || fail 74 "will not overwrite a configuration: $config" "choose another name"
    key=$(realpath -ms "${key:-${config%.conf}.key}")
    make_work
    ep-snap list "$volume" --store "$(store_name)" >/dev/null
    local folder
    folder=$(dirname "$config")
    fetch_sealed
    [[ -e $key || ! -s $work/sealed ]] ||
        fail 69 "the store has backups of $domain, and their key is not here: $key" "put it there, or choose another domain"
    [[ -d $folder ]] || mkdir -m 0700 "$folder"
    [[ -e $key ]] || ep-key generate "$key" >/dev/null
    ep-key id "$key" >"$work/id"
    fetch_head

    {
        echo "# escapepod.conf, see escapepod(1)"
        for setting in domain volume store key token_file ca pin patience insecure; do
            [[ -z ${!setting} ]] || echo "$setting=${!setting}"
        done
    } >"$config.new"
    sync "$config.new"
    mv -nT "$config.new" "$config"
    cat <<END
$domain is ready.

  configuration  $config
  key            $key, id $(<"$work/id")
  store          $store, $([[ -s $work/head ]] && echo "which has backups of $domain" || echo "no backup of $domain yet")

Whoever has the key can read the backups; without it nobody can. Copy it to a place off this
machine now: print it, or put it into a password safe.

The first backup:  escapepod backup $name
END
}
