#!/usr/bin/env bats
# A store on another machine by ssh: a real sshd on loopback, and on its far end dunesea, as a forced command or by a plain account.
# shellcheck disable=SC2012,SC2016,SC2030,SC2031,SC2034,SC2094,SC2154

load helper
load pod
load dunesea

setup() {
    needs_root
    cd "$BATS_TEST_TMPDIR" || return
    mkdir far
    ssh-keygen -q -t ed25519 -N '' -f host_key
    ssh-keygen -q -t ed25519 -N '' -f id
    far=$PWD/far
    # What runs there when nobody is logged in has a PATH of its own.
    mkdir farbin && ln -s "$(command -v dunesea)" farbin/
    start_sshd
    # The system's ssh, with a configuration of our own in place of the user's.
    cat >ssh_config <<END
Host pod-store
    HostName 127.0.0.1
    Port $port
    IdentityFile $PWD/id
    UserKnownHostsFile $PWD/known_hosts
END
    echo "[127.0.0.1]:$port $(<host_key.pub)" >known_hosts
    stand_in ssh <<<'exec "$real" -F "$BATS_TEST_TMPDIR/ssh_config" "$@"'
    make_pod "ssh://root@pod-store$far"
    place=("$store" --domain pod)
}

teardown() {
    [[ -z ${sshd-} ]] || kill "$sshd" 2>/dev/null || :
    pkill -KILL -f "dunesea serve --stdio --dir $far" || :
    cleanup
}

