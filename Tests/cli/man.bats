#!/usr/bin/env bats
# The man pages against the commands: what --help shows is in the page, and the other way round.

load helper
load dunesea

setup() {
    cd "$EP_REPO/man" || exit
    work=$BATS_TEST_TMPDIR
}

# The pages of commands that are here: those of the tools, those of bin/, and the server's. The command line of ep-config is
# that of escapepod.
commands() {
    local page
    for page in *.[18]; do
        [[ $page = ep-config.1 || ! -x $(command -v "${page%.?}") ]] || echo "$page"
    done
}

# helps COMMAND: its --help and that of every subcommand below it in $work/help, the subcommands in $work/subcommands.
helps() {
    rm -f "$work/help" "$work/subcommands"
    touch "$work/subcommands"
    gather "$1"
}

# gather COMMAND [SUBCOMMAND…]: of this one and those below it.
gather() {
    local subcommand text
    text=$(timeout 10 "$@" --help </dev/null)
    echo "$text" >>"$work/help"
    while read -r subcommand; do
        echo "${*:2} $subcommand" | sed 's/^ //' >>"$work/subcommands"
        gather "$@" "$subcommand"
    done < <(awk '/^SUBCOMMANDS:/ { listed = 1 } listed && /^  [a-z]/ { print $1 }' <<<"$text")
}

# The long options that the help offers, not those that its words mention: `  -h, --help  What it does.`
offered() {
    sed -nE 's/^  (-.*)/\1/p' "$work/help" | sed 's/   *.*//' | grep -oE -- '--[a-z][a-z0-9-]*' | sort -u
}

# documented PAGE [It]: the long options on a command's page, or those that its lists describe. A line that names another
# command is about that one's.
documented() {
    awk -v tool="${1%.?}" -v macro="${2-}" '$0 ~ "^\\." macro {
        flag = 0
        for (i = 1; i <= NF; i++) {
            if ($i ~ /^\.?(Nm|Xr)$/ && $(i + 1) ~ /^[a-z]/ && $(i + 1) != tool) break
            if ($i ~ /^\.?[A-Z][a-z]$/) flag = $i ~ /Fl$/
            else if (flag && $i ~ /^-[a-z]/) print "-" $i
        }
    }' "$1" | sort -u
}

# statuses PAGE: those that its EXIT STATUS lists.
statuses() {
    awk '/^\.Sh/ { listed = $0 == ".Sh EXIT STATUS" } listed && /^\.It [0-9]+$/ { print $2 }' "$1" | sort
}

# What a test has found wrong is in $work/wrong: this shows it, and ends the test.
nothing_wrong() {
    cat "$work/wrong"
    [[ ! -s $work/wrong ]]
}

@test "every tool has a page, with its exit statuses and examples" {
    local tool section
    for tool in "${EP_BIN:-$EP_REPO/.build/debug}"/ep-*; do
        [[ -f $tool && -x $tool ]] || continue
        for section in 'EXIT STATUS' EXAMPLES; do
            grep -qsx ".Sh $section" "${tool##*/}.1" || echo "no $section: ${tool##*/}.1"
        done
    done >"$work/wrong"
    nothing_wrong
}

@test "the options of --help and of the page are the same" {
    local page tool
    commands >"$work/commands"
    grep -qx ep-seal.1 "$work/commands"
    grep -qx dunesea.8 "$work/commands"
    while read -r page; do
        tool=${page%.?}
        helps "$tool"
        offered >"$work/offered"
        documented "$page" It >"$work/described"
        documented "$page" >"$work/named"
        grep -qx -- --help "$work/offered"
        diff -u --label "$tool --help" --label "$page" "$work/offered" "$work/described" || :
        comm -13 "$work/offered" "$work/named" | sed "s/^/$page names /"
    done <"$work/commands" >"$work/wrong"
    nothing_wrong
}

@test "the subcommands of --help are in the page" {
    local page subcommand
    for page in $(commands); do
        helps "${page%.?}"
        while read -r subcommand; do
            grep -qE "^\.(It )?Cm $subcommand( |\$)" "$page" || echo "no $subcommand: $page"
        done <"$work/subcommands"
    done >"$work/wrong"
    nothing_wrong
}

@test "mandoc has nothing to say" {
    run -0 mandoc -T lint -W warning ./*.[1-9]
    [[ $output == "" ]]
}

@test "every exit status that a page lists is in the table of escapepod(7)" {
    local page
    statuses escapepod.7 >"$work/table"
    [[ $(tr '\n' ' ' <"$work/table") == '0 10 3 64 65 69 70 74 75 77 ' ]]
    for page in *.[18]; do
        statuses "$page" >"$work/listed"
        [[ -s $work/listed ]] || echo "none: $page"
        comm -13 "$work/table" "$work/listed" | sed "s/^/$page: /"
    done >"$work/wrong"
    nothing_wrong
}

@test "every page of ours that a page refers to is there" {
    local page section
    while read -r page section; do
        [[ -e $page.$section ]] || echo "no $page.$section"
    done < <(grep -hE '^\.Xr (ep-|escapepod|dunesea)' ./*.[1-9] | cut -d' ' -f2,3 | sort -u) >"$work/wrong"
    nothing_wrong
}

@test "the page has the SHA-256 of the program that opens a store" {
    local sum
    sum=$(sha256sum <../contrib/escapepod-open)
    [[ $(grep -cx "\.Dl ${sum%% *}" escapepod-security.7) = 1 ]]
}
