# What every command uses: what a run says, what it is told, what it makes and takes away again.

# --- What it says ----------------------------------------------------------------------------------------------------

# say LINE…: each on one line of standard output, as a terminal may show it, whoever wrote it; the run ends where they do not
# get there.
say() { (($# == 0)) || show "$@" || exit; }

# show LINE…: the same. Where all of them are plain that needs no tool, unless they do not get there: it has the words for that.
show() {
    local LC_ALL=C
    { [[ $* != *[^\ -~]* ]] && printf '%s\n' "$@" 2>/dev/null; } || printf '%s\0' "$@" | ep-meta printable --null
}

# complain WHAT [HINT]
complain() {
    local LC_ALL=C
    set -- "escapepod: $1" ${2:+"escapepod: hint: $2"}
    show "$@" >&2 2>/dev/null || printf '%s\n' "${@//[^ -~]/?}" >&2 2>/dev/null || :
}

# fail STATUS WHAT [HINT]
fail() { complain "${@:2}" && exit "$1"; }

# warn WHAT [HINT]: the run goes on; where all else is well, it ends in 3.
warn() { complain "warning: $1" "${@:2}" && warnings+=("$1"); }
# Where a tool has warned, too, the second is not empty.
warnings=() needs_attention=''

# --- What it is told --------------------------------------------------------------------------------------------------

# What the command line and the configuration say, by the name of the option.
declare -A setting=()

# Finds that out, and what follows from it.
learn() {
    local line name
    # Of a whole system: its subvolumes, each as LABEL PATH. For the tools: where the backups are; where a passphrase comes from;
    # which backup is wanted; of what report; which parts of a system do not come back, on which disk it does, and why that may
    # be overwritten; how a backup is sealed, when a chain is cut short, and what a store keeps.
    setting=() members=() place=() passphrase=() chosen=() report=() left_out=() layout=() overwrite=() sealing=() planning=() retaining=()
    ask settings ep-config "$@"
    while IFS= read -r -d '' line; do
        name=${line%%=*}
        if [[ $name = *+ ]]; then
            local -n list=${name%+}
            list+=("${line#*=}")
        else
            setting[$name]=${line#*=}
        fi
    done <"$work/settings"
    volume=${setting[volume]-} store=${setting[store]} domain=${setting[domain]} key=${setting[key]}
    # Of this store: the name of the folder of its snapshots in the volume; what this machine knows of it, and there the document
    # that it committed last, which the store has to show, or one made on it.
    folder_name=${setting[folder]} state=${setting[state]} witness=$state/witness.json
}

# turn_to NAME ARGUMENT…: what the run is told from here on, and a folder of that name to work in.
turn_to() {
    work=$all_work/$1
    mkdir -p -- "$work"
    learn "${@:2}"
}

# each_member ARGUMENT…: the same command, for each subvolume of a system. Sets of_members, the worst of their statuses.
each_member() {
    local member status
    for member in "${members[@]}"; do
        status=0
        "$here/escapepod" "$@" --member "${member%% *}" || status=$?
        ((status == 0 || of_members != 0 && (of_members != 3 || status == 3))) || of_members=$status
    done
}
of_members=0

# --- What a run makes, and takes away again --------------------------------------------------------------------------

# The folder for what the tools hand to one another, and the one that all such folders of the run lie in.
work='' all_work=''

# Commands that take away what a run has made, each with the status that the run ends in; the last one first.
cleanups=()

# Makes that folder, and removes those of runs that were killed; in memory where there is such a place, since some is cleartext.
make_work() {
    local folder=${TMPDIR:-/tmp}
    [[ ! -w /run || -n ${TMPDIR-} ]] || folder=/run
    # Its name is known before it is there: a signal can come at any moment.
    printf -v work '%s/escapepod.%d.%08x' "$folder" $$ "$SRANDOM"
    ep-meta work "$work" || { folder=$? work='' && exit "$folder"; }
    all_work=$work
}

on_exit() {
    # Where a fork has failed, bash fails with the first command behind it, too.
    local status=$? index signal || :
    trap '' INT TERM HUP
    for ((index = ${#cleanups[@]} - 1; index >= 0; index--)); do "${cleanups[index]}" "$status" || :; done
    # A signal may be meant for this very process.
    work=${all_work:-$work}
    [[ -z $work ]] || rm -rf --one-file-system -- "$work" || rm -rf --one-file-system -- "$work" || :
    [[ $status != 0 || (${#warnings[@]} -eq 0 && -z $needs_attention) ]] || status=3
    case $status in 0 | 3 | 10 | 64 | 65 | 69 | 70 | 74 | 75 | 77 | 129 | 130 | 143) exit "$status" ;; esac
    # A status that the table does not have; a tool that a signal ended had no last word.
    if ((status > 128)) && signal=$(kill -l "$status" 2>/dev/null); then
        complain "a tool was ended by SIG$signal" "run the same command again; it continues from where it stopped"
    else
        complain "a tool failed with status $status" \
            "its own message says why; once that is fixed, run the same command again: it continues from where it stopped"
    fi
    exit 74
}
trap on_exit EXIT

# interrupted STATUS: by a signal, which may have come between two stages of a pipeline. bash then waits for the stage in front
# before it does anything else, and that one for ever, as bash holds the other end: so the first command closes it.
interrupted() {
    exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&- || :
    exit "$1"
}
trap 'interrupted 129' HUP
trap 'interrupted 130' INT
trap 'interrupted 143' TERM

# bash runs it in place of a program that is not there.
command_not_found_handle() {
    printf 'escapepod: %s\n' "no such program: $1" "hint: install it, or make sure that PATH finds it" >&2 2>/dev/null || :
    return 69
}

# ask FILE TOOL ARGUMENT…: puts into $work/FILE what the tool says; silence is no success.
ask() {
    local status=0
    "${@:2}" >"$work/$1" || status=$?
    attended "$status" || return
    owed "$2" "$work/$1"
}

# tell TOOL ARGUMENT…: the same, to people. Where a record is wanted, they get nothing else.
tell() {
    local status=0
    ask told "$@" || status=$?
    [[ -n ${setting[json]-} ]] || ep-meta printable <"$work/told"
    return "$status"
}

# owed TOOL FILE: what a tool that ended well has to have written.
owed() {
    [[ -s $2 ]] || fail 70 "$1 reported success without any output" \
        "check that it is the tool of this escapepod; its result is not trusted"
}

# attended STATUS: where a tool ended in 3, it has warned, and so does the run.
attended() {
    (($1 == 0 || $1 == 3)) || return "$1"
    (($1 == 0)) || needs_attention=1
}

# lock FOLDER [--own]: one run at a time works on it. The lock goes with the last process of the run, whatever ends it.
lock() {
    local file held
    ask lock ep-meta lock "$@"
    IFS= read -r file <"$work/lock"
    exec {held}>>"$file"
    flock -n "$held" || fail 75 "another run is in progress: $1: $(<"$file")" "run it again when that one is done"
    echo "process $$, escapepod ${setting[command]}" >"$file"
}