# start_sshd: on a free port, which is $port; its process is $sshd.
start_sshd() {
    local _
    mkdir -p /run/sshd
    for _ in {1..20}; do
        port=$((20000 + RANDOM % 20000))
        cat >sshd_config <<END
Port $port
ListenAddress 127.0.0.1
HostKey $PWD/host_key
AuthorizedKeysFile $PWD/authorized_keys
PidFile none
StrictModes no
KbdInteractiveAuthentication no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
SetEnv PATH=$PWD/farbin:/usr/sbin:/usr/bin:/sbin:/bin
END
        /usr/sbin/sshd -D -e -f sshd_config 2>>sshd.log 3>&- &
        sshd=$!
        for _ in {1..60}; do
            ! (exec 9<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
            kill -0 "$sshd" 2>/dev/null || break
            sleep 0.05
        done
    done
    cat sshd.log
    return 1
}

# shared: the tools share one connection.
shared() { printf '    %s\n' "ControlMaster auto" "ControlPath $PWD/%C" "ControlPersist 2" >>ssh_config; }

# forced FLAG…: the key opens the domain pod, and may do that.
forced() { dunesea ssh-key --dir "$far" "$@" pod <id.pub >authorized_keys; }
plain() { cp id.pub authorized_keys; }

sessions() { pgrep -fc -- "dunesea serve --stdio --dir $far" || :; }
none_left() { [[ $(sessions) = 0 ]]; }

@test "a volume is backed up by ssh, lost, and restored; the same with a forced command" {
    plain
    shared
    escapepod backup ./pod.conf
    echo second >vol/note
    escapepod backup ./pod.conf
    [[ $(newest) = "2 incremental" && -e far/escapepod/pod/metadata/ ]]
    forced --append --read --prune
    run -0 escapepod verify ./pod.conf
    [[ $output = *"all of it is whole"* ]]
    keep_key
    run -0 escapepod status ./pod.conf
    tree vol >before
    escapepod restore ./pod.conf --to vol/back
    tree vol/back >after
    diff before after
    run -0 escapepod prune ./pod.conf --keep-last 1 --minimum-age 0
    [[ $output = *"the store keeps it for now"* ]]
    eventually none_left
    # The same store, of a directory: the server's own layout.
    run -0 dunesea check --dir far
    [[ $output = "2 blobs, "*" 2 backups, 0 of them pruned, 1 keys, 0 faults" ]]
}

@test "a forced command gives what its line says, and nothing else" {
    forced --append --read
    run -0 grep -c '^restrict,command="dunesea serve --stdio --dir '"$far"' --domain pod --rights append,read" ssh-ed25519 AAAA' authorized_keys
    ep-seal --key pod.key <<<blob >blob
    ep-store blob "${place[@]}" <blob >receipt
    run -77 ep-store blob "$store" --domain other <blob
    [[ $output = *"this key does not open other"*hint:* ]]
    sha256sum <blob | cut -c 1-64 >list
    run -77 ep-store discard "${place[@]}" <list
    [[ $output = *"may not prune in pod"* ]]
    # No shell, no command of its own, no forwarding, no terminal.
    run timeout 20 ssh pod-store 'touch stolen; id' </dev/null
    [[ $output != *uid=* && ! -e ~/stolen && ! -e stolen ]]
    run timeout 20 ssh -tt pod-store </dev/null
    [[ $output != *'$ '* ]]
    run timeout 20 ssh -o ExitOnForwardFailure=yes -L 0:127.0.0.1:"$port" -N pod-store -o ConnectTimeout=5
    [[ $status != 0 ]]
    run timeout 20 ssh -s pod-store sftp </dev/null
    [[ $status != 0 || $output != *sftp* ]]
    forced --read
    run -77 ep-store blob "${place[@]}" <blob
    forced --append
    run -77 ep-fetch list "${place[@]}"
    # With --below, what a whole machine has.
    dunesea ssh-key --dir "$far" --append --read --below pod <id.pub >authorized_keys
    ep-store blob "$store" --domain home.pod <blob >receipt
    run -77 ep-store blob "$store" --domain epod <blob
}

@test "what is no key, and what no line may have, is refused" {
    refuses 64 "give --append, --read, --prune" dunesea ssh-key pod <id.pub
    refuses 65 "not one public key" dunesea ssh-key --read pod <id
    refuses 65 "not one public key" dunesea ssh-key --read pod </dev/null
    cat id.pub id.pub | refuses 65 "not one public key" dunesea ssh-key --read pod
    sed 's/^/command="sh" /' id.pub | refuses 65 "not one public key" dunesea ssh-key --read pod
    refuses 64 "not a valid domain" dunesea ssh-key --read 'pod" ' <id.pub
    for dir in 'a"b' '/a b' '/a"' '/a$(id)' "/a'" relative '/a;id'; do
        refuses 64 "not a directory that authorized_keys can have" dunesea ssh-key --dir "$dir" --read pod <id.pub
    done
    for url in ssh: ssh:/x ssh://host ssh:///x ssh://-oProxyCommand=id/x ssh://-u@host/x ssh://a@b@c/x 'ssh://h;id/x' ssh://host:0/x; do
        refuses 64 "a store is" ep-fetch list "$url" --domain pod
    done
    for words in "--domain pod" "--rights append"; do
        # shellcheck disable=SC2086
        refuses 64 "are for --stdio" dunesea serve --dir far $words
    done
    refuses 64 "not rights" dunesea serve --stdio --dir far --rights all </dev/null
}

@test "what is wrong with the way there is said, in words that are true" {
    : >authorized_keys
    refuses 77 "Permission denied (publickey" timeout 60 ep-fetch list "${place[@]}" --patience 4
    plain
    echo "[127.0.0.1]:$port $(<id.pub)" >known_hosts
    refuses 69 "verification failed" timeout 60 ep-fetch list "${place[@]}" --patience 4
    echo "[127.0.0.1]:$port $(<host_key.pub)" >known_hosts
    rm farbin/dunesea
    refuses 69 "no dunesea on the far end" timeout 60 ep-fetch list "${place[@]}" --patience 4
    ln -s "$(command -v dunesea)" farbin/
    refuses 74 "the far end says: cannot open: no such file or directory: " timeout 60 ep-fetch list "ssh://root@pod-store$PWD/nowhere" --domain pod
    refuses 10 "no backup of pod" timeout 60 ep-fetch last "${place[@]}"
    # A path is a word, whatever is in it.
    mkdir "a b'c;id"
    refuses 10 "no backup of pod" timeout 60 ep-fetch last "ssh://root@pod-store$PWD/a b'c;id" --domain pod
    # A listener has the directory.
    DUNESEA_DIR=$far start_dunesea
    refuses 75 "another dunesea serves this directory" timeout 60 ep-fetch last "${place[@]}" --patience 3
    stop_dunesea
    kill "$sshd" && wait "$sshd" || :
    refuses 69 "Connection refused" timeout 60 ep-fetch last "${place[@]}" --patience 3
    PATH=/usr/bin/nowhere refuses 69 "no such program: ssh" "$(command -v ep-fetch)" last "${place[@]}"
}

@test "a connection that breaks, again and again, is made anew, and the transfer goes on" {
    plain
    head -c 60M /dev/urandom | ep-seal --key pod.key >blob
    ep-store blob "${place[@]}" --patience 8 <blob >receipt 2>err 3>&- &
    local storing=$! breaks
    for breaks in 0 1 2 3; do
        eventually any_session
        sleep 0.2
        # The far end stands still; it dies; the near one's ssh; the far sshd's process for it.
        case $breaks in
        0)
            pkill -STOP -f "dunesea serve --stdio --dir $far"
            eventually grep -q "no data for 2 s" err
            pkill -CONT -f "dunesea serve --stdio --dir $far"
            ;;
        1) pkill -KILL -f "dunesea serve --stdio --dir $far" || : ;;
        2) pkill -KILL -P "$storing" || : ;;
        3) pkill -KILL -P "$sshd" || : ;;
        esac
        sleep 0.3
    done
    wait "$storing"
    [[ $(jq -r .sha256 receipt) = "$(sha256sum <blob | cut -c 1-64)" ]]
    ep-fetch blob "${place[@]}" "$(jq -r .sha256 receipt)" | cmp - blob
    eventually none_left
    [[ -z $(ls far/dunesea/uploads/pod) ]]
}
any_session() { [[ $(sessions) != 0 ]] || ! kill -0 "$storing" 2>/dev/null; }

