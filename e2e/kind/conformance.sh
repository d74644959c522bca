#!/bin/bash
# Runs upstream's tests about Services, by the names in tests.txt:
#
#     conformance.sh             runs them, with hydrophone, from the conformance image of the cluster's version
#     conformance.sh --focus     prints the regular expression, for `e2e.test --ginkgo.focus` or `sonobuoy run --e2e-focus`
#
# Needs Docker and the network, and was not run where it was written: see README.md.
set -euo pipefail
here=$(readlink -f "$(dirname "$0")")

# Names hold brackets and dots, which stand for themselves.
focus() {
    sed -n 's/^[^#].* = //p' "$here/tests.txt" | sed 's/[][().*^$?+{}|\\]/\\&/g' | paste --serial --delimiters='|'
}

if [ "${1:-}" = --focus ]; then
    focus
    exit
fi
# shellcheck source=e2e/kind/common.sh
source "$here/common.sh"
mkdir -p "$work/results"
hydrophone --kubeconfig "$KUBECONFIG" --output-dir "$work/results" --focus "$(focus)"
# One that no test of this version is named as is not run, and nobody says so.
wanted=$(sed -n 's/^[^#].* = //p' "$here/tests.txt" | wc -l)
say "wanted at least $wanted tests; compare with the number of those run, above"
