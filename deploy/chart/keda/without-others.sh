#!/bin/sh
# Runs a go command with a copy of KEDA that has no other scaler than that of NATS JetStream.
# The copy's files are KEDA's own, unchanged. It ends with the command.
set -e
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
"$1" mod download github.com/kedacore/keda/v2
cp -R "$("$1" list -m -f '{{.Dir}}' github.com/kedacore/keda/v2)" "$copy/keda"
chmod -R u+w "$copy/keda"
find "$copy/keda/pkg/scalers" -maxdepth 1 -name '*.go' ! -name nats_jetstream_scaler.go ! -name scaler.go -exec rm {} +
cp go.mod "$copy/go.mod"
cp go.sum "$copy/go.sum"
echo "replace github.com/kedacore/keda/v2 => $copy/keda" >> "$copy/go.mod"
GOFLAGS="$GOFLAGS -mod=mod -modfile=$copy/go.mod" "$@"
