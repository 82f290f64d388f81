#!/usr/bin/env bash
# Renders the chart with each file of values in charts/tests and compares with what is kept
# beside it. `UPDATE_GOLDEN=1` writes the latter anew; read the difference before committing.
set -euo pipefail
cd "$(dirname "$0")"

outcome=0
for values in tests/*.values.yaml; do
    kept=${values%.values.yaml}.golden.yaml
    # Certificates are made anew each time.
    rendered=$(helm template tidegate tidegate --namespace tidegate-system --kube-version 1.34.0 \
        --api-versions gateway.networking.k8s.io/v1/HTTPRoute --values "$values" |
        sed -E 's/^(  (ca\.crt|tls\.crt|tls\.key): ).+/\1(made)/')
    if [ -n "${UPDATE_GOLDEN:-}" ]; then
        printf '%s\n' "$rendered" >"$kept"
    elif ! diff --unified "$kept" <(printf '%s\n' "$rendered"); then
        echo "charts/$values renders differently; UPDATE_GOLDEN=1 charts/golden.sh accepts it" >&2
        outcome=1
    fi
done

# What must be refused.
refuse() { # what, then arguments of helm
    local what=$1 said
    shift
    if said=$(helm template tidegate tidegate --kube-version 1.34.0 "$@" 2>&1); then
        echo "helm takes $what" >&2
        outcome=1
    fi
}
api=(--api-versions gateway.networking.k8s.io/v1/HTTPRoute)
refuse "a cluster without the Gateway API"
refuse "a value that is misspelt" "${api[@]}" --set controlplane.replica=3
refuse "a port that is none" "${api[@]}" --set 'gateway.listeners[0].name=a,gateway.listeners[0].protocol=HTTP,gateway.listeners[0].port=0'
exit "$outcome"
