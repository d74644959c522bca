#!/bin/bash
# Runs upstream's tests about Services, by the names in tests.txt:
#
#     conformance.sh             runs them, with hydrophone, from the conformance image of the cluster's version, and fails unless
#                                each has run and passed
#     conformance.sh --focus     prints the regular expression, for `e2e.test --ginkgo.focus` or `sonobuoy run --e2e-focus`
#
# Needs Docker and the network, and was not run where it was written: see README.md.
set -euo pipefail
here=$(readlink -f "$(dirname "$0")")

wanted() {
    sed -n 's/^[^#].* = //p' "$here/tests.txt"
}

# Names hold brackets and dots, which stand for themselves.
focus() {
    wanted | sed 's/[][().*^$?+{}|\\]/\\&/g' | paste --serial --delimiters='|'
}

if [ "${1:-}" = --focus ]; then
    focus
    exit
fi
# shellcheck source=e2e/kind/common.sh
source "$here/common.sh"

# Names of tests that the report says have passed. It has all tests there are: those that were not chosen were skipped.
passed() {
    awk 'BEGIN { RS = "<testcase " }
        NR > 1 && !/<(skipped|failure|error)/ && match($0, /^name="[^"]*"/) { print substr($0, 7, RLENGTH - 7) }' "$1"
}

# What an earlier run has left says nothing of this one.
rm -rf "$work/results"
mkdir "$work/results"
hydrophone --kubeconfig "$KUBECONFIG" --output-dir "$work/results" --focus "$(focus)"
[ -s "$work/results/junit_01.xml" ] || fail "hydrophone has left no junit_01.xml in $work/results"
passed "$work/results/junit_01.xml" >"$work/passed"
# One that no test of this version is named as is not run, and nobody else says so.
missing=$(wanted | while read -r name; do
    grep --quiet --fixed-strings --regexp="$name" "$work/passed" || printf '\n%s' "$name"
done)
[ -z "$missing" ] || fail "these have not run, or not passed:$missing"
say "all $(wanted | wc -l) have run and passed"
