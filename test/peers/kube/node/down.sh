#!/bin/bash
# Stops the node. With process 1 of its namespaces all processes, mounts, interfaces and rules go; then its cgroups and
# files are removed. KEEP_LOGS=DIR keeps the logs.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/env.sh"
if alive; then
  p=$(cat "$state/init.pid")
  kill -KILL "$p"
  for _ in $(seq 100); do [ -d "/proc/$p" ] || break; sleep 0.1; done
fi
for d in "/sys/fs/cgroup/$cgroup" /sys/fs/cgroup/*/"$cgroup"; do
  [ ! -d "$d" ] || find "$d" -depth -type d -exec rmdir {} + 2>/dev/null || true
done
if [ -n "${KEEP_LOGS:-}" ] && [ -d "$log" ]; then mkdir -p "$KEEP_LOGS" && cp -r "$log/." "$KEEP_LOGS/"; fi
rm -rf "$state"
