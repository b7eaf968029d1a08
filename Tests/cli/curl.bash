# The server of a suite, driven with curl; loaded after storage, which makes what is stored, and dunesea, which starts it.
# shellcheck shell=bash disable=SC2034,SC2153,SC2154

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    export DUNESEA_DIR=$BATS_TEST_TMPDIR/store
    authorize pod.example.org --append --read --prune >auth
}

# authorize DOMAIN FLAG…: a new token, as curl sends it.
authorize() { echo "Authorization: Bearer $(dunesea_token "$@")"; }

# serve OPTION…: starts a server; sets store too.
serve() {
    start_dunesea "$@"
    store=$DUNESEA_URL/v1/pod.example.org
}

# as FILE CURL-ARGUMENT…: a request with that token; its status on standard output, its answer in body and headers.
as() {
    local auth=$1
    shift
    curl -sS --max-time 60 -D headers -o body -w '%{http_code}\n' -H "@$auth" "$@"
}

# ask STATUS CURL-ARGUMENT…: has to get that status.
ask() {
    local wanted=$1 got
    shift
    got=$(as auth "$@")
    [[ $got == "$wanted" ]] || { echo "$got, not $wanted: $*" && cat body && return 1; }
}

# field NAME: of the last answer.
field() { sed -n "s/^$1: \(.*\)\r$/\1/Ip" headers; }

begin() {
    ask 201 -X POST "$store/uploads"
    id=$(<body)
    upload=$store/uploads/$id
}

append() { ask "$1" -H "Upload-Offset: $2" -X PATCH -T "$3" "$upload"; }

# finish STATUS FILE
finish() { ask "$1" -X PUT "$store/blobs/$(sha256 "$2")?upload=$id&length=$(stat -c %s "$2")"; }

# put FILE: the three steps.
put() { begin && append 204 0 "$1" && finish 201 "$1"; }

# inject CALL PATH FAULT: the server's next such call there ends so.
inject() {
    trace "$1" -e "inject=$1:$3" -P "$(realpath -m "$2")"
}

# trace CALLS OPTION…: the server's calls go to the file trace from now on.
trace() {
    strace -f -qq -o trace -e "trace=$1" "${@:2}" -p "$DUNESEA_PID" 2>strace.err 3>&- &
    tracer=$!
    eventually tracing
}

# tracing: whether strace has taken hold of the server.
tracing() { [[ $(awk '/TracerPid/ { print $2 }' "/proc/$DUNESEA_PID/status") == "$tracer" ]]; }

untrace() {
    kill "$tracer"
    wait "$tracer" || true
}

nothing_stays() {
    [[ -z $(find store/escapepod/pod.example.org/blobs store/dunesea/uploads/pod.example.org -type f) ]]
}
