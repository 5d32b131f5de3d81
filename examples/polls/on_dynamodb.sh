#!/usr/bin/env bash
# The demo, ordered by the DynamoDB Local that tests/dynamodb/local.py runs beside it. That one forgets its tables when it ends, and a
# database without its head is lost: so this one is made new each time.
set -euo pipefail
: "${SEAWALL_DYNAMODB_ENDPOINT:?there is no DynamoDB Local: it needs Java and Maven}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
coordinator="dynamodb://polls?region=us-east-1&endpoint=$SEAWALL_DYNAMODB_ENDPOINT"
seawall init --coordinator "$coordinator" --create-table > "$folder/policy.json"
seawall doctor "$folder/db.sqlite3" --coordinator "$coordinator"
python examples/polls/demo.py --database "$folder/db.sqlite3" --coordinator "$coordinator" "$@"