@test "killed in mid-upload, the client leaves no process, and nothing that is half there" {
    plain
    mkfifo feed
    ep-store blob "${place[@]}" <feed >receipt 2>err 3>&- &
    local pid=$!
    { head -c 20M /dev/urandom | ep-seal --key pod.key | head -c 15000000 && sleep 100; } >feed 3>&- &
    eventually partly_there
    kill -KILL "$pid"
    eventually none_left
    [[ -z $(ls far/escapepod/pod/blobs) ]]
    eventually no_ssh
}
partly_there() { [[ -n $(find far/dunesea/uploads -type f -size +4M 2>/dev/null) ]]; }
no_ssh() { ! pgrep -f "ssh .*-F $BATS_TEST_TMPDIR" >/dev/null; }

@test "of many clients at once that race for a head, one wins, and each sees the others' work" {
    plain
    shared
    local n head=none won=0 waiting=()
    for n in 1 2 3 4; do
        ep-seal --key pod.key <<<"$n" >"blob$n"
        ep-seal --kind metadata --key pod.key <<<"$n" >"meta$n"
        ep-store blob "${place[@]}" <"blob$n" >/dev/null
    done
    for n in 1 2 3 4; do
        ep-store metadata "${place[@]}" --blob "$(sha256sum <"blob$n" | cut -c 1-64)" --follows none --parent none \
            <"meta$n" >"out$n" 2>&1 3>&- &
        waiting+=("$!")
    done
    for n in 0 1 2 3; do
        status=0
        wait "${waiting[n]}" || status=$?
        ((status == 75 || status == 0)) || { cat "out$((n + 1))" && return 1; }
        won=$((won + (status == 0)))
    done
    ((won == 1))
    [[ $(ep-fetch list "${place[@]}" | wc -l) = 1 && $(ls far/escapepod/pod/metadata | wc -l) = 1 ]]
}
