#!/bin/sh
# Writes the profiles and what `go tool pprof -top` prints of them, anew. Needs Go 1.26.
# The tests name figures of the committed profiles: look at them after a run.
set -eu
cd "$(dirname "$0")"
data=$PWD
(cd leaky && go build -trimpath -o /tmp/shop . && /tmp/shop "$data")
mkdir -p top
rm -f top/*.txt
for row in \
    heap_before.inuse_space heap_after.inuse_space heap_after.inuse_objects \
    heap_after.alloc_space heap_after.alloc_objects \
    goroutine_before.goroutine goroutine_after.goroutine cpu.cpu cpu.samples
do
    TZ=UTC go tool pprof -symbolize=none -top -sample_index="${row#*.}" "${row%%.*}.pb.gz" \
        >"top/$row.txt" 2>/dev/null
done
