# Streams through the tools, beside those that do a part of the same.
# shellcheck shell=bash disable=SC2002,SC2034,SC2154 # from pipe to pipe, as in a real pipeline

key=$work/key
domain=bench.example.org
ep-key generate "$key" >/dev/null
age-keygen -o "$work/age.key" 2>/dev/null
recipient=$(age-keygen -y "$work/age.key")
head -c 32 /dev/urandom | base64 >"$work/password"
enc=(openssl enc -aes-256-ctr -pbkdf2 -pass "file:$work/password")

# 2 GiB that nothing can compress, and the same sealed; in the page cache.
plain() {
    [[ -e $work/plain ]] || head -c 2G /dev/urandom >"$work/plain"
    cat "$work/plain" >/dev/null
}
sealed() {
    plain
    [[ -e $work/sealed ]] || ep-seal --key "$key" <"$work/plain" >"$work/sealed"
    cat "$work/sealed" >/dev/null
}

ep_seal() { cat "$work/plain" | ep-seal --key "$key" | cat >/dev/null; }
openssl_enc() { cat "$work/plain" | "${enc[@]}" | cat >/dev/null; }
age_-r() { cat "$work/plain" | age -r "$recipient" | cat >/dev/null; }
seal() {
    plain
    race "ep-seal, 2 GiB" warm ep_seal openssl_enc ">= 1.8" age_-r ">= 2.5"
}

ep_unseal() { cat "$work/sealed" | ep-unseal --key "$key" | cat >/dev/null; }
age_-d() { cat "$work/plain.age" | age -d -i "$work/age.key" | cat >/dev/null; }
unseal() {
    sealed
    age -r "$recipient" <"$work/plain" >"$work/plain.age"
    race "ep-unseal, 2 GiB" warm ep_unseal age_-d ">= 2"
    rm "$work/plain.age"
}

fresh_store() { rm -rf "$work/store" && mkdir "$work/store"; }

before_ep_store() { fresh_store; }
ep_store() { cat "$work/sealed" | ep-store blob "file:$work/store" --domain "$domain"; }
openssl_dgst() { cat "$work/sealed" | openssl dgst -sha512; }
store() {
    sealed
    race "ep-store blob, 2 GiB" warm ep_store openssl_dgst ">= 0.9"
    rm -r "$work/store"
}

before_seal_and_store() { fresh_store && rm -f "$work/out"; }
seal_and_store() { cat "$work/plain" | ep-seal --key "$key" | ep-store blob "file:$work/store" --domain "$domain"; }
before_openssl_and_dd() { before_seal_and_store; }
openssl_and_dd() { cat "$work/plain" | "${enc[@]}" | dd conv=fsync bs=1M of="$work/out"; }
pipeline() {
    plain
    race "ep-seal | ep-store, 2 GiB" warm seal_and_store openssl_and_dd ">= 1.5"
    rm -rf "$work/store" "$work/out"
}
