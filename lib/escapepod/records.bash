# Records of what was proven: JSON on one line, with a MAC under the key.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

now() {
    date -u +%Y-%m-%dT%H:%M:%SZ
}

# json TEXT: as a JSON string.
json() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    printf '"%s"' "${text//[[:cntrl:]]/?}"
}

# sign RECORD: the same with the MAC as its last member.
sign() {
    local mac
    mac=$(printf %s "$1" | ep-key mac "$key") || return
    [[ $mac =~ ^[0-9a-f]{64}$ ]] || owes ep-key
    printf '%s,"mac":"%s"}\n' "${1%\}}" "$mac"
}

# Sets record to what is in FILE of this machine's state, empty where there is nothing; 65 where the MAC is wrong.
recall() {
    local file line
    file=$(state)/$1
    record=''
    [[ -e $file ]] || return 0
    line=$(<"$file")
    [[ $line =~ ^(.*),\"mac\":\"([0-9a-f]{64})\"\}$ ]] || return 65
    printf '%s}' "${BASH_REMATCH[1]}" | ep-key mac "$key" --check "${BASH_REMATCH[2]}" 2>/dev/null || return 65
    record=$line
}
record=''

# member NAME: the number, or the string without escapes, that the record has under that name; empty where it has none.
member() {
    [[ $record =~ \"$1\":(\"([^\"]*)\"|([0-9]+)) ]] || return 0
    echo "${BASH_REMATCH[2]}${BASH_REMATCH[3]}"
}
