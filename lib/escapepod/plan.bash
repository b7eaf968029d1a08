# What the next backup will be.
# shellcheck shell=bash disable=SC2034,SC2154 # what the parts share stands in bin/escapepod

PLAN_TYPE='' PLAN_REASON='' PLAN_WARNING='' PLAN_GENERATION='' PLAN_FOLLOWS='' PLAN_HEAD_TYPE='' PLAN_PARENT_SLOT='' PLAN_PARENT_PATH=''

# Sets PLAN_…
plan() {
    ep-snap list "$volume" --store "$(store_name)" --json >"$work/snapshots"
    owed ep-snap "$work/snapshots"
    plan_on "$work/head"
    [[ $PLAN_WARNING = fork:* ]] || return 0
    # Or it is no fork, and the witness is just further back than by one: the documents in between tell.
    fetch_line
    [[ ! -s $work/line ]] || plan_on "$work/line"
}

plan_on() {
    local assignments options=(--domain "$domain" --snapshots "$work/snapshots" --witness "$(witness)")
    ep-plan "${options[@]}" <"$1" >"$work/plan"
    owed ep-plan "$work/plan"
    assignments=$(ep-plan "${options[@]}" --format sh <"$1")
    [[ $assignments = *PLAN_TYPE=* ]] || owes ep-plan
    eval "$assignments"
}

# Says what is wrong with the store, if anything.
heed_plan() {
    [[ -z $PLAN_WARNING ]] ||
        warn "$PLAN_WARNING" "an old copy of the store, or somebody changed it; escapepod-security(7) says what to do"
}
