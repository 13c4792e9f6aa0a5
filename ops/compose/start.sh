#!/bin/sh
# Writes .env with new secrets, if there is none, and starts everything. Arguments go to `docker compose up`.
set -eu
cd "$(dirname "$0")"

secret() {
  od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

if [ ! -e .env ]; then
  umask 077
  cat > .env.new <<EOF
# Secrets of compose.yaml, made by start.sh. RabbitMQ, the S3 server and Grafana take theirs at their first start: to
# change one later, change it there too.
RABBITMQ_COOKIE=$(secret)
RABBITMQ_PASSWORD=$(secret)
S3_SECRET=$(secret)
GRAFANA_PASSWORD=$(secret)
# Keys that clients send: name=key, separated by commas.
WRITE_KEYS=web:browser=$(secret),backend=$(secret)
EOF
  mv .env.new .env
  echo 'Wrote .env with new secrets.'
fi

# COMPOSE='podman compose' uses podman.
exec ${COMPOSE:-docker compose} up --build --detach --wait "$@"
