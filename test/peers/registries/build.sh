#!/usr/bin/env bash
# Builds the registries that the tests of this folder and of test/mesh run, into the folder $1, unless they are there: a Consul
# agent from its Go module, about seven minutes of CPU the first time, and with Maven a Eureka server and a client of it.
#
# Consul 1.14 is the last one under an open-source licence (MPL 2.0): from August 2023 on releases are under the Business Source License.
# It is a peer of tests, built when they run: no line of it is in Weft.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")"

if [ ! -x "$out/consul" ]; then
  echo "building consul into $out" >&2
  (cd consul && CGO_ENABLED=0 nice go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$out/consul.part" github.com/hashicorp/consul)
  mv "$out/consul.part" "$out/consul"
fi
if [ ! -e "$out/eureka/built" ] && command -v mvn >/dev/null; then
  echo "building eureka into $out" >&2
  rm -rf "$out/eureka"
  cp -r eureka "$out/eureka"
  nice mvn -q -B -f "$out/eureka/pom.xml" package
  touch "$out/eureka/built"
fi
chmod -R a+rX "$out"
