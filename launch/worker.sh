#!/usr/bin/env bash
# Runs a job on a worker of a TPU VM; launch/tpu calls it on every one.
#
#   worker.sh setup [BUCKET]      Python, mlit, and BUCKET at ~/bucket
#   worker.sh start COMMAND...    in the background; outlives the connection
#   worker.sh status              idle | running | died | finished with STATUS
#   worker.sh idle                1 if a job is running
#   worker.sh stop                asks it to save and end (SIGTERM)
#   worker.sh logs [--follow]
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
job=$HOME/mlit-job
venv=$HOME/mlit-venv

running() {
  [[ -f $job/pid && ! -f $job/status ]] || return
  # After a reboot the number may be another process's.
  grep -qzxF mlit-job "/proc/$(<"$job/pid")/cmdline" 2>/dev/null
}

setup() {
  local bucket=${1:-}
  # The images' own Python is too old.
  python3 -m pip install --quiet --user uv
  local uv=$HOME/.local/bin/uv
  [[ -x $venv/bin/python ]] || "$uv" venv --quiet --python 3.12 "$venv"
  "$uv" pip install --quiet --python "$venv/bin/python" \
    --constraint "$tree/constraints/latest.txt" --editable "${tree}[tpu]"
  [[ $bucket ]] || return 0
  if ! command -v gcsfuse >/dev/null; then
    # shellcheck disable=SC1091  # every image has it
    . /etc/os-release
    echo "deb [signed-by=/usr/share/keyrings/gcsfuse.asc]" \
      "https://packages.cloud.google.com/apt" \
      "gcsfuse-$VERSION_CODENAME main" |
      sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
    curl -fsS https://packages.cloud.google.com/apt/doc/apt-key.gpg |
      sudo tee /usr/share/keyrings/gcsfuse.asc >/dev/null
    sudo apt-get update -qq
    sudo apt-get install -qq -y gcsfuse
  fi
  mkdir -p "$HOME/bucket"
  mountpoint -q "$HOME/bucket" ||
    gcsfuse --implicit-dirs "$bucket" "$HOME/bucket"
}

idle() {
  ! running || {
    echo "$(hostname): a job is already running; stop it first" >&2
    exit 1
  }
}

start() {
  idle
  mkdir -p "$job"
  rm -f "$job/status"
  # A log per start, and a name for the newest.
  local log
  log=$job/$(date +%Y%m%d-%H%M%S).log
  ln -sfn "$log" "$job/log"
  # The shell waits for the command, hands signals on and notes how it ended.
  # shellcheck disable=SC2016  # for the inner shell
  PATH=$venv/bin:$PATH MLIT_DISTRIBUTED=${MLIT_DISTRIBUTED:-auto} \
    setsid nohup bash -c '
      job=$1 tree=$2; shift 2
      cd "$tree" || exit
      "$@" & child=$!
      trap "kill -TERM $child" TERM
      while kill -0 "$child" 2>/dev/null; do wait "$child"; done
      wait "$child"
      echo $? >"$job/status.new" && mv "$job/status.new" "$job/status"
    ' mlit-job "$job" "$tree" "$@" >"$log" 2>&1 </dev/null &
  echo $! >"$job/pid"
  echo "$(hostname): started; log in $log"
}

status() {
  if running; then
    echo "$(hostname): running"
  elif [[ -f $job/status ]]; then
    echo "$(hostname): finished with $(<"$job/status")"
  elif [[ -f $job/pid ]]; then
    echo "$(hostname): died"
  else
    echo "$(hostname): idle"
  fi
}

case ${1:-} in
  setup | start | status | idle) "$@" ;;
  stop) if running; then kill -TERM "$(<"$job/pid")"; fi; status ;;
  logs)
    if [[ ${2:-} == --follow ]]; then
      exec tail -n 200 -F "$job/log"
    fi
    cat "$job/log"
    ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
