#!/bin/sh
# Installs what the tests need beside Python's packages: Chromium for the pages, PostgreSQL for the shared server.
set -eu
missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing:$missing; install them with this system's package manager" >&2
    exit 1
fi
root=""
[ "$(id -u)" -eq 0 ] || root="sudo"
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
$root apt-get update -qq >/dev/null
# shellcheck disable=SC2086  # one word per package
$root apt-get install -y -qq --no-install-recommends $missing >/dev/null
