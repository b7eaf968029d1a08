# A server for a suite that needs one, on a loopback port; loaded after helper, whose cleanup ends it.
# shellcheck shell=bash

# The server's binary; `make test` builds this one.
EP_DUNESEA=${EP_DUNESEA:-$EP_REPO/dunesea/.build/debug/dunesea}
PATH=${EP_DUNESEA%/*}:$PATH

# dunesea_token DOMAIN FLAG…: prints a new token with these rights (--append, --read).
dunesea_token() {
    mkdir -p "${DUNESEA_DIR:=$BATS_TEST_TMPDIR/dunesea}"
    dunesea token add --dir "$DUNESEA_DIR" "$@"
}

# start_dunesea [--tls] [OPTION…]: serves $DUNESEA_DIR on a free port, and waits until it answers. Sets DUNESEA_URL,
# DUNESEA_PID, DUNESEA_LOG, with --tls DUNESEA_CA, a certificate to trust, and with --metrics 127.0.0.1:0 DUNESEA_METRICS,
# a URL. After the server's end on the same port again: start_dunesea --listen "${DUNESEA_URL#*//}".
start_dunesea() {
    local scheme=http options=() _
    DUNESEA_CA=
    if [[ ${1-} == --tls ]]; then
        shift
        scheme=https
        DUNESEA_CA=$BATS_TEST_TMPDIR/dunesea.pem
        [[ -e $DUNESEA_CA ]] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
            -keyout "$DUNESEA_CA.key" -out "$DUNESEA_CA" -subj /CN=localhost \
            -addext subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:store.example 2>"$DUNESEA_CA.log"
        options=(--tls-cert "$DUNESEA_CA" --tls-key "$DUNESEA_CA.key")
    fi
    mkdir -p "${DUNESEA_DIR:=$BATS_TEST_TMPDIR/dunesea}"
    DUNESEA_LOG=$BATS_TEST_TMPDIR/dunesea.log
    # The port is not to be that of the server before.
    : >"$DUNESEA_LOG"
    dunesea serve --dir "$DUNESEA_DIR" --listen 127.0.0.1:0 "${options[@]}" "$@" 2>"$DUNESEA_LOG" 3>&- &
    DUNESEA_PID=$!
    for _ in {1..200}; do
        DUNESEA_URL=$(dunesea_listener listening "$scheme")
        # shellcheck disable=SC2034 # for the suites
        DUNESEA_METRICS=$(dunesea_listener metrics http)
        [[ -z $DUNESEA_URL || (" $* " == *" --metrics "* && -z $DUNESEA_METRICS) ]] || return 0
        kill -0 "$DUNESEA_PID" 2>/dev/null || break
        sleep 0.05
    done
    echo "dunesea does not serve:" && cat "$DUNESEA_LOG"
    return 1
}

# dunesea_listener WORD SCHEME: the URL of the listener that the log calls so; nothing as long as it is not there.
dunesea_listener() {
    sed -nE "s|^dunesea: $1 on (.*) port ([0-9]+)$|$2://\1:\2|p" "$DUNESEA_LOG"
}

# stop_dunesea: SIGTERM; it ends its requests, and has to end itself within 30 seconds.
stop_dunesea() {
    kill "$DUNESEA_PID"
    timeout 30 tail --pid="$DUNESEA_PID" -f /dev/null
    wait "$DUNESEA_PID"
}

# kill_dunesea: it dies as it does when the machine runs out of memory.
kill_dunesea() {
    kill -9 "$DUNESEA_PID"
    wait "$DUNESEA_PID" || true
}
