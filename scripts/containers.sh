#!/usr/bin/env bash
# Builds the image and uses it as docs/install.md says: the demonstration, a small training, an answer, the server; with a GPU, the
# image for GPUs too. Needs Docker with BuildKit, or podman (DOCKER=podman), and curl. Only the build needs a network. Stops at the
# first failure. Removes its containers, its volume and its folder; the images stay. IMAGE names the image, DOCKER another engine.
set -euo pipefail
cd "$(dirname "$0")/.."

docker=${DOCKER:-docker}
image=${IMAGE:-manyheads}
name="manyheads-check-$$" # of the one container that runs, and of the volume for models
ready_s=${READY_S:-120}
text="My Larkfield Hub was delivered on Tuesday and does not switch on."
work=$(mktemp -d)
doing="preparing"

finish() {
  local status=$?
  "$docker" rm --force --volumes "$name" >/dev/null 2>&1 || true
  "$docker" volume rm --force "$name" >/dev/null 2>&1 || true
  rm -rf "$work"
  [ "$status" = 0 ] || echo "containers.sh: stopped while $doing (exit status $status)" >&2
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() {
  doing=$1
  echo "== $1"
}

stop() {
  echo "containers.sh: $1" >&2
  exit 1
}

run() {
  "$docker" run --rm --name "$name" "$@"
}

# Without a network, with nothing to write to but the folders of the image and /tmp.
run_alone() {
  run --network none --read-only --tmpfs /tmp --volume "$work:/data:ro,z" --volume "$name:/models" "$@"
}

expect() { # expect WHAT FILE: the output in FILE has the text WHAT
  grep -qF -- "$1" "$2" || stop "the output of $doing has no $1: $(tail -n 5 "$2")"
}

wait_until_ready() {
  local deadline=$((SECONDS + ready_s))
  until curl --silent --fail --output /dev/null --max-time 5 "http://$1/health/ready"; do
    if [ "$SECONDS" -ge "$deadline" ] || [ "$("$docker" inspect --format '{{.State.Running}}' "$name")" != true ]; then
      "$docker" logs --tail 20 "$name" >&2 || true
      stop "the server was not ready after $ready_s s, or ended; its log is above"
    fi
    sleep 1
  done
}

command -v "$docker" >/dev/null || stop "there is no $docker; install Docker, or set DOCKER to another engine"
command -v curl >/dev/null || stop "there is no curl; install it, the server is asked with it"
"$docker" info >/dev/null 2>&1 || stop "$docker has no engine to talk to; start it, or give this user access (docker info says more)"

mkdir "$work/support"
cp src/manyheads/init/projects/support/* "$work/support"
cat >"$work/run.yaml" <<'END'
encoder: {name: all-MiniLM-L6-v2}
tasks:
  mentions:
    type: token-classification
    data: {train: support/mentions-train.jsonl, validation: support/mentions-validation.jsonl}
  tickets:
    type: text-classification
    data:
      train: {path: support/tickets-train.csv, columns: {label: topic}}
      validation: {path: support/tickets-validation.csv, columns: {label: topic}}
training: {steps: 20, seed: 0}
END
chmod -R a+rX "$work" # the container's user is another one

step "building the image for CPUs"
"$docker" build --target cpu --tag "$image" .

step "checking the user"
[ "$(run --entrypoint id "$image" -u)" = 10001 ] || stop "the container does not run as user 10001"

step "running the demonstration without a network"
run --network none "$image" demo | tee "$work/demo.txt"
expect "Scores with intervals" "$work/demo.txt"

step "training without a network"
run_alone "$image" train /data/run.yaml --output /models/support

step "answering without a network"
run_alone "$image" predict /models/support "$text" | tee "$work/answer.txt"
expect '"tickets"' "$work/answer.txt"

step "serving"
"$docker" run --detach --name "$name" --publish 127.0.0.1::8000 --volume "$name:/models:ro" "$image" \
  serve /models/support --host 0.0.0.0 >/dev/null
address=$("$docker" port "$name" 8000/tcp | head -n 1)
wait_until_ready "$address"
curl --silent --show-error --fail --max-time 60 "http://$address/v1/predict" --header "Content-Type: application/json" \
  --data "{\"inputs\": [{\"text\": \"$text\"}]}" | tee "$work/served.txt"
echo
expect '"tickets"' "$work/served.txt"
"$docker" stop -t 100 "$name" >/dev/null
status=$("$docker" inspect --format '{{.State.ExitCode}}' "$name")
[ "$status" = 0 ] || stop "the server ended with status $status when it was told to stop"
"$docker" rm --volumes "$name" >/dev/null

if ! nvidia-smi >/dev/null 2>&1; then
  echo "== no GPU (nvidia-smi): the image for GPUs was not tried"
  echo "all steps for CPUs passed"
  exit 0
fi

step "building the image for GPUs"
"$docker" build --target cuda --tag "$image:cuda" .

step "training on a GPU without a network"
run_alone --gpus all "$image:cuda" train /data/run.yaml --output /models/gpu --set training.device=cuda

step "answering on a GPU without a network"
run_alone --gpus all "$image:cuda" predict /models/gpu "$text" --device cuda | tee "$work/answer-gpu.txt"
expect '"tickets"' "$work/answer-gpu.txt"
echo "all steps passed"
