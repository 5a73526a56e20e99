#!/bin/sh
# Make the secrets that compose.yaml mounts, those that are not there yet. The key is the emulator's: for the real
# gateway write your own into secrets/smspilot_key. In the containers user 1000 reads them.
set -eu
umask 077
mkdir -p "$(dirname "$0")/secrets"
cd "$(dirname "$0")/secrets"
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
write() { [ -s "$1" ] || printf '%s\n' "$2" >"$1"; }
write smspilot_key "$(random)"
write database_password "$(random)"
write pgpass "database:5432:sms:sms:$(cat database_password)"
write page_users "admin approve $(random)"
if [ "$(id -u)" = 0 ]; then
    chown 1000:1000 ./*
elif [ "$(id -u)" != 1000 ]; then
    echo "the containers' user cannot read the secrets yet: sudo chown 1000:1000 $PWD/*" >&2
fi
